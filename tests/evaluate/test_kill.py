"""Evaluations that are really killed."""

from __future__ import annotations

import signal
import subprocess
import sys

from avrt.ask.ledger import read_ledger
from avrt.config import dump_config
from avrt.evaluate import Choice, run
from avrt.evaluate.logs import find_logs, read_log

N_ITEMS = 6
BASE = Choice(models=["base"])
KILLED = """
import os, signal, sys
from pathlib import Path
from avrt.config import load_config
from avrt.engines import LazyEngine
from avrt.engines.scripted import ScriptedEngine
from avrt.evaluate import Choice, run

left = int(sys.argv[2])

def answer(prompt):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return "<answer>A</answer>"

def generate(engine, requests, on_completion):
    ScriptedEngine(answer, {}).generate(requests, on_completion)

if __name__ == "__main__":
    LazyEngine.generate = generate
    run(load_config(Path(sys.argv[1])), Choice(models=["base"]))
"""


def replies(config) -> set[str]:
    with read_ledger(config.run.path) as ledger:
        return {row["key"] for row in ledger.query("SELECT key FROM calls")}


def test_no_reply_is_lost_or_asked_again_over_kills(config, tmp_path, use_answers):
    script, settings = tmp_path / "killed.py", tmp_path / "config.yaml"
    script.write_text(KILLED)
    settings.write_text(dump_config(config))
    before: set[str] = set()
    for n_answers in (2, 5, 3):
        command = [sys.executable, str(script), str(settings), str(n_answers)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        now = replies(config)
        assert before < now
        assert len(now) == len(before) + n_answers
        before = now
    asked = use_answers(lambda _: "<answer>A</answer>")
    run(config, BASE)
    n_without_media = 2  # the silent clip, by sound and by both
    assert 10 + len(asked) == 3 * N_ITEMS - n_without_media
    with read_ledger(config.run.path) as ledger:
        (most,) = ledger.query("SELECT MAX(attempt) AS n FROM attempts")
        assert most["n"] == 1
    whole = config.model_copy(update={"run": config.run.model_copy(update={"name": "whole"})})
    run(whole, BASE)
    assert [contents(log) for log in find_logs(config.run.path)] == [
        contents(log) for log in find_logs(whole.run.path)
    ]


def contents(log):
    """The lines without the time that each call took."""
    return [{**vars(line), "latency_s": 0} for line in read_log(log)]
