"""Gates over more traces than one process checks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from avrt.errors import AvrtError
from avrt.generate.gates import Case, check
from avrt.generate.judged import MIN_PARALLEL, check_all


def cases(n: int) -> Iterator[Case]:
    """Traces of which every third lacks its answer."""
    for number in range(n):
        answer = "" if number % 3 == 0 else "<answer>A</answer>"
        text = f"<think>A bell rings {number} times, so it is (A).</think>{answer}"
        yield Case(text, "What rings?", ("bell", "phone"), "A", "stop", {})


def test_many_traces_are_checked_in_processes_in_their_order():
    n = MIN_PARALLEL + 50
    assert list(check_all(cases(n), n)) == list(map(check, cases(n)))


def test_a_process_that_is_killed_is_one_message_and_no_hang():
    def killing() -> Iterator[Case]:
        for number, case in enumerate(cases(MIN_PARALLEL * 4)):
            if number == MIN_PARALLEL:
                for children in Path("/proc/self/task").glob("*/children"):
                    for child in children.read_text().split():
                        # Later tests need the process that tracks multiprocessing's resources.
                        if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                            os.kill(int(child), signal.SIGKILL)
            yield case

    with pytest.raises(AvrtError, match=r"gates: a process .* repeat the command"):
        list(check_all(killing(), MIN_PARALLEL * 4))
