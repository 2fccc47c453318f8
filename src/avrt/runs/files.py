"""Files and folders that are whole or not there, whenever a process is killed.

What is being written has a hidden name with its machine and process in it. What a killed process
leaves is removed by the next one that writes into the same folder, if the writer is gone for sure.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from avrt.errors import DataError
from avrt.runs.locks import hold_output
from avrt.texts import read_json

__all__ = [
    "atomic_file",
    "file_digest",
    "fingerprint",
    "read_manifest",
    "remove_folder",
    "remove_leftovers",
    "replace_folder",
    "write_atomic",
]


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """What a finished stage was made with, and its counts.

    Raises:
        DataError: the file was damaged or changed; the message says that it may be deleted.
    """
    try:
        content = read_json(path)
    except DataError as error:
        if isinstance(error.__cause__, OSError):
            raise  # the machine's fault: the file may be whole
        raise DataError(f"{error}; delete the file to do this stage again") from error
    parts = ("settings", "inputs", "counts")
    if isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in parts):
        return content
    raise DataError(f"{path}: not what a finished stage wrote; delete it to do this stage again")


@functools.cache
def _machine() -> str:
    """This machine, or this container on it, in the names of files that are being written."""
    with suppress(OSError):  # a system without such numbers
        return fingerprint([socket.gethostname(), Path("/proc/self/ns/pid").stat().st_ino])[:8]
    return fingerprint(socket.gethostname())[:8]


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files in a folder whose writers are no more.

    Those of another machine stay: their writers may be alive.
    """
    for path in folder.glob(f".avrt-{_machine()}-*"):
        process = path.name.split("-")[2]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # it lives, and is another user's


@contextmanager
def atomic_file(path: Path, derived: Iterable[Path] = ()) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` that takes its name at the end, flushed to disk: a reader
    never sees half a file. After an error nothing has changed.

    `derived` are the manifests of stages that read this file: those that were done from other
    content are removed before it changes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    prefix = f".avrt-{_machine()}-{os.getpid()}-"
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        for manifest in derived:
            if manifest.is_file():
                known = read_manifest(manifest)["inputs"].get(path.name)
                if known is not None and known != file_digest(temporary):
                    manifest.unlink()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(
    path: Path, write: Callable[[IO[bytes]], object], derived: Iterable[Path] = ()
) -> None:
    """Let a function write an `atomic_file`."""
    with atomic_file(path, derived) as file:
        write(file)


def remove_folder(folder: Path) -> None:
    """Remove a folder if it is there. One that cannot be removed is an error: what is left of it
    would be taken for a part of what is written next.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when all is written.

    A reader never finds half of it. After an error nothing has changed; what a kill leaves lies
    under a hidden name, and the next attempt puts it back or removes it. Of a link, the folder that
    it names is replaced.

    Raises:
        ConfigError: another process is writing this folder.
    """
    if folder.is_symlink():
        folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.new")
    previous = folder.with_name(f".{folder.name}.old")
    with hold_output(folder):
        if previous.exists() and not folder.exists():  # killed between the two renames below
            previous.rename(folder)
        for leftover in (temporary, previous):
            remove_folder(leftover)
        try:
            temporary.mkdir()
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            if folder.exists():
                folder.rename(previous)
            temporary.rename(folder)
        except BaseException:
            if previous.exists() and not folder.exists():
                previous.rename(folder)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(previous, ignore_errors=True)
