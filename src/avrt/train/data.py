"""Inputs of both trainers: the dataset's rows, and each row's prompt encoded for the student.

Reads RUN/dataset/*.parquet and the clips. A trainer gets only sample ids in its dataset (Arrow
would give every media part of a chat message the keys of all others); `PromptEncoder` turns an
id's sample into tokens and tensors, in the same way for SFT, for rollouts and for log-
probabilities. Encodings stay in memory while they fit, because decoding and preprocessing a clip
costs more than a training step of a small model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Dataset

from avrt.config import GrpoConfig, MediaConfig
from avrt.datasets import dataset_row_to_sample
from avrt.engines.encode import Encoded, encode
from avrt.errors import PASSING_CLASSES, AvrtError, DataError, MediaError
from avrt.media import load_media
from avrt.prompts import format_options, load_prompt
from avrt.ranks import is_main
from avrt.runs import check_sums, read_parquet, track, write_atomic
from avrt.texts import counted
from avrt.types import Prompt, Sample

__all__ = [
    "Example",
    "PromptEncoder",
    "UsableExamples",
    "id_dataset",
    "keep_usable",
    "prompts_path",
    "read_examples",
    "refuse_unread",
    "split_path",
    "trace_ids",
    "write_lost",
]

CACHE_BYTES = 1 << 30
"""Encodings that a process keeps; beyond that a clip is decoded whenever it is needed."""


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
        self,
        processor: Any,
        root: Path,
        media: MediaConfig,
        prompt: str,
        cache_bytes: int = CACHE_BYTES,
        interleaved: bool = False,
    ) -> None:
        """`root`: the dataset's folder; `prompt` and `interleaved`: the settings `student.prompt`
        and `student.use_audio_in_video`.
        """
        self._interleaved = interleaved
        self._root = root
        self._media = media
        self._template = load_prompt(prompt)
        self._processor = processor
        self._room = cache_bytes
        self._cache: dict[str, Encoded] = {}

    def __call__(self, sample: Sample) -> Encoded:
        """Encode a sample, or return its earlier encoding.

        Raises:
            MediaError: the clip cannot be read, or lacks its picture or its sound.
        """
        if sample.id not in self._cache:
            encoded = encode(self._processor, self._prompt(sample), self._interleaved)
            size = sum(tensor.nbytes for tensor in encoded.media.values())
            if size > self._room:
                return encoded
            self._room -= size
            self._cache[sample.id] = encoded
        return self._cache[sample.id]

    def _prompt(self, sample: Sample) -> Prompt:
        frames, audio = load_media(sample, self._root, self._media, "av")
        system, text = self._template.fill(
            question=sample.question, options=format_options(sample.options)
        )
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
    stage: str, examples: Sequence[Example], length: Callable[[Example], int], max_length: int
) -> UsableExamples:
    """Keep the examples whose clip can be read and whose `length` fits; no example is ever cut.

    Raises:
        DataError: no example is left.
    """
    usable = UsableExamples()
    again: dict[str, Example] = {}
    tracked = track(examples, f"{stage}: encode", "samples")
    # What may pass is tried once more, after all others.
    for example in chain(tracked, again.values()):
        lost = {"sample_id": example.sample.id}
        try:
            n_tokens = length(example)
        except MediaError as error:
            if error.error_class in PASSING_CLASSES and example.sample.id not in again:
                again[example.sample.id] = example
                continue
            lost |= {"reason": f"failed/{error.error_class}", "detail": str(error)}
            usable.lost.append(lost)
            usable.failures.append(error)
            continue
        if n_tokens > max_length:
            detail = f"{n_tokens} tokens, at most {max_length}"
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
    """Refuse to train on less because clips cannot be read now; call after `write_lost`.

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


def write_lost(path: Path, *parts: UsableExamples) -> None:
    """Write a line for each sample that is not trained on, with its reason."""
    if not is_main():
        return
    rows = [row for part in parts for row in part.lost]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(path, lambda file: file.write(text.encode()))
