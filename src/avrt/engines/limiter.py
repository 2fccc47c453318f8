"""Limit the calls in flight at each server of a model, and choose the server of the next call.

No server publishes its capacity, and it changes. So each server's limit doubles with every round
trip until the server refuses a call; then the limit is the number of other calls in flight. When
calls are refused again before any call was accepted, the capacity has fallen far, and the limit is
halved, once for all calls that were in flight together, and doubles again from there. At intervals
the limit tries another call; when the server accepts it, the limit doubles again. A server that
refuses a single call twice, or that does not answer, gets no call for a while.

The decision to question: a refusal is a 429, or a 503 with Retry-After. Other failures happen to
good servers too: the limit is halved only when more than a fifth of the latest calls fail.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "Limit",
    "Replica",
    "Replicas",
    "Report",
    "Servers",
    "Slot",
    "Standing",
    "wait_before_retry_s",
]

_FIRST_WAIT_S = 0.5
"""Wait after the first failure; it doubles with every further failure."""
_LONGEST_WAIT_S = 60.0
_START = 8
_LEAST_BEFORE_TRY = 100
_ROUNDS_BEFORE_TRY = 16
"""Good replies, and round trips, between two attempts to raise the limit by one; they cost at most
one refused call in a hundred.
"""
_FAULTS_THAT_COUNT = 0.2
_FAULT_MEMORY = 64
"""Calls over which the share of faults is averaged."""
_LATENCY_MEMORY = 16


@dataclass(frozen=True)
class Slot:
    """The position of a call among those at a server."""

    number: int
    """Number of calls that the server got before."""
    level: int
    """Calls in flight, this one included, when it started."""


class Limit:
    """The largest number of calls that a server gets at once.

    It stops growing when replies take half of `timeout_s`: more calls would only wait longer.
    """

    def __init__(self, most: int, timeout_s: float) -> None:
        self.now = min(_START, most)
        self.in_flight = 0
        self.cuts_in_row = 0
        """Cuts in a row, without an accepted call between them."""
        self._most, self._timeout_s = most, timeout_s
        self._ceiling = most
        """The bound of `now`, which exceeds it only while it tries another call."""
        self._n_started = 0
        self._n_at_cut = 0
        """Calls that began before the latest cut; their results are no news."""
        self._n_good_at_ceiling = 0
        self._fault_share = 0.0
        self._latency_s = 0.0

    def start(self) -> Slot:
        """Count one more call in flight."""
        self.in_flight += 1
        self._n_started += 1
        return Slot(self._n_started - 1, self.in_flight)

    def finish(self) -> None:
        """Count one call less in flight; report its result before."""
        self.in_flight -= 1

    def succeed(self, slot: Slot, latency_s: float) -> None:
        """Report a reply, of any status, that does not count against the server."""
        self._fault_share -= self._fault_share / _FAULT_MEMORY
        self._latency_s += (latency_s - self._latency_s) / _LATENCY_MEMORY
        if slot.number < self._n_at_cut:
            return
        self.cuts_in_row = 0
        is_full = self.in_flight >= self.now  # else the limit does not hold calls back
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
        """Report that the server takes no more calls; False when that was known already."""
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
        """Report a fault; True when many recent calls failed, so that the limit was halved."""
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
        """Report that the server does not answer: continue with a single call; False if known."""
        if slot.number < self._n_at_cut:
            return False
        self.now = 1
        self._note_cut()
        return True

    def _note_cut(self) -> None:
        self.cuts_in_row += 1
        self._n_at_cut = self._n_started
        self._n_good_at_ceiling = 0


@dataclass(frozen=True)
class Report:
    """The result of a call, as the limit of its server counts it."""

    kind: Literal["good", "refused", "fault", "down"]
    """Any reply that does not count against the server; no more calls; a fault; no answer."""
    latency_s: float = 0.0
    wait_s: float = 0.0
    """The least wait that the server asked for."""


@dataclass(frozen=True)
class Standing:
    """The state of the servers after a report."""

    is_down: bool
    """The server did not answer this call."""
    all_down: bool
    """No server answered its latest call."""
    n_cuts: int = 0
    """Cuts in a row of a server that does not answer; 0 when this report cut nothing."""


class Replica:
    """A server, its limit and its state."""

    def __init__(self, url: str, most: int, timeout_s: float) -> None:
        self.url = url
        self.limit = Limit(most, timeout_s)
        self.down = False
        """The server did not answer the latest call."""
        self.media_lock = asyncio.Lock()
        """Held while a worker checks whether media reach the model."""
        self.rest_until = 0.0
        """Loop time before which the server gets no call."""


class Servers(Protocol):
    """The servers of a model, as those see them who send the calls."""

    async def take(self) -> tuple[Replica, Slot]:
        """Take a slot for a call; wait for a free slot, first come, first served."""
        ...

    async def report(self, replica: Replica, slot: Slot, report: Report) -> Standing:
        """Report the result of a call."""
        ...

    def give_back(self, replica: Replica) -> None:
        """End a call after its report."""
        ...


class Replicas:
    """The servers of a model; the next call goes to the server with the fewest calls."""

    def __init__(self, urls: Sequence[str], most: int, timeout_s: float) -> None:
        """`most`: calls at each server at once, and at all together."""
        self.all = [Replica(url, most, timeout_s) for url in urls]
        self._most = most
        self._waiting: deque[asyncio.Future[tuple[Replica, Slot]]] = deque()

    async def take(self) -> tuple[Replica, Slot]:
        """See `Servers.take`."""
        turn: asyncio.Future[tuple[Replica, Slot]] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._serve()
        return await turn

    async def report(self, replica: Replica, slot: Slot, report: Report) -> Standing:
        """See `Servers.report`; a server that does not recover gets no call for a while."""
        limit = replica.limit
        replica.down = report.kind == "down"
        if report.kind == "good":
            limit.succeed(slot, report.latency_s)
            return Standing(False, False)
        judge = {"refused": limit.refuse, "fault": limit.fail, "down": limit.stop}
        cut = judge[report.kind](slot)
        if cut and (replica.down or (slot.level == 1 and limit.cuts_in_row > 1)):
            self._rest(replica, report.wait_s)
        all_down = all(replica.down for replica in self.all)
        return Standing(replica.down, all_down, limit.cuts_in_row if cut else 0)

    def give_back(self, replica: Replica) -> None:
        """See `Servers.give_back`."""
        replica.limit.finish()
        self._serve()

    def _rest(self, replica: Replica, at_least_s: float) -> None:
        """Give a server no calls for a while, twice as long each time until it answers."""
        loop = asyncio.get_running_loop()
        wait_s = max(at_least_s, wait_before_retry_s(replica.limit.cuts_in_row))
        replica.rest_until = loop.time() + wait_s
        # Timers run a little early.
        loop.call_later(wait_s + 0.01, self._serve)

    def _serve(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._waiting and sum(each.limit.in_flight for each in self.all) < self._most:
            free = [
                replica
                for replica in self.all
                if replica.limit.in_flight < replica.limit.now and replica.rest_until <= now_s
            ]
            if not free:
                return
            replica = min(free, key=lambda replica: replica.limit.in_flight)
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result((replica, replica.limit.start()))


def wait_before_retry_s(n_failures: int) -> float:
    """Compute a wait that doubles with every failure in a row and differs between calls."""
    return min(_FIRST_WAIT_S * 2 ** (n_failures - 1), _LONGEST_WAIT_S) * random.uniform(0.5, 1.5)
