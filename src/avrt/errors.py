"""The errors AVRT shows to people: one message that says what, where, and what to do next.

The command line prints these without a traceback. Anything else that escapes is a defect in AVRT.
"""

from __future__ import annotations

import errno
import os

__all__ = [
    "MEDIA_ERROR_CLASSES",
    "PASSING_CLASSES",
    "AvrtError",
    "ConfigError",
    "DataError",
    "EngineError",
    "LaunchError",
    "MediaError",
    "install_command",
    "machine_fault",
]

MEDIA_ERROR_CLASSES = (
    "missing",
    "permission",
    "not_media",
    "unsupported",
    "undecodable",
    "truncated",
    "damaged",
    "no_video",
    "no_audio",
    "too_large",
    "too_long",
    "timeout",
    "killed",
    "unreadable",
)
"""Closed list: every way in which a media file can fail."""

PASSING_CLASSES = ("permission", "timeout", "killed", "unreadable")
"""Failures that say nothing about the file. They are tried once more, never remembered, and a stage
that lost something to them ends with exit code 1. (So is `missing`, of a file that was there.)
"""


def install_command(extra: str = "") -> str:
    """The command that installs what AVRT, or one of its extras, needs, whether AVRT itself came
    from a package or a checkout.
    """
    return f'pip install "avrt[{extra}]"' if extra else "pip install avrt"


class AvrtError(Exception):
    """Base of all errors meant for a person; `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(AvrtError):
    """Wrong use: an unknown key, an impossible value, a missing file, a directory in use."""

    exit_code = 2


class DataError(AvrtError):
    """Input data that cannot be read; the message names the file and the row."""

    exit_code = 2


class EngineError(AvrtError):
    """A model server or model that cannot be used at all (one failed prompt is data)."""


class LaunchError(AvrtError):
    """Another process of the launch ended, or does not answer."""


class MediaError(AvrtError):
    """One media file that failed, under a class from `MEDIA_ERROR_CLASSES`.

    Raises:
        ValueError: if `error_class` is not in the closed list.
    """

    def __init__(self, error_class: str, path: str, detail: str) -> None:
        if error_class not in MEDIA_ERROR_CLASSES:
            raise ValueError(f"{error_class!r} is not one of {MEDIA_ERROR_CLASSES}")
        super().__init__(f"{path}: {error_class}: {detail}")
        self.error_class = error_class
        self.path = path
        self.detail = detail

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str, str]]:
        """It travels between processes by its parts."""
        return MediaError, (self.error_class, self.path, self.detail)


_MEMORY = (
    "not enough memory; raise the limit (ulimit -v, or the job's memory), or use fewer "
    "media.workers, then repeat the command"
)
_MEMORY_TEXTS = (
    *("failed to map segment", "can't start new thread", "can't allocate memory"),
    *("DCtx create failed", "CCtx create failed", "Failed to launch worker thread"),
)
"""How libraries, threads, torch and Arrow say it, each in an exception of another class."""
_DISK_REMEDIES = {
    errno.ENOENT: "put it back, or choose a folder that exists",
    errno.EACCES: "permit this user to use it",
    errno.EPERM: "permit this user to use it",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOSPC: "free space on its disk, then repeat the command",
    errno.EDQUOT: "free space within the quota, then repeat the command",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then repeat the command",
    errno.EMFILE: "raise the limit on open files (ulimit -n), then repeat the command",
    errno.ENFILE: "close other programs: the machine has no more open files, then repeat the "
    "command",
    errno.EIO: "look after the disk, then repeat the command",
    errno.ESTALE: "the network file system lost it: mount it again, then repeat the command",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the link that leads back to itself",
    errno.EEXIST: "move away what has this name",
    errno.ENOTDIR: "move away the file that has the name of a folder",
    errno.EISDIR: "move away the folder that has the name of a file",
}


def machine_fault(error: BaseException) -> str | None:
    """What went wrong on this machine, and what to do; None: the error is a defect in AVRT."""
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN))
        or any(known in text for known in _MEMORY_TEXTS)
    ):
        return _MEMORY
    if not isinstance(error, OSError) or error.errno not in _DISK_REMEDIES:
        return None
    place = error.filename2 or error.filename or "write"
    return f"{place}: {os.strerror(error.errno)}; {_DISK_REMEDIES[error.errno]}"
