"""The workers of a stage, as the driver sees them: give pieces, get messages, bury the dead.

Each worker holds a bounded number of pieces, so that memory is flat here and there. One that dies
gives its pieces back, to be given to others; new ones start as long as the cluster has room, so a
node that joins late is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.config.cluster import RayConfig
from avrt.errors import ConfigError, EngineError
from avrt.runs import say
from avrt.scale.cluster import capacity, code_version, connect, describe_nodes
from avrt.scale.worker import Broken, MakeServer, Place, Worker

__all__ = ["Died", "Hand", "Workers"]

_GROW_S = 1.0
"""Seconds between two looks at the room that the cluster has."""
_MOST_DEATHS = 8
"""Workers that die in a row, without a message from any: their work cannot be done."""


@dataclass(eq=False)
class Hand:
    """One worker."""

    actor: Any
    name: str
    id: str
    """Ray's name of the actor."""
    is_ready: bool = False
    weight: int = 0
    """Of the pieces that it holds."""
    outbox: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Died:
    """A worker is gone; so are the pieces that it held."""

    reason: str


class Workers:
    """Workers on a cluster that all do the same kind of work.

    Raises:
        ConfigError: as `connect`.
    """

    def __init__(
        self,
        settings: RayConfig,
        make: MakeServer,
        n_gpus: float = 0.0,
        environment: Mapping[str, str] = {},
    ) -> None:
        """`make` builds in each worker what does the work; `environment`: secrets that it needs."""
        self._ray = connect(settings)
        self._settings, self._n_gpus = settings, n_gpus
        self._arguments = make, Place(str(Path.cwd()), environment)
        self._actor = self._ray.remote(
            num_cpus=settings.cpus_per_worker,
            num_gpus=n_gpus,
            max_concurrency=4,
            max_restarts=0,  # a new one takes the place of a dead one, and knows nothing of it
            scheduling_strategy="SPREAD",
        )(Worker)
        self._version = code_version()
        say(f"starting workers on {describe_nodes(self._ray)}")
        self._hands: dict[Any, Hand] = {}
        """By the messages that each is asked for; at first, its version."""
        self._n_started = self._n_dead_in_row = 0
        self._started_s = time.monotonic()
        self._looked_s = -_GROW_S

    @property
    def n_ready(self) -> int:
        """Workers that are at work."""
        return sum(hand.is_ready for hand in self._hands.values())

    def with_room(self, most: int) -> Hand | None:
        """The worker that holds the least, when that is less than `most`; None: none has room."""
        ready = [hand for hand in self._hands.values() if hand.is_ready]
        hand = min(ready, key=lambda hand: hand.weight, default=None)
        return hand if hand is not None and hand.weight < most else None

    def give(self, hand: Hand, piece: Any, weight: int = 0) -> None:
        """Give a worker a piece, with the next `messages`; the caller takes the weight off."""
        hand.outbox.append(piece)
        hand.weight += weight

    def messages(self) -> Iterator[tuple[Hand, Any]]:
        """What the workers say, or `Died`; waits a little when there is nothing.

        Raises:
            EngineError: no worker starts, or all die.
            ConfigError: a node has other code than this process.
            Exception: a worker cannot work at all.
        """
        self._grow()
        for hand in self._hands.values():
            if hand.outbox:
                hand.actor.take.remote(hand.outbox)
                hand.outbox = []
        refs = list(self._hands)
        found, _ = self._ray.wait(refs, num_returns=1, timeout=_GROW_S)
        if found:  # and all others that are there by now
            found, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in found:
            yield from self._collect(ref)

    def close(self) -> None:
        """End all workers."""
        for hand in self._hands.values():
            self._ray.kill(hand.actor)
        self._hands.clear()

    def _collect(self, ref: Any) -> Iterator[tuple[Hand, Any]]:
        hand = self._hands.pop(ref)
        try:
            messages = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            yield hand, self._bury(hand, error)
            return
        if not hand.is_ready:
            self._check_version(hand, messages)
            hand.is_ready, messages = True, []
        self._hands[hand.actor.collect.remote()] = hand
        for message in messages:
            if isinstance(message, Broken):
                message.error.add_note(message.traceback)
                raise message.error
            self._n_dead_in_row = 0
            yield hand, message

    def _grow(self) -> None:
        """Start the workers that the cluster has room for."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _GROW_S:
            return
        self._looked_s = now_s
        if not self.n_ready and now_s - self._started_s > self._settings.start_s:
            raise EngineError(self._no_worker())
        room = capacity(self._ray, self._settings.cpus_per_worker, self._n_gpus)
        # One waits for room, by which a cluster that can grow knows that it should.
        wanted = self._settings.workers or max(1, room)
        for _ in range(wanted - len(self._hands)):
            self._start()

    def _start(self) -> None:
        self._n_started += 1
        name = f"worker {self._n_started}"
        actor = self._actor.remote(*self._arguments)
        hand = Hand(actor, name, actor._actor_id.hex())
        self._hands[actor.version.remote()] = hand

    def _bury(self, hand: Hand, error: Exception) -> Died:
        self._n_dead_in_row += 1
        self._looked_s = -_GROW_S
        if not self.n_ready:
            self._started_s = time.monotonic()
        reason = " ".join(str(error).split("\n\n")[0].split())[:300]
        if self._n_dead_in_row >= _MOST_DEATHS:
            raise EngineError(
                f"{self._n_dead_in_row} workers died in a row, the last as: {reason}; the logs of "
                "the cluster say more (`ray logs`); all replies are stored"
            )
        if hand.is_ready:
            say(f"{hand.name} died, and its questions go to others: {reason}")
        return Died(reason)

    def _check_version(self, hand: Hand, version: str) -> None:
        if version != self._version:
            raise ConfigError(
                f"{hand.name} has {version}, and this process {self._version}; install the same "
                "on all nodes of the cluster"
            )

    def _no_worker(self) -> str:
        return (
            f"no worker started within ray.start_s = {self._settings.start_s:g} s: each takes "
            f"{self._settings.cpus_per_worker} CPUs and {self._n_gpus:g} GPUs, and the cluster has "
            f"{describe_nodes(self._ray)}; lower ray.cpus_per_worker or ray.gpus_per_worker, or "
            f"wait until others are done (process {os.getpid()} asked)"
        )
