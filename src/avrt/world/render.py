"""Turn a scene into pictures and sound, and those into real media files (MP4, PNG, WAV).

Everything is drawn from the scene's seed: the same scene gives the same pixels and samples.
Encoding adds the losses that real clips have; models are trained and run on decoded media.
"""

from __future__ import annotations

import io
import math
import wave
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from avrt.world.content import PLACES, Scene

__all__ = ["CLIP_S", "encode_mp4", "encode_png", "encode_wav", "render_frames", "render_sound"]

CLIP_S = 2.0
FPS = 8
SIZE = 112
RATE_HZ = 16_000
N_FRAMES = int(CLIP_S * FPS)

GROUND = {
    "beach": (214, 190, 130),
    "forest": (52, 104, 58),
    "street": (104, 78, 104),
    "lake": (84, 160, 176),
}
COLOUR = {"red": (222, 44, 40), "blue": (36, 60, 226), None: (30, 30, 32)}
SMALL, LARGE = 22.0, 64.0
"""Sizes in pixels of a far and of a near thing."""

X264 = {
    "preset": "veryfast",
    "crf": "20",
    "threads": "1",
    # At this size x264's look-ahead reads memory that it never wrote: now and then the same
    # pictures gave other bytes.
    "x264-params": "rc-lookahead=0:mbtree=0:scenecut=0:bframes=0:weightp=0",
}
DISTRACTOR_SHARE = 0.3
"""Share of clips with an idle spot of light, and of clips with an idle click."""

# Starts of a rhythm's beats, and the length of a beat, in seconds.
BEATS = {
    "slow": ([0.05, 0.55, 1.05, 1.55], 0.14),
    "fast": ([0.05 + k / 6 for k in range(12)], 0.08),
    "paired": ([t + d for t in (0.1, 0.8, 1.5) for d in (0.0, 0.16)], 0.10),
    "long": ([0.0], CLIP_S),
}
PITCH_HZ = {"low": 220.0, "high": 1_300.0}


def _course(name: str | None, t: float) -> float:
    """Give nearness or loudness in [0, 1] at time t in [0, 1]; None stays in the middle."""
    match name:
        case "arriving":
            return t
        case "leaving":
            return 1.0 - t
        case "passing":
            return 1.0 - abs(2.0 * t - 1.0)
        case "circling":
            return 0.5 + 0.5 * math.cos(4.0 * math.pi * t)
        case _:
            return 0.5


def _draw_thing(
    draw: ImageDraw.ImageDraw, shape: str, fill: tuple[int, int, int], box: NDArray[np.float64]
) -> None:
    (left, top), (right, bottom) = box
    third = (right - left) / 3
    match shape:
        case "round":
            draw.ellipse((left, top, right, bottom), fill=fill)
        case "square":
            draw.rectangle((left, top, right, bottom), fill=fill)
        case "pointed":
            draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=fill)
        case _:
            draw.rectangle((left + third, top, right - third, bottom), fill=fill)
            draw.rectangle((left, top + third, right, bottom - third), fill=fill)


def _draw_lamp(picture: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Draw a pale spot near a corner, which no question is about."""
    row, column = (int(rng.choice([rng.integers(2, 14), rng.integers(90, 102)])) for _ in range(2))
    picture[row : row + 8, column : column + 8] = 235


def render_frames(scene: Scene) -> NDArray[np.uint8]:
    """Draw all pictures of the clip, shape (16, 112, 112, 3)."""
    rng = np.random.default_rng([scene.seed, 1])
    ground = np.array(GROUND[PLACES[scene.place]]) * rng.uniform(0.88, 1.1)
    grain = rng.normal(0, 7, (SIZE, SIZE, 1))
    backdrop = np.clip(ground + grain, 0, 255).astype(np.uint8)
    fill = np.clip(np.array(COLOUR[scene.colour]) + rng.integers(-18, 19, 3), 0, 255)
    if rng.random() < DISTRACTOR_SHARE:
        _draw_lamp(backdrop, rng)
    centre = rng.uniform(0.42, 0.58, 2) * SIZE
    drift = rng.uniform(-0.05, 0.05, 2) * SIZE
    frames = []
    for index in range(N_FRAMES):
        t = index / (N_FRAMES - 1)
        half = (SMALL + (LARGE - SMALL) * _course(scene.motion, t)) / 2
        middle = centre + drift * (t - 0.5)
        picture = Image.fromarray(backdrop)
        red, green, blue = (int(part) for part in fill)
        _draw_thing(
            ImageDraw.Draw(picture),
            scene.shape,
            (red, green, blue),
            np.array([middle - half, middle + half]),
        )
        frames.append(np.asarray(picture))
    return np.stack(frames)


def render_sound(scene: Scene) -> NDArray[np.float32]:
    """Make the clip's sound, 2 s of 16 kHz mono, shape (32000,)."""
    rng = np.random.default_rng([scene.seed, 2])
    n_samples = int(CLIP_S * RATE_HZ)
    time_s = np.arange(n_samples) / RATE_HZ
    if scene.pitch is None:
        tone = rng.normal(0, 0.5, n_samples)
    else:
        frequency_hz = PITCH_HZ[scene.pitch] * rng.uniform(0.9, 1.1)
        tone = sum(np.sin(2 * np.pi * frequency_hz * k * time_s) / k for k in (1, 2, 3))
    starts, length_s = BEATS[scene.rhythm]
    jitter_s = rng.uniform(-0.02, 0.02)
    gate = np.zeros(n_samples)
    for start_s in starts:
        inside = (time_s >= start_s + jitter_s) & (time_s < start_s + jitter_s + length_s)
        gate[inside] = 1.0
    # Rounded edges: a hard gate would click and give every beat the same broad spectrum.
    ramp = np.hanning(161)
    gate = np.convolve(gate, ramp / ramp.sum(), mode="same")
    loudness = np.array(
        [0.08 + 0.92 * _course(scene.loudness, t) ** 1.5 for t in np.linspace(0, 1, 101)]
    )
    envelope = np.interp(time_s, np.linspace(0, CLIP_S, 101), loudness)
    sound = 0.35 * rng.uniform(0.8, 1.2) * tone * gate * envelope + rng.normal(0, 0.004, n_samples)
    if rng.random() < DISTRACTOR_SHARE:
        click_at = rng.integers(0, n_samples - 80)
        sound[click_at : click_at + 80] += 0.3 * rng.normal(0, 1, 80)
    return np.clip(sound, -1, 1).astype(np.float32)


def encode_mp4(frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> bytes:
    """Encode H.264 and AAC in an MP4 container."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options=X264)
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        audio = container.add_stream("aac", rate=RATE_HZ)
        audio.bit_rate = 64_000
        audio.layout = "mono"
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1024], format="fltp", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(audio.encode(block))
        container.mux(audio.encode())
    return buffer.getvalue()


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def encode_wav(sound: NDArray[np.float32]) -> bytes:
    """Encode 16-bit PCM in a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(sound, -1, 1) * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()
