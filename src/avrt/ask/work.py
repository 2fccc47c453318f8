"""The work on drafts: begin calls once, commit every outcome before the next is seen.

Both sides of an engine share it: that which reads media and begins calls, and that which gets the
replies. They may be threads of this process, or workers on other machines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from avrt.ask.budget import Budget
from avrt.ask.drafts import Draft, sources_of, wanted_of
from avrt.ask.ledger import Ledger
from avrt.ask.outcomes import Outcome, Outcomes, media_failure
from avrt.ask.payloads import Kind, Media, Source
from avrt.ask.progress import Progress
from avrt.ask.refusals import Refusals
from avrt.ask.rows import Call, Carried
from avrt.errors import PASSING_CLASSES, EngineError, MediaError
from avrt.texts import clean
from avrt.types import Completion, Prompt, Request

__all__ = ["Digests", "Work", "by_kind", "digests_of", "prompt_of"]

T = TypeVar("T")
Digests: TypeAlias = Mapping[Kind, str | MediaError]
"""Of the decoded media of a clip, or the reason why one cannot be had."""


@dataclass(frozen=True)
class _Flight:
    """A call that the engine has, with the drafts that wait for it: equal calls are made once."""

    call: Call
    drafts: list[Draft]


@dataclass
class Work:
    """All drafts to one model; its methods may be called from any thread."""

    ledger: Ledger
    identity: Mapping[str, Any]
    """Of the engine."""
    budget: Budget
    outcomes: Outcomes
    progress: Progress
    keeps: Callable[[Draft, Completion], bool] | None
    refusals: Refusals
    is_stopped: bool = False
    """The budget is spent: nothing more may be begun."""
    _in_flight: dict[str, _Flight] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, group: Sequence[Draft], digests: Digests) -> Iterator[tuple[Draft, Call]]:
        """Of drafts about one clip, yield those whose call is to be made now; settle the others.

        `digests`: of the decoded media by kind, or why one cannot be had.
        """
        for draft in group:
            wanted = wanted_of(draft, digests)
            if isinstance(wanted, MediaError):
                self.fail(draft, wanted)
                continue
            assert wanted is not None  # every source was read, or failed
            call = draft.call(self.identity, wanted)
            if self._begin(draft, call):
                yield draft, call
            if self.is_stopped:
                return

    def note_media(self, group: Sequence[Draft], read: Digests | MediaError) -> Digests:
        """Remember what the files of a clip decode to, or that they do not; give it by kind.

        A single error stands for all media of the clip: the process that read it died.
        """
        sources = sources_of(group)
        digests = by_kind(sources, read)
        if isinstance(read, MediaError) and len({source.name for source in sources}) > 1:
            return digests  # over which of the files nobody knows
        for source in sources:
            if source.file.sha256 is not None:
                digest = digests[source.kind]
                self.ledger.record_payload(source.file.sha256, source.conditions, digest)
        return digests

    def store(self, request: Request, completion: Completion) -> None:
        """Commit a reply before anything else is seen; an engine's `on_completion`.

        Raises:
            EngineError: the model got other media than it was given.
        """
        self.store_reply(request.key, Carried.by(request.prompt), completion)

    def store_reply(self, key: str, carried: Carried, completion: Completion) -> None:
        """As `store`, of a prompt that was made elsewhere."""
        # No file can hold half a surrogate pair or NUL.
        error = None if completion.error is None else clean(completion.error)
        completion = replace(completion, text=clean(completion.text), error=error)
        failure = completion if completion.finish_reason == "error" else None
        with self._lock:
            flight = self._in_flight[key]
            if failure is None:
                _check_arrival(flight.call.sample_id, carried, completion)
            self.ledger.record(key, flight.call, carried, completion)
            del self._in_flight[key]
            for draft in flight.drafts:
                self.outcomes[draft.id] = Outcome(key, failure)
            self.budget.finish_call(completion)
            kept = (
                None if self.keeps is None else [self.keeps(d, completion) for d in flight.drafts]
            )
            self.progress.finish(completion, [d.sample_id for d in flight.drafts], kept)
            self.refusals.note(flight.call, completion)

    def take_back(self, key: str) -> list[Draft]:
        """The drafts that wait for a call whose engine died: they are to be begun again."""
        with self._lock:
            self.budget.n_calls -= 1
            self.progress.stop()
            return self._in_flight.pop(key).drafts

    def _begin(self, draft: Draft, call: Call) -> bool:
        """Whether the call is to be made now."""
        key = call.key
        with self._lock:
            if key in self._in_flight:
                self._in_flight[key].drafts.append(draft)
                return False
            if not (is_known := bool(self.ledger.finished([key]))) and self.ledger.adopt([call]):
                is_known = True
                self.progress.reuse(1)
            if is_known:
                self.outcomes[draft.id] = Outcome(key)
                self.progress.settle()
                return False
            if not self.budget.start_call():
                self.is_stopped = True
                return False
            self._in_flight[key] = _Flight(call, [draft])
            self.progress.start()
        return True

    def fail(self, draft: Draft, error: MediaError) -> None:
        """There is no call to make: the media cannot be used."""
        with self._lock:
            self.outcomes[draft.id] = media_failure(error, _is_unread(draft, error))
            self.progress.settle()


def by_kind(
    sources: Sequence[Source], read: Mapping[Kind, T] | MediaError
) -> Mapping[Kind, T | MediaError]:
    """The media of a clip; an error that stands for all of them, for each."""
    if isinstance(read, MediaError):
        return {source.kind: read for source in sources}
    return read


def digests_of(media: Media | MediaError) -> Digests | MediaError:
    """The digests of a clip's media, hashed once for all drafts about it."""
    if isinstance(media, MediaError):
        return media
    return {
        kind: payload if isinstance(payload, MediaError) else payload.digest
        for kind, payload in media.items()
    }


def prompt_of(draft: Draft, media: Media) -> Prompt:
    """The prompt that carries the media of the draft, and no other."""
    payloads: Any = wanted_of(draft, media)
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


def _check_arrival(sample_id: str, carried: Carried, completion: Completion) -> None:
    """Absent is absent, and media that were given have arrived, by the tokens the engine counts.

    Raises:
        EngineError: the model got a modality that the prompt lacks, or lacks one that it has.
    """
    for name, has_media, n_tokens in (
        ("pictures", carried.n_frames > 0, completion.n_frame_tokens),
        ("sound", carried.has_sound, completion.n_audio_tokens),
    ):
        if n_tokens is not None and has_media != (n_tokens > 0):
            expected = "some" if has_media else "none"
            raise EngineError(
                f"sample {sample_id!r}: the model got {n_tokens} tokens of {name} where {expected} "
                f"were asked for; its processor or chat template does not take {name} as AVRT "
                f"gives them"
            )
