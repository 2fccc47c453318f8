"""Readers for tests/ask/test_payloads.py that worker processes run: they misbehave on clip1."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from avrt.ask.payloads import Media, read_all


def hang(media: tuple[Media, ...], **settings: Any) -> object:
    """Never come back from clip1."""
    _note("hang", media)
    if media[0].path.name.startswith("clip1"):
        time.sleep(600)
    return read_all(media, **settings)


def crash(media: tuple[Media, ...], **settings: Any) -> object:
    """Die of clip1."""
    if media[0].path.name.startswith("clip1"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_all(media, **settings)


def count(media: tuple[Media, ...], **settings: Any) -> object:
    """Leave a line for every file that is read."""
    _note("read", media)
    return read_all(media, **settings)


def _note(what: str, media: tuple[Media, ...]) -> None:
    with Path(os.environ["AVRT_TEST_LOG"]).open("a") as log:
        for one in media:
            log.write(f"{what} {one.kind} {one.path.name} {os.getpid()}\n")
