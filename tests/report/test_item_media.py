"""Pictures and sounds of the page."""

from __future__ import annotations

import io
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avrt.config import Config, MediaConfig
from avrt.errors import MediaError
from avrt.media import encode_wav, load_media
from avrt.report import item_media
from avrt.report.item_media import MediaJob, clip_address, render_all
from avrt.types import Sample
from reading_pages import read_items

MEDIA = MediaConfig(n_frames=4, max_pixels=112 * 112, workers=0)


def sample(**files: str) -> Sample:
    return Sample("s", "What?", ("a", "b"), 0, "Which", "both", "c", **files)


def rendered(root: Path, folder: Path, one: Sample, media: MediaConfig = MEDIA) -> dict:
    return render_all([MediaJob(0, one, root, media)], folder, media, 1)[0]


@pytest.fixture(scope="module")
def entry(full_run, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("page") / "media"
    return rendered(full_run.data.root, folder, sample(video="clip0.mp4")), folder.parent


def pcm(path_or_bytes) -> np.ndarray:
    with av.open(path_or_bytes) as file:
        return np.concatenate([f.to_ndarray().ravel() for f in file.decode(audio=0)])


def test_the_strip_holds_the_frames_that_models_get(full_run, entry):
    frames, page = entry[0]["frames"], entry[1]
    given, _ = load_media(sample(video="clip0.mp4"), full_run.data.root, MEDIA, "v")
    assert given is not None
    strip = np.asarray(Image.open(page / frames["strip"]))
    width, height = frames["frame"]
    assert strip.shape == (height, 4 * width, 3)
    assert frames["n_frames"] == len(frames["times_s"]) == 4
    last = strip[:, 3 * width :].astype(int)
    assert np.abs(last - given.pixels[3]).mean() < 6


def test_large_frames_are_scaled_and_many_are_chosen_from():
    from avrt.types import Frames

    frames = Frames(np.zeros((40, 600, 300, 3), np.uint8), tuple(map(float, range(40))), 1.0)
    content, about = item_media._strip(frames)
    assert Image.open(io.BytesIO(content)).size == (16 * 112, 224)
    assert (about["n_frames"], about["given_frames"]) == (16, 40)
    assert about["times_s"][0] == 0.0
    assert about["times_s"][-1] == 39.0


def test_the_sound_is_what_models_get_to_the_last_bit(full_run, entry):
    sound, page = entry[0]["sound"], entry[1]
    _, waveform = load_media(sample(video="clip0.mp4"), full_run.data.root, MEDIA, "a")
    assert waveform is not None
    assert (pcm(page / sound["sound"]) == pcm(io.BytesIO(encode_wav(waveform)))).all()
    assert (page / sound["sound"]).stat().st_size < 0.6 * len(encode_wav(waveform))
    assert sound["seconds"] == round(waveform.duration_s, 3)


def test_peaks_and_spectrogram_follow_the_beeps(entry):
    sound, page = entry[0]["sound"], entry[1]
    peaks = np.array(sound["peaks"])
    assert len(peaks) == 300
    assert peaks.max() <= 255
    time = np.linspace(0, sound["seconds"], 300)
    loud = time % 0.5 < 0.25  # as the clips of these tests are made
    assert np.median(peaks[loud & (time < 1.9)]) > 4 * np.median(peaks[~loud & (time < 1.9)])
    picture = np.asarray(Image.open(page / sound["spectrogram"]).convert("L")).astype(int)
    rows = picture.mean(axis=1)
    assert picture.shape[0] == item_media.N_MELS
    assert rows.argmax() > 40  # a beep of 300 Hz is low


def test_silence_is_dark():
    from avrt.types import Waveform

    content = item_media._spectrogram(Waveform(np.zeros(100, np.float32)))
    assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).max() < 10


def test_a_second_report_decodes_nothing(full_run, tmp_path, monkeypatch):
    one = sample(video="clip1.mp4")
    first = rendered(full_run.data.root, tmp_path / "media", one)

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(item_media, "load_media", refuse)
    again = rendered(full_run.data.root, tmp_path / "media", one)
    assert [list(each.items()) for each in again.values()] == [
        list(each.items()) for each in first.values()
    ]


