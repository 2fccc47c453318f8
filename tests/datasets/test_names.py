"""Clips are found under the names that annotations give them, or the nearest file is named."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter

import pytest

from avrt.config import DataConfig
from avrt.datasets import read_items, read_samples, require_media, write_samples
from avrt.datasets.names import MediaNames
from avrt.errors import ConfigError
from avrt.types import Sample
from benchmark_sets import write_set

NFC, NFD = (unicodedata.normalize(form, "café_犬が_01") for form in ("NFC", "NFD"))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("named", "there"),
    [
        (NFC, f"{NFD}.mp4"),
        (NFD, f"{NFC}.mp4"),
        (NFC, f"{NFD}.webm"),
        ("clip0", "clip0.mkv"),
        ("clip0", "clip0.webm"),
        ("clip0", "clip0.MP4"),
        ("clip0", "clip0.Mov"),
        ("clip0.mp4", "clip0.mp4"),
        ("clip0.mp4", "clip0.mkv"),
        ("clip0.mkv", "clip0.mp4"),
        ("clip0.MP4", "clip0.mp4"),
        ("clip_000030", "clip_30.webm"),
        (" clip0 ", "clip0.mp4"),
        ("v1.2", "v1.2.mp4"),
    ],
)
@pytest.mark.parametrize("folder", ["", "videos/"])
def test_avqa_finds_a_clip_under_other_spellings(write_avqa, named, there, folder):
    root = touch(write_avqa({"video_name": named}), folder + there)
    (sample,) = read_samples(DataConfig(root=root))
    assert sample.video == folder + there


@pytest.mark.parametrize("named", ["gone", "gone.mp4", "gone.webm"])
def test_a_missing_clip_is_named_with_one_ending(write_avqa, named):
    (sample,) = read_samples(DataConfig(root=write_avqa({"video_name": named})))
    assert sample.video == (f"videos/{named}" if "." in named else "videos/gone.mp4")


@pytest.mark.parametrize(
    ("name", "kind", "there"),
    [
        ("omnibench", "audio", "mm_data/audio/9-000.mp4.mp3.wav"),
        ("omnibench", "image", "mm_data/image/9-000.JPG"),
        ("daily_omni", "video", "Videos/clip-0_a1B2c/clip-0_a1B2c_video.mkv"),
        ("daily_omni", "audio", "Videos/clip-0_a1B2c/clip-0_a1B2c_audio.flac"),
        ("mmar", "audio", "audio/first_00-01.flac"),
        ("mmau", "audio", "aa-1.MP3"),
        ("video_holmes", "video", "film_01.webm"),
        ("worldsense", "video", "videos/aBcDeFgH.MP4"),
        ("omnivideobench", "video", "video_1.mkv"),
        ("video_mme", "video", "data/aBcDeFgHiJ0.MP4"),
        ("rivabench_standup", "video", "videos/clip_a.webm"),
        ("avhbench", "video", "video/00017.mkv"),
    ],
)
def test_benchmarks_take_other_endings(tmp_path, name, kind, there):
    data = write_set(tmp_path, name)
    touch(tmp_path, there)
    assert getattr(next(read_items(data)).sample, kind) == there


def test_own_files_are_found_by_composed_characters(tmp_path):
    own = Sample("1", "?", ("a", "b"), 0, "x", "both", "1", f"v/{NFC}/{NFC}.mp4", None, None, "s")
    write_samples(tmp_path / "train.parquet", [own])
    touch(tmp_path, f"v/{NFD}/{NFD}.MP4")
    (sample,) = read_samples(DataConfig(format="parquet", root=tmp_path))
    assert sample.video == f"v/{NFD}/{NFD}.MP4"


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("Clip0", "clip0.mp4"),  # ids of clips differ in case
        ("clip 0", "clip_0.mp4"),
        ("cafe", "café.mp4"),
        ("clip0", "clip0 .mp4"),
        ("clip0", "clip0.mp4.mp4"),
        ("clip-zero-1", "clip-zero-1 (1).mp4"),
    ],
)
def test_a_file_that_is_only_similar_is_named_and_not_taken(write_avqa, named, there):
    root = touch(write_avqa({"video_name": named}), f"videos/{there}")
    samples = list(read_samples(DataConfig(root=root)))
    assert samples[0].video == f"videos/{named}.mp4"
    with pytest.raises(ConfigError, match=r"is missing, but .* is there; rename") as error:
        require_media(root, samples)
    assert f"videos/{there}" in str(error.value)


def test_the_file_of_another_sample_is_not_proposed(tmp_path):
    names = MediaNames(touch(tmp_path, "abc_000001.mp4", "x.mp4"))
    assert names.nearest("abc_000002.mp4") == "abc_000001.mp4"
    assert names.nearest("abc_000002.mp4", {"abc_000001.mp4"}) is None


@pytest.mark.parametrize("name", ["x" * 5000, "a\ufffdb", "..", "a\nb", "con", "-rf", "%s{0}"])
def test_names_that_no_disk_has_are_missing(write_avqa, name):
    root = touch(write_avqa({"video_name": name}, {"video_name": "clip"}), "clip.mp4")
    missing, there = read_samples(DataConfig(root=root))
    assert (missing.video, there.video) == (f"videos/{name}.mp4", "clip.mp4")
    require_media(root, [missing, there])
    with pytest.raises(ConfigError) as error:
        require_media(root, [missing])
    assert len(str(error.value)) < 1000


def counting(name, function, calls):
    def counted(*args, **options):
        calls[name] += 1
        return function(*args, **options)

    return counted


def test_each_folder_is_listed_once(write_avqa, monkeypatch):
    root = touch(write_avqa(*({"video_name": f"clip{n}"} for n in range(50))), "videos/clip0.mkv")
    calls = Counter()
    for name in ("listdir", "scandir", "stat"):
        monkeypatch.setattr(f"os.{name}", counting(name, getattr(os, name), calls))
    samples = list(read_samples(DataConfig(root=root)))
    require_media(root, samples)
    assert 0 < calls["listdir"] + calls["scandir"] <= 6
    assert calls["stat"] < 10
