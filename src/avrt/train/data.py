"""Inputs of both trainers: the dataset's rows, and each row's prompt encoded for the student.

Reads RUN/dataset/*.parquet and the clips. A trainer gets only sample ids in its dataset (Arrow
would give every media part of a chat message the keys of all others); `PromptEncoder` turns an
id's sample into tokens and tensors, in the same way for SFT, for rollouts and for log-
probabilities. `avrt.train.feed` does so ahead of the steps.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from avrt.config import GrpoConfig, MediaConfig, SftConfig
from avrt.datasets import dataset_row_to_sample
from avrt.engines.encode import Encoded, encode
from avrt.errors import PASSING_CLASSES, AvrtError, ConfigError, DataError, MediaError
from avrt.media import load_media
from avrt.prompts import format_options, load_prompt
from avrt.runs import check_sums, read_parquet
from avrt.texts import counted
from avrt.types import Frames, Prompt, Sample, Waveform

__all__ = [
    "Example",
    "PromptEncoder",
    "UsableExamples",
    "id_dataset",
    "keep_usable",
    "prompts_path",
    "read_examples",
    "refuse_unread",
    "rows_of",
    "split_path",
    "trace_ids",
]


@dataclass(frozen=True)
class Example:
    """One row of the dataset: a sample and the trace the student learns to write."""

    sample: Sample
    trace: str
    """Empty when there is none, which is enough for GRPO."""


def split_path(run: Path, split: str) -> Path:
    """The file of a split of the dataset in the run directory; the stage `build` writes it."""
    return run / "dataset" / f"{split}.parquet"


def prompts_path(run: Path, grpo: GrpoConfig) -> Path:
    """The file with GRPO's prompts in the run directory."""
    return run / "samples.parquet" if grpo.data == "samples" else split_path(run, "train")


def read_examples(path: Path, need_trace: bool = True) -> list[Example]:
    """Read the rows of a split, in file order.

    Raises:
        DataError: the file is absent, a row is no sample or lacks picture, sound or a needed trace,
            or an id occurs twice.
    """
    examples = [
        _to_example(row, f"{path}:{number}", need_trace)
        for number, row in enumerate(read_parquet(path), start=1)
    ]
    for name, count in Counter(example.sample.id for example in examples).items():
        if count > 1:
            raise DataError(f"{path}: sample id {name!r} occurs {count} times; ids must be unique")
    return examples


def rows_of(sft: SftConfig, seed: int, examples: Sequence[Example]) -> list[Example]:
    """Give the rows that `sft.skip` and `sft.limit` take of the training split, in file order.

    Raises:
        ConfigError: there are not so many rows.
    """
    n_rows = len(examples)
    end = n_rows if sft.limit is None else sft.skip + sft.limit
    if n_rows and sft.skip >= n_rows:
        raise ConfigError(
            f"sft.skip = {sft.skip} leaves no row: the training split has {n_rows}; set it lower"
        )
    if n_rows and end > n_rows:
        raise ConfigError(
            f"sft.limit = {sft.limit}, sft.skip = {sft.skip}: the training split has {n_rows} "
            f"rows; set sft.limit to {n_rows - sft.skip} at most, or to null for all"
        )
    ids = (example.sample.id for example in examples)
    order = sorted(ids, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())
    taken = set(order[sft.skip : end])
    return [example for example in examples if example.sample.id in taken]


def _to_example(row: Mapping[str, Any], where: str, need_trace: bool) -> Example:
    try:
        sample = dataset_row_to_sample(row, where)
        trace, letter = row["av_reasoning"], row["answer_letter"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: not a row of the dataset: {type(error).__name__}: {error}"
        ) from error
    if letter != sample.target:
        raise DataError(
            f"{where}: answer_letter is {letter!r}, "
            f"but answer {sample.answer_index} is {sample.target!r}"
        )
    for medium, file in {"picture": sample.picture_path, "sound": sample.sound_path}.items():
        if file is None:
            raise DataError(
                f"{where}: sample {sample.id!r} has no {medium}; "
                "the student is trained on both modalities"
            )
    if need_trace and not trace:
        raise DataError(
            f"{where}: sample {sample.id!r} has no av_reasoning, which SFT learns to write; GRPO "
            "needs no trace: run `avrt grpo` with grpo.init=base"
        )
    return Example(sample, trace or "")


