"""Readers for tests/generate/test_reading.py that worker processes run: they misbehave on clip1."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from avrt.generate.reading import Media, read_decoded, read_encoded


def hang(media: Media, **settings: Any) -> object:
    """Never come back from clip1."""
    _note("hang", media)
    if media.path.name.startswith("clip1"):
        time.sleep(600)
    return _read(media, settings)


def crash(media: Media, **settings: Any) -> object:
    """Die of clip1."""
    if media.path.name.startswith("clip1"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return _read(media, settings)


def count(media: Media, **settings: Any) -> object:
    """Leave a line for every file that is read."""
    _note("read", media)
    return _read(media, settings)


def _read(media: Media, settings: Any) -> object:
    return (read_encoded if "store" in settings else read_decoded)(media, **settings)


def _note(what: str, media: Media) -> None:
    with Path(os.environ["AVRT_TEST_LOG"]).open("a") as log:
        log.write(f"{what} {media.kind} {media.path.name} {os.getpid()}\n")
