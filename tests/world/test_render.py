"""Clips are reproducible, real media files, and show what the scene says."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avrt.config import MediaConfig
from avrt.media import read_frames, read_waveform
from avrt.world.content import COURSES, RHYTHMS, Scene, draw_scene
from avrt.world.render import encode_mp4, encode_png, encode_wav, render_frames, render_sound

SCENE = Scene(0, 1, 0, True, True, True, True, seed=7)


def test_the_same_scene_gives_the_same_pixels_and_samples():
    assert np.array_equal(render_frames(SCENE), render_frames(SCENE))
    assert np.array_equal(render_sound(SCENE), render_sound(SCENE))


def test_an_arriving_thing_grows_and_gets_louder():
    frames, sound = render_frames(SCENE), render_sound(SCENE)
    red = (frames[..., 0] > 180) & (frames[..., 2] < 90)
    assert red[-1].sum() > 3 * red[0].sum() > 0
    half = len(sound) // 2
    assert np.abs(sound[half:]).mean() > 2 * np.abs(sound[:half]).mean()


def test_hidden_colour_and_pitch_leave_no_trace():
    dark = replace(SCENE, shows_colour=False)
    other_thing = replace(dark, thing=1)
    assert np.array_equal(render_frames(dark), render_frames(other_thing)), (
        "dog and bird look alike in the dark"
    )
    rough = replace(SCENE, thing=1, shows_pitch=False)
    same_rhythm = replace(rough, thing=2)
    assert rough.rhythm == same_rhythm.rhythm
    assert np.array_equal(render_sound(rough), render_sound(same_rhythm))


@pytest.mark.parametrize("course", range(len(COURSES)))
@pytest.mark.parametrize("thing", range(0, 8, 2))
def test_all_rhythms_and_courses_make_finite_sound(thing: int, course: int):
    sound = render_sound(replace(SCENE, thing=thing, course=course))
    assert sound.shape == (32_000,)
    assert np.isfinite(sound).all()
    assert 0.05 < np.abs(sound).max() <= 1.0
    assert len(RHYTHMS) == 4


def test_files_decode_to_what_was_rendered(tmp_path: Path):
    scene = draw_scene(random.Random(3))
    frames, sound = render_frames(scene), render_sound(scene)
    for name, content in [
        ("clip.mp4", encode_mp4(frames, sound)),
        ("still.png", encode_png(frames[0])),
        ("sound.wav", encode_wav(sound)),
    ]:
        (tmp_path / name).write_bytes(content)
    media = MediaConfig(max_pixels=112 * 112)
    decoded = read_frames(tmp_path / "clip.mp4", media)
    chosen = frames[np.linspace(0, len(frames) - 1, 8).round().astype(int)]
    assert decoded.pixels.shape == chosen.shape
    assert np.abs(decoded.pixels.astype(int) - chosen).mean() < 6
    assert (
        np.abs(read_frames(tmp_path / "still.png", media).pixels[0].astype(int) - frames[0]).max()
        <= 2
    )
    heard = read_waveform(tmp_path / "sound.wav", MediaConfig()).samples
    assert np.abs(heard - sound).max() < 1e-3
