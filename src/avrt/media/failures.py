"""The one place that says whether an error is a file's own failure or the machine's.

Decoders raise whatever they like over a damaged file, so any exception inside `decoding` becomes
the file's `MediaError`.

The decision to question: FFmpeg says "out of memory" and "input/output error" also of damaged
files. So the machine is asked: whether it still has a gigabyte, and whether the file can be read.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.error import FFmpegError
from PIL import Image

from avrt.errors import MediaError
from avrt.stores import StorePath

__all__ = ["NO_MEMORY", "NO_SUCH_FILE", "decoding", "is_short_of_memory", "machine_failure"]

NO_MEMORY = "not enough memory; use fewer media.workers, then repeat the command"
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
OF_THE_FILE_TOO = (
    *(errno.EIO, errno.ENOENT, errno.EACCES, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.ENODEV, errno.ENXIO),
)
"""Errors that FFmpeg gives for the machine's failures, but for damaged files too."""
ROOM = 2**30
"""Bytes; reading a file of any allowed size takes less."""


@contextmanager
def decoding(path: Path, damage: str | None = None) -> Iterator[None]:
    """Turn whatever is raised in the body into the `MediaError` of the file.

    `damage` describes a damaged file; None: after the error.

    Raises:
        MediaError: with the class of the failure; the detail holds no path.
    """
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        raise machine_failure(path, error) or _own_failure(path, error, damage) from error


def machine_failure(path: Path, error: Exception) -> MediaError | None:
    """The failure when the file was not to be had; None: the error is about its content."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError):
        return MediaError("unreadable", str(path), NO_MEMORY) if is_short_of_memory(error) else None
    if isinstance(error, FFmpegError):
        if number in OF_THE_FILE_TOO:
            return _read_through(path)
        if number not in (errno.EMFILE, errno.ENFILE):
            return None
    elif not isinstance(error, OSError) or number is None:  # Pillow's own have no number
        return None
    if number in NO_SUCH_FILE:
        return MediaError("missing", str(path), "no such file; download it, or correct the path")
    if isinstance(error, PermissionError):
        return MediaError("permission", str(path), "may not be read; change its permissions")
    if number in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit (`ulimit -n`), or use fewer media.workers"
    elif isinstance(path, StorePath):
        remedy = "check the network and the store"
    else:
        remedy = "check the disk or the network drive"
    reason = getattr(error, "strerror", None) or str(error)
    return MediaError("unreadable", str(path), f"cannot be read: {reason}; {remedy}, then repeat")


def is_short_of_memory(error: Exception) -> bool:
    """Whether an error means that the machine has no memory left, not that a file asks too much."""
    if not isinstance(error, MemoryError):
        return False
    try:
        mmap.mmap(-1, ROOM).close()
    except (OSError, MemoryError):
        return True
    return False


def _read_through(path: Path) -> MediaError | None:
    try:
        with path.open("rb") as file:
            while file.read(2**20):
                pass
    except OSError as error:
        return machine_failure(path, error)
    return None


def _own_failure(path: Path, error: Exception, damage: str | None) -> MediaError:
    if isinstance(error, Image.DecompressionBombError):
        return MediaError("too_large", str(path), f"{error}; scale the picture down")
    # The text of an unexpected error may hold an address or a path, which differ from run to run.
    reason = getattr(error, "strerror", None) or type(error).__name__
    is_cut = isinstance(error, OSError) and "truncated" in str(error).lower()  # Pillow's word
    detail = damage or f"does not decode ({reason}); download it again, or convert it"
    return MediaError("truncated" if is_cut else "undecodable", str(path), detail)
