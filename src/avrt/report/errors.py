"""What goes wrong: an answer is right, has no letter that can be read, or settles on a wrong one.

Reads nothing. The split is that of the paper's authors: invalid format, against errors of the
reasoning; both are shares of all items, as is the accuracy.

The decision to question: the format is invalid where the answer parser reads no letter. The authors
read the answer tag alone, so that a right letter outside of it is invalid there and right here.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.logs import Line
from avrt.evaluate.results import MODALITIES, ModelResult
from avrt.evaluate.statistics import Accuracy, pooled
from avrt.evaluate.summary import in_order, interval_text, percent
from avrt.report.tables import Cell, Table

__all__ = ["KINDS", "NAME", "error_cells", "errors_table", "errors_to_csv", "richest", "shares_of"]

NAME = "errors"
KINDS: Mapping[str, Callable[[Line], bool]] = {
    "right": lambda line: line.correct,
    "invalid": lambda line: line.status == "unparsable",
    "wrong": lambda line: line.status == "scored" and not line.correct,
    "lost": lambda line: line.status in ("failed", "missing_media"),
}
"""Of each line of a log one holds."""


def richest(
    results: Sequence[tuple[str, ModelResult]], benchmarks: Sequence[str], models: Sequence[str]
) -> list[tuple[str, ModelResult]]:
    """Of each benchmark and model the result with the richest input; checkpoints are left out.

    `results` have the names of their models in front; `benchmarks` and `models` are in order.
    """
    best: dict[tuple[str, str], ModelResult] = {}
    for name, result in results:
        known = best.get((result.benchmark, name))
        is_richer = known is None or _rank(result) > _rank(known)
        if split_name(result.model) is None and result.has_media and is_richer:
            best[result.benchmark, name] = result
    return [
        (model, best[benchmark, model])
        for benchmark in in_order({benchmark for benchmark, _ in best}, benchmarks)
        for model in in_order({model for name, model in best if name == benchmark}, models)
    ]


def errors_table(results: Sequence[tuple[str, ModelResult]]) -> Table | None:
    """A row for each result; None without one."""
    if not results:
        return None
    rows = tuple(
        (
            *(result.benchmark, name, result.modality.upper(), str(result.accuracy.n)),
            *(_cell(share, kind, result) for kind, share in shares_of(result).items()),
        )
        for name, result in results
    )
    return Table(
        NAME,
        "Errors: invalid format, and wrong reasoning",
        ("Benchmark", "Model", "Input", "n", "Right", "Invalid format", "Wrong reasoning", "Lost"),
        rows,
        (
            "Shares of all items with 95 % interval. Invalid: no letter can be read.",
            "Wrong: a letter can be read, and it is not the right one. Lost: there is no reply.",
            "The paper's authors read the answer tag alone, so that more is invalid there.",
        ),
        text_columns=3,
    )


def error_cells(results: Sequence[tuple[str, ModelResult]]) -> list[dict[str, Any]]:
    """The same for programs, in per cent."""
    return [
        {
            "benchmark": result.benchmark,
            "model": name,
            "given": result.modality,
            "n": result.accuracy.n,
            **{
                f"{kind}{end}": round(100 * value, 2)
                for kind, share in shares_of(result).items()
                for end, value in zip(
                    ("", "_low", "_high"), (share.value or 0.0, *share.interval), strict=True
                )
            },
            "cut": _n_cut(result),
            "protocol": result.protocol_id,
        }
        for name, result in results
    ]


def errors_to_csv(results: Sequence[tuple[str, ModelResult]]) -> str:
    """The same, a line for each result."""
    cells, file = error_cells(results), io.StringIO()
    writer = csv.DictWriter(file, list(cells[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return file.getvalue()


def shares_of(result: ModelResult) -> dict[str, Accuracy]:
    verdicts: dict[str, dict[str, list[bool]]] = {kind: defaultdict(list) for kind in KINDS}
    for line in result.lines:
        for kind, holds in KINDS.items():
            verdicts[kind][line.sample_id].append(holds(line))
    return {kind: pooled(of_kind) for kind, of_kind in verdicts.items()}


def _cell(share: Accuracy, kind: str, result: ModelResult) -> Cell:
    details = [interval_text(*share.interval)]
    if kind == "invalid" and (n_cut := _n_cut(result)):
        details.append(f"{n_cut} cut")
    return Cell(percent(share.value), tuple(details), strong=False)


def _n_cut(result: ModelResult) -> int:
    """Replies without a letter that were cut at the longest completion."""
    return sum(KINDS["invalid"](line) and line.finish_reason == "length" for line in result.lines)


def _rank(result: ModelResult) -> int:
    return MODALITIES.index(result.modality)
