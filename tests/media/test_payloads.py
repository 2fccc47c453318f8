from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import wave

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from avrt.config import MediaConfig
from avrt.media.payloads import (
    encode_flac,
    encode_frames,
    encode_jpegs,
    encode_sound,
    encode_wav,
)
from avrt.types import Frames, Waveform

NOISE = np.random.default_rng(0)

ENCODE_ALL = """
import hashlib
import numpy as np
from avrt.media.payloads import encode_flac, encode_jpegs, encode_wav
from avrt.types import Frames, Waveform
noise = np.random.default_rng(1)
frames = Frames(noise.integers(0, 256, (2, 56, 84, 3), np.uint8), (0.0, 1.0), 1.0)
sound = Waveform(noise.normal(0, 0.2, 40_000).astype(np.float32))
content = b"".join([*encode_jpegs(frames, 90), encode_wav(sound), encode_flac(sound)])
digest = hashlib.sha256(content).hexdigest()
"""


def pcm_of(wav: bytes) -> list[int]:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").tolist()


def test_a_jpeg_per_frame_in_order():
    pixels = np.stack([np.full((28, 56, 3), level, np.uint8) for level in (10, 120, 240)])
    jpegs = encode_jpegs(Frames(pixels, (0.0, 1.0, 2.0), 1.0), quality=90)
    pictures = [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs]
    assert [picture.format for picture in pictures] == ["JPEG"] * 3
    assert [picture.size for picture in pictures] == [(56, 28)] * 3
    levels = [round(float(np.asarray(picture).mean())) for picture in pictures]
    assert np.allclose(levels, [10, 120, 240], atol=2)


def test_higher_quality_takes_more_bytes():
    noise = NOISE.integers(0, 255, (1, 56, 56, 3), np.uint8)
    frames = Frames(noise, (0.0,), 1.0, still=True)
    assert len(encode_jpegs(frames, 95)[0]) > len(encode_jpegs(frames, 40)[0])


def test_a_wav_is_pcm_within_half_a_step_and_does_not_wrap_around():
    samples = np.array([0.0, 0.25, -0.25, 1.0, -1.0, 1.5], np.float32)
    wanted = [0, 8192, -8192, 32_767, -32_768, 32_767]
    assert pcm_of(encode_wav(Waveform(samples))) == wanted


@pytest.mark.parametrize("n_samples", [1, 15, 16, 4607, 4608, 4609, 160_000])
def test_flac_holds_exactly_the_samples_of_the_wav(n_samples: int):
    samples = NOISE.normal(0, 0.4, n_samples).astype(np.float32)  # some are clipped
    sound = Waveform(samples)
    flac = encode_flac(sound)
    with av.open(io.BytesIO(flac)) as file:
        assert [stream.codec_context.name for stream in file.streams] == ["flac"]
        assert file.streams.audio[0].rate == 16_000
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert decoded.dtype == np.int16
    assert decoded.tolist() == pcm_of(encode_wav(sound))


def test_another_decoder_reads_the_flac_and_knows_its_length():
    sound = Waveform(NOISE.normal(0, 0.2, 12_345).astype(np.float32))
    samples, rate_hz = soundfile.read(io.BytesIO(encode_flac(sound)), dtype="int16")
    assert (len(samples), rate_hz) == (12_345, 16_000)
    assert samples.tolist() == pcm_of(encode_wav(sound))


def test_flac_of_silence_and_of_a_tone_is_much_smaller_than_the_wav():
    silence = Waveform(np.zeros(160_000, np.float32))
    assert len(encode_flac(silence)) < len(encode_wav(silence)) / 100
    tone = Waveform((0.3 * np.sin(np.arange(160_000) * 0.17)).astype(np.float32))
    assert len(encode_flac(tone)) < len(encode_wav(tone)) / 2


def test_two_encodings_and_two_processes_give_equal_bytes():
    here: dict[str, str] = {}
    exec(ENCODE_ALL, here)
    first = here["digest"]
    exec(ENCODE_ALL, here)
    assert here["digest"] == first
    program = f"{ENCODE_ALL}print(digest)"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert elsewhere.stdout.strip() == first


def test_the_settings_choose_quality_and_form_and_the_digest_stays_that_of_the_decoded():
    frames = Frames(NOISE.integers(0, 255, (2, 28, 28, 3), np.uint8), (0.0, 2.0), 0.5)
    sound = Waveform(NOISE.normal(0, 0.2, 800).astype(np.float32), start_s=0.25, fault="damaged")
    media = MediaConfig(jpeg_quality=40, audio_format="flac")
    pictures, flac = encode_frames(frames, media), encode_sound(sound, media)
    assert pictures.jpegs == tuple(encode_jpegs(frames, 40))
    assert (pictures.times_s, pictures.fps, len(pictures)) == ((0.0, 2.0), 0.5, 2)
    assert (flac.data, flac.format) == (encode_flac(sound), "flac")
    assert (flac.start_s, flac.fault) == (0.25, "damaged")
    assert encode_sound(sound, MediaConfig()).data == encode_wav(sound)
    assert (pictures.digest, flac.digest) == (frames.digest, sound.digest)
    assert flac.digest != hashlib.sha256(flac.data).hexdigest()
