from __future__ import annotations

import io
import wave

import numpy as np
from PIL import Image

from avrt.media import encode_jpegs, encode_wav
from avrt.types import Frames, Waveform


def test_a_jpeg_per_frame_in_order():
    pixels = np.stack([np.full((28, 56, 3), level, np.uint8) for level in (10, 120, 240)])
    jpegs = encode_jpegs(Frames(pixels, (0.0, 1.0, 2.0), 1.0), quality=90)
    pictures = [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs]
    assert [picture.format for picture in pictures] == ["JPEG"] * 3
    assert [picture.size for picture in pictures] == [(56, 28)] * 3
    levels = [round(float(np.asarray(picture).mean())) for picture in pictures]
    assert np.allclose(levels, [10, 120, 240], atol=2)


def test_higher_quality_takes_more_bytes():
    noise = np.random.default_rng(0).integers(0, 255, (1, 56, 56, 3), np.uint8)
    frames = Frames(noise, (0.0,), 1.0, still=True)
    assert len(encode_jpegs(frames, 95)[0]) > len(encode_jpegs(frames, 40)[0])


def test_a_wav_is_pcm_within_half_a_step_and_does_not_wrap_around():
    samples = np.array([0.0, 0.25, -0.25, 1.0, -1.0, 1.5], np.float32)
    with wave.open(io.BytesIO(encode_wav(Waveform(samples)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert pcm.tolist() == [0, 8192, -8192, 32_767, -32_768, 32_767]
