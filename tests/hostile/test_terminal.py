"""The command prints texts from outside without what steers a terminal, in any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from clips import encode_clip, tone

pytestmark = pytest.mark.slow

STEERING = "\x1b[31m\x1b]0;title\x07\u202e\ud83d\u0000\r"


def avrt(*arguments: str, encoding: str = "ascii") -> tuple[int, bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "80"}
    command = [sys.executable, "-m", "avrt", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def check_plain(output: bytes) -> None:
    assert b"Traceback" not in output
    assert not set(output) & {*range(9), *range(11, 32), 127}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_of_clips_do_not_steer_the_terminal(tmp_path, encoding):
    clip = tmp_path / "clip.mp4"
    encode_clip(clip, n_frames=4, sound=tone(0.4))
    row = {
        "video_id": 1,
        "question_text": "?",
        "multi_choice": ["a", f"b{STEERING}"],
        "answer": 0,
        "question_relation": "both",
        "question_type": STEERING,
    }
    names = ("clip", f"gone {STEERING}犬")
    rows = [row | {"id": f"{n}{STEERING}", "video_name": name} for n, name in enumerate(names)]
    (tmp_path / "train_qa.json").write_text(json.dumps(rows))
    settings = (f"data.root={tmp_path}", f"run.dir={tmp_path / 'runs'}", "media.workers=0")
    code, output = avrt("prepare", *settings, encoding=encoding)
    assert code == 0
    assert b"1 ok" in output
    assert b"1 missing, such as videos/gone" in output
    check_plain(output)


@pytest.mark.parametrize(
    "argument",
    [
        f"run.name={STEERING}",
        f'data.root="{STEERING}"',
        f"{STEERING}.yaml",
        f"data.{STEERING}=1",
        'run.name="\\e[31m"',
        'data.root="\\e]0;title\\a\\u202e\\0"',
        'data.split="\\e[2J"',
        f"run.name={'x' * 5000}",
        f"data.root={'x' * 5000}",
        f"run.dir={'x' * 5000}",
        f"{'x' * 5000}.yaml",
    ],
    ids=range(11),
)
def test_refusals_do_not_steer_the_terminal(tmp_path, argument):
    argument = argument.replace("\0", "").replace("\ud83d", "\udcff")  # as a shell can give it
    settings = (f"run.dir={tmp_path}", argument)
    code, output = avrt("prepare", *settings)
    assert code in (1, 2)
    assert b"avrt: error: " in output
    check_plain(output)
