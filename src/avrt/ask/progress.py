"""How far the calls of one role are."""

from __future__ import annotations

import threading
import time
from collections import Counter

from avrt.ask.forecast import Forecast
from avrt.runs import Ticker, format_duration, say
from avrt.types import Completion

__all__ = ["Progress"]

_N_FORECAST = 50
"""Finished samples after which the whole is forecast."""


class Progress:
    """Counts drafts and calls and says them; silent as long as no call is made."""

    def __init__(self, title: str, n_drafts: int, kept: str = "kept", n_later: int = 0) -> None:
        """`kept`: what replies are called that can be kept; `n_later`: drafts that follow these.

        Without a title nothing is said.
        """
        self._title, self._n_drafts, self._kept, self._n_later = title, n_drafts, kept, n_later
        self._n_done = self._n_called = self._n_calls = self._n_tokens = self._n_in_flight = 0
        self._n_reused: int | None = None
        self._n_kept: int | None = None
        self._failures: Counter[str] = Counter()
        self._samples: set[str] | None = set()
        self._pace = Forecast()
        self._started_s = time.monotonic()
        self._ticker: Ticker | None = None
        self._lock = threading.RLock()  # the ticker's thread reads while calls come back

    def settle(self, n: int = 1) -> None:
        """Count `n` drafts that are done without a call of their own."""
        with self._lock:
            self._n_done += n

    def reuse(self, n: int) -> None:
        """Count `n` replies that were taken from another run's ledger."""
        with self._lock:
            self._n_reused = (self._n_reused or 0) + n

    def start(self) -> None:
        """Count a call that is made."""
        with self._lock:
            self._n_in_flight += 1
            if self._ticker is None and self._title:
                self._started_s = time.monotonic()  # looking up known calls took no time
                self._ticker = Ticker(self._line, always=True)

    def stop(self) -> None:
        """Count a call that will not come back, and is made again."""
        with self._lock:
            self._n_in_flight -= 1

    def finish(
        self, completion: Completion, sample_ids: list[str], kept: list[bool] | None = None
    ) -> None:
        """Count a call that came back, for drafts about these samples.

        `kept` says for which of the drafts the reply can be kept.
        """
        with self._lock:
            self._n_in_flight -= 1
            self._n_calls += 1
            self._n_done += len(sample_ids)
            self._n_called += len(sample_ids)
            self._pace.finish(len(sample_ids))
            self._n_tokens += completion.n_prompt_tokens + completion.n_completion_tokens
            if kept is not None:
                self._n_kept = (self._n_kept or 0) + sum(kept)
            if completion.finish_reason == "error":
                self._failures[completion.error_class or "unknown"] += 1
            if self._samples is not None:
                self._samples.update(sample_ids)
                if len(self._samples) >= _N_FORECAST:
                    self._samples = None
                    self._forecast()

    def close(self) -> None:
        """Say the last line."""
        if self._ticker is not None:
            self._ticker.close()

    def _line(self) -> str:
        with self._lock:
            elapsed_s = max(time.monotonic() - self._started_s, 1e-3)
            parts = [f"{self._title}: {self._n_done:,}/{self._n_drafts:,}"]
            if self._n_reused is not None:
                parts.append(f"{self._n_reused:,} of another run")
            if self._n_kept is not None:
                parts.append(f"{self._n_kept / self._n_called:.0%} {self._kept}")
            parts += [
                f"{self._n_calls / elapsed_s:.1f} calls/s",
                f"{self._n_tokens / elapsed_s:,.0f} tokens/s",
                f"{self._n_in_flight} in flight",
                *(f"{n:,} {name}" for name, n in self._failures.most_common()),
            ]
            if left := self._left():
                parts.append(left)
            return ", ".join(parts)

    def _left(self) -> str:
        """The time that is left, also for what follows, once it can be told."""
        n_left = self._n_drafts - self._n_done
        range_s = self._pace.remaining_s(n_left)
        if n_left <= 0 or range_s is None:
            return ""
        text = f"{_range(*range_s)} left"
        if self._n_later:
            least_s, most_s = (time_s * (1 + self._n_later / n_left) for time_s in range_s)
            text += f", {_range(least_s, most_s)} with the {self._n_later:,} that follow"
        return text

    def _forecast(self) -> None:
        """Once: all calls and tokens, from those so far; and the time, where it can be told."""
        n_left = self._n_drafts - self._n_done
        if not n_left or not self._title:
            return
        n_calls = self._n_calls + round(self._n_calls / self._n_called * n_left)
        n_tokens = round(self._n_tokens / self._n_calls * n_calls)
        left = self._left()
        say(
            f"{self._title}: forecast from the first {_N_FORECAST} samples: {n_calls:,} calls, "
            f"{n_tokens:,} tokens{f', {left}' if left else ''}"
        )


def _range(least_s: float, most_s: float) -> str:
    most = format_duration(most_s)
    return most if most_s < 1.1 * least_s else f"{format_duration(least_s)} to {most}"
