"""WebDataset: tars of `ID.json`, and with media `ID.mp4` (or another ending) and `ID.flac`.

`ID.sound.wav` (or another ending) is the sound file of a sample that has one besides its picture or
video. Beside each tar lies its index. `data.format: webdataset` reads them again. Clips are taken
out, packed and, for a store, sent shard by shard.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from avrt.exchange.exports.clips import AT_ONCE, safe_name
from avrt.exchange.exports.formats import Entry, ExportFormat, ExportOptions
from avrt.media.shards import OWN_SOUND, write_index

__all__ = ["WEBDATASET"]

ROWS = AT_ONCE
"""Rows in a tar."""


def _write(
    out: Path, entries: Mapping[str, Collection[Entry]], options: ExportOptions, _run: Path
) -> None:
    for split, of_split in entries.items():
        rest, number = _named(of_split), 0
        while (first := next(rest, None)) is not None:
            path = out / f"{split}-{number:06d}.tar"
            with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
                for name, entry in chain([first], islice(rest, ROWS - 1)):
                    _add(tar, out, name, entry)
            write_index(path)
            number += 1
            if options.store is not None:
                for file in (path.with_suffix(".idx"), path):  # a shard is never without its index
                    (options.store / file.name).put(file)
                    file.unlink()


def _named(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    """Give ids without dots, which end a name in this format; equal results get a number."""
    used: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        name = safe_name(entry.sample.id)
        used.add(name := name if name not in used else f"{name}-{number}")
        yield name, entry


def _add(tar: tarfile.TarFile, out: Path, name: str, entry: Entry) -> None:
    row = json.dumps(dict(entry.row), ensure_ascii=False, sort_keys=True).encode()
    _add_file(tar, f"{name}.json", BytesIO(row), len(row))
    for member, file in _files(name, entry):
        with (out / file).open("rb") as content:
            _add_file(tar, member, content, (out / file).stat().st_size)


def _add_file(tar: tarfile.TarFile, member: str, content: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(member)
    info.size, info.mode = size, 0o644
    tar.addfile(info, content)


def _files(name: str, entry: Entry) -> Iterator[tuple[str, str]]:
    """The members of an entry's clip, each with its file."""
    media = entry.media
    if media is not None and media.file is not None:
        yield f"{name}{Path(media.file).suffix}", media.file
        yield f"{name}.flac", media.sound
        if media.own_sound is not None:
            yield f"{name}.{OWN_SOUND}{Path(media.own_sound).suffix}", media.own_sound


WEBDATASET = ExportFormat(
    write=_write,
    has_grpo=False,
    is_chat=False,
    takes_files=True,
    keeps_clips=False,
    is_sharded=True,
)
