"""Whatever a machine does to a command, it ends in one message, and its repeat in the same files.

Every stage is killed before its writes, run on a full disk, and started twice at a time: at the
last write of every kind and at some sizes, or with AVRT_SWEEP=1, for 20 minutes, at all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hostile.forks import KILLED, STOPPED, Forks
from hostile.machine_cases import CASES, WARM, Stage

SIZES = (
    *(0, 1, 100, 500, 1_000, 2_000, 4_096, 5_000, 8_192, 10_000, 12_288, 16_384),
    *(20_000, 24_576, 32_768, 36_864, 45_056, 57_344, 65_536, 80_000, 100_000, 150_000),
)
"""Bytes of the longest file that can be written: as on a disk that is full by then."""
OPEN_FILES = (5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 32, 64)
sweep = pytest.mark.skipif("AVRT_SWEEP" not in os.environ, reason="takes long; set AVRT_SWEEP=1")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with closing(Forks(WARM)) as forks:
        yield forks


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def stage(request, forks, root) -> Stage:
    return Stage(forks, root, request.param)


def test_killed_before_a_write_it_ends_the_same_when_repeated(stage):
    for number in stage.sample():
        kill(stage, number)


@sweep
def test_killed_before_any_write_it_ends_the_same_when_repeated(stage):
    for number in range(1, len(stage.writes) + 1):
        kill(stage, number)


def kill(stage: Stage, number: int) -> None:
    what = f"killed before write {number}, {stage.writes[number - 1]}"
    stage.reset()
    assert stage.run(kill=number)[0] == KILLED, what
    stage.check(what)


def test_a_second_process_is_told_of_the_first_and_disturbs_nothing(stage):
    start_twice(stage, len(stage.writes) // 2 + 1)


@sweep
def test_a_second_process_at_any_write_disturbs_nothing(stage):
    for number in range(1, len(stage.writes) + 1):
        start_twice(stage, number)


def start_twice(stage: Stage, number: int) -> None:
    """The second starts while the first stands before a write, and may wait for it."""
    what = f"stopped before write {number}, {stage.writes[number - 1]}"
    stage.reset()
    forks, command = stage.forks, stage.case.command
    first = forks.start(stage.place, *command, stop=number)
    assert forks.end(first)[0] == STOPPED, what
    second = forks.start(stage.place, *command)
    code, output = forks.end(second, 2)
    first_code, first_output = forks.end(first)
    if code is None:
        code, more = forks.end(second)
        output += more
    for text in (output, first_output):
        assert "Traceback" not in text, f"{what}: {text}"
    assert 0 in (code, first_code), f"{what}: {output} {first_output}"
    assert code == 0 or refused(stage, output, first), f"{what}: {output}"
    assert first_code == 0 or refused(stage, first_output, second), f"{what}: {first_output}"
    stage.compare(what)


def refused(stage: Stage, output: str, other: int) -> bool:
    """One message: the other process is at work, or has made what is made only once."""
    is_made = stage.case.once and "already exists" in output
    return (is_made or f"process {other} on" in output) and output.count("error:") == 1


def of_stage(stage: Stage, sizes: tuple[int, ...], n: int) -> tuple[int, ...]:
    """About `n` of the sizes; the next stage has others, so that all are tried."""
    step = len(sizes) // n
    return sizes[CASES.index(stage.case) % step :: step] if not stage.case.after else ()


def test_on_a_full_disk_it_ends_in_a_message_and_goes_on_when_there_is_room(stage):
    for size in of_stage(stage, SIZES, 2):
        limit(stage, "RLIMIT_FSIZE", size)


def test_short_of_open_files_it_ends_in_a_message_and_goes_on(stage):
    for n_files in of_stage(stage, OPEN_FILES, 1):
        limit(stage, "RLIMIT_NOFILE", n_files)


@sweep
def test_with_any_limit_it_ends_in_a_message_and_goes_on(stage):
    for size in SIZES:
        limit(stage, "RLIMIT_FSIZE", size)
    for n_files in OPEN_FILES:
        limit(stage, "RLIMIT_NOFILE", n_files)


def limit(stage: Stage, name: str, most: int) -> None:
    limits = {name: most}
    stage.reset()
    code, output = stage.run(limits=limits)
    assert "Traceback" not in output, f"{limits}: {output}"
    if code == 0:
        stage.compare(str(limits))
    else:
        assert code in (1, 2), f"{limits}: {code} {output}"
        assert output.count("error:") == 1, f"{limits}: {output}"
        stage.check(str(limits))
