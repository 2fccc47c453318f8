"""When work will be done, from the pace of its latest half: starting up and warming up are in no
later half, so a forecast gets better as the work goes on.

The decision to question: no forecast before the paces of the last two quarters are alike. A wrong
number of minutes is worth less than none.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable

__all__ = ["Forecast"]

MIN_DONE = 20
"""Least work in each of the last two quarters."""
MIN_S = 10.0
"""Least time since the first result."""
MAX_RATIO = 1.5
"""Most that the paces of the last two quarters may differ by."""
MAX_POINTS = 512


class Forecast:
    """The pace of work that is finished piece by piece."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: list[float] = []
        self._done: list[int] = []
        """How much was done at each time, the first result being the start."""

    def finish(self, n: int) -> None:
        """Count `n` pieces that were finished now."""
        self._times.append(self._clock())
        self._done.append((self._done[-1] if self._done else 0) + n)
        if len(self._times) > MAX_POINTS:  # every other point is enough
            self._times, self._done = self._times[::2], self._done[::2]

    def remaining_s(self, n_left: int) -> tuple[float, float] | None:
        """The least and the most seconds that `n_left` pieces take; None: too early to say."""
        if not self._times or self._clock() - self._times[0] < MIN_S:
            return None
        now, first = self._clock(), self._times[0]
        quarter = (now - first) / 4
        at = [self._done_at(now - part * quarter) for part in (2, 1, 0)]
        paces = [(at[1] - at[0]) / quarter, (at[2] - at[1]) / quarter]
        if min(at[1] - at[0], at[2] - at[1]) < MIN_DONE or max(paces) > MAX_RATIO * min(paces):
            return None
        return n_left / max(paces), n_left / min(paces)

    def _done_at(self, moment: float) -> float:
        """How much was done at a moment, between the points by the straight line."""
        place = bisect_left(self._times, moment)
        if place == len(self._times):
            return self._done[-1]
        if place == 0:
            return self._done[0]
        (t0, t1), (d0, d1) = self._times[place - 1 : place + 1], self._done[place - 1 : place + 1]
        return d1 if t1 == t0 else d0 + (d1 - d0) * (moment - t0) / (t1 - t0)
