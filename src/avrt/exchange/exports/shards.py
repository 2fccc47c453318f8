"""WebDataset: tars of `ID.json`, and with media `ID.mp4` (or another ending) and `ID.flac`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

from avrt.exchange.exports.clips import safe_name
from avrt.exchange.exports.formats import Entry, ExportFormat, ExportOptions

__all__ = ["WEBDATASET"]

ROWS = 1000
"""Rows in a tar."""


def _write(
    out: Path, entries: Mapping[str, Collection[Entry]], _options: ExportOptions, _run: Path
) -> None:
    for split, of_split in entries.items():
        named = zip(_names(of_split), of_split, strict=True)
        for start in range(0, len(of_split), ROWS):
            path = out / f"{split}-{start // ROWS:06d}.tar"
            with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
                for name, entry in islice(named, ROWS):
                    for member, content in _members(out, name, entry):
                        info = tarfile.TarInfo(member)
                        info.size, info.mode = len(content), 0o644
                        tar.addfile(info, io.BytesIO(content))


def _members(out: Path, name: str, entry: Entry) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(dict(entry.row), ensure_ascii=False, sort_keys=True)
    yield f"{name}.json", text.encode()
    if entry.media is not None and entry.media.file is not None:
        yield f"{name}{Path(entry.media.file).suffix}", (out / entry.media.file).read_bytes()
        yield f"{name}.flac", (out / entry.media.sound).read_bytes()


def _names(entries: Collection[Entry]) -> Iterator[str]:
    """Give ids without dots, which end a name in this format; equal results get a number."""
    used: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        name = safe_name(entry.sample.id)
        used.add(name := name if name not in used else f"{name}-{number}")
        yield name


WEBDATASET = ExportFormat(
    write=_write, has_grpo=False, is_chat=False, takes_files=True, keeps_clips=False
)
