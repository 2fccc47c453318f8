"""Find media files under the names that annotations give them.

Names differ between machines: a Mac stores "é" as two characters, downloads end in `.webm` or
`.MP4`, and some annotations write the ending while others leave it out. Each folder is listed once,
whatever the number of clips.

The decision to question: a name that differs in case, blanks or marks is not taken, since the names
of clips are often ids in which case counts; a message names that file instead.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from avrt.media.shards import read_index
from avrt.stores import StorePath, not_listed
from avrt.texts import shown

__all__ = ["MediaNames", "nearest_names", "split_ending"]

KIND_OF = {
    f".{ending}": kind
    for kind, endings in {
        "video": "mp4 mkv webm mov avi m4v flv mpg mpeg 3gp ts",
        "sound": "wav flac mp3 m4a ogg opus aac wma",
        "picture": "jpg jpeg png webp gif bmp tif tiff avif heic",
    }.items()
    for ending in endings.split()
}
"""Endings of media; a file may have another one of its kind than was named, the first in the
alphabet that is there.
"""
N_NEAREST = 3
"""Missing files that are compared with all that are there, which takes a moment each."""


class MediaNames:
    """The files below a dataset's root, by the names that annotations give them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, _Listing] = {}

    def find(self, *paths: str) -> str:
        """Give the first path that exists, as it is spelled on the disk, else the first path.

        A file with another ending of the same kind is taken when no path exists.

        Raises:
            ValueError: a path leaves the folder.
        """
        plain = [_checked(path) for path in paths]
        found = filter(None, map(self._existing, plain))
        others = filter(None, map(self._with_other_ending, plain))
        return next(found, None) or next(others, plain[0])

    def has(self, path: str) -> bool:
        """Find that there is a file of exactly that name."""
        folder, _, name = path.rpartition("/")
        return self._listing(folder).names.get(name) == name

    def nearest(self, path: str, taken: Collection[str] = ()) -> str | None:
        """Give the file beside a missing one whose name is most like it, if one is much alike.

        Files in `taken`, which belong to other samples, are not given.
        """
        folder, _, name = path.rpartition("/")
        free = {
            file
            for file in self._listing(folder).names.values()
            if _join(folder, file) not in taken
        }
        alike = sorted(file for file in free if _bare(file) == _bare(name))
        close = alike or difflib.get_close_matches(name, sorted(free), n=1, cutoff=0.8)
        return _join(folder, close[0]) if close else None

    def _existing(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if folder and (folder := self._existing(folder) or "") == "":
            return None
        names = self._listing(folder).names
        file = names.get(name) or names.get(_composed(name))
        return _join(folder, file) if file else None

    def _with_other_ending(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if folder and (folder := self._existing(folder) or "") == "":
            return None
        stem, ending = split_ending(_composed(name))
        stems = self._listing(folder).stems
        for each in (stem, split_ending(stem)[0]):  # also instead of an ending that stands twice
            if file := stems.get((each, KIND_OF.get(ending))):
                return _join(folder, file)
        return None

    def _listing(self, folder: str) -> _Listing:
        if folder not in self._listed:
            self._listed[folder] = _Listing(_list_names(self._root / folder))
        return self._listed[folder]


def _list_names(folder: Path) -> list[str]:
    """The names in a folder or a shard.

    Raises:
        AvrtError: the store does not list it now.
    """
    try:
        if folder.suffix == ".tar" and not folder.is_dir():
            return list(read_index(folder))
        return sorted(path.name for path in folder.iterdir())
    except (OSError, ValueError) as error:  # no such folder, or a name that no folder can have
        if isinstance(folder, StorePath) and not isinstance(error, FileNotFoundError):
            raise not_listed(folder, error) from error
        return []


class _Listing:
    """The files of a folder."""

    def __init__(self, files: Sequence[str]) -> None:
        composed = {_composed(file): file for file in reversed(files)}
        self.names = composed | {file: file for file in files}
        """By their names, and by those with composed characters and endings in small letters."""

    @cached_property
    def stems(self) -> dict[tuple[str, str | None], str]:
        """By the names without endings and the kind of these, for names that are not there."""
        stems: dict[tuple[str, str | None], str] = {}
        for file in sorted(set(self.names.values()), reverse=True):
            stem, ending = split_ending(_composed(file))
            stems[stem, KIND_OF.get(ending)] = file
        return stems


def nearest_names(root: Path, missing: Sequence[str], taken: Collection[str]) -> Iterator[str]:
    """Yield a line for each of the first missing files beside which another has a similar name."""
    names = MediaNames(root)
    for path in missing[:N_NEAREST]:
        if (nearest := names.nearest(path, taken)) is not None:
            yield f"{shown(path)} is missing, but {shown(nearest)} is there; rename one of them"


def _checked(name: str) -> str:
    if "\\" in name or ".." in name or "./" in name or "//" in name or name.startswith("/"):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"media file {shown(name)} leaves the dataset's folder")
        return str(path)
    return name


def split_ending(name: str) -> tuple[str, str]:
    """Part a name from its ending; empty when it has none of a media file."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem and f".{ending.lower()}" in KIND_OF else (name, "")


def _composed(name: str) -> str:
    stem, ending = split_ending(unicodedata.normalize("NFC", name))
    return stem + ending.lower()


def _bare(name: str) -> str:
    """The letters and digits of a name, without case, accents and its ending."""
    plain = unicodedata.normalize("NFKD", split_ending(name)[0]).casefold()
    return re.sub(r"[\W_]|[\u0300-\u036f]", "", plain)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
