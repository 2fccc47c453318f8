"""The work of a worker on a cluster: read the clips of drafts, ask the model, send the replies."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from avrt.ask.drafts import Draft, sources_of
from avrt.ask.payloads import Media, read_sources
from avrt.ask.rows import Carried
from avrt.ask.work import Digests, by_kind, digests_of, prompt_of
from avrt.config import MediaConfig
from avrt.engines import make_engine
from avrt.engines.shared_limits import Limits
from avrt.errors import MediaError
from avrt.media.processes import Pool, may_pass, named
from avrt.media.store import PayloadStore
from avrt.scale.worker import Emit, broken
from avrt.stores import StorePath
from avrt.types import Completion, Request

__all__ = ["Asked", "Piece", "Read", "Reader", "Replied"]


@dataclass(frozen=True)
class Piece:
    """Drafts about one clip, for a worker."""

    number: int
    drafts: Sequence[Draft]
    calls: Mapping[str, int] | None = None
    """The calls to make: the place of the draft by the key. None: the clip is to be read first."""


@dataclass(frozen=True)
class Asked:
    """The calls to make of a piece whose clip was read; none: the clip can be dropped."""

    number: int
    calls: Mapping[str, int]


@dataclass(frozen=True)
class Read:
    """Message: what the clip of a piece decodes to."""

    number: int
    digests: Digests | MediaError


@dataclass(frozen=True)
class Replied:
    """Message: the end of a call."""

    number: int
    key: str
    carried: Carried
    completion: Completion


class Reader:
    """Takes `Piece` and `Asked`, sends `Read` and `Replied`; see `scale.worker.Server`."""

    def __init__(
        self,
        settings: tuple[Any, ...],
        media: MediaConfig,
        payloads: Path,
        limits: Limits | None,
        emit: Emit,
    ) -> None:
        """`settings`: those of `make_engine`."""
        self._settings, self._limits, self._emit = settings, limits, emit
        engine = settings[0]
        store = PayloadStore(_usable(payloads)) if engine.takes_encoded else None
        read = partial(read_sources, settings=media, store=store)
        self._pool = Pool(read, media.timeout_s, media.workers or 0)
        self._pieces: dict[int, tuple[Sequence[Draft], Media]] = {}
        """Pieces whose media wait for their calls."""
        self._requests: SimpleQueue[Request] = SimpleQueue()
        self._numbers: dict[str, int] = {}
        """The piece of each request."""
        # A server is asked without a pause; a model in this process takes all that is there.
        self._is_endless = engine.kind == "openai" and not engine.n_per_request
        threading.Thread(target=self._run, name="avrt-engine", daemon=True).start()

    def take(self, piece: Piece | Asked) -> None:
        """Begin a piece, or make its calls."""
        if isinstance(piece, Asked):
            self._ask(piece.number, *self._pieces.pop(piece.number), piece.calls)
        elif piece.calls is not None:
            self._ask(piece.number, piece.drafts, {}, piece.calls)
        else:
            self._read(piece, anew=False)

    def _read(self, piece: Piece, anew: bool) -> None:
        future = self._pool.submit(sources_of(piece.drafts), anew)
        future.add_done_callback(partial(self._note, piece, anew))

    def _note(self, piece: Piece, is_last: bool, future: Future[Media | MediaError]) -> None:
        """A clip was read; what may pass is tried once more, in a new process."""
        try:
            media = future.result()
        except Exception as error:  # noqa: BLE001 (the driver raises it)
            self._emit(broken(error))
            return
        if may_pass(media) and not is_last:
            self._read(piece, anew=True)
            return
        sources = sources_of(piece.drafts)
        media = named(media, sources, lambda sources: sources[0].name)
        self._pieces[piece.number] = piece.drafts, by_kind(sources, media)
        self._emit(Read(piece.number, digests_of(media)))

    def _ask(
        self, number: int, drafts: Sequence[Draft], media: Media, calls: Mapping[str, int]
    ) -> None:
        for key, place in calls.items():
            self._numbers[key] = number
            draft = drafts[place]
            self._requests.put(Request(key, prompt_of(draft, media), draft.sampling))

    def _run(self) -> None:
        """Ask the engine; runs in a thread of its own until the process ends."""
        try:
            first = self._requests.get()
            engine = make_engine(*self._settings, limits=self._limits)
            while True:
                engine.generate(self._waiting(first), self._reply)
                first = self._requests.get()
        except Exception as error:  # noqa: BLE001 (the driver raises it)
            self._emit(broken(error))

    def _waiting(self, first: Request) -> Iterator[Request]:
        """The requests that are there by now; of an engine that never pauses, all."""
        yield first
        while True:
            try:
                yield self._requests.get(block=self._is_endless)
            except Empty:
                return

    def _reply(self, request: Request, completion: Completion) -> None:
        number, carried = self._numbers.pop(request.key), Carried.by(request.prompt)
        self._emit(Replied(number, request.key, carried, completion))


def _usable(payloads: Path) -> Path:
    """The folder of the run, where this node has it, or in a store; else one of this node."""
    if isinstance(payloads, StorePath) or payloads.parent.is_dir():
        return payloads
    return Path(tempfile.gettempdir()) / "avrt-payloads"
