"""A model and a set as a client of the asker: the drafts, and the log lines out of the replies.

Nothing is read or written here. Drafts about one item stand in a row with one clip, so that each
file is read once for sound, pictures and both. The lines are a pure function of the ledger.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from avrt.ask.calls import Draft, Outcome, seeded
from avrt.ask.ledger import LedgerReader
from avrt.ask.payloads import Clips, File
from avrt.ask.rows import StoredCall
from avrt.config import MediaConfig
from avrt.evaluate.logs import Line, LogMeta, Settings, to_line
from avrt.evaluate.models import Model
from avrt.evaluate.protocol import ABSENT, Files
from avrt.evaluate.questions import question_digest
from avrt.evaluate.scoring import Score, score
from avrt.evaluate.sets import EvalSet
from avrt.types import BenchmarkItem, Given, Sample

__all__ = ["Task"]

_BATCH = 500
"""Calls, with their texts, that are taken from the ledger together."""


@dataclass(frozen=True)
class Task:
    """All questions of one set to one model."""

    benchmark: EvalSet
    files: Files
    """The media files of the set."""
    model: Model
    modalities: Sequence[Given]
    settings: Settings
    media: MediaConfig
    """What the model gets of the set's clips."""
    seed: int

    @property
    def title(self) -> str:
        return f"eval {self.benchmark.name}/{self.model.name}"

    @property
    def meta(self) -> LogMeta:
        """The settings and the size of each of the task's logs."""
        n_items = len(self.benchmark.asked)
        notes, prompt = self.benchmark.notes, self.model.prompt
        return LogMeta(self.settings, n_items, self.model.k, notes, prompt)

    @cached_property
    def _clips(self) -> Clips:
        files = {
            name: File(None if digest == ABSENT else digest, (stamp[0], stamp[1]))
            for name, (stamp, digest) in self.files.items()
        }
        return Clips(self.benchmark.data.root, self.media, files)

    def count_drafts(self, items: Sequence[BenchmarkItem]) -> int:
        """The number of drafts about these items."""
        return len(items) * len(self.modalities) * self.model.k

    def drafts(
        self, items: Sequence[BenchmarkItem], modalities: Sequence[Given]
    ) -> Iterator[Draft]:
        """Every question about these items; the id of a draft is `(item, modality, k)`."""
        for item in items:
            sample = item.sample
            clip = self._clips.of(sample)
            for given in modalities:
                system, text = self.model.ask(item, given, self.benchmark, self.media.n_frames)
                for k in range(self.model.k):
                    yield Draft(
                        id=(sample.id, given, k),
                        stage="eval",
                        sample_id=sample.id,
                        role=self.model.name,
                        system=system,
                        text=text,
                        sampling=seeded(self.model.sampling, self.seed, sample.id, k),
                        k=k,
                        given=given,
                        clip=clip,
                        dataset=self.benchmark.name,
                    )

    def lines(
        self, given: Given, outcomes: Mapping[Hashable, Outcome], ledger: LedgerReader
    ) -> Iterator[Line]:
        """The lines of a log in the order of the items; an item without an outcome is left out.

        The calls are taken from the ledger a batch at a time.
        """
        protocol = self.settings.protocol_id
        drafts = self.drafts(self.benchmark.asked, [given])
        waiting = (draft for draft in drafts if draft.id in outcomes)
        while batch := list(islice(waiting, _BATCH)):
            keys = [outcomes[draft.id].key for draft in batch]
            calls = ledger.find_calls([key for key in keys if key is not None])
            for draft, key in zip(batch, keys, strict=True):
                sample = self.benchmark.by_id[draft.sample_id].sample
                call = None if key is None else calls[key]
                yield _to_line(sample, draft, outcomes[draft.id], call, protocol)


def _to_line(
    sample: Sample, draft: Draft, outcome: Outcome, call: StoredCall | None, protocol: str
) -> Line:
    completion = outcome.failure if call is None else call.completion
    assert completion is not None  # without a call there was no reply
    result = score(completion, sample)
    if call is None and not outcome.unread:
        reason = f"{completion.error_class}: {completion.error}"
        result = Score(0.0, None, reason, "missing_media")
    asked = question_digest((draft.system, draft.text))
    line = replace(to_line(sample, completion, result, protocol, asked), k=draft.k)
    if call is None:
        return replace(line, finish_reason=None)
    return replace(
        line,
        key=call.key,
        frames_digest=call.request["frames"],
        audio_digest=call.request["audio"],
        n_frames=call.n_frames,
        audio_s=call.audio_s,
        source_audio_s=call.sizes.get("source_s"),
        frame_pixels=_whole(call.sizes.get("n_pixels")),
        source_pixels=_whole(call.sizes.get("source_pixels")),
        n_frame_tokens=completion.n_frame_tokens,
        n_audio_tokens=completion.n_audio_tokens,
        n_prompt_tokens=completion.n_prompt_tokens,
        n_completion_tokens=completion.n_completion_tokens,
        latency_s=completion.latency_s,
    )


def _whole(size: float | None) -> int | None:
    return None if size is None else int(size)
