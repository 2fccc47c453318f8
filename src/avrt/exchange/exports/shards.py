"""WebDataset: tars of `ID.json`, and with media `ID.mp4` (or another ending) and `ID.flac`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avrt.exchange.exports.clips import safe_name
from avrt.exchange.exports.items import Format, Item, Options

__all__ = ["WEBDATASET"]

ROWS = 1000
"""Rows in one tar."""


def _write(place: Path, items: Mapping[str, Sequence[Item]], _options: Options, _run: Path) -> None:
    for split, of_split in items.items():
        named = list(zip(_names(of_split), of_split, strict=True))
        for start in range(0, len(named), ROWS):
            path = place / f"{split}-{start // ROWS:06d}.tar"
            _write_tar(path, place, named[start : start + ROWS])


def _write_tar(path: Path, place: Path, named: Sequence[tuple[str, Item]]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, item in named:
            for member, content in _members(place, name, item):
                info = tarfile.TarInfo(member)
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))


def _members(place: Path, name: str, item: Item) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(dict(item.row), ensure_ascii=False, sort_keys=True)
    yield f"{name}.json", text.encode()
    if item.media is not None and item.media.file is not None:
        yield f"{name}{Path(item.media.file).suffix}", (place / item.media.file).read_bytes()
        yield f"{name}.flac", (place / item.media.sound).read_bytes()


def _names(items: Sequence[Item]) -> Iterator[str]:
    """The ids without dots, which end a name in this format; made different where that made two
    equal.
    """
    used: set[str] = set()
    for number, item in enumerate(items, start=1):
        name = safe_name(item.sample.id)
        used.add(name := name if name not in used else f"{name}-{number}")
        yield name


WEBDATASET = Format(
    write=_write, has_grpo=False, is_chat=False, takes_files=True, keeps_clips=False
)
