"""Members of tar files (WebDataset shards), opened one by one: `FOLDER/part-000000.tar/NAME.mp4`.

A shard's index says where its members lie. It is the file `part-000000.idx` beside the shard where
there is one, in the form that NVIDIA DALI's `wds2idx` writes and AVRT's export too; else the tar's
own headers are read, for which a shard in a store is fetched as a whole, by each process.

The decision to question: a member is copied into the cache of `avrt.media.cache`, also from a local
shard, because decoders open files by name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from avrt.errors import DataError
from avrt.stores import Stamp, StorePath

__all__ = [
    "OWN_SOUND",
    "Member",
    "Place",
    "find_member",
    "is_member",
    "read_index",
    "stem_of",
    "write_index",
]

Place = tuple[int, int]
"""Where a member's bytes begin in its tar, and their number."""
INDEX_VERSION = "v1.2"
_TAR = ".tar/"
OWN_SOUND = "sound"
"""`ID.sound.wav` is the sound file that a sample names beside its picture or video, as it is."""
KEPT = 64
"""Indexes in memory, some 300 bytes for each member."""


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    tar: Path
    start: int
    size: int
    version: int
    """Of the tar."""

    def copy(self, local: Path, limit_s: float) -> None:
        """Write it into a file of this machine.

        Raises:
            OSError: as `StorePath.fetch`, or as of a disk.
        """
        if isinstance(self.tar, StorePath):
            self.tar.fetch(local, self.size, self.start, limit_s)
            return
        with self.tar.open("rb") as file, local.open("wb") as copy:
            file.seek(self.start)
            left = self.size
            while chunk := file.read(min(left, 1 << 20)):
                copy.write(chunk)
                left -= len(chunk)


def is_member(path: Path) -> bool:
    """Whether a path leads into a tar, whatever it holds."""
    if _TAR not in str(path):
        return False
    tar, _ = _split(path)
    return isinstance(tar, StorePath) or tar.is_file()  # else a folder of that name


def _split(path: Path) -> tuple[Path, str]:
    head, _, name = str(path).rpartition(_TAR)
    return type(path)(head + _TAR[:-1]), name


def find_member(path: Path) -> Member | None:
    """Find the member that a path names; None where it names a plain file.

    Raises:
        FileNotFoundError: the tar has no such member.
        OSError, DataError: the tar or its index cannot be read.
    """
    if not is_member(path):
        return None
    tar, name = _split(path)
    status = tar.stat()
    stamp = status.st_size, status.st_mtime_ns
    place = _index(tar, stamp).get(name)
    if place is None:
        raise FileNotFoundError(2, "the shard has no such member", str(path))
    return Member(tar, *place, stamp[1])


def read_index(tar: Path) -> Mapping[str, Place]:
    """The members of a tar by name, in its order; raises as `find_member`."""
    status = tar.stat()
    return _index(tar, (status.st_size, status.st_mtime_ns))


def stem_of(member: str) -> str:
    """The name of the sample that a member is of: all before the first dot of its own name."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def write_index(tar: Path) -> None:
    """Write the index beside a shard of this machine; raises as `find_member`."""
    groups = groupby(_walk(tar).items(), key=lambda each: stem_of(each[0]))
    lines = [
        " ".join(
            f"{name.removeprefix(stem + '.')} {start} {size} {name}"
            for name, (start, size) in group
        )
        for stem, group in groups
    ]
    text = "\n".join([f"{INDEX_VERSION} {len(lines)}", *lines, ""])
    tar.with_suffix(".idx").write_text(text, encoding="utf-8")


@lru_cache(KEPT)
def _index(tar: Path, stamp: Stamp) -> Mapping[str, Place]:
    beside = tar.with_suffix(".idx")
    try:
        text = beside.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _walk(tar)
    return _parse(text, beside, stamp[0])


def _parse(text: str, where: Path, size: int) -> dict[str, Place]:
    first, *lines = text.splitlines() or [""]
    members: dict[str, Place] = {}
    try:
        if first.split() != [INDEX_VERSION, str(len(lines))]:
            raise ValueError(first)
        for line in lines:
            words = line.split(" ")
            for _, start, n_bytes, name in zip(*(words[i::4] for i in range(4)), strict=True):
                place = int(start), int(n_bytes)
                members[name.removeprefix("./")] = place
                if min(place) < 0 or sum(place) > size:
                    raise ValueError(name)
    except ValueError as error:
        raise DataError(
            f"{where}: not the index of the shard beside it; delete it, or write it again with "
            "wds2idx"
        ) from error
    return members


def _walk(tar: Path) -> dict[str, Place]:
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as members:
            return {
                m.name.removeprefix("./"): (m.offset_data, m.size) for m in members if m.isreg()
            }
    except tarfile.TarError as error:
        raise DataError(f"{tar}: not a tar file ({error}); download it again") from error
