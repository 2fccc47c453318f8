from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media import load_media
from avrt.media.frames import decode_video
from avrt.types import Sample
from clips import encode_clip, tone

MEDIA = MediaConfig(n_frames=4, max_pixels=784 * 4)


def sample(video=None, image=None, audio=None):
    return Sample(
        "s-1",
        "What?",
        ("a dog", "a cat"),
        0,
        "Which",
        "both",
        "1",
        video,
        image,
        audio,
        "qa.json:1",
    )


def test_each_modality_gives_only_itself(clip):
    given = sample(video=clip.name)
    seen = {kind: load_media(given, clip.parent, MEDIA, kind) for kind in ("a", "v", "av")}
    present = {kind: tuple(part is not None for part in parts) for kind, parts in seen.items()}
    assert present == {"a": (False, True), "v": (True, False), "av": (True, True)}


def test_vision_does_not_open_the_sound_nor_sound_the_picture(clip):
    given = sample(video=None, image="absent.png", audio=clip.name)
    frames, waveform = load_media(given, clip.parent, MEDIA, "a")
    assert frames is None
    assert waveform is not None
    given = sample(video=clip.name, audio="absent.wav")
    frames, waveform = load_media(given, clip.parent, MEDIA, "v")
    assert frames is not None
    assert waveform is None


def test_a_separate_picture_and_sound_make_a_pair(tmp_path):
    Image.new("RGB", (56, 56)).save(tmp_path / "crow.png")
    encode_clip(tmp_path / "crow.m4a", n_frames=0, sound=tone(1.0))
    given = sample(image="crow.png", audio="crow.m4a")
    frames, waveform = load_media(given, tmp_path, MEDIA, "av")
    assert frames is not None
    assert frames.still
    assert waveform is not None


@pytest.mark.parametrize(("kind", "wanted"), [("v", "no_video"), ("a", "no_audio")])
def test_a_modality_the_sample_does_not_name_is_an_error(tmp_path, kind, wanted):
    given = sample(audio="x.wav") if kind == "v" else sample(image="x.png")
    with pytest.raises(MediaError, match=r"qa\.json:1") as caught:
        load_media(given, tmp_path, MEDIA, kind)
    assert caught.value.error_class == wanted


def test_asking_a_silent_film_for_sound_is_an_error(tmp_path):
    encode_clip(tmp_path / "film.mp4", n_frames=5)
    with pytest.raises(MediaError) as caught:
        load_media(sample(video="film.mp4"), tmp_path, MEDIA, "av")
    assert caught.value.error_class == "no_audio"


def test_errors_carry_the_relative_path_only(tmp_path):
    with pytest.raises(MediaError) as caught:
        load_media(sample(video="videos/absent.mp4"), tmp_path, MEDIA, "v")
    assert str(caught.value).startswith("videos/absent.mp4: missing")
    assert str(tmp_path) not in str(caught.value)


def test_of_an_hour_only_the_chosen_groups_are_decoded(tmp_path, monkeypatch):
    def grey(number):
        return np.full((28, 28, 3), number // 15 % 240, np.uint8)

    encode_clip(
        tmp_path / "hour.mp4",
        n_frames=3600,
        size=(28, 28),
        fps=1,
        picture=grey,
        codec_options={"g": "20", "preset": "ultrafast"},
    )
    decoded = []

    def count(stream, packets, wanted=None):
        for frame in decode_video(stream, packets, wanted):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr("avrt.media.frames.decode_video", count)
    frames, _ = load_media(sample(video="hour.mp4"), tmp_path, MEDIA, "v")
    assert frames.times_s == (0.0, 1200.0, 2399.0, 3599.0)
    levels = [int(pixels.mean()) for pixels in frames.pixels]
    assert levels == pytest.approx([0, 80, 159, 239], abs=3)
    assert len(decoded) <= 4 * 20
