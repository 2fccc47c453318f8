"""Evaluations that are really killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

from avrt.config import dump_config
from avrt.engines.scripted import ScriptedEngine
from avrt.evaluate import run
from avrt.evaluate.logs import log_paths, read_logs

N_ITEMS = 6
KILLED = """
import os, signal, sys
from pathlib import Path
from avrt.config import load_config
from avrt.engines.scripted import ScriptedEngine
from avrt.evaluate import run

left = int(sys.argv[2])

def answer(prompt):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return "<answer>A</answer>"

if __name__ == "__main__":
    config = load_config(Path(sys.argv[1]))
    run(config, models=["base"], make=lambda *_: ScriptedEngine(answer, {"model": "m"}))
"""


def answered(config) -> Counter[tuple[str, str]]:
    return Counter(
        (modality, line.sample_id)
        for modality in ("a", "v", "av")
        for line in read_logs(log_paths(config.run.path, "clips", "base", modality))
    )


def test_no_finished_item_is_lost_or_asked_again_over_many_kills(config, tmp_path):
    script, settings = tmp_path / "killed.py", tmp_path / "config.yaml"
    script.write_text(KILLED)
    settings.write_text(dump_config(config))
    before: Counter[tuple[str, str]] = Counter()
    for n_answers in (2, 5, 3):
        command = [sys.executable, str(script), str(settings), str(n_answers)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        now = answered(config)
        assert sum(now.values()) >= sum(before.values()) + n_answers
        assert before <= now
        before = now
    asked: list[str] = []

    def answer(prompt) -> str:
        asked.append(prompt.text)
        return "<answer>A</answer>"

    run(config, models=["base"], make=lambda *_: ScriptedEngine(answer, {"model": "m"}))
    after = answered(config)
    assert set(after.values()) == {1}
    assert sum(after.values()) == 3 * N_ITEMS
    n_without_media = 2  # the silent clip, by sound and by both
    assert 10 + len(asked) == 3 * N_ITEMS - n_without_media
