"""Encode frames and sound for servers: JPEG, and 16-bit WAV or FLAC.

Equal media and settings give equal bytes, on every machine that has the same libraries.

The decision to question: FLAC with fixed predictors only. Linear prediction makes files some 4 %
smaller, but its coefficients come from floating-point sums whose last bits differ between
processors.
"""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from avrt.config import MediaConfig
from avrt.types import EncodedFrames, EncodedSound, Frames, Waveform

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode_flac", "encode_frames", "encode_jpegs", "encode_sound", "encode_wav"]

_CONTAINER_OPTIONS = {"fflags": "+bitexact", "metadata_header_padding": "0"}
_ENCODER_OPTIONS = {"flags": "+bitexact", "lpc_type": "fixed"}


def encode_frames(frames: Frames, media: MediaConfig) -> EncodedFrames:
    """Encode a clip's frames as JPEGs of `media.jpeg_quality`."""
    jpegs = tuple(encode_jpegs(frames, media.jpeg_quality))
    return EncodedFrames(
        *(jpegs, frames.times_s, frames.fps, frames.still, frames.fault, frames.digest),
        n_pixels=frames.n_pixels,
        source_pixels=frames.source_pixels,
    )


def encode_sound(waveform: Waveform, media: MediaConfig) -> EncodedSound:
    """Encode a clip's sound as a file in `media.audio_format`."""
    encode = {"wav": encode_wav, "flac": encode_flac}[media.audio_format]
    return EncodedSound(
        encode(waveform),
        media.audio_format,
        waveform.start_s,
        waveform.fault,
        waveform.digest,
        waveform.duration_s,
        waveform.source_s,
    )


def encode_jpegs(frames: Frames, quality: int) -> list[bytes]:
    """Encode each frame as a JPEG, in order."""
    return [_encode_jpeg(Image.fromarray(pixels), quality) for pixels in frames.pixels]


def encode_wav(waveform: Waveform) -> bytes:
    """Encode a mono WAV file; a sample of 1.0 becomes the largest 16-bit value."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(waveform.rate_hz)
        file.writeframes(_to_pcm(waveform).tobytes())
    return buffer.getvalue()


def encode_flac(waveform: Waveform) -> bytes:
    """Encode a mono FLAC file with the same samples as `encode_wav`."""
    buffer, rate_hz = io.BytesIO(), waveform.rate_hz
    with av.open(buffer, "w", format="flac", options=_CONTAINER_OPTIONS) as file:
        stream = file.add_stream("flac", rate_hz, options=_ENCODER_OPTIONS, layout="mono")
        stream.codec_context.format = "s16"
        sound = av.AudioFrame.from_ndarray(_to_pcm(waveform)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = rate_hz, 0, Fraction(1, rate_hz)
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def _to_pcm(waveform: Waveform) -> NDArray[np.int16]:
    return np.clip(np.rint(waveform.samples * 32768.0), -32768, 32767).astype("<i2")


def _encode_jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
