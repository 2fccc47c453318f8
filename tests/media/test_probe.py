from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from avrt.errors import MEDIA_ERROR_CLASSES
from avrt.media import probe
from clips import encode_clip, tone


def test_a_clip_is_described(clip):
    info = probe(clip)
    assert (info.status, info.reason) == ("ok", None)
    assert info.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert info.size_bytes == clip.stat().st_size
    assert (info.video_codec, info.width, info.height, info.rotation) == ("h264", 112, 84, 0)
    assert (info.n_frames, info.fps, info.duration_s) == (50, 25.0, 2.0)
    assert (info.audio_codec, info.sample_rate_hz, info.channels) == ("aac", 44_100, 2)
    assert info.audio_duration_s == pytest.approx(2.0, abs=0.05)


def test_one_track_is_enough(tmp_path):
    film = probe(encode_clip(tmp_path / "film.mp4", n_frames=5, rotation=90))
    assert (film.status, film.audio_codec, film.rotation) == ("ok", None, 90)
    sound = probe(encode_clip(tmp_path / "sound.m4a", n_frames=0, sound=tone(1.0)))
    assert (sound.status, sound.video_codec, sound.n_frames) == ("ok", None, None)


def test_a_picture_is_one_frame(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "picture.webp")
    info = probe(tmp_path / "picture.webp")
    assert (info.status, info.container, info.n_frames) == ("ok", "webp", 1)
    assert (info.width, info.height, info.duration_s) == (30, 20, None)


def test_bad_files_are_answers_with_a_reason_without_a_path(tmp_path, clip):
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    contents = {
        "cut.mp4": clip.read_bytes()[:5000],
        "html.mp4": b"<html></html>" * 99,
        "empty.mp4": b"",
        "random.mp4": np.random.default_rng(0).bytes(5000),
        "cut.png": b"\x89PNG\r\n\x1a\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    infos = {path.name: probe(path) for path in [*tmp_path.iterdir(), tmp_path / "absent.mp4"]}
    assert {name: info.status for name, info in infos.items()} == {
        "absent.mp4": "missing",
        "cut.mp4": "truncated",
        "cut.png": "undecodable",
        "empty.mp4": "not_media",
        "folder.mp4": "not_media",
        "html.mp4": "not_media",
        "random.mp4": "not_media",
    }
    for info in infos.values():
        assert info.status in MEDIA_ERROR_CLASSES
        assert info.reason
        assert str(tmp_path) not in info.reason


def test_a_track_that_does_not_decode_is_found(tmp_path, clip):
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(content)
    assert probe(path).status == "undecodable"


def test_real_clips_are_ok(real_clips):
    for path in real_clips:
        info = probe(path)
        assert info.status == "ok", info
        assert info.duration_s == pytest.approx(10.0, abs=0.1)
