"""A process that runs `avrt` commands in copies of itself, and kills or stops them at a write.

Run as a program: it imports AVRT once, then takes jobs as lines of JSON from its standard input. An
audit hook sees every file that Python opens for writing, renames or removes, and a trace every
commit of SQLite. So a copy can be ended before its n-th write, as if by a power cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avrt.runs import read_history

_connect = sqlite3.connect
KILLED, STOPPED = 77, -signal.SIGSTOP
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link")


class Forks:
    """The side of the tests: starts the process and sends it jobs."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            env={**os.environ, "PYTHONPATH": path, **threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, *args: str, **how: Any) -> tuple[int, str]:
        """Run a command in a folder to its end; its exit code and output. `how` is that of a job:

        `kill` or `stop` before this write, `events` (a file for the kinds of writes), `limits`.
        """
        return self.end(self.start(folder, *args, **how))

    def start(self, folder: Path, *args: str, **how: Any) -> int:
        """Start a command; its process."""
        return self._ask({"args": args, "folder": str(folder), **how})["process"]

    def end(self, process: int, seconds: float | None = None) -> tuple[int, str]:
        """Wait until a command ends or stops itself; None as exit code: it does neither in time."""
        answer = self._ask({"end": process, "seconds": seconds})
        return answer["code"], answer["output"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.communicate()

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class _Watch:
    """Counts the writes below the working folder."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._at = job.get("kill") or job.get("stop")
        self._kills = "kill" in job
        self._folder, self._own = str(Path.cwd()), os.getpid()
        self._events = os.open(job["events"], os.O_WRONLY | os.O_CREAT) if "events" in job else None
        self._n = 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, str | bytes) and (flags or 0) & WRITING and self._is_ours(path):
                self._count("open", path)
        elif event in CHANGES and self._is_ours(args[0]):
            self._count(event, args[0])

    def _is_ours(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return str(Path.cwd() / os.fsdecode(path)).startswith(self._folder)

    def connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        """In the place of SQLite's own."""
        connection = _connect(*args, **kwargs)
        connection.set_trace_callback(self._on_statement)
        return connection

    def _on_statement(self, statement: str) -> None:
        if statement.startswith("COMMIT"):
            self._count("commit", "")

    def _count(self, kind: str, path: Any) -> None:
        if os.getpid() != self._own:
            return
        self._n += 1
        if self._events is not None:
            name = Path(os.fsdecode(path)).name
            os.write(self._events, f"{kind} {re.sub('^[.]avrt-.*', '(new)', name)}\n".encode())
        if self._n == self._at:
            if self._kills:
                os._exit(KILLED)
            os.kill(self._own, signal.SIGSTOP)


def _run(job: dict[str, Any], output: int) -> int:
    """In a copy: the command `avrt`; its exit code."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    # The old ones take the pipe for what stood there before, such as a file with a position.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    os.chdir(job["folder"])
    for name, limit in job.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    sys.argv = ["avrt", *job["args"]]
    if {"kill", "stop", "events"} & job.keys():
        watch = _Watch(job)
        sys.addaudithook(watch)
        sqlite3.connect = watch.connect
    from avrt.cli.main import main

    try:
        main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - the test must hear of it
        traceback.print_exc()
        return 70
    return 0


def _start(job: dict[str, Any]) -> tuple[int, int]:
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        os.set_blocking(reader, False)
        return process, reader
    code = 71
    with contextlib.suppress(BaseException):
        code = _run(job, writer)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _end(process: int, seconds: float | None) -> int | None:
    """The exit code; STOPPED when it stopped itself, None when it does neither in time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        _, status = os.waitpid(process, os.WUNTRACED)
    except TimeoutError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def _read(pipe: int) -> str:
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, 1 << 16).decode(errors="replace")
    return ""


def _time_is_over(*_: object) -> None:
    raise TimeoutError


def serve(modules: Sequence[str]) -> None:
    for module in modules:
        __import__(module)
    signal.signal(signal.SIGALRM, _time_is_over)
    outputs: dict[int, int] = {}
    for line in sys.stdin:
        job = json.loads(line)
        if "end" in job:
            process = job["end"]
            code = _end(process, job["seconds"])
            answer = {"code": code, "output": _read(outputs[process])}
            if code is not None and code != STOPPED:
                os.close(outputs.pop(process))
        else:
            process, outputs[process] = _start(job)
            answer = {"process": process}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything in a folder but for what differs from run to run: times and attempts."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.suffix == ".sqlite":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            queries = (
                "SELECT key, stage, text, finish_reason FROM calls ORDER BY key",
                "SELECT key, attempt, finish_reason FROM attempts ORDER BY key, attempt",
                "SELECT * FROM payloads ORDER BY file_sha256, recipe",
            )
            return [connection.execute(query).fetchall() for query in queries]
    if path.suffix == ".jsonl" and "eval" in path.parts:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**row, "latency_s": 0} for row in rows]
    if path.name == "history.jsonl":  # a line for each attempt
        return sorted({row["command"] for row in read_history(path.parent)})
    if path.name == "media.probes.jsonl":  # a cut line stays
        return sorted(set(path.read_text().split("\n")) - {""})
    return path.read_bytes()


if __name__ == "__main__":
    serve(sys.argv[1:])
