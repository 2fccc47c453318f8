"""The clips of an export as files below its folder `media`; each clip is read once.

Frames become JPEGs of `media.jpeg_quality`, sound becomes FLAC. The rows of a clip that cannot be
read are dropped under the class of its failure.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.exchange.exports.formats import Entry, ExtractedClip
from avrt.media import encode_jpegs, load_media
from avrt.media.cache import local_file
from avrt.media.payloads import encode_flac
from avrt.media.processes import map_files
from avrt.media.shards import OWN_SOUND
from avrt.runs import remove_folder, track
from avrt.types import Sample

__all__ = ["LazyClips", "extract_clip", "extract_clips", "safe_name"]


AT_ONCE = 1000
"""Entries whose clips lie on the disk together."""


@dataclass(frozen=True)
class Clip:
    """A picture or video with its sound, and the first sample that has them."""

    sample: Sample
    name: str


def extract_clips(
    entries: Mapping[str, Collection[Entry]],
    lost: Mapping[str, list[str]],
    extract: Callable[[Clip], ExtractedClip],
    limits: MediaConfig,
) -> dict[str, list[Entry]]:
    """Write the media of the entries in worker processes.

    `extract` is `extract_clip` with its settings. Returns the entries with their media; `lost` gets
    the ids of those whose clip cannot be read.
    """
    clips: dict[tuple[str | None, str | None], Clip] = {}
    for entry in (entry for of_split in entries.values() for entry in of_split):
        clips.setdefault(_paths(entry.sample), Clip(entry.sample, _name(entry.sample)))
    results = map_files(
        extract,
        list(clips.values()),
        path_of=lambda clip: str(clip.sample.picture_path),
        timeout_s=limits.timeout_s,
        workers=limits.workers,
    )
    extracted: dict[tuple[str | None, str | None], ExtractedClip | MediaError] = {}
    with closing(results):
        for clip, result in track(results, "export", "clips", len(clips)):
            extracted[_paths(clip.sample)] = result
    kept: dict[str, list[Entry]] = {}
    for split, of_split in entries.items():
        kept[split] = []
        for entry in of_split:
            media = extracted[_paths(entry.sample)]
            if isinstance(media, MediaError):
                lost[f"failed/{media.error_class}"].append(entry.sample.id)
            else:
                kept[split].append(replace(entry, media=media))
    return kept


@dataclass
class LazyClips(Collection[Entry]):
    """The entries of a split with their media, whose files are there for `AT_ONCE` of them at a
    time: neither memory nor the disk grows with the dataset. They are read once.
    """

    entries: Collection[Entry]
    lost: Mapping[str, list[str]]
    """Gets the ids of entries whose clip cannot be read."""
    extract: partial[ExtractedClip]
    """`extract_clip` with its settings."""
    limits: MediaConfig
    n_kept: int = 0

    def __len__(self) -> int:
        return self.n_kept

    def __contains__(self, entry: object) -> bool:
        raise AssertionError("they are read once, in order")

    def __iter__(self) -> Iterator[Entry]:
        rest = iter(self.entries)
        while batch := list(islice(rest, AT_ONCE)):
            kept = extract_clips({"": batch}, self.lost, self.extract, self.limits)[""]
            self.n_kept += len(kept)
            yield from kept
            remove_folder(self.extract.keywords["out"] / "media")


def extract_clip(
    clip: Clip, root: Path, out: Path, settings: MediaConfig, takes_file: bool
) -> ExtractedClip:
    """Write the media of a clip below `out`.

    Raises:
        MediaError: the clip cannot be read, even where only its file is copied.
    """
    frames, waveform = load_media(clip.sample, root, settings, "av")
    assert frames is not None
    assert waveform is not None
    folder = out / "media"
    folder.mkdir(exist_ok=True)
    sound = f"{clip.name}.flac"
    (folder / sound).write_bytes(encode_flac(waveform))
    names: list[str] = []
    file = own_sound = None
    if takes_file:
        source = root / (clip.sample.picture_path or "")
        file = f"{clip.name}{source.suffix.lower()}"
        with local_file(source, settings) as local:
            shutil.copyfile(local, folder / file)
        if clip.sample.audio:
            source = root / clip.sample.audio
            own_sound = f"{clip.name}.{OWN_SOUND}{source.suffix.lower()}"
            with local_file(source, settings) as local:
                shutil.copyfile(local, folder / own_sound)
    else:
        (folder / clip.name).mkdir(exist_ok=True)
        for number, jpeg in enumerate(encode_jpegs(frames, settings.jpeg_quality)):
            names.append(f"{clip.name}/{number}.jpg")
            (folder / names[-1]).write_bytes(jpeg)
    return ExtractedClip(
        frames=tuple(f"media/{name}" for name in names),
        fps=frames.fps,
        sound=f"media/{sound}",
        file=file and f"media/{file}",
        own_sound=own_sound and f"media/{own_sound}",
    )


def safe_name(text: str) -> str:
    """Turn a text into a file name without dots that every system allows."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def _paths(sample: Sample) -> tuple[str | None, str | None]:
    return sample.picture_path, sample.sound_path


def _name(sample: Sample) -> str:
    """Name a clip after its files, so that different clips have different names."""
    digest = hashlib.sha256(repr(_paths(sample)).encode()).hexdigest()
    return f"{safe_name(PurePosixPath(sample.picture_path or '').stem)}-{digest[:8]}"
