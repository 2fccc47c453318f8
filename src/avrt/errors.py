"""The errors AVRT shows to people: one message that says what, where, and what to do next.

The command line prints these without a traceback. Anything else that escapes is a defect in AVRT.
"""

from __future__ import annotations

__all__ = [
    "MEDIA_ERROR_CLASSES",
    "PASSING_CLASSES",
    "AvrtError",
    "ConfigError",
    "DataError",
    "EngineError",
    "MediaError",
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
