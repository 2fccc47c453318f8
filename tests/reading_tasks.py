"""Readers for tests/ask/test_payloads.py that worker processes run: they misbehave on clip1."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avrt.ask.payloads import Source, read_sources
from avrt.errors import MediaError


def hang(sources: Sequence[Source], **settings: Any) -> object:
    """Never come back from clip1."""
    _note("hang", sources)
    if sources[0].name.startswith("videos/clip1"):
        time.sleep(600)
    return read_sources(sources, **settings)


def crash(sources: Sequence[Source], **settings: Any) -> object:
    """Die of clip1."""
    if sources[0].name.startswith("videos/clip1"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return read_sources(sources, **settings)


def fail(sources: Sequence[Source], **settings: Any) -> object:
    """Fail over clip1 as AVRT_TEST_HOW says, with nothing wrong about the file."""
    if sources[0].name.startswith("videos/clip1"):
        how = os.environ["AVRT_TEST_HOW"]
        _note(how, sources)
        if how in ("killed", "terminated"):
            os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGTERM)
        return {source.kind: MediaError(how, source.name, "not now") for source in sources}
    return read_sources(sources, **settings)


def fail_once(sources: Sequence[Source], **settings: Any) -> object:
    """As `fail`, but not when any process did so before."""
    if Path(os.environ["AVRT_TEST_LOG"]).exists():
        return read_sources(sources, **settings)
    return fail(sources, **settings)


def count(sources: Sequence[Source], **settings: Any) -> object:
    """Leave a line for every file that is read."""
    _note("read", sources)
    return read_sources(sources, **settings)


def _note(event: str, sources: Sequence[Source]) -> None:
    with Path(os.environ["AVRT_TEST_LOG"]).open("a") as log:
        for source in sources:
            log.write(f"{event} {source.kind} {source.path.name} {os.getpid()}\n")
