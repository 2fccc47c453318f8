from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avrt.config import Config, DataConfig, MediaConfig, PrepareConfig, RunConfig
from avrt.datasets import prepare
from clips import RATE_HZ, encode_clip, tone

Write = Callable[..., Path]


def question(number: int, **changes: Any) -> dict[str, Any]:
    """A row in AVQA's own format."""
    row = {
        "id": number,
        "video_name": f"-abc_{number:06d}",
        "video_id": number + 100,
        "question_text": "What makes the sound?",
        "multi_choice": ["a dog", "a cat", "a car", "rain"],
        "answer": 1,
        "question_relation": "Both",
        "question_type": "Which",
    }
    return row | changes


@pytest.fixture
def write_avqa(tmp_path) -> Write:
    """Write `{split}_qa.json` from rows; each is the changes of one question."""

    def write(*changes: dict[str, Any], split: str = "train") -> Path:
        rows = [question(number, **change) for number, change in enumerate(changes, start=1)]
        (tmp_path / f"{split}_qa.json").write_text(json.dumps(rows), encoding="utf-8")
        return tmp_path

    return write


QUIET = np.zeros((2, RATE_HZ // 2), np.float32)
TABLES = ("samples.parquet", "media.parquet")


NAMES = ("good_000001", "good_1", "mute", "cut", "missing", None, "dark")
"""Good, good about the same clip, without sound, cut, missing, no options, without picture."""


def write_broken(root):
    """Seven questions about files that are fine or lack something."""
    videos = root / "videos"
    videos.mkdir()
    good = encode_clip(videos / "good_000001.mp4", n_frames=10, sound=tone(0.4))
    encode_clip(videos / "mute.mp4", n_frames=10)
    (videos / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    encode_clip(videos / "dark.mp4", n_frames=0, sound=tone(0.4))
    rows = [
        question(number, **({"video_name": name} if name else {"multi_choice": None}))
        for number, name in enumerate(NAMES, start=1)
    ]
    (root / "train_qa.json").write_text(json.dumps(rows))


def write_odd(root):
    """Four questions: good, frozen picture, silence, both."""
    videos = root / "videos"
    videos.mkdir()
    grey = np.full((84, 112, 3), 99, np.uint8)
    encode_clip(videos / "good.mp4", n_frames=12, sound=tone(0.5))
    encode_clip(videos / "still.mp4", n_frames=12, sound=tone(0.5), picture=lambda _: grey)
    encode_clip(videos / "silent.mp4", n_frames=12, sound=QUIET)
    encode_clip(videos / "both.mp4", n_frames=12, sound=QUIET, picture=lambda _: grey)
    names = ("good", "still", "silent", "both")
    rows = [question(number, video_name=name) for number, name in enumerate(names, start=1)]
    (root / "train_qa.json").write_text(json.dumps(rows))


def make_config(root, runs, **sections):
    media = sections.pop("media", MediaConfig(workers=1))
    return Config(run=RunConfig(dir=runs), data=DataConfig(root=root), media=media, **sections)


@pytest.fixture
def config(tmp_path):
    """Of a dataset that the test may change."""
    root = tmp_path / "data"
    root.mkdir()
    write_broken(root)
    return make_config(root, tmp_path / "runs")


@pytest.fixture(scope="module")
def probed_once(tmp_path_factory):
    """Both datasets, and runs whose journals hold all their files."""
    configs = {}
    for name, write in (("broken", write_broken), ("odd", write_odd)):
        root = tmp_path_factory.mktemp(name)
        write(root)
        configs[name] = make_config(root, tmp_path_factory.mktemp("runs"))
        prepare.run(configs[name])
    return configs


@pytest.fixture
def make_known(probed_once, tmp_path):
    """A configuration of a new run on files that were all probed before."""

    def make(name, **policies):
        before = probed_once[name]
        run = RunConfig(dir=tmp_path / "known")
        run.path.mkdir(parents=True)
        shutil.copy(before.run.path / "media.probes.jsonl", run.path)
        return before.model_copy(update={"run": run, "prepare": PrepareConfig(**policies)})

    return make


def tables(config):
    return [(config.run.path / name).read_bytes() for name in TABLES]


def probed(result):
    """How many files were opened."""
    return int(result.summary.split(" probed")[0].rpartition("(")[2])