class PromptEncoder:
    """The student's input for a sample: prompt tokens (T,) and the tensors of its clip."""

    def __init__(
        self, processor: Any, root: Path, media: MediaConfig, prompt: str, interleaved: bool = False
    ) -> None:
        """`root`: the dataset's folder; `prompt` and `interleaved`: the settings `student.prompt`
        and `student.use_audio_in_video`.
        """
        self.root = root
        self.media = media
        self.processor = processor
        self._interleaved = interleaved
        self._template = load_prompt(prompt)

    def __call__(self, sample: Sample) -> Encoded:
        """Read the clip of a sample here and now, and encode it.

        Raises:
            MediaError: the clip cannot be read, or lacks its picture or its sound.
        """
        clip = load_media(sample, self.root, self.media, "av")
        return encode(self.processor, self._prompt(sample, *clip), self._interleaved)

    def encode(self, sample: Sample, frames: Frames | None, audio: Waveform | None) -> Encoded:
        """Make the compact inputs of a sample whose clip was read."""
        return encode(
            self.processor, self._prompt(sample, frames, audio), self._interleaved, compact=True
        )

    def texts(self, sample: Sample) -> tuple[str | None, str]:
        """The system text and the text of a sample's prompt."""
        return self._template.fill(question=sample.question, options=format_options(sample.options))

    def take(self, examples: Iterable[Example]) -> Callable[..., list[tuple[str, Encoded]]]:
        """A `Feed.take` that reads nothing ahead and replaces nothing, for a few samples."""
        samples = {example.sample.id: example.sample for example in examples}
        return lambda names, **_: [(name, self(samples[name])) for name in names]

    def _prompt(self, sample: Sample, frames: Frames | None, audio: Waveform | None) -> Prompt:
        system, text = self.texts(sample)
        return Prompt(text=text, system=system, frames=frames, audio=audio)


def trace_ids(processor: Any, trace: str) -> list[int]:
    """Tokens of a trace and the token that ends it; the loss is taken on them."""
    tokenizer = processor.tokenizer
    return [*tokenizer(trace, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def id_dataset(column: str, examples: Iterable[Example]) -> Dataset:
    """Give the trainers' dataset: a column of sample ids, nothing else."""
    return Dataset.from_dict({column: [example.sample.id for example in examples]})


@dataclass(frozen=True)
class UsableExamples:
    """The examples that a trainer can use, and the names of those that it cannot."""

    kept: list[Example] = field(default_factory=list)
    lost: list[dict[str, str]] = field(default_factory=list)
    """{"sample_id", "reason", "detail"} of each example that is not kept."""
    failures: list[MediaError] = field(default_factory=list)
    """Of the clips that cannot be read."""

    @property
    def counts(self) -> dict[str, int]:
        """Counts for the stage's manifest: `read`, `kept`, `dropped/too_long`, `failed/CLASS`."""
        reasons = Counter(row["reason"] for row in self.lost)
        return {"read": len(self.kept) + len(self.lost), "kept": len(self.kept), **reasons}


def keep_usable(
    stage: str,
    examples: Sequence[Example],
    lengths: Mapping[str, int | MediaError],
    max_length: int,
) -> UsableExamples:
    """Keep the examples that have a length, in tokens, and fit; no example is ever cut.

    Raises:
        DataError: no example is left.
    """
    usable = UsableExamples()
    for example in examples:
        lost = {"sample_id": example.sample.id}
        length = lengths[example.sample.id]
        if isinstance(length, MediaError):
            lost |= {"reason": f"failed/{length.error_class}", "detail": str(length)}
            usable.lost.append(lost)
            usable.failures.append(length)
        elif length > max_length:
            detail = f"{length} tokens, at most {max_length}"
            usable.lost.append(lost | {"reason": "dropped/too_long", "detail": detail})
        else:
            usable.kept.append(example)
    check_sums(stage, len(examples), usable.counts)
    if not usable.kept:
        first = f"; the first: {usable.lost[0]['detail']}" if usable.lost else ""
        raise DataError(
            f"{stage}: none of the {len(examples)} samples in the dataset can be used{first}"
        )
    return usable


def refuse_unread(stage: str, run: Path, *parts: UsableExamples) -> None:
    """Refuse to train on less because clips cannot be read now; call after `Dropped.begin`.

    Raises:
        AvrtError: a clip failed for a reason that says nothing about it, or is missing although
            `avrt prepare` found it.
    """
    table = run / "media.parquet"
    rows = read_parquet(table) if table.is_file() else []
    prepared = {row["path"] for row in rows if row["status"] == "ok"}
    unread = [
        failure
        for part in parts
        for failure in part.failures
        if failure.error_class in PASSING_CLASSES
        or (failure.error_class == "missing" and failure.path in prepared)
    ]
    if unread:
        numbers = counted(failure.error_class for failure in unread)
        raise AvrtError(
            f"{stage}: the clips of {len(unread)} samples cannot be read now ({numbers}; the "
            f"first: {unread[0]}); nothing was trained: mend that, then repeat the command"
        )
