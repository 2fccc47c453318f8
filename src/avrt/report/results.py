"""What the evaluation logs say: stages x modality, paired comparisons, accuracy by question type.

Reads RUN/eval/. Every accuracy stands with its n, its 95 % interval and the items it could not
score; every difference is measured on the same items, because differences of a point or two are
inside the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from avrt.config import EvalConfig
from avrt.datasets import row_to_sample
from avrt.evaluate.logs import Line, samples_path
from avrt.evaluate.statistics import Accuracy, Comparison, compare_paired
from avrt.evaluate.summary import (
    MODALITIES,
    ModelResult,
    in_order,
    interval_text,
    p_text,
    percent,
    read_results,
)
from avrt.report.tables import Cell, Table
from avrt.runs import read_parquet
from avrt.types import Sample

__all__ = [
    "BenchmarkResults",
    "comparison_table",
    "headline_table",
    "read_benchmarks",
    "type_table",
]

LABELS = {"a": "Audio", "v": "Vision", "av": "Audio + vision"}


@dataclass(frozen=True)
class BenchmarkResults:
    """All results on one benchmark."""

    name: str
    models: tuple[str, ...]
    """In the order of training: the first is the base, the last is the final model."""
    cells: Mapping[tuple[str, str], ModelResult]
    """By (model, modality)."""
    samples: Mapping[str, Sample]
    """The questions by id."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that at least one item has, in the order of the columns."""
        present = {m for (_, m), result in self.cells.items() if result.has_media}
        return tuple(m for m in MODALITIES if m in present)

    @property
    def chance(self) -> float | None:
        """Expected accuracy of guessing."""
        shares = [1 / len(sample.options) for sample in self.samples.values()]
        return sum(shares) / len(shares) if shares else None

    def line(self, model: str, modality: str, sample_id: str) -> Line | None:
        """One item of one log."""
        result = self.cells.get((model, modality))
        return result.by_id.get(sample_id) if result else None

    def compare(self, first: tuple[str, str], second: tuple[str, str]) -> Comparison | None:
        """Paired comparison of two (model, modality), when both were evaluated."""
        one, two = self.cells.get(first), self.cells.get(second)
        return compare_paired(one.correct, two.correct) if one and two else None


def read_benchmarks(run: Path, settings: EvalConfig) -> list[BenchmarkResults]:
    """The results of a run by benchmark; benchmarks and models in the configured order."""
    results = read_results(run)
    benchmarks = []
    for name in in_order({result.benchmark for result in results}, settings.benchmarks):
        cells = {(r.model, r.modality): r for r in results if r.benchmark == name}
        models = in_order({model for model, _ in cells}, settings.models)
        questions = map(row_to_sample, read_parquet(samples_path(run, name)))
        samples = {sample.id: sample for sample in questions}
        benchmarks.append(BenchmarkResults(name, tuple(models), cells, samples))
    return benchmarks


def headline_table(benchmark: BenchmarkResults) -> Table:
    """Stages x modality."""
    rows = tuple(
        (model, *(_accuracy_cell(benchmark, model, m) for m in benchmark.modalities))
        for model in benchmark.models
    )
    chance = benchmark.chance
    notes = [
        "Accuracy over all items with 95 % Wilson interval; items without an answer are wrong."
    ]
    if len(benchmark.models) > 1:
        notes.append(f"Differences to {benchmark.models[0]} on the same items, exact McNemar test.")
    if chance is not None:
        notes.append(f"Guessing would be right on {percent(chance)}.")
    header = ("Model", *(LABELS[m] for m in benchmark.modalities))
    return Table(
        f"{benchmark.name}-results", f"{benchmark.name}: accuracy", header, rows, tuple(notes)
    )


