"""Merged traces as gates and judges see them, and the file of judgements.

Reads and writes traces/judged.parquet, one row per judged sample and judge. It is derived from the
ledger: equal ledgers give equal bytes. A sample that a rejecting gate dropped has no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.generate.findings import Findings
from avrt.generate.gates import Case, check
from avrt.generate.merge import shown_sample
from avrt.generate.option_order import places_in, restore_letters
from avrt.generate.records import Answers, MergedTrace, best_answer, redo_derived
from avrt.runs import read_parquet, write_parquet
from avrt.types import Sample

__all__ = [
    "Judgement",
    "case_of",
    "check_all",
    "judged_path",
    "load_judged",
    "write_judged",
]

MIN_PARALLEL = 5_000
"""Traces for which starting processes pays."""
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
    """The trace: the merged one, or that of another try after a leak."""
    finish_reason: str
    calls: Sequence[str]
    """All calls that led to it: the merger's tries, and the judge's calls about them."""


def case_of(sample: Sample, answers: Answers, trace: MergedTrace) -> Case:
    """A merged trace with the question and the teachers' texts, all in the trace's letters."""
    shown = shown_sample(sample, trace.order)
    texts: dict[str, str] = {}
    for traces in answers.values():
        best = best_answer(traces)
        if best.modality != "none":
            text = restore_letters(best.text, places_in(trace.order), sample.options)
            texts[best.modality] = f"{texts.get(best.modality, '')}{text}\n"
    return Case(
        text=trace.text,
        question=shown.question,
        options=shown.options,
        target=shown.target,
        finish_reason=trace.finish_reason,
        teacher_texts=texts,
    )


def check_all(cases: Iterable[Case], n: int) -> list[dict[str, str | None]]:
    """The fault of each of `n` traces by gate; many traces are checked on all processors."""
    if n < MIN_PARALLEL:
        return [check(case) for case in cases]
    with get_context("spawn").Pool() as pool:
        return list(pool.imap(check, cases, chunksize=100))


def judged_path(run: Path) -> Path:
    """The file of the judgements."""
    return run / "traces" / "judged.parquet"


def load_judged(run: Path) -> dict[str, list[Judgement]]:
    """The judgements about every judged sample, in sample order."""
    rows = (_from_row(row) for row in read_parquet(judged_path(run)))
    return {sample_id: list(same) for sample_id, same in groupby(rows, lambda row: row.sample_id)}


def write_judged(run: Path, judgements: Iterable[Judgement]) -> None:
    """Write the judgements in sample order; a dataset built from others is to be built again."""
    path = judged_path(run)
    with redo_derived(run, path, ("build",)):
        write_parquet(path, [_to_row(judgement) for judgement in judgements], _SCHEMA)


def _to_row(judgement: Judgement) -> Mapping[str, Any]:
    pairs = [{"finding": name, "quote": quote} for name, quote in judgement.findings.items()]
    return {**vars(judgement), "findings": pairs}


def _from_row(row: dict[str, Any]) -> Judgement:
    row["findings"] = {entry["finding"]: entry["quote"] for entry in row["findings"]}
    return Judgement(**row)
