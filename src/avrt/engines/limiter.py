"""How many calls the servers of one model are given at once, and which server gets the next.

Nobody tells a client what a server can take, and it changes. So each server's limit doubles with
every round trip until the server refuses a call; then the limit is what is in flight besides. When
calls are refused again before any was taken, the server takes far less than it did, and the limit
is halved, once for all calls that were under way together, and doubles again from there. Now and
then one call more is tried; when that is taken, the limit doubles again. A server that refuses a
single call twice, or that nobody answers for, is left alone for a while.

The decision to question: a refusal is a 429, or a 503 with Retry-After. Other failures happen to
good servers too: the limit is halved only when more than a fifth of the latest calls fail.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Limit", "Replica", "Replicas", "Slot", "wait_before_retry_s"]

_FIRST_WAIT_S = 0.5
"""Wait after the first failure; it doubles with every further one."""
_LONGEST_WAIT_S = 60.0
_START = 8
_LEAST_BEFORE_TRY = 100
_ROUNDS_BEFORE_TRY = 16
"""Good replies, and round trips, between two tries of one more: one call in a hundred is refused
for it at most.
"""
_FAULTS_THAT_COUNT = 0.2
_FAULT_MEMORY = 64
"""Calls over which the share of faults is averaged."""
_LATENCY_MEMORY = 16


@dataclass(frozen=True)
class Slot:
    """The place of one call among those at a server."""

    number: int
    """How many calls the server was given before."""
    level: int
    """Calls in flight, this one included, when it started."""


class Limit:
    """The most calls that one server is given at once.

    Grows no more once replies take half of `timeout_s`: more calls would only wait longer.
    """

    def __init__(self, most: int, timeout_s: float) -> None:
        self.now = min(_START, most)
        self.in_flight = 0
        self.cuts_in_row = 0
        """Since a call that began after one was taken."""
        self._most, self._timeout_s = most, timeout_s
        self._ceiling = most
        """What `now` may grow to; it is above only while one more is tried."""
        self._n_started = 0
        self._n_at_cut = 0
        """Calls that began before the latest cut: what becomes of them says nothing new."""
        self._n_good_at_ceiling = 0
        self._fault_share = 0.0
        self._latency_s = 0.0

    def start(self) -> Slot:
        """Count one more call in flight."""
        self.in_flight += 1
        self._n_started += 1
        return Slot(self._n_started - 1, self.in_flight)

    def finish(self) -> None:
        """One call less is in flight; say before how it went."""
        self.in_flight -= 1

    def succeed(self, slot: Slot, latency_s: float) -> None:
        """A reply came, of whatever status, that says nothing against the server."""
        self._fault_share -= self._fault_share / _FAULT_MEMORY
        self._latency_s += (latency_s - self._latency_s) / _LATENCY_MEMORY
        if slot.number < self._n_at_cut:
            return
        self.cuts_in_row = 0
        is_full = self.in_flight >= self.now  # else it is not the limit that holds calls back
        if not is_full or self._latency_s > self._timeout_s / 2:
            return
        if self.now > self._ceiling:
            if slot.level > self._ceiling:
                self._ceiling = self._most
        elif self.now < self._ceiling:
            self.now += 1
        elif self._ceiling < self._most:
            self._n_good_at_ceiling += 1
            if self._n_good_at_ceiling >= max(_LEAST_BEFORE_TRY, _ROUNDS_BEFORE_TRY * self.now):
                self._n_good_at_ceiling = 0
                self.now += 1

    def refuse(self, slot: Slot) -> bool:
        """The server takes no more; False when that is known already."""
        is_new = slot.number >= self._n_at_cut
        n_others = max(1, self.in_flight - 1)
        self._ceiling = min(self._ceiling, n_others)
        self.now = min(self.now, n_others)
        if is_new:
            if self.cuts_in_row > 0:
                self.now = max(1, min(self.now, slot.level // 2))
            self._note_cut()
        return is_new

    def fail(self, slot: Slot) -> bool:
        """A fault; True when there were so many lately that the limit is halved."""
        self._fault_share += (1 - self._fault_share) / _FAULT_MEMORY
        if slot.number < self._n_at_cut:
            return False
        if slot.level > self._ceiling:
            self.now = self._ceiling
        if self._fault_share <= _FAULTS_THAT_COUNT:
            return False
        self._fault_share /= 2
        self.now = self._ceiling = max(1, slot.level // 2)
        self._note_cut()
        return True

    def stop(self, slot: Slot) -> bool:
        """Nobody answers: go on with a single call; False when that is known already."""
        if slot.number < self._n_at_cut:
            return False
        self.now = 1
        self._note_cut()
        return True

    def _note_cut(self) -> None:
        self.cuts_in_row += 1
        self._n_at_cut = self._n_started
        self._n_good_at_ceiling = 0


class Replica:
    """One server, its limit, and what is known about it."""

    def __init__(self, url: str, most: int, timeout_s: float) -> None:
        self.url = url
        self.limit = Limit(most, timeout_s)
        self.down = False
        """Nobody answered the latest call."""
        self.media_lock = asyncio.Lock()
        """Held by whoever finds out whether media reach the model."""
        self.rest_until = 0.0
        """Loop time before which it gets no call."""


class Replicas:
    """The servers of one model: the next call goes to the one with the fewest."""

    def __init__(self, urls: Sequence[str], most: int, timeout_s: float) -> None:
        self.all = [Replica(url, most, timeout_s) for url in urls]
        self._waiting: deque[asyncio.Future[tuple[Replica, Slot]]] = deque()

    @property
    def all_down(self) -> bool:
        """Nobody answered the latest call to any of the servers."""
        return all(replica.down for replica in self.all)

    async def take(self) -> tuple[Replica, Slot]:
        """A place for one call; waits, first come, first served, until there is one."""
        turn: asyncio.Future[tuple[Replica, Slot]] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._serve()
        return await turn

    def give_back(self, replica: Replica) -> None:
        """The call is over, and the replica's limit knows how it went."""
        replica.limit.finish()
        self._serve()

    def rest(self, replica: Replica, at_least_s: float = 0.0) -> None:
        """Leave a server alone, twice as long every time until it answers."""
        loop = asyncio.get_running_loop()
        wait_s = max(at_least_s, wait_before_retry_s(replica.limit.cuts_in_row))
        replica.rest_until = loop.time() + wait_s
        # Timers run a little early.
        loop.call_later(wait_s + 0.01, self._serve)

    def _serve(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._waiting:
            free = [
                one
                for one in self.all
                if one.limit.in_flight < one.limit.now and one.rest_until <= now_s
            ]
            if not free:
                return
            replica = min(free, key=lambda one: one.limit.in_flight)
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result((replica, replica.limit.start()))


def wait_before_retry_s(n_failures: int) -> float:
    """A wait that doubles with every failure in a row and differs from call to call."""
    return min(_FIRST_WAIT_S * 2 ** (n_failures - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1.5)
