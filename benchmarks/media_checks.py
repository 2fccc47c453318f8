"""Whether what `read_clip` gives is right: frames against a plain decode of the whole clip, sound
against resampling in float64.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from avrt.config import MediaConfig
from avrt.media import read_clip
from avrt.types import Frames, Waveform

__all__ = ["frames_are_exact", "sound_snr_db", "weigh"]

RATE_HZ = 16_000
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
EDGE = RATE_HZ // 20
"""Samples left out at both ends, where a resampler sees the end of the sound."""
HALF_WIDTH = 64
"""Zero crossings of the reference filter on either side."""
KAISER_BETA = 14.0
COMPARED_BELOW_HZ = 7000


def frames_are_exact(path: Path, frames: Frames) -> bool:
    """True when every frame is the one that decoding the clip from its start gives, bit by bit."""
    n_frames = sum(1 for _ in _decode(path))
    chosen = np.linspace(0, n_frames - 1, len(frames.pixels)).round().astype(int).tolist()
    wanted = dict(zip(chosen, frames.pixels, strict=True))
    return all(
        np.array_equal(_scale(frame, wanted[index]), wanted[index])
        for index, frame in enumerate(_decode(path))
        if index in wanted
    )


def sound_snr_db(path: Path, waveform: Waveform) -> dict[str, float]:
    """Signal over difference, in decibels, to two references made from the mean over channels.

    `sinc` is a windowed sinc written here, compared below 7 kHz: good low-pass filters differ
    above, in how they fall towards 8 kHz. `vhq` is soxr's steepest filter over the whole band, so
    it measures that difference where a clip has sound up there.
    """
    mono, rate_hz = _decode_mono(path, len(waveform.samples) / RATE_HZ + 1)
    ours = waveform.samples.astype(np.float64)
    steep = soxr.resample(mono, rate_hz, RATE_HZ, quality="VHQ")
    sinc = _resample(mono, rate_hz, len(ours))
    return {
        "sinc": _snr_db(_low_pass(ours), _low_pass(sinc)),
        "vhq": _snr_db(ours, steep),
    }


def _decode(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def _scale(frame: Any, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    turns = round(frame.rotation / 90) % 4
    height, width = like.shape[1::-1] if turns % 2 else like.shape[:2]
    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation=SCALING)
    return np.rot90(scaled.to_ndarray(), turns)


def _decode_mono(path: Path, seconds: float) -> tuple[NDArray[np.float64], int]:
    """The mean over channels at the file's own rate, in float64."""
    pieces: list[NDArray[np.float64]] = []
    n_samples = 0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            planes = frame.to_ndarray().astype(np.float64)
            if not frame.format.is_planar:
                planes = planes.reshape(-1, frame.layout.nb_channels).T
            if frame.format.name.startswith("s16"):
                planes /= 32768
            elif not frame.format.name.startswith(("flt", "dbl")):
                raise ValueError(f"{path}: samples of format {frame.format.name}")
            pieces.append(planes.mean(axis=0))
            n_samples += frame.samples
            if n_samples > seconds * frame.sample_rate:
                break
    return np.concatenate(pieces), frame.sample_rate


def _resample(mono: NDArray[np.float64], rate_hz: int, n_out: int) -> NDArray[np.float64]:
    """Band-limited interpolation by a Kaiser-windowed sinc that is centred on every output."""
    cutoff = min(1.0, RATE_HZ / rate_hz)
    half = int(np.ceil(HALF_WIDTH / cutoff))
    offsets = np.arange(-half, half + 1)
    n_phases = RATE_HZ // math.gcd(RATE_HZ, rate_hz)
    distance = offsets - (np.arange(n_phases) * rate_hz / RATE_HZ % 1)[:, None]
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / (half + 1)) ** 2, 0, None)))
    weights = cutoff * np.sinc(cutoff * distance) * window / np.i0(KAISER_BETA)
    padded = np.pad(mono, (half, half + rate_hz))
    resampled = np.empty(n_out)
    for start in range(0, n_out, 4000):
        numbers = np.arange(start, min(start + 4000, n_out))
        centres = numbers * rate_hz // RATE_HZ + half
        taken = padded[centres[:, None] + offsets]
        resampled[numbers] = (taken * weights[numbers % n_phases]).sum(axis=1)
    return resampled


def _low_pass(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(samples * np.hanning(len(samples)))
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return np.fft.irfft(np.where(frequencies < COMPARED_BELOW_HZ, spectrum, 0), len(samples))


def _snr_db(ours: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    n_samples = min(len(ours), len(reference))
    ours, reference = (x[:n_samples][EDGE:-EDGE] for x in (ours, reference))
    noise = float(((ours - reference) ** 2).sum())
    return 200.0 if noise == 0 else 10 * math.log10(float((reference**2).sum()) / noise)


def weigh(path: Path) -> float:
    """Largest resident size in MiB of this process, after reading a clip."""
    read_clip(path, MediaConfig(), "av")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