def test_other_settings_and_lost_files_are_decoded_again(full_run, tmp_path):
    one, root = sample(video="clip1.mp4"), full_run.data.root
    first = rendered(root, tmp_path / "media", one)
    fewer = rendered(root, tmp_path / "media", one, MEDIA.model_copy(update={"n_frames": 2}))
    assert fewer["frames"]["strip"] != first["frames"]["strip"]
    (tmp_path / first["sound"]["spectrogram"]).unlink()
    assert rendered(root, tmp_path / "media", one) == first
    assert (tmp_path / first["sound"]["spectrogram"]).is_file()


def test_a_file_that_is_no_clip_fails_alone(full_run, tmp_path):
    entries = rendered(full_run.data.root, tmp_path / "media", sample(video="broken.mp4"))
    assert {kind: each.error_class for kind, each in entries.items()} == {
        "frames": "not_media",
        "sound": "not_media",
    }
    missing = rendered(full_run.data.root, tmp_path / "media", sample(audio="no.wav"))
    assert isinstance(missing["sound"], MediaError)
    assert missing["sound"].error_class == "missing"


def test_clips_have_addresses_below_the_project_alone(tmp_path):
    project, report = tmp_path / "project", tmp_path / "project" / "runs" / "a" / "report"
    inside, outside = project / "data" / "x#1 %.mp4", tmp_path / "elsewhere.mp4"
    for path in (inside, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    report.mkdir(parents=True)
    assert clip_address(inside, report, project) == "../../../data/x%231%20%25.mp4"
    assert clip_address(outside, report, project) is None
    assert clip_address(project / "data" / ".." / ".." / "elsewhere.mp4", report, project) is None
    assert clip_address(project / "data" / "absent.mp4", report, project) is None
    (project / "data" / "link.mp4").symlink_to(outside)
    assert clip_address(project / "data" / "link.mp4", report, project) is None
    assert clip_address(inside, report, Path("/")) is None


@pytest.fixture(scope="module")
def with_media(full_run, tmp_path_factory) -> tuple[Config, list[dict]]:
    from avrt.evaluate.results import read_results
    from avrt.report.item import roles_of
    from avrt.report.items import ItemSources, write_items

    report = full_run.run.dir / "seen"
    sources = ItemSources(
        *(full_run.run.path, full_run.data.root, full_run.media, full_run.eval),
        roles_of(full_run.run.path, full_run.teachers, full_run.merger),
        full_run.run.dir.parent,
    )
    done = write_items(sources, read_results(full_run, with_texts=False), report, 16)
    assert done.n_media == 16
    return full_run, read_items(report)


def test_items_with_media_are_of_every_outcome(with_media):
    _, items = with_media
    shown = [item for item in items if "not made" not in str(item["media"]["missing"])]
    assert len(shown) == 16
    assert {item["outcome"] for item in shown} == {item["outcome"] for item in items}
    answers = [answer["right"] for item in shown for answer in item["answers"]]
    assert {True, False} <= set(answers)


def test_every_item_says_what_of_its_media_is_missing(with_media):
    _, items = with_media
    for item in items:
        media = item["media"]
        assert ("strip" in media) != ("frames" in media["missing"])
        assert ("sound" in media) != ("sound" in media["missing"])
    broken = [item for item in items if item["id"] == "q5"]
    assert any("not media" in item["media"]["missing"]["frames"] for item in broken)


def test_addresses_are_those_that_avrt_made(with_media):
    config, items = with_media
    report = config.run.dir / "seen"
    for item in items:
        media = item["media"]
        for name in ("strip", "sound", "spectrogram"):
            if name in media:
                assert re.fullmatch(r"media/[0-9a-f]{16}\.(jpg|flac|png)", media[name])
                assert (report / media[name]).is_file()
        if media["clip"]:
            assert re.fullmatch(r"(\.\./)+world/[a-z0-9]+\.mp4", media["clip"])
            assert (report / media["clip"]).is_file()
    assert all(item["media"]["clip"] for item in items if item["id"] != "q5")
