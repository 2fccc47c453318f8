"""Keep the encoded media for servers in a folder, so that each clip is encoded only once.

    FOLDER/ab/ab12….jpg .wav .flac   a picture or sound, named by the sha256 of its bytes
    FOLDER/cd/cd34….json             a file's payload: its blobs and their properties

An entry is named by the file's sha256, the recipe and the versions of all libraries that take part.
The folder can be deleted at any time; AVRT then makes its files again. It may be in a
store. Several processes may write at once: on a disk every file is written under a temporary name
of its own in FOLDER/new, then renamed.

The decision to question: files are not flushed to disk, which would cost more than the decoding. A
power cut may leave torn files; every blob is compared with its name and every entry with its
digest when it is read, and torn, edited or missing files are made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL
import soxr
from PIL import features

import avrt
from avrt.errors import AvrtError
from avrt.runs import fingerprint
from avrt.stores import StorePath
from avrt.types import EncodedFrames, EncodedSound

__all__ = ["PayloadStore"]

_SCHEMA = 4
"""Version of the entries; a change makes every stored payload a miss."""
_TEMPORARY = "new"
"""Folder of the files that are being written."""
_ABANDONED_S = 3600.0
"""A file is written in milliseconds; one that is older than this has no writer any more."""


class PayloadStore:
    """A folder of payloads; it is created by the first `add`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(
        self, file_sha256: str, recipe: Mapping[str, Any]
    ) -> EncodedFrames | EncodedSound | None:
        """Find the payload of a file under a recipe; None when it is missing or incomplete.

        `recipe` holds everything that decides the bytes besides the file and the libraries.
        """
        try:
            stored = json.loads(self._entry_path(file_sha256, recipe).read_bytes())
            entry = stored["entry"]
            if fingerprint(entry) != stored["sha256"]:
                return None
            blobs = tuple(self._read_blob(name) for name in entry.pop("blobs"))
            if "format" in entry:
                (data,) = blobs
                return EncodedSound(data, **entry)
            return EncodedFrames(blobs, times_s=tuple(entry.pop("times_s")), **entry)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def add(
        self, file_sha256: str, recipe: Mapping[str, Any], payload: EncodedFrames | EncodedSound
    ) -> None:
        """Keep a payload; the entry is written last, so that all its blobs exist.

        Raises:
            AvrtError: the folder cannot be written.
        """
        entry = dict(vars(payload))
        if isinstance(payload, EncodedFrames):
            blobs, ending = entry.pop("jpegs"), "jpg"
        else:
            blobs, ending = (entry.pop("data"),), payload.format
        try:
            entry["blobs"] = [self._write_blob(blob, ending) for blob in blobs]
            text = json.dumps({"entry": entry, "sha256": fingerprint(entry)}, sort_keys=True)
            self._write(self._entry_path(file_sha256, recipe), text.encode() + b"\n")
        except OSError as error:
            raise AvrtError(
                f"{self._folder}: cannot keep encoded media: {error.strerror}; free space there or "
                "mend the folder, then repeat the command"
            ) from error

    def remove_leftovers(self) -> None:
        """Remove the temporary files of writers that were killed; another may write now."""
        if isinstance(self._folder, StorePath):
            return  # a store shows whole files alone
        with contextlib.suppress(OSError):
            for path in (self._folder / _TEMPORARY).iterdir():
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink(missing_ok=True)

    def _entry_path(self, file_sha256: str, recipe: Mapping[str, Any]) -> Path:
        key = fingerprint({"file": file_sha256, "recipe": recipe, "versions": _versions()})
        return self._folder / key[:2] / f"{key}.json"

    def _read_blob(self, name: str) -> bytes:
        content = (self._folder / name[:2] / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != name.partition(".")[0]:
            raise ValueError(f"{name}: not the bytes that were written")
        return content

    def _write_blob(self, content: bytes, ending: str) -> str:
        name = f"{hashlib.sha256(content).hexdigest()}.{ending}"
        self._write(self._folder / name[:2] / name, content)
        return name

    def _write(self, path: Path, content: bytes) -> None:
        if isinstance(path, StorePath):
            path.write_bytes(content)
            return
        for folder in (path.parent, self._folder / _TEMPORARY):
            folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder / _TEMPORARY)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@functools.cache
def _versions() -> dict[str, Any]:
    """Give the versions of all code that makes the bytes; another version makes its own entries."""
    return {
        "schema": _SCHEMA,
        "avrt": avrt.__version__,
        "av": av.__version__,
        "ffmpeg": av.library_versions,
        "jpeg": features.version("libjpeg_turbo") or features.version("jpg"),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "soxr": soxr.__version__,
    }
