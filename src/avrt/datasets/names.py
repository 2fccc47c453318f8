"""Find media files under the names that annotations give them.

Names differ between machines: a Mac stores "é" as two characters, downloads end in `.webm` or
`.MP4`, and some annotations write the ending while others leave it out. Each folder is listed once,
whatever the number of clips; the names lie on the disk.

The decision to question: a name that differs in case, blanks or marks is not taken, since the names
of clips are often ids in which case counts; a message names that file instead.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from avrt.runs import DiskMap
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
MOST_COMPARED = 100_000
"""Files of a folder; with more, no nearest is looked for."""
K = TypeVar("K")


class MediaNames:
    """The files below a dataset's root, by the names that annotations give them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = DiskMap[tuple[str, str], None]()
        """Folder and name of every file."""
        self._composed = DiskMap[tuple[str, str], str]()
        """Files by folder and name with composed characters and the ending in small letters, where
        that is another name.
        """
        self._stems = DiskMap[tuple[str, str, str], str]()
        """Files by folder, name without its ending, and the kind of that."""

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
        return self._named(folder, name) == name

    def nearest(self, path: str, taken: Container[str] = ()) -> str | None:
        """Give the file beside a missing one whose name is most like it, if one is much alike.

        Files in `taken`, which belong to other samples, are not given.
        """
        folder, _, name = path.rpartition("/")
        files = list(islice(_list_names(self._root / folder), MOST_COMPARED + 1))
        if len(files) > MOST_COMPARED:
            return None
        free = {file for file in files if _join(folder, file) not in taken}
        alike = sorted(file for file in free if _bare(file) == _bare(name))
        close = alike or difflib.get_close_matches(name, sorted(free), n=1, cutoff=0.8)
        return _join(folder, close[0]) if close else None

    def _existing(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if folder and (folder := self._existing(folder) or "") == "":
            return None
        file = self._named(folder, name) or self._named(folder, _composed(name))
        return _join(folder, file) if file else None

    def _with_other_ending(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if folder and (folder := self._existing(folder) or "") == "":
            return None
        self._list(folder)
        stem, ending = split_ending(_composed(name))
        for each in (stem, split_ending(stem)[0]):  # also instead of an ending that stands twice
            if file := self._stems.get((folder, each, KIND_OF.get(ending, ""))):
                return _join(folder, file)
        return None

    def _named(self, folder: str, name: str) -> str | None:
        """The file of that name; else the first whose name is that with composed characters and
        its ending in small letters.
        """
        self._list(folder)
        if (folder, name) in self._files:
            return name
        return self._composed.get((folder, name))

    def _list(self, folder: str) -> None:
        """Look into a folder, unless that was done."""
        if (folder, "") in self._files:
            return
        self._files[folder, ""] = None  # no file has that name

        def files() -> Iterator[tuple[tuple[str, str], None]]:
            for file in _list_names(self._root / folder):
                name = _composed(file)
                stem, ending = split_ending(name)
                _set_first(self._stems, (folder, stem, KIND_OF.get(ending, "")), file)
                if name != file:
                    _set_first(self._composed, (folder, name), file)
                yield (folder, file), None

        self._files.update(files())


def _set_first(names: DiskMap[K, str], key: K, file: str) -> None:
    """Remember a file under a key, unless one before it in the alphabet stands there."""
    known = names.get(key)
    if known is None or file < known:
        names[key] = file


def _list_names(folder: Path) -> Iterator[str]:
    """The names in a folder, in any order."""
    try:
        yield from (path.name for path in folder.iterdir())
    except (OSError, ValueError):  # no such folder, or a name that no folder can have
        return


def nearest_names(root: Path, missing: Iterable[str], taken: Container[str]) -> Iterator[str]:
    """Yield a line for each of the first missing files beside which another has a similar name."""
    names = MediaNames(root)
    for path in islice(missing, N_NEAREST):
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
