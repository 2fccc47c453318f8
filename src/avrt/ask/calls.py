"""Make the calls of one role that the ledger does not hold yet; say what became of each.

Reads media only for calls that are missing, in processes of their own and a few files ahead of the
engine; writes each reply to the ledger as it comes. With a complete ledger no media file is opened,
no process started and no model loaded.

Replies stay in the ledger: what is handed back says where, so that memory does not grow with them.

The decision to question: calls about one file are made together, so that each file is read once.
What becomes of a sample does not depend on the order.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from avrt.ask.budget import Limits
from avrt.ask.ledger import Call, Ledger
from avrt.ask.payloads import Media, Payload, read_all
from avrt.ask.progress import Progress
from avrt.config import Config, MediaConfig, ModelRole
from avrt.engines import engine_identity, make_engine
from avrt.errors import AvrtError, MediaError
from avrt.media.processes import map_files
from avrt.media.store import PayloadStore
from avrt.prompts import load_prompt
from avrt.types import Completion, Prompt, Request, Sampling

__all__ = [
    "Job",
    "Jobs",
    "Outcome",
    "call_all",
    "check_failure_rate",
    "describe_role",
    "sampling_of",
]

_BATCH = 500
"""Jobs that are looked up together."""


@dataclass(frozen=True)
class Job:
    """One call to make: its text is there, its media are read when its turn comes."""

    call: Call
    media: tuple[Media, ...] = ()

    @property
    def id(self) -> tuple[str, int]:
        """The sample, and which of the role's answers about it."""
        return self.call.sample_id, self.call.k


@dataclass(frozen=True)
class Jobs:
    """All jobs of one role, made one by one: hundreds of thousands do not lie in memory."""

    title: str
    n: int
    each: Iterable[Job]
    """Those about the same files in a row: then every file is read once."""
    keeps: Callable[[Job, Completion], bool] | None = None
    """Whether a reply can be kept, for the progress line alone."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    key: str | None
    """Of the call in the ledger; None when the media failed, so that there was none."""
    failure: Completion | None = None
    """None: there is a reply, in the ledger."""

    @property
    def status(self) -> str:
        """`ok`, or the class of the failure."""
        return "ok" if self.failure is None else self.failure.error_class or "unknown"


def sampling_of(role: ModelRole, run_seed: int, sample_id: str, k: int = 0) -> Sampling:
    """The role's sampling with a seed of the answer's own, whatever the other samples or their
    order.
    """
    digest = hashlib.sha256(f"{run_seed}:{sample_id}{f':{k}' if k else ''}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1  # fits every engine's signed 32 bits
    return Sampling(role.temperature, role.top_p, role.max_new_tokens, seed)


def describe_role(role: ModelRole, media: MediaConfig) -> dict[str, Any]:
    """What decides a role's replies, for manifests and keys; no address and no path.

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


def call_all(
    ledger: Ledger, role: ModelRole, config: Config, jobs: Jobs, limits: Limits
) -> dict[tuple[str, int], Outcome]:
    """The outcome of every job by its id: from the ledger, else from the engine.

    When a limit stops the work, the jobs that were not begun have none.

    Raises:
        EngineError: the model cannot be used at all; what was finished before is in the ledger.
    """
    outcomes: dict[tuple[str, int], Outcome] = {}
    progress = Progress(jobs.title, jobs.n)
    missing = _missing(ledger, jobs.each, outcomes, progress)
    first = next(missing, None)
    if first is not None and not limits.is_spent():
        with closing(progress):
            work = _Work(ledger, limits, outcomes, progress, jobs.keeps)
            _generate(work, role, config, chain([first], missing))
    n_lost = jobs.n - len(outcomes)
    if n_lost and limits.stopped_by is None:
        raise AssertionError(f"{jobs.title}: the engine returned without completing {n_lost} jobs")
    return outcomes


