"""How far a work is: one live line on a terminal, else plain lines now and then."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import TypeVar

from avrt.ranks import is_main
from avrt.texts import printable

__all__ = ["Ticker", "format_duration", "quiet_s", "say", "track"]

T = TypeVar("T")
_LIVE_S, _FIRST_S, _PLAIN_S = 0.2, 5.0, 20.0
"""Seconds between two lines on a terminal; elsewhere until the first and between two."""
_said_s = time.monotonic()
"""When the last line about the work was written."""


def _is_terminal() -> bool:
    with suppress(AttributeError, ValueError):  # a stderr that is not there, or closed
        return sys.stderr.isatty()
    return False


def say(line: str, end: str = "\n") -> None:
    """Write a line about the work to stderr, over a line that is still changing on a terminal.

    Of a launch, the main process does; none does when the log level is `error`. A stderr that is
    gone stops no work.
    """
    global _said_s
    if not is_main() or os.environ.get("AVRT_LOG") == "error":
        return
    _said_s = time.monotonic()
    start, clear = ("\r", "\x1b[K") if _is_terminal() else ("", "")
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"{start}{printable(line)}{clear}{end}")
        sys.stderr.flush()


def quiet_s() -> float:
    """Seconds since the last line about the work."""
    return time.monotonic() - _said_s


class Ticker:
    """Says how far a work is until it is closed: a line that changes on a terminal; elsewhere plain
    lines, the first after a few seconds.

    A thread writes them, so that a slow step is no silence. A work that is done before the first
    line needs none.
    """

    def __init__(self, line: Callable[[], str], always: bool = False) -> None:
        """`always` writes the last line in any case."""
        self._line, self._is_shown = line, always
        self._is_live = _is_terminal()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        wait_s = _LIVE_S if self._is_live else _FIRST_S
        while not self._is_over.wait(wait_s):
            self._is_shown = True
            if self._is_live:
                say(self._line()[: shutil.get_terminal_size().columns - 1], end="")
            else:
                say(self._line())
                wait_s = _PLAIN_S

    def close(self) -> None:
        """Write the last line."""
        self._is_over.set()
        self._thread.join()
        if self._is_shown:
            say(self._line())


def track(
    items: Iterable[T], title: str, unit: str, total: int | None = None, n_done: int = 0
) -> Iterator[T]:
    """Yield the items and say how many are done, how fast, and how long the rest takes.

    `total` (default: the length of `items`, if it has one) counts the `n_done` of before as well.
    """
    if total is None and isinstance(items, Sequence):
        total = len(items)
    n_now, started_s = 0, time.monotonic()

    def line() -> str:
        elapsed_s = max(time.monotonic() - started_s, 1e-3)
        n_all = n_done + n_now
        of = "" if total is None else f"/{total:,}"
        parts = [f"{title}: {n_all:,}{of} {unit}", f"{n_now / elapsed_s:.3g}/s"]
        if total is not None and n_now and n_all < total:
            parts.append(f"{format_duration(elapsed_s / n_now * (total - n_all))} left")
        return ", ".join(parts)

    with closing(Ticker(line)):
        for item in items:
            yield item
            n_now += 1


def format_duration(seconds: float) -> str:
    """Two units at most, such as `1 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