def comparison_table(benchmark: BenchmarkResults) -> Table | None:
    """Every model against the base and against the one before; the last model by modality."""
    pairs = _model_pairs(benchmark) + _modality_pairs(benchmark)
    rows = []
    for first, second in pairs:
        comparison = benchmark.compare(first, second)
        if comparison:
            rows.append(_comparison_row(first, second, comparison))
    if not rows:
        return None
    header = ("Second minus first", "Input", "Difference", "95 % interval", "n")
    return Table(
        f"{benchmark.name}-comparisons",
        f"{benchmark.name}: paired comparisons on the same items",
        (*header, "Only first right", "Only second right", "p"),
        tuple(rows),
        (
            "Interval: Newcombe's score interval for paired proportions.",
            "p: exact two-sided McNemar, not corrected for the number of comparisons.",
        ),
        text_columns=2,
    )


def type_table(benchmark: BenchmarkResults) -> Table | None:
    """Accuracy of every model by question type, on the richest input there is."""
    modality = benchmark.modalities[-1] if benchmark.modalities else None
    types = {key: sample.question_type for key, sample in benchmark.samples.items()}
    results = [benchmark.cells.get((model, str(modality))) for model in benchmark.models]
    shown = [result for result in results if result]
    if modality is None or not shown or not types:
        return None
    names = sorted({types.get(line.sample_id, "unknown") for r in shown for line in r.lines})
    rows = tuple(
        (name, *(_type_cell(result, types, name) for result in shown))
        for name in names
    )  # fmt: skip
    return Table(
        f"{benchmark.name}-question-types",
        f"{benchmark.name}: accuracy by question type, {LABELS[modality].lower()}",
        ("Question type", *(result.model for result in shown)),
        rows,
        ("Small groups have wide intervals: read them before comparing.",),
    )


def _accuracy_cell(benchmark: BenchmarkResults, model: str, modality: str) -> Cell:
    result = benchmark.cells.get((model, modality))
    if result is None or not result.has_media:
        return Cell("–")
    details = [f"{interval_text(*result.accuracy.interval)}, n = {result.accuracy.n}"]
    base = benchmark.models[0]
    comparison = benchmark.compare((base, modality), (model, modality)) if model != base else None
    if comparison:
        details.append(f"{100 * comparison.difference:+.1f} to {base}, {p_text(comparison.p)}")
    if result.notes:
        details.append(result.notes)
    is_last = model == benchmark.models[-1] and modality == benchmark.modalities[-1]
    return Cell(percent(result.accuracy.value), tuple(details), strong=is_last)


def _model_pairs(benchmark: BenchmarkResults) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """The base with every other model, then every model with the next."""
    models = benchmark.models
    pairs = [(models[0], model) for model in models[1:]]
    pairs += [pair for pair in pairwise(models) if pair not in pairs]
    return [((one, m), (two, m)) for one, two in pairs for m in benchmark.modalities]


def _modality_pairs(benchmark: BenchmarkResults) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """The last model with one modality against the same model with both."""
    last = benchmark.models[-1]
    return [((last, m), (last, "av")) for m in ("a", "v") if "av" in benchmark.modalities]


def _comparison_row(
    first: tuple[str, str], second: tuple[str, str], comparison: Comparison
) -> tuple[Cell | str, ...]:
    same_input = first[1] == second[1]
    models = f"{second[0]} − {first[0]}" if same_input else second[0]
    inputs = first[1].upper() if same_input else f"{second[1].upper()} − {first[1].upper()}"
    return (
        models,
        inputs,
        f"{100 * comparison.difference:+.1f}",
        interval_text(comparison.low, comparison.high, "+"),
        str(comparison.n),
        str(comparison.b),
        str(comparison.c),
        p_text(comparison.p).removeprefix("p ").removeprefix("= "),
    )


def _type_cell(result: ModelResult, types: Mapping[str, str], name: str) -> Cell:
    lines = [x for x in result.lines if types.get(x.sample_id, "unknown") == name]
    accuracy = Accuracy(sum(line.correct for line in lines), len(lines))
    if not lines:
        return Cell("–")
    return Cell(
        percent(accuracy.value), (f"{interval_text(*accuracy.interval)}, n = {accuracy.n}",)
    )
