"""The rows of a run, side by side: every question with what each stage made of it.

Reads dataset/{train,validation,rejected}.parquet, or samples.parquet before `build`; beside them
traces/*.parquet and the logs of benchmarks that ask the same questions, all some rows at a time.

The decision to question: a file that cannot be read costs what it holds, not the page: the items
come without it, and the fault is noted for the end of the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from avrt.datasets import dataset_row_to_sample, row_to_sample
from avrt.datasets.faults import reason_of
from avrt.errors import DataError
from avrt.evaluate.logs import iter_log, log_path
from avrt.evaluate.results import ModelResult
from avrt.generate.judged import Judgement, iter_judged, judged_path
from avrt.generate.records import (
    Answers,
    MergedTrace,
    along,
    iter_merged,
    iter_teachers,
    merged_path,
    stratum_of,
    teachers_path,
    trace_outcome,
)
from avrt.report.item import Asked, Made, answer_entry
from avrt.runs import IdSet, iter_parquet
from avrt.types import Sample

__all__ = ["DATASET", "Benchmark", "Part", "benchmark_rows", "part_rows", "parts_of_run"]

DATASET = "dataset"
"""The origin of the questions that traces are made of."""
_LIGHT = (
    *("id", "question", "choices", "options", "answer", "answer_index", "question_relation"),
    *("question_type", "video_id", "video", "image", "audio", "source"),
    *("stage", "reason", "status", "usable"),
)
_MALFORMED = (DataError, KeyError, TypeError, ValueError)

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One file of questions."""

    path: Path
    outcome: str | None
    """`train` or `validation`; None: a row says it, or nothing is decided yet."""

    def light_rows(self) -> Iterator[tuple[Sample, str | None, str | None]]:
        """The questions without any trace; their outcome and its reason."""
        for row in iter_parquet(self.path, _LIGHT):
            yield self.sample(row), *self.fate(row)

    def sample(self, row: Mapping[str, Any]) -> Sample:
        return dataset_row_to_sample(row, row["source"]) if "choices" in row else row_to_sample(row)

    def fate(self, row: Mapping[str, Any]) -> tuple[str | None, str | None]:
        if "usable" in row:
            reason = reason_of(row)
            return ("prepare" if reason else None), reason
        return self.outcome or row["stage"], row.get("reason")


@dataclass(frozen=True)
class Benchmark:
    """The questions of a benchmark that a model was asked, and the logs about them."""

    name: str
    run: Path
    results: Sequence[ModelResult]
    """Without texts."""

    @cached_property
    def ids(self) -> list[str]:
        """In the order of the questions."""
        asked = {line.sample_id for result in self.results for line in result.lines}
        return [id_ for id_ in self.results[0].items if id_ in asked]

    def sample(self, id_: str) -> Sample:
        return self.results[0].items[id_].sample

    def replies(self, ids: Sequence[str], faults: list[str]) -> Iterator[list[dict[str, Any]]]:
        """For each of these ids, in their order, the replies of all models."""
        streams = [
            _tolerant(along(ids, _by_item(self, result), _log(self, result)), faults)
            for result in self.results
        ]
        for _, *found in _beside(ids, streams):
            yield [reply for replies in found for reply in replies or ()]


def parts_of_run(run: Path) -> list[Part]:
    """The files with the questions of the run, in the order of the page."""
    built = {name: run / "dataset" / f"{name}.parquet" for name in ("train", "validation")}
    rejected = run / "dataset" / "rejected.parquet"
    if all(path.is_file() for path in built.values()):
        parts = [Part(path, name) for name, path in built.items()]
        return [*parts, Part(rejected, None)] if rejected.is_file() else parts
    samples = run / "samples.parquet"
    return [Part(samples, None)] if samples.is_file() else []


def part_rows(
    run: Path, part: Part, benchmarks: Sequence[Benchmark], faults: list[str]
) -> Iterator[Made]:
    """Every question of a file with what was made of it."""
    known = IdSet(_ids(part.path))
    rows = iter_parquet(part.path)
    sources = (
        (teachers_path(run), iter_teachers(run)),
        (merged_path(run), iter_merged(run)),
        (judged_path(run), iter_judged(run)),
    )
    streams = [
        _tolerant(along(_ids(part.path), pairs if path.is_file() else (), path, known), faults)
        for path, pairs in sources
    ]
    same = [_replies_to(part.path, benchmark, faults) for benchmark in benchmarks]
    for row, *found in _beside(rows, [*streams, *same]):
        answers, merged, judgements, *replies = found
        sample = part.sample(row)
        outcome, reason = part.fate(row)
        if outcome is None and answers and (reason := trace_outcome(answers)):
            outcome = "trace"
        trace = _that_counts(row, merged, judgements or ())
        yield Made(
            origin=DATASET,
            sample=sample,
            outcome=outcome,
            reason=reason,
            stratum=row.get("stratum") or _stratum(answers),
            answers=answers,
            texts=_imported(row) if answers is None else {},
            merged=trace,
            gates=row.get("gates") or {},
            findings=row.get("findings") or _findings(judgements or ()),
            replies=[
                reply
                for asked, found in replies
                if asked is not None
                and (asked.question, asked.options) == (sample.question, sample.options)
                for reply in found
            ],
        )


