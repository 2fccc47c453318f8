from __future__ import annotations

import json
import shutil

import pytest

from avrt.config import Config, DataConfig, RunConfig
from avrt.datasets import prepare
from avrt.errors import ConfigError, DataError
from avrt.runs import read_parquet
from clips import encode_clip, tone


@pytest.fixture
def config(write_avqa, tmp_path):
    """Seven questions: good, good about the same clip, silent, cut, missing, no options, sound."""
    root = write_avqa(
        {"video_name": "good_000001"},
        {"video_name": "good_1"},
        {"video_name": "silent"},
        {"video_name": "cut"},
        {"video_name": "missing"},
        {"multi_choice": None},
        {"video_name": "dark"},
    )
    videos = root / "videos"
    videos.mkdir()
    good = encode_clip(videos / "good_000001.mp4", n_frames=10, sound=tone(0.4))
    encode_clip(videos / "silent.mp4", n_frames=10)
    (videos / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    encode_clip(videos / "dark.mp4", n_frames=0, sound=tone(0.4))
    return Config(run=RunConfig(dir=tmp_path / "runs"), data=DataConfig(root=root))


def test_every_row_is_accounted_for_under_its_name(config):
    result = prepare.run(config)
    assert result.counts == {
        "read": 7,
        "kept": 2,
        "dropped/no_options": 1,
        "failed/no_audio": 1,
        "failed/no_video": 1,
        "failed/truncated": 1,
        "failed/missing": 1,
    }
    for text in ("7 questions about 5 media files", "1 truncated, such as videos/cut.mp4: the end"):
        assert text in result.summary
    samples = prepare.load_prepared(config.run.path)
    assert [sample.id for sample in samples] == ["avqa-train-1", "avqa-train-2"]
    rows = {row["path"]: row for row in read_parquet(config.run.path / "media.parquet")}
    assert rows["videos/good_000001.mp4"]["n_frames"] == 10
    assert rows["videos/silent.mp4"]["status"] == "ok"
    assert rows["videos/missing.mp4"]["status"] == "missing"


def test_nothing_written_holds_an_absolute_path(config):
    prepare.run(config)
    rows = read_parquet(config.run.path / "samples.parquet")
    rows += read_parquet(config.run.path / "media.parquet")
    manifest = (config.run.path / "manifests" / "prepare.json").read_text()
    assert str(config.data.root) not in json.dumps(rows) + manifest


def test_the_same_command_again_does_nothing_unless_files_were_deleted(config):
    first = prepare.run(config)
    path = config.run.path / "samples.parquet"
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    again = prepare.run(config)
    assert "nothing to do" in again.summary
    assert again.counts == first.counts
    assert path.stat().st_mtime_ns == changed
    path.unlink()
    prepare.run(config)
    assert path.read_bytes() == content


def test_a_file_that_arrived_later_is_noticed(config):
    prepare.run(config)
    videos = config.data.root / "videos"
    shutil.copy(videos / "good_000001.mp4", videos / "missing.mp4")
    with pytest.raises(ConfigError, match=r"media_files.*run\.name"):
        prepare.run(config)


def test_the_plan_says_what_and_writes_nothing(config):
    text = prepare.plan(config)
    assert "read 7 questions" in text
    assert "probe 5 media files (1 missing)" in text
    assert not config.run.path.exists()


def test_a_root_without_media_is_refused_with_exit_code_2(write_avqa, tmp_path):
    root = write_avqa({})
    config = Config(run=RunConfig(dir=tmp_path / "runs"), data=DataConfig(root=root))
    with pytest.raises(ConfigError, match=r"none of the 1 media files is here") as caught:
        prepare.run(config)
    assert caught.value.exit_code == 2
    assert not config.run.path.exists()


def test_a_run_that_was_not_prepared_is_named(tmp_path):
    with pytest.raises(DataError, match=r"samples\.parquet: not found"):
        prepare.load_prepared(tmp_path)


def test_the_real_clips_are_prepared(tmp_path, real_data):
    data = DataConfig(root=real_data / "avqa", split="val")
    config = Config(run=RunConfig(dir=tmp_path), data=data)
    assert prepare.run(config).counts == {"read": 6, "kept": 6}
