"""Facts about the watchdog: which file is named, what goes on, and that no process stays behind.

The functions that run in the workers are in worker_tasks.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import worker_tasks
from avrt.errors import AvrtError, MediaError
from avrt.media import processes
from avrt.media.processes import map_files
from running import is_running, wait_for

HOLD = """
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
import worker_tasks
from avrt.media.processes import map_files

folder, timeout_s, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
work = partial(worker_tasks.mark, folder)
with closing(map_files(work, names, timeout_s=timeout_s, workers=2)) as results:
    for item, result in results:  # Ctrl-C may come here, outside of the generator
        print(item, flush=True)
"""


def classes(names: list[str], timeout_s: float = 30.0) -> list[tuple[str, str]]:
    """Each item with what became of it, in the order given."""
    results = map_files(worker_tasks.do, names, timeout_s=timeout_s, workers=2)
    return [
        (name, result.error_class if isinstance(result, MediaError) else "ok")
        for name, result in results
    ]


# What goes wrong in a worker


def test_a_file_that_hangs_is_named_and_the_others_are_read():
    names = ["a", "hang", "b", "stuck", *"cdefgh"]
    wanted = [(name, "ok") for name in "abcdefgh"]
    assert classes(names, timeout_s=0.5) == [*wanted, ("hang", "timeout"), ("stuck", "timeout")]


def test_a_read_that_never_returns_is_ended(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    names = [f"fifo-{tmp_path / 'pipe'}", "a"]
    assert [found for _, found in classes(names, timeout_s=0.5)] == ["ok", "timeout"]


def test_a_worker_that_dies_costs_its_own_file_only():
    kinds = ("crash", "ok", "killed", "ok", "ok", "memory")
    names = [f"{kind}-{number}" for number in range(2) for kind in kinds]
    ends = {"ok": "ok", "killed": "killed", "memory": "unreadable", "crash": "undecodable"}
    wanted = {name: ends[name.partition("-")[0]] for name in names}
    found = classes(names)
    assert dict(found) == wanted
    assert [name for name, end in found if end == "ok"] == [n for n in names if wanted[n] == "ok"]


@pytest.mark.parametrize(
    "how", ["killed", "terminated", "hang", "crash", "memory", "permission", "unreadable"]
)
def test_what_may_pass_is_tried_once_more_in_another_process_and_ends_well(tmp_path, how):
    work = partial(worker_tasks.once, tmp_path)
    names = ["a", f"{how}-1", "b", f"{how}-2", "c"]
    results = list(map_files(work, names, timeout_s=3, workers=1))
    assert results == [(name, name) for name in ("a", "b", "c", f"{how}-1", f"{how}-2")]
    first, second = (tmp_path / f"{how}-1").read_text().split()
    assert first != second, "not in the process that failed"


@pytest.mark.parametrize(
    ("how", "error_class"),
    [
        ("killed", "killed"),
        ("terminated", "killed"),
        ("permission", "permission"),
        ("unreadable", "unreadable"),
        ("missing", "missing"),
        ("crash", "undecodable"),
        ("bad", "truncated"),
    ],
)
def test_a_failure_is_a_result_after_its_second_attempt_only_when_it_may_pass(
    tmp_path, how, error_class
):
    work = partial(worker_tasks.always, tmp_path)
    ((_, result),) = map_files(work, [how], timeout_s=30, workers=1)
    assert isinstance(result, MediaError)
    assert result.error_class == error_class
    n_attempts = len((tmp_path / how).read_text().split())
    assert n_attempts == (1 if how == "bad" else 2)


def test_in_this_process_what_may_pass_is_tried_once_more_too(tmp_path):
    work = partial(worker_tasks.once, tmp_path)
    results = map_files(work, ["permission-1", "a"], timeout_s=30, workers=0)
    assert list(results) == [("a", "a"), ("permission-1", "permission-1")]


def test_a_failure_inside_a_mapping_is_tried_once_more(tmp_path):
    work = partial(worker_tasks.halves, tmp_path)
    results = list(map_files(work, ["permission-1", "a"], timeout_s=30, workers=1))
    assert results == [("a", {"v": "a"}), ("permission-1", {"v": "permission-1"})]


def test_too_few_files_for_a_process_are_one_message(monkeypatch):
    def refuse(*_args: object, **_settings: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(processes, "Pipe", refuse)
    with pytest.raises(AvrtError, match="Too many open files; raise the limit"):
        list(map_files(worker_tasks.do, ["a"], timeout_s=30, workers=1))


def test_a_file_over_which_its_process_ends_is_named():
    assert classes(["a", "exit", "b"]) == [("a", "ok"), ("b", "ok"), ("exit", "undecodable")]


def test_the_watchdog_names_the_file_and_says_what_to_do():
    results = map_files(
        worker_tasks.do,
        ["bad", "hang", "crash"],
        timeout_s=0.5,
        workers=1,
        path_of=lambda name: f"videos/{name}.mp4",
    )
    bad, hang, crash = [str(result) for _, result in results]
    assert hang.startswith("videos/hang.mp4: timeout: not read after 0.5 s; ")
    assert hang.endswith("raise media.timeout_s")
    assert crash.startswith("videos/crash.mp4: undecodable: the decoder crashed (exit code -11)")
    assert bad == "own/bad: truncated: the end is missing"


def test_what_is_no_bad_file_is_a_defect_and_raised():
    results = map_files(worker_tasks.do, ["a", "defect", "b"], timeout_s=30, workers=1)
    assert next(results) == ("a", "a")
    with pytest.raises(ZeroDivisionError, match="defect") as caught:
        next(results)
    assert "worker_tasks.py" in caught.value.__notes__[0], "it says where"


def test_what_cannot_travel_is_a_defect_and_raised():
    with pytest.raises((AttributeError, TypeError), match=r"lambda|pickle"):
        list(map_files(worker_tasks.unsendable, [1], timeout_s=30, workers=1))
    with pytest.raises(RuntimeError, match="HolderError"):
        list(map_files(worker_tasks.hold, [1], timeout_s=30, workers=1))
    with pytest.raises(LookupError, match="only here"):
        list(map_files(worker_tasks.do, [worker_tasks.Unreadable()], timeout_s=30, workers=1))
    with pytest.raises((AttributeError, TypeError), match=r"lambda|pickle"):
        list(map_files(lambda name: name, ["a"], timeout_s=30, workers=1))


def test_processes_that_do_not_start_stop_the_run(monkeypatch, capfd):
    monkeypatch.setenv("PYTHONHASHSEED", "not a number")  # Python refuses to start with it
    with pytest.raises(AvrtError, match="did not start") as caught:
        list(map_files(worker_tasks.do, ["a", "b"], timeout_s=30, workers=2))
    assert caught.value.exit_code == 1
    assert "PYTHONHASHSEED" in capfd.readouterr().err


# What comes back


def test_order_is_kept_and_nothing_is_no_work():
    names = [f"{number:03d}" for number in range(300)]
    assert list(map_files(worker_tasks.do, names, timeout_s=30)) == [(n, n) for n in names]
    assert list(map_files(worker_tasks.do, [], timeout_s=30)) == []


def test_items_are_taken_only_as_results_are(tmp_path):
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = map_files(worker_tasks.large, items(), timeout_s=30, workers=2, ahead=3)
    assert taken == []
    for number, result in results:
        assert not isinstance(result, MediaError)
        assert result[0] == number
        assert len(taken) <= number + 1 + 3
    assert len(taken) == 50


def test_the_source_of_items_may_fail():
    def items() -> Iterator[str]:
        yield from "abc"
        raise OSError("the list is damaged")

    results = map_files(worker_tasks.do, items(), timeout_s=30, workers=1, ahead=2)
    assert next(results) == ("a", "a")
    with pytest.raises(OSError, match="the list is damaged"):
        list(results)


def test_workers_import_nothing_heavy():
    ((_, modules),) = map_files(worker_tasks.modules, [0], timeout_s=30, workers=1)
    assert not isinstance(modules, MediaError)
    assert not {"torch", "transformers", "pyarrow"} & set(modules)


# What stays behind


def pids_in(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def test_closing_early_leaves_no_process_even_when_they_hang(tmp_path):
    work = partial(worker_tasks.mark, tmp_path)
    results = map_files(work, ["a", *["hang", "stuck"] * 4], timeout_s=600, workers=2)
    assert next(results) == ("a", "a")
    wait_for(lambda: len(pids_in(tmp_path)) == 2)
    results.close()
    assert not any(is_running(pid) for pid in pids_in(tmp_path))


def start(folder: Path, timeout_s: float, *names: str) -> subprocess.Popen[bytes]:
    """A process of its own, which runs workers over the names."""
    script = folder / "script.py"
    script.write_text(HOLD)
    (folder / "pids").mkdir()
    paths = [str(Path(worker_tasks.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, str(script), str(folder / "pids"), str(timeout_s), *names]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_script_is_not_run_again_in_the_processes(tmp_path):
    with start(tmp_path, 30, *"abcdef") as process:
        output, errors = process.communicate(timeout=60)
    assert (output.split(), errors) == ([name.encode() for name in "abcdef"], b"")


@pytest.mark.parametrize(
    ("number", "how", "timeout_s"),
    [
        (signal.SIGKILL, "hang", 600),
        (signal.SIGTERM, "hang", 600),
        (signal.SIGINT, "stuck", 600),
        (signal.SIGKILL, "stuck", 1.0),  # nothing but the kernel's timer can end these
    ],
)
def test_workers_end_with_their_parent(tmp_path, number, how, timeout_s):
    with start(tmp_path, timeout_s, "a", how, how) as process:
        wait_for(lambda: len(pids_in(tmp_path / "pids")) == 2)
        assert process.stdout is not None
        assert process.stdout.readline() == b"a\n"
        process.send_signal(number)
        process.communicate(timeout=30)
    wait_for(lambda: not any(is_running(pid) for pid in pids_in(tmp_path / "pids")))
