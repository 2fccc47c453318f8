from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from avrt.types import LETTERS, RELATIONS, Frames, Prompt, Relation, Sample, Waveform


@pytest.fixture
def make_sample():
    def make(**changes):
        fields = {
            "id": "q1",
            "question": "What is it?",
            "options": ("dog", "cat", "car"),
            "answer_index": 2,
            "question_type": "Which",
            "question_relation": "both",
            "video_id": "clip",
            "video": "clip.mp4",
            "image": None,
            "audio": None,
            "source": "file.json:7",
        }
        return Sample(**{**fields, **changes})

    return make


@pytest.mark.parametrize("options", [("dog",), tuple("abcdefghi")])
def test_too_few_or_too_many_options_are_refused_with_the_row(make_sample, options):
    with pytest.raises(ValueError, match=rf"file\.json:7: {len(options)} options; need 2 to 8"):
        make_sample(options=options, answer_index=0)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_gold_answer_outside_the_options_is_refused_with_the_row(make_sample, index):
    with pytest.raises(ValueError, match=rf"file\.json:7: answer {index} is outside the 3 options"):
        make_sample(answer_index=index)


def test_gold_is_index_letter_and_text(make_sample):
    sample = make_sample()
    assert (sample.answer_index, sample.target, sample.target_text) == (2, "C", "car")
    assert make_sample(options=tuple("abcdefgh"), answer_index=7).target == LETTERS[-1] == "H"


@pytest.mark.parametrize(
    ("media", "sound", "picture"),
    [
        ({}, "clip.mp4", "clip.mp4"),
        ({"audio": "a.wav"}, "a.wav", "clip.mp4"),
        ({"video": None, "image": "i.png", "audio": "a.wav"}, "a.wav", "i.png"),
        ({"video": None, "image": "i.png"}, None, "i.png"),
        ({"video": None, "audio": "a.wav"}, "a.wav", None),
    ],
)
def test_sound_and_picture_come_from_the_most_special_file(make_sample, media, sound, picture):
    sample = make_sample(**media)
    assert (sample.sound_path, sample.picture_path) == (sound, picture)


def test_the_digest_of_frames_follows_pixels_and_shape():
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    digest = Frames(pixels, (0.0, 1.0), 1.0).digest
    assert Frames(pixels.copy(), (0.0, 1.0), 1.0).digest == digest
    assert Frames(pixels.reshape(2, 6, 4, 3), (0.0, 1.0), 1.0).digest != digest
    changed = pixels.copy()
    changed[1, 3, 5, 2] ^= 1
    assert Frames(changed, (0.0, 1.0), 1.0).digest != digest


def test_the_digest_of_sound_follows_samples_and_rate():
    samples = np.linspace(-1, 1, 800, dtype=np.float32)
    wave = Waveform(samples)
    assert wave.duration_s == 0.05
    assert Waveform(samples.copy()).digest == wave.digest
    assert Waveform(samples, 8_000).digest != wave.digest
    assert Waveform(np.nextafter(samples, np.float32(2))).digest != wave.digest


def test_a_prompt_without_media_has_none():
    prompt = Prompt("text")
    assert prompt.frames is None
    assert prompt.audio is None


def test_relations_are_listed_completely():
    assert set(RELATIONS) == set(get_args(Relation))
