"""Make the calls of one role that the ledger does not hold yet; hand back every outcome.

Reads media only for calls that are missing, a few ahead of the engine; writes each reply to the
ledger as it comes. With a complete ledger no media file is opened and no model is loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

from tqdm import tqdm

from avrt.config import Config, ModelRole
from avrt.engines import engine_identity, make_engine
from avrt.errors import AvrtError, MediaError
from avrt.generate.ledger import Call, Ledger
from avrt.prompts import load_prompt
from avrt.types import Completion, Frames, Prompt, Request, Sampling, Waveform

__all__ = [
    "Job",
    "Media",
    "Outcome",
    "call_all",
    "check_failure_rate",
    "describe_role",
    "sampling_of",
]

_N_DECODERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Media:
    """The one modality a call needs, not decoded yet."""

    kind: Literal["frames", "audio"]
    """Which field of the prompt it fills."""
    read: Callable[[], Frames | Waveform]
    """Decodes it; raises MediaError."""
    file_sha256: str | None
    """Digest of its file, as prepare found it; None when prepare could not read it."""
    recipe: Mapping[str, Any]
    """What decides the decoded result besides the file."""


@dataclass(frozen=True)
class Job:
    """One call to make: its text is there, its media are read when its turn comes."""

    call: Call
    media: Media | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    key: str | None
    """None when the media failed, so that there was no call."""
    completion: Completion

    @property
    def status(self) -> str:
        """`ok`, or the class of the failure."""
        if self.completion.finish_reason != "error":
            return "ok"
        return self.completion.error_class or "unknown"


def sampling_of(role: ModelRole, run_seed: int, sample_id: str) -> Sampling:
    """The role's sampling with the sample's own seed, whatever the other samples or their order."""
    digest = hashlib.sha256(f"{run_seed}:{sample_id}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") >> 1  # fits every engine's signed 32 bits
    return Sampling(role.temperature, role.top_p, role.max_new_tokens, seed)


def describe_role(role: ModelRole, jpeg_quality: int) -> dict[str, Any]:
    """What decides a role's replies, for manifests and keys; no address and no path.

    Raises:
        ConfigError: the prompt, the script or the packaged model does not exist.
    """
    return {
        "engine": dict(engine_identity(role.engine, role.model, role.revision, jpeg_quality)),
        "prompt": load_prompt(role.prompt).digest,
        "temperature": role.temperature,
        "top_p": role.top_p,
        "max_new_tokens": role.max_new_tokens,
    }


def call_all(
    ledger: Ledger, role: ModelRole, jpeg_quality: int, jobs: Sequence[Job], title: str
) -> dict[str, Outcome]:
    """The outcome of every job by sample id: from the ledger, else from the engine.

    Raises:
        EngineError: the model cannot be used at all; what was finished before is in the ledger.
    """
    outcomes: dict[str, Outcome] = {}
    missing: list[Job] = []
    for job in jobs:
        outcome = _look_up(ledger, job)
        if outcome is None:
            missing.append(job)
        else:
            outcomes[job.call.sample_id] = outcome
    if missing:
        with tqdm(
            total=len(jobs), initial=len(outcomes), desc=title, unit="call", disable=None
        ) as bar:
            _generate(ledger, role, jpeg_quality, missing, outcomes, bar)
    lost = [job.call.sample_id for job in jobs if job.call.sample_id not in outcomes]
    if lost:
        raise AssertionError(f"{title}: the engine returned without completing {lost[:5]}")
    return outcomes


def check_failure_rate(title: str, outcomes: Iterable[Outcome], config: Config) -> None:
    """Stop the run when too many of the calls failed; call after everything is stored.

    Raises:
        AvrtError: more than `build.max_failure_rate` of the calls that were made failed.
    """
    made = [outcome.completion for outcome in outcomes if outcome.key is not None]
    failures = Counter(c.error_class or "unknown" for c in made if c.finish_reason == "error")
    limit = config.build.max_failure_rate
    if failures.total() > limit * len(made):
        classes = ", ".join(f"{n} {name}" for name, n in failures.most_common())
        example = next(c.error for c in made if c.finish_reason == "error")
        raise AvrtError(
            f"{title}: {failures.total()} of {len(made)} calls failed ({classes}; the first: "
            f"{example}), more than build.max_failure_rate = {limit:g}; all replies are kept in "
            f"{config.run.path / 'ledger.sqlite'}, the same command tries the failed ones again"
        )


def _look_up(ledger: Ledger, job: Job) -> Outcome | None:
    """The outcome as far as it is known without opening a file; failed calls are tried again."""
    call = job.call
    if job.media is not None:
        if job.media.file_sha256 is None:
            return None
        try:
            digest = ledger.find_payload(job.media.file_sha256, job.media.recipe)
        except MediaError as error:
            return _media_failure(error)
        if digest is None:
            return None
        call = _with_digest(call, job.media, digest)
    completion = ledger.find(call.key)
    if completion is None or completion.finish_reason == "error":
        return None
    return Outcome(call.key, completion)


def _generate(
    ledger: Ledger,
    role: ModelRole,
    jpeg_quality: int,
    missing: Sequence[Job],
    outcomes: dict[str, Outcome],
    bar: tqdm[Any],
) -> None:
    """Call the engine for the missing jobs; each reply is committed before the next is seen."""
    calls: dict[str, Call] = {}

    def settle(sample_id: str, outcome: Outcome) -> None:
        outcomes[sample_id] = outcome
        bar.update()

    def requests() -> Generator[Request]:
        for job, media in _read_ahead(missing):
            call, prompt = job.call, Prompt(job.call.text, job.call.system)
            if job.media is not None and media is not None:
                _remember(ledger, job.media, media)
                if isinstance(media, MediaError):
                    settle(call.sample_id, _media_failure(media))
                    continue
                call = _with_digest(call, job.media, media.digest)
                prompt = replace(prompt, **{job.media.kind: media})
            known = ledger.find(call.key)
            if known is not None and known.finish_reason != "error":
                settle(call.sample_id, Outcome(call.key, known))
                continue
            calls[call.key] = call
            yield Request(call.key, prompt, call.sampling)

    def store(request: Request, completion: Completion) -> None:
        call = calls.pop(request.key)
        # Servers may send half a surrogate pair, which no file can hold.
        text = completion.text.encode("utf-8", "replace").decode()
        completion = replace(completion, text=text)
        ledger.record(request.key, call, completion)
        settle(call.sample_id, Outcome(request.key, completion))

    engine = make_engine(role.engine, role.model, role.revision, jpeg_quality)
    with closing(engine), closing(requests()) as pending:
        if dict(engine.identity) != dict(missing[0].call.engine):
            raise AssertionError(f"{role.model}: engine_identity and the engine disagree on keys")
        engine.generate(pending, store)


def _read_ahead(jobs: Iterable[Job]) -> Iterator[tuple[Job, Frames | Waveform | MediaError | None]]:
    """Yield the jobs with their media, decoded by a few threads a few jobs ahead."""
    waiting: deque[tuple[Job, Future[Frames | Waveform | MediaError | None]]] = deque()
    with ThreadPoolExecutor(_N_DECODERS) as pool:
        try:
            for job in jobs:
                waiting.append((job, pool.submit(_read, job.media)))
                if len(waiting) > 2 * _N_DECODERS:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
            while waiting:
                ready, future = waiting.popleft()
                yield ready, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _read(media: Media | None) -> Frames | Waveform | MediaError | None:
    try:
        return None if media is None else media.read()
    except MediaError as error:
        return error


def _remember(ledger: Ledger, media: Media, result: Frames | Waveform | MediaError) -> None:
    if media.file_sha256 is not None:
        outcome = result if isinstance(result, MediaError) else result.digest
        ledger.record_payload(media.file_sha256, media.recipe, outcome)


def _with_digest(call: Call, media: Media, digest: str) -> Call:
    return replace(call, recipe=media.recipe, **{media.kind: digest})


def _media_failure(error: MediaError) -> Outcome:
    failure = Completion("", "error", error_class=error.error_class, error=error.detail)
    return Outcome(None, failure)
