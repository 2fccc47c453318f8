"""Ask a model: make the calls that the ledger does not hold yet, and say where every reply is.

A client hands over drafts: questions whose media are not read yet. Reading the media makes a draft
a call, and only a call has a key. Known keys are looked up without opening a file; the files of the
other drafts are read in processes of their own, a few ahead of the engine; equal calls are made
once; each reply is committed before the next is seen. With a complete ledger no media file is
opened, no process started and no model loaded.

Replies stay in the ledger: an outcome says where, so that memory does not grow with them.

The decision to question: drafts in a row about one clip are read together, so that each file is
read once for all of them. The outcome of a draft does not depend on the order.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import (
    Callable,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from typing import Any

from avrt.ask.budget import Budget
from avrt.ask.ledger import Ledger, LedgerReader
from avrt.ask.outcomes import (
    Outcome,
    Outcomes,
    check_failure_rate,
    media_failure,
    unread_text,
)
from avrt.ask.payloads import HALVES, NO_CLIP, Clip, Kind, Media, Source, read_ahead
from avrt.ask.progress import Progress
from avrt.ask.refusals import Refusals
from avrt.ask.rows import Call
from avrt.config import MediaConfig, ModelRole
from avrt.engines import Engine, engine_identity
from avrt.errors import PASSING_CLASSES, EngineError, MediaError
from avrt.media.store import PayloadStore
from avrt.prompts import load_prompt
from avrt.texts import clean
from avrt.types import Completion, Given, Prompt, Request, Sampling

__all__ = [
    "Draft",
    "Drafts",
    "Outcome",
    "Outcomes",
    "batches",
    "call_all",
    "check_failure_rate",
    "describe_role",
    "find_outcomes",
    "known_calls",
    "sampling_of",
    "seeded",
    "unread_text",
]

_BATCH = 500
"""Drafts that are looked up together."""
_MOST_DEFERRED = 10_000
"""Groups of drafts that are kept for the end."""


@dataclass(frozen=True)
class Draft:
    """A question to a model whose media are not read yet, so that it has no key."""

    id: Hashable
    """The client's own name for it, under which it gets its outcome."""
    stage: str
    sample_id: str
    role: str
    text: str
    sampling: Sampling
    system: str | None = None
    k: int = 0
    """Which of several answers to the same prompt."""
    given: Given = "none"
    """The media of `clip` that the prompt carries."""
    clip: Clip = NO_CLIP
    dataset: str = ""
    """Name of the evaluation set that the sample belongs to; empty: the run's own dataset."""

    def call(self, engine: Mapping[str, Any], digests: Mapping[Kind, str]) -> Call:
        """The call that this draft becomes with the digests of its decoded media."""
        sources = [source for source in self.clip.sources(self.given) if source is not None]
        files = {source.kind: (source.name, source.file.sha256) for source in sources}
        return Call(
            stage=self.stage,
            sample_id=self.sample_id,
            role=self.role,
            engine=engine,
            system=self.system,
            text=self.text,
            sampling=self.sampling,
            frames=digests["frames"] if "v" in self.given else None,
            audio=digests["audio"] if "a" in self.given else None,
            recipe={source.kind: dict(source.recipe) for source in sources} or None,
            k=self.k,
            dataset=self.dataset,
            files=files,
        )


@dataclass(frozen=True)
class Drafts:
    """All drafts to one model, made one by one: hundreds of thousands do not lie in memory."""

    title: str
    """Of the lines about progress; empty: nothing is said."""
    n: int
    each: Iterable[Draft]
    """Those about the same clip in a row: then every file is read once."""
    media: MediaConfig
    """How the clips are decoded and encoded."""
    keeps: Callable[[Draft, Completion], bool] | None = None
    """Whether a reply can be kept, for the progress line alone."""
    kept: str = "kept"
    """What the progress line calls such a reply."""
    n_later: int = 0
    """Drafts to the same model that follow these, for the forecast."""


def sampling_of(role: ModelRole, run_seed: int, sample_id: str, k: int = 0) -> Sampling:
    """The role's sampling for one answer; see `seeded`."""
    sampling = Sampling(role.temperature, role.top_p, role.max_new_tokens)
    return seeded(sampling, run_seed, sample_id, k)


