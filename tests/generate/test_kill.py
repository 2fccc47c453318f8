"""Killed at any moment, generation loses no finished call, repeats none, ends in the same bytes.

The models are scripted but slow, and the process is real: it is killed with SIGKILL after a number
of further replies, ten times, then left to finish.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from avrt.config import load_config
from avrt.datasets import prepare
from scripted_run import overrides, replies, write_dataset, write_script

N_QUESTIONS = 60
N_CALLS = 3 * (N_QUESTIONS - 1)  # one question is about a silent clip
N_KILLS = 10

SLOW_GENERATION = """
import os, sys, time
from avrt.config import load_config
from avrt.engines import make_engine
from avrt.generate import build, calls, merge, trace

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class SlowEngine:
    def __init__(self, engine):
        self.engine, self.identity, self.close = engine, engine.identity, engine.close

    def generate(self, requests, on_completion):
        def reply(request, completion):
            time.sleep(0.004)
            os.write(log, f"{request.key}\\n".encode())
            on_completion(request, completion)

        self.engine.generate(requests, reply)

calls.make_engine = lambda *arguments: SlowEngine(make_engine(*arguments))
config = load_config(None, tuple(sys.argv[2:]))
for stage in (trace, merge, build):
    stage.run(config)
"""


def start(log: Path, settings: Iterable[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SLOW_GENERATION, str(log), *settings]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def finish(log: Path, settings: Iterable[str]) -> None:
    _, errors = (process := start(log, settings)).communicate()
    assert process.returncode == 0, errors.decode()


def replied(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def kill_after(log: Path, settings: Iterable[str], n_replies: int) -> None:
    """Start, and kill when that many further replies were given (or it finished before)."""
    wanted = len(replied(log)) + n_replies
    with start(log, settings) as process:
        while process.poll() is None and len(replied(log)) < wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def finished(run: Path) -> set[str]:
    connection = sqlite3.connect(run / "ledger.sqlite")
    keys = {key for (key,) in connection.execute("SELECT key FROM calls")}
    connection.close()
    return keys


def outputs(run: Path) -> dict[str, bytes]:
    paths = (path for folder in ("traces", "dataset") for path in (run / folder).iterdir())
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.slow
def test_ten_kills_lose_nothing_repeat_nothing_and_change_nothing(tmp_path: Path) -> None:
    write_dataset(tmp_path, N_QUESTIONS)
    write_script(tmp_path, replies(n_questions=N_QUESTIONS))
    calm, killed = overrides(tmp_path), (*overrides(tmp_path), "run.name=killed")
    prepare.run(load_config(None, calm))
    shutil.copytree(tmp_path / "runs" / "test", tmp_path / "runs" / "killed")
    finish(tmp_path / "calm.log", calm)

    log, run = tmp_path / "killed.log", tmp_path / "runs" / "killed"
    moments = random.Random(0)
    for _ in range(N_KILLS):
        already, n_before = finished(run) if log.exists() else set(), len(replied(log))
        kill_after(log, killed, n_replies=moments.randint(1, 15))
        new = replied(log)[n_before:]
        assert not already & set(new), "a finished call was made again"
        # The last reply may have been given and not yet committed when the kill came.
        assert finished(run) >= already | set(new[:-1]), "a finished call was lost"
    finish(log, killed)

    assert len(finished(run)) == N_CALLS
    assert N_CALLS <= len(replied(log)) <= N_CALLS + N_KILLS
    assert outputs(run) == outputs(tmp_path / "runs" / "test")
