from __future__ import annotations

import hashlib
import os

import av
import numpy as np
import pytest
from PIL import Image

from avrt.config import MediaConfig
from avrt.errors import MEDIA_ERROR_CLASSES
from avrt.media import probe
from clips import RATE_HZ, encode_clip, tone

MEDIA = MediaConfig()
QUIET = np.zeros((2, RATE_HZ), np.float32)


def notes_on(path, **settings):
    info = probe(path, MediaConfig(**settings))
    assert info.status == "ok", info
    return info.notes


def blurred(number):
    """A picture with soft shapes; it moves by a pixel with each number."""
    rows, columns = np.mgrid[:84, :112]
    waves = 128 + 60 * np.sin(rows / 7) + 60 * np.cos((columns + number) / 9)
    return np.repeat(waves.astype(np.uint8)[..., None], 3, axis=2)


def with_dot(number):
    pixels = np.full((180, 320, 3), 128, np.uint8)
    pixels[80:88, 20 + number : 28 + number] = 255
    return pixels


def delayed(path, clip, delay_s):
    """The clip with its sound beginning later."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as copy:
        streams = [copy.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio":
                    packet.pts += round(delay_s / packet.time_base)
                    packet.dts += round(delay_s / packet.time_base)
                packet.stream = streams[packet.stream_index]
                copy.mux(packet)
    return path


# What goes wrong


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
    os.mkfifo(tmp_path / "pipe.mp4")
    paths = [*tmp_path.iterdir(), tmp_path / "absent.mp4", tmp_path / "nul\0.mp4"]
    infos = {path.name: probe(path, MEDIA) for path in paths}
    assert {name: info.status for name, info in infos.items()} == {
        "absent.mp4": "missing",
        "nul\0.mp4": "missing",
        "cut.mp4": "truncated",
        "cut.png": "undecodable",
        "empty.mp4": "not_media",
        "folder.mp4": "not_media",
        "html.mp4": "not_media",
        "pipe.mp4": "not_media",
        "random.mp4": "not_media",
    }
    for info in infos.values():
        assert info.status in MEDIA_ERROR_CLASSES
        assert info.reason
        assert str(tmp_path) not in info.reason


def test_a_file_that_may_not_be_read_is_named(tmp_path, clip, monkeypatch):
    path = tmp_path / "locked.mp4"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything
        pytest.skip("this user may read every file")
    assert probe(path, MEDIA).status == "permission"


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"max_source_pixels": 84 * 112 - 1}, "too_large"),
        ({"max_clip_s": 1.5}, "too_long"),
        ({"max_source_pixels": 2 * 84 * 112, "max_clip_s": 2.5}, "ok"),
    ],
)
def test_the_limits_are_those_of_the_settings(clip, settings, status):
    assert probe(clip, MediaConfig(**settings)).status == status


def test_a_track_that_does_not_decode_is_found(tmp_path, clip):
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(content)
    assert probe(path, MEDIA).status == "undecodable"


def test_damaged_sound_is_refused_or_noted_as_the_settings_say(tmp_path, clip):
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        start, size = packets[20].pos, packets[20].size
    content = bytearray(clip.read_bytes())
    content[start : start + size] = b"\xff" * size
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    refused = probe(path, MEDIA)
    assert refused.status == "damaged"
    assert refused.reason is not None
    assert "media.damaged" in refused.reason
    assert notes_on(path, damaged="use") == ("damaged",)


def test_a_cut_file_that_is_used_is_noted(tmp_path):
    whole = encode_clip(tmp_path / "whole.mp4", sound=tone(2.0), options={"movflags": "+faststart"})
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:-2000])
    assert probe(path, MEDIA).status == "truncated"
    assert "truncated" in notes_on(path, damaged="use")


# What is odd


@pytest.mark.parametrize(
    ("amplitude", "notes"), [(0.0, ("silent",)), (0.5e-4, ("silent",)), (0.01, ())]
)
def test_silence_is_noted(tmp_path, amplitude, notes):
    sound = tone(1.0) * np.float32(amplitude / 0.4)
    path = encode_clip(tmp_path / "clip.wav", n_frames=0, sound=np.float32(sound))
    assert notes_on(path) == notes


def test_only_the_seconds_that_are_used_are_listened_to(tmp_path):
    sound = np.concatenate([QUIET, tone(1.0)], axis=1)
    path = encode_clip(tmp_path / "late.wav", n_frames=0, sound=sound)
    assert notes_on(path, max_audio_s=0.5) == ("silent",)
    assert notes_on(path, max_audio_s=None) == ()


def test_levels_are_those_of_the_sound(tmp_path):
    path = encode_clip(tmp_path / "tone.wav", n_frames=0, sound=tone(1.0))
    info = probe(path, MEDIA)
    peak = 20 * np.log10(0.4 * 0.75)  # of the mean of both channels
    assert info.peak_dbfs == pytest.approx(peak, abs=0.05)
    assert info.rms_dbfs == pytest.approx(peak - 3.01, abs=0.05)
    quiet = probe(encode_clip(tmp_path / "quiet.wav", n_frames=0, sound=QUIET), MEDIA)
    assert (quiet.peak_dbfs, quiet.rms_dbfs) == (-120.0, -120.0)


@pytest.mark.parametrize(
    ("codec", "codec_options"),
    [
        ("libx264", {"crf": "23", "g": "15"}),
        ("libx264", {"crf": "35"}),
        ("mpeg4", {}),
        ("mjpeg", {"qmin": "3", "qmax": "3"}),
    ],
)
def test_a_video_of_one_picture_is_noted(tmp_path, codec, codec_options):
    path = tmp_path / "still.mkv"
    encode_clip(path, codec=codec, codec_options=codec_options, picture=lambda _: blurred(0))
    assert notes_on(path) == ("still",)


def test_a_single_frame_is_a_still(tmp_path):
    assert notes_on(encode_clip(tmp_path / "one.mp4", n_frames=1)) == ("still",)


@pytest.mark.parametrize(
    "picture", [blurred, lambda n: blurred(n // 49), lambda n: blurred(9 * (n // 25)), None]
)
def test_what_moves_is_no_still(tmp_path, picture):
    path = tmp_path / "moves.mp4"
    encode_clip(path, picture=picture, codec_options={"crf": "23", "g": "250"})
    assert notes_on(path) == ()


def test_a_little_thing_that_moves_is_no_still(tmp_path):
    path = encode_clip(
        tmp_path / "dot.mp4", size=(180, 320), picture=with_dot, codec_options={"crf": "23"}
    )
    assert notes_on(path) == ()


@pytest.mark.parametrize(
    ("sound_s", "max_audio_s", "notes"),
    [
        (0.5, 10.0, ("short_audio",)),
        (0.5, None, ("short_audio",)),
        (1.5, 10.0, ()),
        (0.5, 0.5, ()),
    ],
)
def test_sound_much_shorter_than_what_is_used_is_noted(tmp_path, sound_s, max_audio_s, notes):
    path = encode_clip(tmp_path / "clip.mp4", sound=tone(sound_s))
    assert notes_on(path, max_audio_s=max_audio_s) == notes


@pytest.mark.parametrize(("delay_s", "notes"), [(0.0, ()), (0.2, ()), (0.8, ("late_audio",))])
def test_sound_that_begins_later_is_measured(tmp_path, clip, delay_s, notes):
    info = probe(delayed(tmp_path / "late.mkv", clip, delay_s), MEDIA)
    assert info.audio_start_s == pytest.approx(delay_s, abs=0.03)
    assert info.notes == notes


# What is there


def test_a_clip_is_described(clip):
    info = probe(clip, MEDIA)
    assert (info.status, info.reason, info.notes) == ("ok", None, ())
    assert info.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert (info.size_bytes, info.mtime_ns) == (clip.stat().st_size, clip.stat().st_mtime_ns)
    assert (info.video_codec, info.width, info.height, info.rotation) == ("h264", 112, 84, 0)
    assert (info.shown_width, info.shown_height) == (112, 84)
    assert (info.n_frames, info.fps, info.duration_s) == (50, 25.0, 2.0)
    assert (info.audio_codec, info.sample_rate_hz, info.channels) == ("aac", 44_100, 2)
    assert info.n_audio_tracks == 1
    assert info.audio_duration_s == pytest.approx(2.0, abs=0.05)
    assert info.audio_start_s == pytest.approx(0.0, abs=0.03)


def test_stored_and_shown_size_differ_by_rotation_and_by_pixels_that_are_not_square(tmp_path):
    turned = probe(encode_clip(tmp_path / "turned.mp4", n_frames=5, rotation=90), MEDIA)
    assert (turned.width, turned.height, turned.rotation) == (112, 84, 90)
    assert (turned.shown_width, turned.shown_height) == (84, 112)
    wide = probe(encode_clip(tmp_path / "wide.mp4", n_frames=5, aspect=(2, 1)), MEDIA)
    assert (wide.width, wide.height) == (112, 84)
    assert (wide.shown_width, wide.shown_height) == (224, 84)


def test_one_track_is_enough(tmp_path):
    film = probe(encode_clip(tmp_path / "film.mp4", n_frames=5), MEDIA)
    assert (film.status, film.audio_codec, film.n_audio_tracks) == ("ok", None, 0)
    sound = probe(encode_clip(tmp_path / "sound.m4a", n_frames=0, sound=tone(1.0)), MEDIA)
    assert (sound.status, sound.video_codec, sound.n_frames) == ("ok", None, None)
    assert sound.audio_start_s is None


def test_a_picture_is_one_frame(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "picture.webp")
    info = probe(tmp_path / "picture.webp", MEDIA)
    assert (info.status, info.container, info.n_frames) == ("ok", "webp", 1)
    assert (info.width, info.height, info.duration_s) == (30, 20, None)
    assert (info.shown_width, info.shown_height, info.notes) == (30, 20, ())


def test_real_clips_are_ok(real_clips):
    for path in real_clips:
        info = probe(path, MEDIA)
        assert (info.status, info.notes) == ("ok", ()), info
        assert info.duration_s == pytest.approx(10.0, abs=0.1)
