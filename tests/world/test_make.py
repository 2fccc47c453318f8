"""`avrt world make`: three readable sets, the same every time, never mixed with others."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from avrt.config import DataConfig, MediaConfig
from avrt.datasets import read_samples
from avrt.errors import ConfigError
from avrt.media import load_media
from avrt.runs import file_digest
from avrt.world import make
from running import children_of, is_running, wait_for

NUMBERS = {"n_train": 22, "n_bench": 5, "n_audio": 4, "seed": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make.run(folder, **NUMBERS)
    return folder


def test_the_three_sets_are_read_and_their_media_open(root: Path):
    sets = {
        "train": DataConfig(format="avqa", root=root, split="train"),
        "bench": DataConfig(format="parquet", root=root, split="bench"),
        "audio": DataConfig(format="parquet", root=root, split="audio"),
    }
    samples = {name: list(read_samples(data)) for name, data in sets.items()}
    assert {name: len(found) for name, found in samples.items()} == {
        "train": 22,
        "bench": 5,
        "audio": 4,
    }
    media = MediaConfig(max_pixels=56 * 56)
    frames, sound = load_media(samples["train"][0], root, media, "av")
    assert frames is not None
    assert sound is not None
    assert frames.pixels.shape == (8, 56, 56, 3)
    still, _ = load_media(samples["bench"][0], root, media, "av")
    assert still is not None
    assert still.still
    assert load_media(samples["audio"][0], root, media, "a")[1] is not None


def test_some_clips_have_two_questions(root: Path):
    samples = list(read_samples(DataConfig(format="avqa", root=root, split="train")))
    assert len({sample.video_id for sample in samples}) == 20


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path):
    make.run(tmp_path, **NUMBERS)
    for path in sorted(root.rglob("*.*")):
        assert file_digest(path) == file_digest(tmp_path / path.relative_to(root)), path.name


def test_a_world_made_with_other_numbers_is_refused(root: Path):
    with pytest.raises(ConfigError, match="choose another folder"):
        make.run(root, **{**NUMBERS, "seed": 4})


def test_a_finished_world_is_left_as_it_is(root: Path):
    before = (root / "train_qa.json").stat().st_mtime_ns
    assert "already exists" in make.run(root, **NUMBERS).summary
    assert (root / "train_qa.json").stat().st_mtime_ns == before


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    annotations = tmp_path / "train_qa.json"
    annotations.write_text("[]")
    with pytest.raises(ConfigError, match="holds other files"):
        make.run(tmp_path, **NUMBERS)
    assert annotations.read_text() == "[]"
    assert list(tmp_path.iterdir()) == [annotations]


def test_a_world_that_was_begun_is_finished(root: Path, tmp_path: Path):
    made_with = (root / "world.json").read_text()
    (tmp_path / make.UNFINISHED).write_text(made_with)
    make.run(tmp_path, **NUMBERS)
    assert (tmp_path / "world.json").read_text() == made_with
    assert not (tmp_path / make.UNFINISHED).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_its_processes_end_with_it(tmp_path: Path, number: int):
    command = [sys.executable, "-m", "avrt", "world", "make", str(tmp_path), "--n-train", "5000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((tmp_path / "videos").glob("*.mp4")))
    children = children_of(process.pid)
    process.send_signal(number)
    _, errors = process.communicate()
    assert children
    wait_for(lambda: not any(map(is_running, children)))
    assert "Traceback" not in errors
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