def seeded(sampling: Sampling, run_seed: int, sample_id: str, k: int = 0) -> Sampling:
    """The sampling with a seed of the answer's own, whatever the other samples or their order;
    greedy decoding needs none.
    """
    if sampling.temperature == 0:
        return sampling
    digest = hashlib.sha256(f"{run_seed}:{sample_id}:{k}".encode()).digest()
    # 31 bits: it fits every engine's signed 32.
    return replace(sampling, seed=int.from_bytes(digest[:4], "big") >> 1)


def describe_role(role: ModelRole, media: MediaConfig) -> dict[str, Any]:
    """All that decides a role's replies, for manifests and keys; no address and no path.

    Raises:
        ConfigError: the prompt, the script or the packaged model does not exist.
    """
    return {
        "engine": dict(engine_identity(role.engine, role.model, role.revision, media)),
        "prompt": load_prompt(role.prompt).digest,
        "temperature": role.temperature,
        "top_p": role.top_p,
        "max_new_tokens": role.max_new_tokens,
    }


def call_all(ledger: Ledger, engine: Engine, drafts: Drafts, budget: Budget) -> Outcomes:
    """The outcome of every draft by its id: from the ledger, else from the engine.

    When the budget stops the work, the drafts that were not begun have none.

    Raises:
        EngineError: the model cannot be used at all, or got other media than it was given; the
            calls that were finished before are in the ledger.
    """
    outcomes = Outcomes()
    progress = Progress(drafts.title, drafts.n, drafts.kept, drafts.n_later)
    identity, refusals = dict(engine.identity), Refusals(ledger)
    work = _Work(ledger, identity, budget, outcomes, progress, drafts.keeps, refusals)
    missing = _missing(work, drafts.each)
    first = next(missing, None)
    if first is None:
        return outcomes
    if budget.is_spent:
        budget.stop()
        return outcomes
    store = (
        PayloadStore(drafts.media.payloads or ledger.folder / "payloads")
        if engine.takes_encoded
        else None
    )
    if store is not None:
        store.remove_leftovers()
    with_sources = ((group, _sources(group)) for group in chain([first], missing))
    with (
        closing(progress),
        closing(read_ahead(with_sources, drafts.media, store)) as waiting,
        closing(_requests(work, waiting)) as pending,
    ):
        engine.generate(pending, work.store)
    n_lost = drafts.n - len(outcomes)
    if n_lost and budget.stopped_by is None:
        raise AssertionError(f"{drafts.title}: the engine returned without completing {n_lost}")
    return outcomes


def find_outcomes(
    ledger: LedgerReader, identity: Mapping[str, Any], drafts: Iterable[Draft]
) -> Outcomes:
    """The outcomes that the ledger has, also of failed calls; opens no file and makes no call.

    `identity` is that of the engine.
    """
    outcomes = Outcomes()
    for batch in batches(drafts):
        failed, calls = known_calls(ledger, identity, batch)
        outcomes.update(failed)
        completions = ledger.find_all([call.key for call in calls.values()])
        for id_, call in calls.items():
            completion = completions.get(call.key)
            if completion is not None:
                failure = completion if completion.finish_reason == "error" else None
                outcomes[id_] = Outcome(call.key, failure)
    return outcomes


