"""The lines that say how far a work is come in time, wherever they go, and stop nothing."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from avrt.runs import Ticker, format_duration, progress, say, track


class Screen(io.StringIO):
    """A stderr that tells when a number of lines, or writes to one line, have come."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal
        self.n_written = 0
        self.changed = threading.Condition()

    def isatty(self) -> bool:
        return self.is_terminal

    def flush(self) -> None:
        with self.changed:
            self.n_written += 1
            self.changed.notify_all()

    def wait_for(self, n: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.n_written >= n, timeout=60)


@pytest.fixture
def screen(monkeypatch):
    def make(is_terminal: bool = False) -> Screen:
        screen = Screen(is_terminal)
        monkeypatch.setattr("sys.stderr", screen)
        for name in ("_LIVE_S", "_FIRST_S", "_PLAIN_S"):
            monkeypatch.setattr(progress, name, 0.01)
        return screen

    return make


def test_a_slow_step_is_no_silence(screen):
    shown = screen()

    def slowly() -> Iterator[int]:
        shown.wait_for(2)  # nothing is finished yet
        yield 1
        shown.wait_for(shown.n_written + 2)
        yield 2

    assert list(track(slowly(), "hash", "files", 2)) == [1, 2]
    lines = shown.getvalue().splitlines()
    assert lines[:2] == ["hash: 0/2 files, 0/s"] * 2
    middle = next(line for line in lines if line.startswith("hash: 1/2 files, "))
    assert re.search(r", [\d.e+-]+/s, \d+ s left$", middle)
    assert lines[-1].startswith("hash: 2/2 files, ")
    assert "left" not in lines[-1]
    assert "\x1b" not in shown.getvalue()
    assert "\r" not in shown.getvalue()


def test_what_was_done_before_counts_but_not_in_the_rate(screen):
    shown = screen()

    def items() -> Iterator[int]:
        shown.wait_for(1)
        yield 1

    assert list(track(items(), "probe", "files", 10, n_done=8)) == [1]
    assert shown.getvalue().startswith("probe: 8/10 files, 0/s\n")


def test_a_work_without_a_known_end_is_counted(screen):
    shown = screen()

    def items() -> Iterator[int]:
        shown.wait_for(1)
        yield 1

    assert list(track(items(), "read", "rows")) == [1]
    assert shown.getvalue().startswith("read: 0 rows, 0/s\n")


def test_a_short_work_says_nothing(screen, monkeypatch):
    shown = screen()
    monkeypatch.setattr(progress, "_FIRST_S", 60.0)
    assert list(track([1, 2, 3], "hash", "files")) == [1, 2, 3]
    assert shown.getvalue() == ""


def test_a_terminal_gets_one_line_that_is_written_again(screen, monkeypatch):
    shown = screen(is_terminal=True)
    monkeypatch.setenv("COLUMNS", "20")

    def items() -> Iterator[int]:
        shown.wait_for(3)
        yield 1

    assert list(track(items(), "a long title " * 9, "files")) == [1]
    first, *_, last = shown.getvalue().split("\r")[1:]
    assert first == "a long title a long\x1b[K"
    assert last.endswith("\x1b[K\n")
    assert shown.getvalue().count("\n") == 1


def test_an_error_ends_the_lines(screen):
    shown = screen()
    before = threading.active_count()

    def fail() -> None:
        for _ in track([1], "hash", "files"):
            shown.wait_for(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert threading.active_count() == before


def test_a_stderr_that_is_gone_stops_no_work(screen):
    shown = screen()
    shown.close()
    with closing(Ticker(lambda: "line", always=True)):
        pass


@pytest.mark.parametrize("rank", ["1", "3"])
def test_only_the_main_process_of_a_launch_says_lines(screen, monkeypatch, rank):
    shown = screen()
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "4")
    say("line")
    assert shown.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (61, "1 min 1 s"), (4800, "1 h 20 min"), (400_000, "4 d 15 h")],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