def check_failure_rate(title: str, outcomes: Iterable[Outcome], config: Config) -> None:
    """Stop the run when too many of the calls failed; call after everything is stored.

    Raises:
        AvrtError: more than `generate.max_failure_rate` of the calls that were made failed.
    """
    made = [outcome.failure for outcome in outcomes if outcome.key is not None]
    failed = [failure for failure in made if failure is not None]
    limit = config.generate.max_failure_rate
    if len(failed) > limit * len(made):
        failures = Counter(failure.error_class or "unknown" for failure in failed)
        classes = ", ".join(f"{n} {name}" for name, n in failures.most_common())
        raise AvrtError(
            f"{title}: {len(failed)} of {len(made)} calls failed ({classes}; the first: "
            f"{failed[0].error}), more than generate.max_failure_rate = {limit:g}; all replies are "
            f"kept in {config.run.path / 'ledger.sqlite'}, the same command tries the failed ones "
            "again"
        )


def _missing(
    ledger: Ledger,
    jobs: Iterable[Job],
    outcomes: dict[tuple[str, int], Outcome],
    progress: Progress,
) -> Iterator[list[Job]]:
    """The jobs that need a call, those about the same files together; settles the others."""
    for some in _batches(_groups(jobs)):
        known = _look_up(ledger, some)
        outcomes.update(known)
        progress.settle(len(known))
        for group in some:
            if left := [job for job in group if job.id not in known]:
                yield left