def _missing(work: _Work, drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    """The drafts that need a call, those about one clip together; settles the others.

    Calls that failed before come last: under a budget they would take the place of calls that were
    never made, and where many are refused the run would stop at them, again and again.
    """
    deferred: list[list[Draft]] = []
    for batch in batches(drafts):
        failed, calls = known_calls(work.ledger, work.identity, batch)
        keys = {id_: call.key for id_, call in calls.items()}
        finished = work.ledger.finished(list(keys.values()))
        adopted = work.ledger.adopt(call for call in calls.values() if call.key not in finished)
        if work.ledger.source is not None:
            work.progress.reuse(len(adopted))
        finished |= adopted
        settled = failed | {id_: Outcome(key) for id_, key in keys.items() if key in finished}
        work.outcomes.update(settled)
        work.progress.settle(len(settled))
        tried = work.ledger.failed([key for key in keys.values() if key not in finished])
        for group in batch:
            left = [draft for draft in group if draft.id not in settled]
            again = [draft for draft in left if keys.get(draft.id) in tried]
            if first := [draft for draft in left if keys.get(draft.id) not in tried]:
                yield first
            if again and len(deferred) < _MOST_DEFERRED:
                deferred.append(again)
            elif again:
                yield again
    yield from deferred


def _groups(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    """Drafts in a row about one clip, at most a batch of them."""
    for _, same in groupby(drafts, key=lambda draft: draft.clip):
        while group := list(islice(same, _BATCH)):
            yield group


def batches(drafts: Iterable[Draft]) -> Iterator[list[list[Draft]]]:
    """Drafts that are looked up together, those about one clip in a group of their own."""
    batch: list[list[Draft]] = []
    for group in _groups(drafts):
        batch.append(group)
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def known_calls(
    ledger: LedgerReader, identity: Mapping[str, Any], groups: Iterable[list[Draft]]
) -> tuple[dict[Hashable, Outcome], dict[Hashable, Call]]:
    """The drafts whose media are known to fail, and the calls of those whose media are known."""
    failed: dict[Hashable, Outcome] = {}
    calls: dict[Hashable, Call] = {}
    for group in groups:
        digests = {source.kind: _known_digest(ledger, source) for source in _sources(group)}
        for draft in group:
            wanted = _wanted(draft, digests)
            if isinstance(wanted, MediaError):
                failed[draft.id] = media_failure(wanted)
            elif wanted is not None:
                calls[draft.id] = draft.call(identity, wanted)
    return failed, calls


def _sources(group: Sequence[Draft]) -> list[Source]:
    """The media that a group about one clip needs, each once."""
    sources = {
        source.kind: source
        for draft in group
        for source in draft.clip.sources(draft.given)
        if source is not None
    }
    return [sources[kind] for kind in HALVES["av"] if kind in sources]


def _known_digest(ledger: LedgerReader, source: Source) -> str | MediaError | None:
    """The digest that a file decodes to, or why it cannot be decoded; None: not tried yet."""
    if source.file.sha256 is None:
        return None
    try:
        return ledger.find_payload(source.file.sha256, source.conditions)
    except MediaError as error:
        return error


def _wanted(draft: Draft, media: Mapping[str, Any]) -> dict[Kind, Any] | MediaError | None:
    """The part of a clip's media (or digests) that a draft carries; an error when one of them is
    an error or not named by the sample, None when one is not known.
    """
    wanted: dict[Kind, Any] = {}
    for kind, source in zip(HALVES[draft.given], draft.clip.sources(draft.given), strict=True):
        if source is None:
            error_class, name = (
                ("no_video", "video and no picture") if kind == "frames" else ("no_audio", "sound")
            )
            return MediaError(error_class, draft.sample_id, f"the sample names no {name}")
        if isinstance(media[kind], MediaError):
            return media[kind]
        wanted[kind] = media[kind]
    return None if None in wanted.values() else wanted


@dataclass(frozen=True)
class _Flight:
    """A call that the engine has, with the drafts that wait for it: equal calls are made once."""

    call: Call
    drafts: list[Draft]


@dataclass(frozen=True)
class _Work:
    """The state that both sides of an engine share; they may run in different threads."""

    ledger: Ledger
    identity: Mapping[str, Any]
    budget: Budget
    outcomes: Outcomes
    progress: Progress
    keeps: Callable[[Draft, Completion], bool] | None
    refusals: Refusals
    in_flight: dict[str, _Flight] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, draft: Draft, call: Call) -> bool | None:
        """True when the call is to be made now; None when nothing more may be begun."""
        key = call.key
        with self.lock:
            if key in self.in_flight:
                self.in_flight[key].drafts.append(draft)
                return False
            if not (is_known := bool(self.ledger.finished([key]))) and self.ledger.adopt([call]):
                is_known = True
                self.progress.reuse(1)
            if is_known:
                self.outcomes[draft.id] = Outcome(key)
                self.progress.settle()
                return False
            if not self.budget.start_call():
                return None
            self.in_flight[key] = _Flight(call, [draft])
            self.progress.start()
        return True

    def fail(self, draft: Draft, error: MediaError) -> None:
        """There is no call to make: the media cannot be used."""
        with self.lock:
            self.outcomes[draft.id] = media_failure(error, _is_unread(draft, error))
            self.progress.settle()

    def store(self, request: Request, completion: Completion) -> None:
        """Commit a reply before anything else is seen; an engine's `on_completion`."""
        # No file can hold half a surrogate pair or NUL.
        error = None if completion.error is None else clean(completion.error)
        completion = replace(completion, text=clean(completion.text), error=error)
        failure = completion if completion.finish_reason == "error" else None
        with self.lock:
            flight = self.in_flight[request.key]
            if failure is None:
                _check_arrival(flight.call.sample_id, request.prompt, completion)
            self.ledger.record(request.key, flight.call, request.prompt, completion)
            del self.in_flight[request.key]
            for draft in flight.drafts:
                self.outcomes[draft.id] = Outcome(request.key, failure)
            self.budget.finish_call(completion)
            kept = (
                None if self.keeps is None else [self.keeps(d, completion) for d in flight.drafts]
            )
            self.progress.finish(completion, [d.sample_id for d in flight.drafts], kept)
            self.refusals.note(flight.call, completion)


def _requests(
    work: _Work, waiting: Iterable[tuple[list[Draft], Media | MediaError]]
) -> Generator[Request]:
    """The calls to make, until there is no more or the budget is spent."""
    for group, media in waiting:
        sources = _sources(group)
        if isinstance(media, MediaError):  # the process that read the clip died
            outcomes = {source.kind: media for source in sources}
            is_of_file = len({source.name for source in sources}) == 1  # else of which?
        else:
            outcomes = {source.kind: media[source.kind] for source in sources}
            is_of_file = True
        digests: dict[Kind, str] = {}  # hashed once for all drafts about the clip
        for source in sources:
            outcome = outcomes[source.kind]
            digest = outcome if isinstance(outcome, MediaError) else outcome.digest
            if not isinstance(digest, MediaError):
                digests[source.kind] = digest
            if source.file.sha256 is not None and is_of_file:
                work.ledger.record_payload(source.file.sha256, source.conditions, digest)
        for draft in group:
            payloads = _wanted(draft, outcomes)
            if isinstance(payloads, MediaError):
                work.fail(draft, payloads)
                continue
            assert payloads is not None  # every source was read, or failed
            call = draft.call(work.identity, digests)
            begun = work.begin(draft, call)
            if begun is None:
                return
            if begun:
                yield Request(call.key, _prompt(draft, payloads), call.sampling)


def _prompt(draft: Draft, payloads: Mapping[Kind, Any]) -> Prompt:
    audio = payloads.get("audio")
    if audio is not None and "frames" not in payloads:
        audio = replace(audio, start_s=None)  # a start beside pictures that are not there
    return Prompt(draft.text, draft.system, payloads.get("frames"), audio)


def _is_unread(draft: Draft, error: MediaError) -> bool:
    """Whether a failure may pass; a file that was there before may come back."""
    known = [source for source in draft.clip.sources(draft.given) if source and source.file.sha256]
    return error.error_class in PASSING_CLASSES or (
        error.error_class == "missing" and error.path in {source.name for source in known}
    )


def _check_arrival(sample_id: str, prompt: Prompt, completion: Completion) -> None:
    """Absent is absent, and media that were given have arrived, by the tokens the engine counts.

    Raises:
        EngineError: the model got a modality that the prompt lacks, or lacks one that it has.
    """
    for name, media, n_tokens in (
        ("pictures", prompt.frames, completion.n_frame_tokens),
        ("sound", prompt.audio, completion.n_audio_tokens),
    ):
        if n_tokens is not None and (media is not None) != (n_tokens > 0):
            expected = "some" if media is not None else "none"
            raise EngineError(
                f"sample {sample_id!r}: the model got {n_tokens} tokens of {name} where {expected} "
                f"were asked for; its processor or chat template does not take {name} as AVRT "
                f"gives them"
            )
