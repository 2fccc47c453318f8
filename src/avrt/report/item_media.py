"""The frames and the sound of an item for the page, as the models got them.

Reads media files, in worker processes; writes into RUN/report/media a strip of frames (JPEG), the
sound (FLAC), its spectrogram (PNG), and what is known about them (JSON), under names that follow
from the files' content and the settings: what is there already is not decoded again.

The decision to question: frames are those that the models got, so of small ones the strip is small;
of more than `MAX_FRAMES` frames, and of sound beyond `MAX_SOUND_S`, the page shows a part.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from avrt.config import MediaConfig
from avrt.config.data import WITHOUT_EFFECT
from avrt.errors import DataError, MediaError
from avrt.media import load_media
from avrt.media.cache import copy_digest
from avrt.media.payloads import encode_flac
from avrt.media.processes import map_files
from avrt.runs import fingerprint, track, write_atomic, write_json
from avrt.texts import read_json, shown
from avrt.types import Frames, Sample, Waveform

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MediaJob", "clip_address", "render_all"]

VERSION = 1
"""Increase it when the same file would give another picture or sound on the page."""
MAX_HEIGHT = 224
"""Pixels; larger frames are scaled down for the page."""
MAX_FRAMES = 16
MAX_SOUND_S = 300.0
N_PEAKS = 300
"""Points of a waveform: the largest level of each part."""
N_MELS, MAX_COLUMNS, WINDOW = 64, 600, 512
"""Rows and columns of a spectrogram; samples of a window."""
FLOOR_DB = 80.0
"""Below the loudest point everything is as dark as silence."""
_LIGHT = (
    (0, 0, 4),
    (59, 15, 112),
    (140, 41, 129),
    (222, 73, 104),
    (254, 159, 109),
    (252, 253, 191),
)
"""Colours from silent to loud: even steps of the colour map magma."""
_ENDINGS = {"frames": ("jpg",), "sound": ("flac", "png")}


@dataclass(frozen=True)
class MediaJob:
    """An item whose media are to be shown."""

    position: int
    """Of the item on the page."""
    sample: Sample
    root: Path
    media: MediaConfig
    """What the models got of it."""


def render_all(
    jobs: Iterable[MediaJob], folder: Path, settings: MediaConfig, n: int
) -> dict[int, dict[str, Any]]:
    """Write the media of all jobs; by position the entry of the item, with a `MediaError` in the
    place of `frames` or `sound` that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rendered: dict[int, dict[str, Any]] = {}
    with closing(
        map_files(
            partial(_render, folder=folder),
            jobs,
            path_of=lambda job: job.sample.picture_path or job.sample.sound_path or "",
            timeout_s=2 * settings.timeout_s,
            workers=settings.workers,
        )
    ) as results:
        for job, result in track(results, "report", "clips", n):
            both = {"frames": result, "sound": result} if isinstance(result, MediaError) else result
            rendered[job.position] = dict(both)
    return rendered


def clip_address(path: Path, report: Path, base: Path) -> str | None:
    """The address of a media file as a relative one from the page; None where none is safe.
    `report` and `base` are resolved.

    Only files below `base`, the folder that holds the runs' folder, have one: so it says nothing
    about the machine, and stays right when the project is moved. Every part is escaped, so that no
    name is anything but a name.
    """
    try:
        place = path.resolve()
        is_below = base.parent != base and place.is_relative_to(base) and place.is_file()
    except (OSError, RuntimeError, ValueError):  # such as a name that no file can have
        return None
    if not is_below:
        return None
    parts = Path(os.path.relpath(place, report)).parts
    return "/".join(quote(os.fsencode(part), safe="") if part != ".." else part for part in parts)


def _render(job: MediaJob, folder: Path) -> dict[str, dict[str, Any] | MediaError]:
    """The entries of the frames and of the sound; a medium that the sample lacks is absent."""
    entries: dict[str, dict[str, Any] | MediaError] = {}
    wanted = {"frames": job.sample.picture_path, "sound": job.sample.sound_path}
    for kind, name in wanted.items():
        if name is None:
            continue
        if "\0" in name:
            entries[kind] = MediaError("missing", shown(name), "no file has such a name")
            continue
        try:
            entries[kind] = _find_or_make(kind, name, job, folder)
        except MediaError as error:
            entries[kind] = error
    return entries


def _find_or_make(kind: str, name: str, job: MediaJob, folder: Path) -> dict[str, Any]:
    stem = _stem(kind, job.root / name, job.media)
    if stem is not None:
        with suppress(DataError):
            entry = read_json(folder / f"{stem}.json")
            if all((folder / f"{stem}.{ending}").is_file() for ending in _ENDINGS[kind]):
                return entry
    frames, waveform = load_media(job.sample, job.root, job.media, "v" if kind == "frames" else "a")
    if stem is None:  # it could not be read a moment ago
        stem = _stem(kind, job.root / name, job.media) or fingerprint([kind, name])[:16]
    entry: dict[str, Any]
    if frames is not None:
        content, entry = _strip(frames)
        contents = {"jpg": content}
        entry = {"strip": f"{folder.name}/{stem}.jpg", **entry}
    else:
        assert waveform is not None
        contents = {"flac": encode_flac(waveform), "png": _spectrogram(waveform)}
        entry = {
            "sound": f"{folder.name}/{stem}.flac",
            "seconds": round(waveform.duration_s, 3),
            "source_seconds": waveform.source_s and round(waveform.source_s, 3),
            "spectrogram": f"{folder.name}/{stem}.png",
            "peaks": _peaks(waveform.samples),
        }
    for ending, content in contents.items():
        write_atomic(folder / f"{stem}.{ending}", partial(_write, content))
    write_json(folder / f"{stem}.json", entry)
    return dict(sorted(entry.items()))  # as it will be read


