"""Make the calls of one role that the ledger does not hold yet; hand back every outcome.

Reads media only for calls that are missing, in processes of their own and a few files ahead of the
engine; writes each reply to the ledger as it comes. With a complete ledger no media file is opened,
no process started and no model loaded.

The decision to question: calls about one file are made together, in the order in which the files
are first named, so that each file is read once. What becomes of a sample does not depend on order.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from avrt.config import Config, MediaConfig, ModelRole
from avrt.engines import engine_identity, make_engine
from avrt.errors import AvrtError, MediaError
from avrt.generate.ledger import Call, Ledger
from avrt.generate.reading import Media, Payload, read_decoded, read_encoded
from avrt.media.store import PayloadStore
from avrt.prompts import load_prompt
from avrt.types import Completion, Prompt, Request, Sampling
from avrt.workers import map_files

__all__ = [
    "Job",
    "Outcome",
    "call_all",
    "check_failure_rate",
    "describe_role",
    "sampling_of",
]


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
    ledger: Ledger, role: ModelRole, config: Config, jobs: Sequence[Job], title: str
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
            _generate(ledger, role, config, missing, outcomes, bar)
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
            digest = ledger.find_payload(job.media.file_sha256, job.media.conditions)
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
    config: Config,
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
        for file_jobs, payload in results:
            digest = _remember(ledger, file_jobs[0].media, payload)
            for job in file_jobs:
                if isinstance(payload, MediaError):
                    settle(job.call.sample_id, _media_failure(payload))
                    continue
                call, prompt = job.call, Prompt(job.call.text, job.call.system)
                if job.media is not None and digest is not None:
                    call = _with_digest(call, job.media, digest)
                    prompt = replace(prompt, **{job.media.kind: payload})
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

    engine = make_engine(role.engine, role.model, role.revision, config.media)
    results = _read_ahead(missing, config, encoded=role.engine.kind == "openai")
    with closing(engine), closing(results), closing(requests()) as pending:
        if dict(engine.identity) != dict(missing[0].call.engine):
            raise AssertionError(f"{role.model}: engine_identity and the engine disagree on keys")
        engine.generate(pending, store)


def _read_ahead(
    jobs: Iterable[Job], config: Config, encoded: bool
) -> Generator[tuple[Sequence[Job], Payload | MediaError | None]]:
    """Yield jobs together with what the prompts of all of them carry: each file is read once."""
    by_path: dict[Path, list[Job]] = defaultdict(list)
    media: dict[Path, Media] = {}
    for job in jobs:
        if job.media is None:
            yield [job], None
        else:
            media[job.media.path] = job.media
            by_path[job.media.path].append(job)
    if encoded:
        store = PayloadStore(config.run.path / "payloads")
        read = partial(read_encoded, settings=config.media, store=store)
    else:
        read = partial(read_decoded, settings=config.media)
    limits = {"timeout_s": config.media.timeout_s, "workers": config.media.workers}
    with closing(map_files(read, media.values(), path_of=_path_of, **limits)) as results:
        for item, payload in results:
            yield by_path.pop(item.path), payload


def _path_of(media: Media) -> str:
    return str(media.path)


def _remember(
    ledger: Ledger, media: Media | None, payload: Payload | MediaError | None
) -> str | None:
    """Note in the ledger what became of a file; the digest of its media, where there are any."""
    if media is None or payload is None:
        return None
    outcome = payload if isinstance(payload, MediaError) else payload.digest
    if media.file_sha256 is not None:
        ledger.record_payload(media.file_sha256, media.conditions, outcome)
    return outcome if isinstance(outcome, str) else None


def _with_digest(call: Call, media: Media, digest: str) -> Call:
    return replace(call, recipe=media.recipe, **{media.kind: digest})


def _media_failure(error: MediaError) -> Outcome:
    failure = Completion("", "error", error_class=error.error_class, error=error.detail)
    return Outcome(None, failure)
