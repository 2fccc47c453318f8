"""Run a function over many files on the nodes of a cluster; as `media.processes.map_files` here."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from avrt.config.cluster import RayConfig
from avrt.errors import MediaError
from avrt.media.processes import Pool, may_pass, named
from avrt.scale.worker import Emit, broken
from avrt.scale.workers import Died, Hand, Workers

__all__ = ["map_files_on"]

Item = TypeVar("Item")
Output = TypeVar("Output")

_HELD_PER_CPU = 8
_MOST_TRIES = 2
"""Tries of a file whose failure may pass."""
_MOST_DEATHS = 3
"""Workers that may die over a file."""


@dataclass
class _Job:
    """A file on its way."""

    item: Any
    n_tries: int = 1
    n_deaths: int = 0
    hand: Hand | None = None


def map_files_on(
    cluster: RayConfig,
    function: Callable[[Item], Output],
    items: Iterable[Item],
    *,
    timeout_s: float,
    path_of: Callable[[Item], str] = str,
) -> Generator[tuple[Item, Output | MediaError]]:
    """Yield every item with what `function` returns for it or the MediaError it raises, in any
    order; see `map_files`.

    Raises:
        ConfigError: there is no such cluster, or a node has other code.
        EngineError: no worker starts.
    """
    source, again = iter(items), deque[_Job]()
    jobs: dict[int, _Job] = {}
    numbers = itertools.count()
    n_cpus = cluster.cpus_per_worker
    first = next(source, None)
    if first is None:
        return
    source = itertools.chain([first], source)
    workers = Workers(cluster, partial(_Files, function, timeout_s, n_cpus))
    try:
        while True:
            while (hand := workers.with_room(_HELD_PER_CPU * n_cpus)) is not None:
                job = again.popleft() if again else next(map(_Job, source), None)
                if job is None:
                    break
                job.hand, number = hand, next(numbers)
                jobs[number] = job
                workers.give(hand, (number, job.item, job.n_tries > 1), 1)
            if not jobs and workers.n_ready and not again:
                return
            for hand, message in workers.messages():
                for number, result in _results(jobs, hand, message):
                    job = jobs.pop(number)
                    hand.weight -= 1
                    if isinstance(message, Died) and job.n_deaths < _MOST_DEATHS:
                        again.append(job)
                    elif may_pass(result) and job.n_tries < _MOST_TRIES:
                        job.n_tries += 1
                        again.append(job)
                    else:
                        yield job.item, named(result, job.item, path_of)
    finally:
        workers.close()


def _results(jobs: dict[int, _Job], hand: Hand, message: Any) -> list[tuple[int, Any]]:
    """The numbers and results in a message; those of a dead worker are failures."""
    if not isinstance(message, Died):
        return [message]
    lost = [number for number, job in jobs.items() if job.hand is hand]
    for number in lost:
        jobs[number].n_deaths += 1
    return [(number, MediaError("killed", "", message.reason)) for number in lost]


class _Files:
    """What a worker does: see `scale.worker.Server`."""

    def __init__(
        self, function: Callable[[Any], Any], timeout_s: float, n_processes: int, emit: Emit
    ) -> None:
        self._emit, self._pool = emit, Pool(function, timeout_s, n_processes)

    def take(self, piece: tuple[int, Any, bool]) -> None:
        number, item, anew = piece
        future = self._pool.submit(item, anew)
        future.add_done_callback(partial(self._note, number))

    def _note(self, number: int, future: Future[Any]) -> None:
        try:
            self._emit((number, future.result()))
        except Exception as error:  # noqa: BLE001 (the driver raises it)
            self._emit(broken(error))
