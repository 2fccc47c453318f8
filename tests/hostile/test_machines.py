"""Whatever a machine does to a command, it ends in one message, and its repeat in the same files.

Every stage is killed before its writes, run on a full disk, and started twice at a time. The whole
sweep over all writes and sizes is marked slow; otherwise the first and last write of every kind.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hostile.forks import KILLED, Forks
from hostile.machine_cases import CASES, WARM, Case, Stage, write_place

SIZES = (
    *(0, 1, 100, 500, 1_000, 2_000, 4_096, 5_000, 8_192, 10_000, 12_288, 16_384),
    *(20_000, 24_576, 32_768, 36_864, 45_056, 57_344, 65_536, 80_000, 100_000, 150_000),
)
"""Bytes of the longest file that can be written: as on a disk that is full by then."""
LIMITS = (
    *({"RLIMIT_NOFILE": n} for n in (6, 8, 9, 10, 12, 14, 16, 20, 32, 64)),
    *({"RLIMIT_AS": n << 20} for n in (0, 1, 2, 4, 8, 16, 32, 64)),
)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with closing(Forks(WARM)) as forks:
        yield forks


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("machines") / "template"
    place.mkdir()
    write_place(place)
    return place


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def stage(request, forks, template, tmp_path_factory) -> Iterator[Stage]:
    case: Case = request.param
    root = tmp_path_factory.mktemp(case.name.replace(" ", "-"))
    yield Stage(forks, root, case, template)
    shutil.rmtree(root)


def test_killed_before_a_write_it_ends_the_same_when_repeated(stage):
    for number in stage.sample():
        kill(stage, number)


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert code == 0 or refused(code, output, f"process {first} on"), f"{what}: {output}"
    assert first_code == 0 or refused(first_code, first_output, "already exists"), what
    assert stage.finish() == stage.undisturbed, what


def refused(code: int, output: str, reason: str) -> bool:
    return code == 2 and reason in output and output.count("error:") == 1


def test_on_a_full_disk_it_ends_in_a_message_and_goes_on_when_there_is_room(stage):
    start = CASES.index(stage.case) % 6
    for size in SIZES[start::6]:
        limit(stage, {"RLIMIT_FSIZE": size})


@pytest.mark.slow
def test_on_a_disk_of_any_size_it_ends_in_a_message_and_goes_on(stage):
    for size in SIZES:
        limit(stage, {"RLIMIT_FSIZE": size})


def test_short_of_files_or_memory_it_ends_in_a_message_and_goes_on(stage):
    start = CASES.index(stage.case) % 6
    for limits in LIMITS[start::6]:
        limit(stage, limits)


@pytest.mark.slow
def test_with_any_limit_it_ends_in_a_message_and_goes_on(stage):
    for limits in LIMITS:
        limit(stage, limits)


def limit(stage: Stage, limits: dict[str, int]) -> None:
    stage.reset()
    code, output = stage.run(limits=limits)
    assert "Traceback" not in output, f"{limits}: {output}"
    if code == 0:
        assert stage.finish() == stage.undisturbed, limits
    else:
        assert code in (1, 2), f"{limits}: {code} {output}"
        assert output.count("error:") == 1, f"{limits}: {output}"
        stage.check(str(limits))
