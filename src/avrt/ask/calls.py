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

from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from avrt.ask.budget import Budget
from avrt.ask.drafts import Draft, Drafts, sampling_of, seeded, sources_of, wanted_of
from avrt.ask.ledger import Ledger, LedgerReader
from avrt.ask.outcomes import (
    Outcome,
    Outcomes,
    check_failure_rate,
    media_failure,
    unread_text,
)
from avrt.ask.payloads import Media, Source, read_ahead
from avrt.ask.progress import Progress
from avrt.ask.refusals import Refusals
from avrt.ask.rows import Call
from avrt.ask.work import Work, by_kind, digests_of, prompt_of
from avrt.config import MediaConfig, ModelRole
from avrt.engines import Engine, engine_identity
from avrt.errors import MediaError
from avrt.media.store import PayloadStore
from avrt.prompts import load_prompt
from avrt.types import Request

__all__ = [
    "DistantEngine",
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


@runtime_checkable
class DistantEngine(Protocol):
    """A model on other machines, where the media are read too."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """As of any engine."""
        ...

    def ask(
        self, work: Work, groups: Iterable[list[Draft]], media: MediaConfig, payloads: Path
    ) -> None:
        """Begin, make and commit the calls of drafts, those about one clip together.

        `payloads`: the folder of encoded media. Raises as `Engine.generate`.
        """
        ...


def call_all(
    ledger: Ledger, engine: Engine | DistantEngine, drafts: Drafts, budget: Budget
) -> Outcomes:
    """The outcome of every draft by its id: from the ledger, else from the engine.

    When the budget stops the work, the drafts that were not begun have none.

    Raises:
        EngineError: the model cannot be used at all, or got other media than it was given; the
            calls that were finished before are in the ledger.
    """
    outcomes = Outcomes()
    progress = Progress(drafts.title, drafts.n, drafts.kept, drafts.n_later)
    identity, refusals = dict(engine.identity), Refusals(ledger)
    work = Work(ledger, identity, budget, outcomes, progress, drafts.keeps, refusals)
    missing = _missing(work, drafts.each)
    first = next(missing, None)
    if first is None:
        return outcomes
    if budget.is_spent:
        budget.stop()
        return outcomes
    groups = chain([first], missing)
    payloads = drafts.media.payloads or ledger.folder / "payloads"
    with closing(progress):
        if isinstance(engine, DistantEngine):
            engine.ask(work, groups, drafts.media, payloads)
        else:
            _ask_here(work, engine, groups, drafts.media, payloads)
    n_lost = drafts.n - len(outcomes)
    if n_lost and budget.stopped_by is None:
        raise AssertionError(f"{drafts.title}: the engine returned without completing {n_lost}")
    return outcomes


def _ask_here(
    work: Work, engine: Engine, groups: Iterable[list[Draft]], media: MediaConfig, payloads: Path
) -> None:
    """Read the media in processes of this machine, and ask the engine in this one."""
    store = PayloadStore(payloads) if engine.takes_encoded else None
    if store is not None:
        store.remove_leftovers()
    with_sources = ((group, sources_of(group)) for group in groups)
    with (
        closing(read_ahead(with_sources, media, store)) as waiting,
        closing(_requests(work, waiting)) as pending,
    ):
        engine.generate(pending, work.store)


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


def _missing(work: Work, drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
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
        digests = {source.kind: _known_digest(ledger, source) for source in sources_of(group)}
        for draft in group:
            wanted = wanted_of(draft, digests)
            if isinstance(wanted, MediaError):
                failed[draft.id] = media_failure(wanted)
            elif wanted is not None:
                calls[draft.id] = draft.call(identity, wanted)
    return failed, calls


def _known_digest(ledger: LedgerReader, source: Source) -> str | MediaError | None:
    """The digest that a file decodes to, or why it cannot be decoded; None: not tried yet."""
    if source.file.sha256 is None:
        return None
    try:
        return ledger.find_payload(source.file.sha256, source.conditions)
    except MediaError as error:
        return error


def _requests(
    work: Work, waiting: Iterable[tuple[list[Draft], Media | MediaError]]
) -> Generator[Request]:
    """The calls to make, until there is no more or the budget is spent."""
    for group, read in waiting:
        media = by_kind(sources_of(group), read)
        digests = work.note_media(group, digests_of(read))
        for draft, call in work.begin(group, digests):
            yield Request(call.key, prompt_of(draft, media), call.sampling)
        if work.is_stopped:
            return
