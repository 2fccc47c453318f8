"""Frames and sound as the bytes that servers take: JPEG and 16-bit PCM WAV."""

from __future__ import annotations

import io
import wave

import numpy as np
from PIL import Image

from avrt.types import Frames, Waveform

__all__ = ["encode_jpegs", "encode_wav"]


def encode_jpegs(frames: Frames, quality: int) -> list[bytes]:
    """One JPEG per frame, in order."""
    return [_encode_jpeg(Image.fromarray(pixels), quality) for pixels in frames.pixels]


def encode_wav(waveform: Waveform) -> bytes:
    """A mono WAV file; a sample of 1.0 becomes the largest 16-bit value."""
    pcm = np.clip(np.rint(waveform.samples * 32768.0), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(waveform.rate_hz)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def _encode_jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
