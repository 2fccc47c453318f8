"""The clips of an export as files below its folder `media`, each read once.

Frames become JPEGs of `media.jpeg_quality`, sound becomes FLAC; a clip that cannot be read costs
its rows, by the class of its failure.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from avrt.config import Config, MediaConfig
from avrt.errors import MediaError
from avrt.exchange.exports.items import Extracted, Format, Item
from avrt.media import encode_jpegs, load_media
from avrt.media.payloads import encode_flac
from avrt.media.processes import map_files
from avrt.types import Sample

__all__ = ["extract_clip", "extract_clips", "safe_name"]


@dataclass(frozen=True)
class Clip:
    """A picture or video and the sound to it, with the first sample that has them."""

    sample: Sample
    name: str


def extract_clips(
    config: Config,
    form: Format,
    place: Path,
    items: Mapping[str, Sequence[Item]],
    lost: Mapping[str, list[str]],
) -> dict[str, list[Item]]:
    """The items with their media below `place`; `lost` gets those whose clip cannot be read."""
    clips: dict[tuple[str | None, str | None], Clip] = {}
    for item in (item for of_split in items.values() for item in of_split):
        clips.setdefault(_paths(item.sample), Clip(item.sample, _name(item.sample)))
    read = partial(
        extract_clip,
        root=config.data.root,
        place=place,
        settings=config.media,
        takes_file=form.takes_files,
    )
    limits = {"timeout_s": config.media.timeout_s, "workers": config.media.workers}
    found: dict[tuple[str | None, str | None], Extracted | MediaError] = {}
    with closing(map_files(read, list(clips.values()), path_of=_path_of, **limits)) as results:
        bar = tqdm(results, "export: clips", len(clips), unit="clip", leave=False, disable=None)
        for clip, result in bar:
            found[_paths(clip.sample)] = result
    kept: dict[str, list[Item]] = {}
    for split, of_split in items.items():
        kept[split] = []
        for item in of_split:
            media = found[_paths(item.sample)]
            if isinstance(media, MediaError):
                lost[f"failed/{media.error_class}"].append(item.sample.id)
            else:
                kept[split].append(replace(item, media=media))
    return kept


def extract_clip(
    clip: Clip, root: Path, place: Path, settings: MediaConfig, takes_file: bool
) -> Extracted:
    """Write one clip's media below `place`.

    Raises:
        MediaError: the clip cannot be read, also where only its file is taken.
    """
    frames, waveform = load_media(clip.sample, root, settings, "av")
    assert frames is not None
    assert waveform is not None
    folder = place / "media"
    folder.mkdir(exist_ok=True)
    sound = f"{clip.name}.flac"
    (folder / sound).write_bytes(encode_flac(waveform))
    names: list[str] = []
    file = None
    if takes_file:
        source = root / (clip.sample.picture_path or "")
        file = f"{clip.name}{source.suffix.lower()}"
        shutil.copyfile(source, folder / file)
    else:
        (folder / clip.name).mkdir(exist_ok=True)
        for number, jpeg in enumerate(encode_jpegs(frames, settings.jpeg_quality)):
            names.append(f"{clip.name}/{number}.jpg")
            (folder / names[-1]).write_bytes(jpeg)
    return Extracted(
        frames=tuple(f"media/{name}" for name in names),
        fps=frames.fps,
        sound=f"media/{sound}",
        file=file and f"media/{file}",
    )


def safe_name(text: str) -> str:
    """The text as the name of a file on every system, without dots."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def _paths(sample: Sample) -> tuple[str | None, str | None]:
    return sample.picture_path, sample.sound_path


def _name(sample: Sample) -> str:
    """Different clips have different names, equal ones the same."""
    digest = hashlib.sha256(repr(_paths(sample)).encode()).hexdigest()
    return f"{safe_name(PurePosixPath(sample.picture_path or '').stem)}-{digest[:8]}"


def _path_of(clip: Clip) -> str:
    return str(clip.sample.picture_path)
