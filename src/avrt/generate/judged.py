"""Merged traces as gates and judges see them, and the file of judgements.

Reads and writes traces/judged.parquet, one row per judged sample and judge. It is derived from the
ledger: equal ledgers give equal bytes. A sample that a rejecting gate dropped has no row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.errors import AvrtError, MediaError
from avrt.generate.findings import Findings
from avrt.generate.gates import Case, check
from avrt.generate.option_order import in_order, places_in, restore_letters
from avrt.generate.records import Answers, MergedTrace, best_answer
from avrt.media.processes import map_once
from avrt.runs import iter_parquet, manifest_path, track, write_parquet
from avrt.types import Sample

__all__ = [
    "Judgement",
    "case_of",
    "check_all",
    "iter_judged",
    "judged_path",
    "write_judged",
]

MIN_PARALLEL = 5_000
"""Traces for which starting processes pays."""
BATCH = 100
"""Traces that a process gets together."""
TIMEOUT_S = 600.0
"""Longest time for a batch."""
_SCHEMA = pa.schema(
    [
        *(
            pa.field(name, pa.string(), nullable=False)
            for name in ("sample_id", "judge", "status", "key", "text", "finish_reason")
        ),
        pa.field(
            "findings",
            pa.list_(pa.struct([pa.field(name, pa.string()) for name in ("finding", "quote")])),
            nullable=False,
        ),
        pa.field("calls", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Judgement:
    """The verdict of a judge on the trace that counts for a sample."""

    sample_id: str
    judge: str
    status: str
    """`ok`, `unjudged`, or `failed/CLASS`."""
    findings: Findings
    key: str
    """The merger's call that wrote the trace."""
    text: str
    """The trace: the merged one, or that of another try after a leak; where the traces are those of
    one teacher, its reply as it came.
    """
    finish_reason: str
    calls: Sequence[str]
    """All calls that led to it: the merger's tries, and the judge's calls about them."""


def case_of(shown: Sample, answers: Answers, trace: MergedTrace) -> Case:
    """A merged trace with the question as it was shown to the merger, and the teachers' texts, all
    in the trace's letters.
    """
    places = places_in(trace.order)
    stored = in_order(shown.options, places)
    texts: dict[str, str] = {}
    for traces in answers.values():
        best = best_answer(traces)
        if best.modality != "none":
            text = restore_letters(best.text, places, stored)
            texts[best.modality] = f"{texts.get(best.modality, '')}{text}\n"
    return Case(
        text=trace.text,
        question=shown.question,
        options=shown.options,
        target=shown.target,
        finish_reason=trace.finish_reason,
        teacher_texts=texts,
    )


def check_all(cases: Iterable[Case], n: int) -> Iterator[dict[str, str | None]]:
    """The fault of each of `n` traces by gate, in order, some traces at a time; many are checked
    on all processors.
    """
    if n < MIN_PARALLEL:
        yield from map(check, cases)
        return
    waiting = iter(cases)
    batches = iter(lambda: list(islice(waiting, BATCH)), [])
    with closing(map_once(_check_batch, batches, TIMEOUT_S, os.cpu_count() or 1)) as results:
        yield from track(chain.from_iterable(map(_found, results)), "gates", "traces", n)


def _check_batch(cases: Sequence[Case]) -> list[dict[str, str | None]]:
    return list(map(check, cases))


def _found(
    result: tuple[Sequence[Case], list[dict[str, str | None]] | MediaError],
) -> list[dict[str, str | None]]:
    flagged = result[1]
    if isinstance(flagged, MediaError):
        raise AvrtError(
            "gates: a process that reads traces was ended, most likely for lack of memory; free "
            "memory, then repeat the command"
        )
    return flagged


def judged_path(run: Path) -> Path:
    """The file of the judgements."""
    return run / "traces" / "judged.parquet"


def iter_judged(run: Path) -> Iterator[tuple[str, list[Judgement]]]:
    """The id of every judged sample with the judgements about it, in sample order."""
    rows = map(_from_row, iter_parquet(judged_path(run)))
    for sample_id, same in groupby(rows, lambda row: row.sample_id):
        yield sample_id, list(same)


def write_judged(run: Path, judgements: Iterable[Judgement]) -> None:
    """Write the judgements in sample order; a dataset built from others is to be built again."""
    path = judged_path(run)
    derived = [manifest_path(run, "build")]
    write_parquet(path, map(_to_row, judgements), _SCHEMA, derived=derived)


def _to_row(judgement: Judgement) -> Mapping[str, Any]:
    pairs = [{"finding": name, "quote": quote} for name, quote in judgement.findings.items()]
    return {**vars(judgement), "findings": pairs}


def _from_row(row: dict[str, Any]) -> Judgement:
    row["findings"] = {entry["finding"]: entry["quote"] for entry in row["findings"]}
    return Judgement(**row)
