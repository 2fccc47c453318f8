"""One limit for each server of a model, across all workers that ask it.

The limits of `limiter.py` live in an actor beside the driver; workers take a slot there before a
call and report its result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from avrt.config import EngineConfig, RayConfig
from avrt.config.engine import chat_url
from avrt.engines.limiter import Replica, Replicas, Report, Servers, Slot, Standing
from avrt.scale.cluster import connect

__all__ = ["Limits", "share_limits"]

MOST_WAITING = 100_000
"""Calls of all workers that may wait for a slot at the same time."""


@dataclass(frozen=True)
class Limits:
    """The limits of a model's servers, for its workers."""

    actor: Any

    def open_servers(self, urls: Sequence[str], most: int, timeout_s: float) -> Servers:
        """The servers as a worker sees them; `OpenServers` of `engines.openai`."""
        return _Distant(self.actor, [Replica(url, most, timeout_s) for url in urls])

    def forget(self, holder: str) -> None:
        """Free the slots of a worker that died, by Ray's name of its actor."""
        self.actor.forget.remote(holder)


@contextmanager
def share_limits(cluster: RayConfig, engine: EngineConfig) -> Iterator[Limits | None]:
    """The limits of the engine's servers, as long as the block lasts; None: it asks no server."""
    if engine.kind != "openai":
        yield None
        return
    ray = connect(cluster)
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=True
    )
    urls = [chat_url(url) for url in engine.base_urls]
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": here,
        # Every call that waits for a slot is one; Ray's 1,000 could keep out those that free slots.
        "max_concurrency": MOST_WAITING,
    }
    actor = ray.remote(**options)(_Shared).remote(urls, engine.concurrency, engine.timeout_s)
    try:
        yield Limits(actor)
    finally:
        ray.kill(actor)


class _Shared:
    """An actor: the limits themselves."""

    def __init__(self, urls: Sequence[str], most: int, timeout_s: float) -> None:
        self._replicas = Replicas(urls, most, timeout_s)
        self._taken: dict[str, Counter[int]] = {}
        """Slots at each server that each worker has."""
        self._gone: set[str] = set()

    async def take(self, holder: str) -> tuple[int, Slot]:
        replica, slot = await self._replicas.take()
        number = self._replicas.all.index(replica)
        if holder in self._gone:  # it died while it waited
            self._replicas.give_back(replica)
        else:
            self._taken.setdefault(holder, Counter())[number] += 1
        return number, slot

    async def report(self, number: int, slot: Slot, report: Report) -> Standing:
        return await self._replicas.report(self._replicas.all[number], slot, report)

    async def give_back(self, holder: str, number: int) -> None:
        taken = self._taken.get(holder, Counter())
        if taken[number]:  # else of a time before this actor was started again
            taken[number] -= 1
            self._replicas.give_back(self._replicas.all[number])

    async def forget(self, holder: str) -> None:
        """Give back the slots of a worker that died."""
        self._gone.add(holder)
        for number, n in self._taken.pop(holder, Counter()).items():
            for _ in range(n):
                self._replicas.give_back(self._replicas.all[number])


class _Distant:
    """The servers as a worker sees them."""

    def __init__(self, actor: Any, replicas: Sequence[Replica]) -> None:
        import ray

        self._actor, self._replicas = actor, replicas
        self._holder = ray.get_runtime_context().get_actor_id()

    async def take(self) -> tuple[Replica, Slot]:
        """See `Servers.take`."""
        number, slot = await self._actor.take.remote(self._holder)
        return self._replicas[number], slot

    async def report(self, replica: Replica, slot: Slot, report: Report) -> Standing:
        """See `Servers.report`."""
        return await self._actor.report.remote(self._replicas.index(replica), slot, report)

    def give_back(self, replica: Replica) -> None:
        """See `Servers.give_back`."""
        self._actor.give_back.remote(self._holder, self._replicas.index(replica))
