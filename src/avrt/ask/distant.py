"""A model that workers on a cluster ask: they read the media, this process commits the outcomes.

A worker gets drafts about one clip, reads the clip, and says what it decodes to. Only here are
calls begun, by the same rules as on one machine: known ones are not asked, equal ones once, within
the budget. The worker is told which calls to make, and sends each reply as it comes. When it dies,
its calls that were not committed are begun again with another.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from avrt.ask.drafts import Draft, sources_of
from avrt.ask.payloads import Clip, Source
from avrt.ask.reader import Asked, Piece, Read, Reader, Replied
from avrt.ask.work import Work
from avrt.config import EngineConfig, MediaConfig, ModelRole, RayConfig
from avrt.engines import Export, LazyEngine, engine_identity
from avrt.engines.shared_limits import Limits, share_limits
from avrt.errors import MediaError
from avrt.scale.workers import Died, Hand, Workers

__all__ = ["ClusterEngine", "engine_on", "role_on"]

_MOST_DRAFTS = 16
"""Drafts of a piece: those about text alone are of one clip, and are cut."""
_MOST_DEATHS = 3
"""Workers that may die over a piece before its calls count as failed."""


def engine_on(
    cluster: RayConfig | None,
    engine: EngineConfig,
    model: str,
    revision: str | None,
    media: MediaConfig,
    export: Export | None = None,
) -> LazyEngine | ClusterEngine:
    """The engine of a model, on this machine or on a cluster; no model is loaded yet.

    Raises:
        ConfigError: as `make_engine`.
    """
    if cluster is None:
        return LazyEngine(engine, model, revision, media, export)
    return ClusterEngine(cluster, engine, model, revision, media, export)


def role_on(
    cluster: RayConfig | None, role: ModelRole, media: MediaConfig
) -> LazyEngine | ClusterEngine:
    """The engine of a teacher, the merger or a judge; see `engine_on`."""
    return engine_on(cluster, role.engine, role.model, role.revision, media)


@dataclass
class _Held:
    """A piece that a worker has."""

    piece: Piece
    hand: Hand
    n_deaths: int
    """Workers that died over it."""
    begun: set[str] | None = None
    """Keys of its calls without a reply; None: its clip is not read yet."""


class ClusterEngine:
    """A model that is asked by workers on the nodes of a Ray cluster; see `DistantEngine`."""

    def __init__(
        self,
        cluster: RayConfig,
        engine: EngineConfig,
        model: str,
        revision: str | None,
        media: MediaConfig,
        export: Export | None,
    ) -> None:
        self.identity = dict(engine_identity(engine, model, revision, media))
        self._cluster, self._engine = cluster, engine
        self._settings = (engine, model, revision, media, export)

    def close(self) -> None:
        """Nothing to free: workers live only inside `ask`."""

    def ask(
        self, work: Work, groups: Iterable[list[Draft]], media: MediaConfig, payloads: Path
    ) -> None:
        """See `DistantEngine.ask`.

        Raises:
            ConfigError: there is no such cluster, or a node has other code.
            EngineError: no worker starts, or the model cannot be used at all.
        """
        n_processes = self._cluster.cpus_per_worker
        media = media.model_copy(update={"workers": min(n_processes, media.workers or n_processes)})
        with share_limits(self._cluster, self._engine) as limits:
            make = partial(Reader, self._settings, media, payloads.absolute(), limits)
            workers = Workers(
                self._cluster, make, gpus_of(self._engine, self._cluster), self._environment()
            )
            try:
                _Driver(workers, work, limits, self._held_by_each).run(_pieces_of(groups))
            finally:
                workers.close()

    def _held_by_each(self, n_workers: int) -> int:
        """Drafts that each worker holds: those that its engine has, and as many that are read."""
        kind, engine = self._engine.kind, self._engine
        if kind == "openai":
            return -(-engine.concurrency // max(1, n_workers)) + 2 * self._cluster.cpus_per_worker
        return 64 if kind == "scripted" else 2 * engine.batch_size

    def _environment(self) -> Mapping[str, str]:
        """The keys of servers, from this process's environment."""
        return {name: os.environ[name] for name in self._engine.variables if name in os.environ}


def gpus_of(engine: EngineConfig, cluster: RayConfig) -> float:
    """The GPUs that a worker takes."""
    if cluster.gpus_per_worker is not None:
        return cluster.gpus_per_worker
    in_worker = engine.kind == "vllm" or (engine.kind == "transformers" and engine.device != "cpu")
    return 1.0 if in_worker else 0.0