def _groups(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs in a row that are about the same files; without files, some at a time."""
    for files, same in groupby(jobs, key=_files_of):
        while group := list(islice(same, None if files else _BATCH)):
            yield group


def _batches(groups: Iterable[list[Job]]) -> Iterator[list[list[Job]]]:
    batch: list[list[Job]] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _files_of(job: Job) -> tuple[Path, ...]:
    return tuple(one.path for one in job.media)


def _look_up(ledger: Ledger, groups: Iterable[list[Job]]) -> dict[tuple[str, int], Outcome]:
    """What is known without opening a file; failed calls are tried again."""
    known: dict[tuple[str, int], Outcome] = {}
    keys: dict[tuple[str, int], str] = {}
    for group in groups:
        try:
            digests = _known_digests(ledger, group[0].media)
        except MediaError as error:
            known.update((job.id, _media_failure(error)) for job in group)
            continue
        if digests is not None:
            keys.update((job.id, _with_digests(job, digests).key) for job in group)
    finished = ledger.finished(list(keys.values()))
    return known | {one: Outcome(key) for one, key in keys.items() if key in finished}


def _known_digests(ledger: Ledger, media: Sequence[Media]) -> list[str] | None:
    """What the files decode to; None when one of them was never decoded.

    Raises:
        MediaError: one was tried before, and cannot be decoded.
    """
    digests: list[str] = []
    for one in media:
        found = one.file_sha256 and ledger.find_payload(one.file_sha256, one.conditions)
        if not found:
            return None
        digests.append(found)
    return digests


@dataclass(frozen=True)
class _Work:
    """What the two sides of an engine share; they may run in different threads."""

    ledger: Ledger
    limits: Limits
    outcomes: dict[tuple[str, int], Outcome]
    progress: Progress
    keeps: Callable[[Job, Completion], bool] | None
    in_flight: dict[str, tuple[Call, list[Job]]] = field(default_factory=dict)
    """Calls by key with the jobs that wait for them: equal calls are made once."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, job: Job, call: Call) -> bool | None:
        """True when the call is to be made now; None when nothing more may be begun."""
        key = call.key
        with self.lock:
            if key in self.in_flight:
                self.in_flight[key][1].append(job)
                return False
            if self.ledger.finished([key]):
                self.outcomes[job.id] = Outcome(key)
                self.progress.settle()
                return False
            if not self.limits.start_call():
                return None
            self.in_flight[key] = (call, [job])
            self.progress.start()
        return True

    def fail(self, job: Job, error: MediaError) -> None:
        """There is no call to make: the media cannot be used."""
        with self.lock:
            self.outcomes[job.id] = _media_failure(error)
            self.progress.settle()

    def store(self, request: Request, completion: Completion) -> None:
        """Commit what came back before anything else is seen; an engine's `on_completion`."""
        # Servers may send half a surrogate pair, which no file can hold.
        text = completion.text.encode("utf-8", "replace").decode()
        completion = replace(completion, text=text)
        failure = completion if completion.finish_reason == "error" else None
        with self.lock:
            call, jobs = self.in_flight[request.key]
            self.ledger.record(request.key, call, completion)
            del self.in_flight[request.key]
            for job in jobs:
                self.outcomes[job.id] = Outcome(request.key, failure)
            self.limits.finish_call(completion)
            kept = None if self.keeps is None else [self.keeps(job, completion) for job in jobs]
            self.progress.finish(completion, [job.call.sample_id for job in jobs], kept)


def _generate(work: _Work, role: ModelRole, config: Config, missing: Iterator[list[Job]]) -> None:
    """Call the engine for the missing jobs; each reply is committed before the next is seen."""
    first = next(missing)
    engine = make_engine(role.engine, role.model, role.revision, config.media)
    encoded = role.engine.takes_encoded
    with (
        closing(engine),
        closing(_read_ahead(chain([first], missing), config, encoded)) as waiting,
        closing(_requests(work, waiting)) as pending,
    ):
        if dict(engine.identity) != dict(first[0].call.engine):
            raise AssertionError(f"{role.model}: engine_identity and the engine disagree on keys")
        engine.generate(pending, work.store)


def _requests(
    work: _Work, waiting: Iterable[tuple[list[Job], tuple[Payload, ...] | MediaError]]
) -> Generator[Request]:
    """The calls to make, until there is no more or a limit is reached."""
    for group, payloads in waiting:
        if isinstance(payloads, MediaError):
            _remember_failure(work.ledger, group[0], payloads)
            for job in group:
                work.fail(job, payloads)
            continue
        _remember(work.ledger, group[0], payloads)
        for job in group:
            call = _with_digests(job, [payload.digest for payload in payloads])
            begun = work.begin(job, call)
            if begun is None:
                return
            if begun:
                yield Request(call.key, _prompt(job, payloads), call.sampling)


def _prompt(job: Job, payloads: Sequence[Payload]) -> Prompt:
    media: dict[str, Any] = {
        one.kind: payload for one, payload in zip(job.media, payloads, strict=True)
    }
    return Prompt(job.call.text, job.call.system, **media)


def _read_ahead(
    groups: Iterator[list[Job]], config: Config, encoded: bool
) -> Generator[tuple[list[Job], tuple[Payload, ...] | MediaError]]:
    """Yield the groups with what their prompts carry; files are read in other processes."""
    first = next(groups)
    if not first[0].media:
        for group in chain([first], groups):
            yield group, ()
        return
    ahead: deque[list[Job]] = deque()

    def media() -> Iterator[tuple[Media, ...]]:
        for group in chain([first], groups):
            ahead.append(group)
            yield group[0].media

    store = PayloadStore(config.run.path / "payloads") if encoded else None
    read = partial(read_all, settings=config.media, store=store)
    limits = {"timeout_s": config.media.timeout_s, "workers": config.media.workers}
    with closing(map_files(read, media(), path_of=_path_of, **limits)) as results:
        for _, payloads in results:
            yield ahead.popleft(), payloads


def _path_of(media: tuple[Media, ...]) -> str:
    return str(media[0].path)


def _remember(ledger: Ledger, job: Job, payloads: Sequence[Payload]) -> None:
    for media, payload in zip(job.media, payloads, strict=True):
        if media.file_sha256 is not None:
            ledger.record_payload(media.file_sha256, media.conditions, payload.digest)


def _remember_failure(ledger: Ledger, job: Job, error: MediaError) -> None:
    failed = next((one for one in job.media if str(one.path) == error.path), job.media[0])
    if failed.file_sha256 is not None:
        ledger.record_payload(failed.file_sha256, failed.conditions, error)


def _with_digests(job: Job, digests: Sequence[str]) -> Call:
    if not job.media:
        return job.call
    recipe = {one.kind: dict(one.recipe) for one in job.media}
    kinds: dict[str, Any] = {
        one.kind: digest for one, digest in zip(job.media, digests, strict=True)
    }
    return replace(job.call, recipe=recipe, **kinds)


def _media_failure(error: MediaError) -> Outcome:
    failure = Completion("", "error", error_class=error.error_class, error=error.detail)
    return Outcome(None, failure)