def benchmark_rows(benchmark: Benchmark, faults: list[str]) -> Iterator[Made]:
    """Every question of a benchmark that was asked, with the replies to it."""
    ids = benchmark.ids
    for id_, replies in zip(ids, benchmark.replies(ids, faults), strict=True):
        yield Made(benchmark.name, benchmark.sample(id_), replies=replies)


def _ids(path: Path) -> Iterator[str]:
    return (row["id"] for row in iter_parquet(path, ["id"]))


def _replies_to(
    path: Path, benchmark: Benchmark, faults: list[str]
) -> Iterator[tuple[Sample | None, list[dict[str, Any]]]]:
    """For each id in a file the benchmark's question of that name, and the replies to it."""
    asked = set(benchmark.ids)
    common = [id_ for id_ in _ids(path) if id_ in asked]
    replies = benchmark.replies(common, faults)
    for id_ in _ids(path):
        yield (benchmark.sample(id_), next(replies, [])) if id_ in asked else (None, [])


def _by_item(
    benchmark: Benchmark, result: ModelResult
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The replies of a log, item by item; verdicts are those of today's parser."""
    asked = Asked(benchmark.name, result.model, result.modality, result.prompt)
    at, replies = None, []
    for scored, line in zip(result.lines, iter_log(_log(benchmark, result)), strict=True):
        if line.sample_id != at:
            if at is not None:
                yield at, replies
            at, replies = line.sample_id, []
        replies.append(answer_entry(asked, scored, line.text))
    if at is not None:
        yield at, replies


def _log(benchmark: Benchmark, result: ModelResult) -> Path:
    return log_path(benchmark.run, benchmark.name, result.model, result.modality)


def _beside(firsts: Iterable[Any], streams: Sequence[Iterator[Any]]) -> Iterator[tuple[Any, ...]]:
    """Each of the first with the next of every stream."""
    for first in firsts:
        yield (first, *map(next, streams))
    for stream in streams:  # what is left over is a fault
        next(stream, None)


def _tolerant(values: Iterable[T], faults: list[str]) -> Iterator[T | None]:
    """The values, and after an error None without end."""
    try:
        yield from values
    except _MALFORMED as error:
        faults.append(str(error))
    while True:
        yield None


def _that_counts(
    row: Mapping[str, Any], merged: MergedTrace | None, judgements: Sequence[Judgement]
) -> MergedTrace | None:
    """The trace of the row, with what is known about the call that wrote it."""
    text = row.get("av_reasoning")
    if "av_reasoning" in row and text is None:
        return None if merged is None or merged.status == "ok" else merged
    order = list(range(len(row.get("choices") or row.get("options") or ())))
    if merged is None:
        return text and MergedTrace(row["id"], "", "ok", text, order, "stop", 0, 0)
    text = merged.text.strip() if text is None else text
    final = next((each for each in judgements if each.text.strip() == text), None)
    key, reason = (final.key, final.finish_reason) if final else (merged.key, merged.finish_reason)
    counts = (merged.n_prompt_tokens, merged.n_completion_tokens) if key == merged.key else (0, 0)
    return MergedTrace(row["id"], key, merged.status, text, merged.order, reason, *counts)


def _stratum(answers: Answers | None) -> str | None:
    return stratum_of(answers) if answers and not trace_outcome(answers) else None


def _imported(row: Mapping[str, Any]) -> dict[str, tuple[str, bool | None]]:
    """The teachers' texts of a row that was not made here."""
    return {
        role: (text, row.get(f"{role}_correct"))
        for role in ("vision", "audio")
        if (text := row.get(f"{role}_text"))
    }


def _findings(judgements: Iterable[Judgement]) -> list[dict[str, str]]:
    return [
        {"judge": judgement.judge, "finding": finding, "quote": quote}
        for judgement in judgements
        for finding, quote in judgement.findings.items()
    ]