class _Driver:
    """Hands pieces out, and commits what comes back."""

    def __init__(
        self,
        workers: Workers,
        work: Work,
        limits: Limits | None,
        held_by_each: Callable[[int], int],
    ) -> None:
        self._workers, self._work, self._limits = workers, work, limits
        self._held_by_each = held_by_each
        self._held: dict[int, _Held] = {}
        self._again: deque[tuple[list[Draft], int]] = deque()
        """Drafts whose worker died, with the number of deaths."""
        self._numbers = itertools.count()

    def run(self, groups: Iterator[list[Draft]]) -> None:
        """Until every group is settled, or the budget is spent and nothing is under way."""
        while True:
            has_more = self._hand_out(groups)
            if not self._held and not self._again and not has_more:
                return
            for hand, message in self._workers.messages():
                self._hear(hand, message)

    def _hand_out(self, groups: Iterator[list[Draft]]) -> bool:
        """Fill the workers that have room; False when there is nothing more to hand out."""
        most = self._held_by_each(self._workers.n_ready)
        while (hand := self._workers.with_room(most)) is not None:
            if self._work.is_stopped:
                self._again.clear()
                return False
            again = self._again.popleft() if self._again else None
            group, n_deaths = again or (next(groups, None), 0)
            if group is None:
                return False
            self._give(hand, group, n_deaths)
        return True

    def _give(self, hand: Hand, group: list[Draft], n_deaths: int) -> None:
        number = next(self._numbers)
        held = _Held(Piece(number, group), hand, n_deaths)
        if not sources_of(group) and not self._begin(held, {}):
            return
        self._held[number] = held
        self._workers.give(hand, held.piece, len(group))

    def _begin(self, held: _Held, digests: Mapping[Any, Any]) -> bool:
        """Begin the calls of a piece; False when none is to be made."""
        places = {id(draft): place for place, draft in enumerate(held.piece.drafts)}
        begun = self._work.begin(held.piece.drafts, digests)
        calls = {call.key: places[id(draft)] for draft, call in begun}
        held.begun, held.piece = set(calls), replace(held.piece, calls=calls)
        return bool(calls)

    def _hear(self, hand: Hand, message: Any) -> None:
        if isinstance(message, Died):
            self._take_back(hand, message)
        elif isinstance(message, Read):
            held = self._held[message.number]
            digests = self._work.note_media(held.piece.drafts, message.digests)
            if not self._begin(held, digests):
                self._finish(held)
            self._workers.give(hand, Asked(message.number, held.piece.calls or {}))
        elif isinstance(message, Replied):
            held = self._held[message.number]
            self._work.store_reply(message.key, message.carried, message.completion)
            assert held.begun is not None
            held.begun.remove(message.key)
            if not held.begun:
                self._finish(held)

    def _finish(self, held: _Held) -> None:
        held.hand.weight -= len(held.piece.drafts)
        del self._held[held.piece.number]

    def _take_back(self, hand: Hand, died: Died) -> None:
        """The drafts of a dead worker are begun again; too many deaths over them are failures."""
        if self._limits is not None:
            self._limits.forget(hand.id)
        for held in [held for held in self._held.values() if held.hand is hand]:
            del self._held[held.piece.number]
            drafts = held.piece.drafts
            if held.begun is not None:
                drafts = [d for key in held.begun for d in self._work.take_back(key)]
            if held.n_deaths + 1 < _MOST_DEATHS:
                self._again.extend((group, held.n_deaths + 1) for group in _by_clip(drafts))
                continue
            for draft in drafts:
                detail = f"{held.n_deaths + 1} workers died over it, the last as: {died.reason}"
                self._work.fail(draft, MediaError("killed", draft.sample_id, detail))


def _pieces_of(groups: Iterable[list[Draft]]) -> Iterator[list[Draft]]:
    """The drafts in pieces about one clip, whose files have whole paths, on a shared disk."""
    for group in groups:
        each = map(_with_whole_paths, group)
        while piece := list(islice(each, _MOST_DRAFTS)):
            yield piece


def _by_clip(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    for _, same in groupby(drafts, key=lambda draft: draft.clip):
        yield list(same)


def _with_whole_paths(draft: Draft) -> Draft:
    frames, audio = draft.clip.frames, draft.clip.audio
    return replace(draft, clip=Clip(_whole(frames), _whole(audio)))


def _whole(source: Source | None) -> Source | None:
    return None if source is None else replace(source, root=source.root.absolute())