def _write(content: bytes, file: Any) -> None:
    file.write(content)


def _stem(kind: str, path: Path, media: MediaConfig) -> str | None:
    """The name of a medium's files; None: the file cannot be read."""
    try:
        content = copy_digest(path, media)
    except (OSError, MediaError):
        return None
    recipe = media.model_dump(mode="json", exclude={*WITHOUT_EFFECT})
    return fingerprint([VERSION, kind, content, recipe, _versions()])[:16]


@cache
def _versions() -> list[str]:
    import av

    return [av.__version__, np.__version__, pillow_version]


def _strip(frames: Frames) -> tuple[bytes, dict[str, Any]]:
    """Frames side by side as one JPEG."""
    n = len(frames)
    places = np.linspace(0, n - 1, min(n, MAX_FRAMES)).round().astype(int)
    pictures = [Image.fromarray(frames.pixels[place]) for place in places]
    width, height = pictures[0].size
    if height > MAX_HEIGHT:
        width, height = max(1, round(width * MAX_HEIGHT / height)), MAX_HEIGHT
    width = min(width, 65_000 // len(pictures))  # a JPEG is no wider
    strip = Image.new("RGB", (width * len(pictures), height))
    for number, picture in enumerate(pictures):
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        strip.paste(picture, (width * number, 0))
    return _encode(strip, "JPEG", quality=85), {
        "n_frames": len(pictures),
        "given_frames": n,
        "still": frames.still,
        "times_s": [] if frames.still else [round(frames.times_s[place], 2) for place in places],
        "frame": [width, height],
    }


def _encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def _peaks(samples: NDArray[np.float32]) -> list[int]:
    """The largest level of each part of a sound, from 0 to 255."""
    edges = np.linspace(0, len(samples), min(N_PEAKS, len(samples)) + 1).astype(int)
    peaks = np.maximum.reduceat(np.abs(samples), edges[:-1])
    return np.rint(255 * np.minimum(peaks, 1.0)).astype(int).tolist()


def _spectrogram(waveform: Waveform) -> bytes:
    """Logarithm of the energy by mel band over time, as a PNG: low tones below."""
    samples = waveform.samples
    if len(samples) < WINDOW:
        samples = np.pad(samples, (0, WINDOW - len(samples)))
    n_columns = min(MAX_COLUMNS, 1 + (len(samples) - WINDOW) // (WINDOW // 2))
    starts = np.linspace(0, len(samples) - WINDOW, n_columns).astype(int)
    pieces = np.stack([samples[start : start + WINDOW] for start in starts]).astype(np.float64)
    power = np.abs(np.fft.rfft(pieces * np.hanning(WINDOW), axis=1)) ** 2
    decibels = 10 * np.log10(power @ _mel_filters(waveform.rate_hz).T + 1e-10)
    scaled = np.clip((decibels - decibels.max()) / FLOOR_DB + 1, 0, 1)
    if decibels.max() < -60:  # silence has no loudest point
        scaled = np.zeros_like(scaled)
    picture = Image.fromarray(np.rint(255 * scaled.T[::-1]).astype(np.uint8))
    steps = np.linspace(0, 255, len(_LIGHT))
    colours = [np.interp(np.arange(256), steps, [light[i] for light in _LIGHT]) for i in range(3)]
    picture.putpalette(np.rint(np.stack(colours, axis=1)).astype(np.uint8).tobytes())
    return _encode(picture, "PNG", optimize=True)


@cache
def _mel_filters(rate_hz: int) -> NDArray[np.float64]:
    """Triangles, even in mel from 0 to half the rate: shape (N_MELS, WINDOW // 2 + 1)."""
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    tones = np.linspace(0, rate_hz / 2, WINDOW // 2 + 1)
    rising = (tones - edges[:-2, None]) / np.diff(edges[:-1])[:, None]
    falling = (edges[2:, None] - tones) / np.diff(edges[1:])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def missing_text(error: MediaError) -> str:
    """A failure for a reader."""
    return f"{error.error_class.replace('_', ' ')}: {error.detail}"


def shown_names(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    """The files of these entries in the folder of the media."""
    fields: Sequence[str] = ("strip", "sound", "spectrogram")
    paths = [Path(entry[name]) for entry in entries for name in fields if name in entry]
    return {f"{path.stem}{ending}" for path in paths for ending in (path.suffix, ".json")}
