"""Clips whose frames say their own number, so that a wrong frame is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

N_BITS = 6
RATE_HZ = 44_100


def numbered(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """The picture of frame `number`, below 64: six stripes, white where its bit is 1."""
    bits = [number >> bit & 1 for bit in range(N_BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, -(-width // N_BITS))[:width]
    return np.broadcast_to(row[:, None], (height, width, 3)).copy()


def numbers(pixels: NDArray[np.uint8]) -> list[int]:
    """The frame numbers that decoded pixels (n, height, width, 3) stand for."""
    _, height, width, _ = pixels.shape
    columns = [round((bit + 0.5) * width / N_BITS) for bit in range(N_BITS)]
    bits = pixels[:, height // 2, columns, 0] > 127
    return (bits @ (1 << np.arange(N_BITS))).tolist()


def tone(seconds: float, hz: float = 440.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Stereo, shape (2, n): right is half as loud as left."""
    wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.stack([wave, wave / 2]).astype(np.float32)


def encode_clip(
    path: Path,
    *,
    n_frames: int = 50,
    size: tuple[int, int] = (84, 112),
    sound: NDArray[np.float32] | None = None,
    codec: str = "libx264",
    fps: int = 25,
    rotation: int = 0,
    aspect: tuple[int, int] | None = None,
    codec_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    picture: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Path:
    """Write a clip of numbered frames (or of `picture(number)`) and, if given, stereo sound."""
    height, width = size
    with av.open(str(path), "w", options=options or {}) as container:
        if n_frames:
            video: Any = container.add_stream(codec, rate=fps)
            video.width, video.height = width, height
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if codec == "libx264":
                video.options = {"bf": "3", "b-pyramid": "none", "g": "20", "crf": "10"}
            if codec_options:
                video.options = codec_options
            if aspect:
                video.codec_context.sample_aspect_ratio = Fraction(*aspect)
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            codec_name = "pcm_s16le" if path.suffix == ".wav" else "aac"
            audio: Any = container.add_stream(codec_name, rate=RATE_HZ, layout="stereo")
        for number in range(n_frames):
            pixels = picture(number) if picture else numbered(number, height, width)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            container.mux(video.encode(frame))
        if n_frames:
            container.mux(video.encode(None))
        if sound is not None:
            for start in range(0, sound.shape[1], 1024):
                piece = np.ascontiguousarray(sound[:, start : start + 1024])
                chunk = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
                chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode(None))
    return path
