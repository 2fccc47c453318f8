"""The parts of the page, each from its own files of the run directory.

A part that the run does not have yet is a sentence that names the command which makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avrt.config import Config
from avrt.evaluate.summary import interval_text, p_text, percent
from avrt.report.accuracy import (
    LABELS,
    BenchmarkResults,
    comparison_table,
    detail_table,
    group_tables,
    headline_table,
)
from avrt.report.curves import held_out_table, read_training, training_table
from avrt.report.dataset import dataset_table
from avrt.report.figures import (
    Figure,
    accuracy_figure,
    funnel_figure,
    held_out_figure,
    training_figure,
)
from avrt.report.funnel import attrition_table, read_funnel, stages_table, strata_table
from avrt.report.tables import Table

__all__ = ["Fact", "Section", "facts", "sections"]


@dataclass(frozen=True)
class Fact:
    """A number that a reader should see first."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    id: str
    title: str
    lead: str
    missing: Sequence[str] = ()
    """What is not there yet, and the command that makes it."""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    """Tables that are shown on request."""


def sections(config: Config, benchmarks: Sequence[BenchmarkResults]) -> list[Section]:
    """All parts in the order of the page."""
    run = config.run.path
    return [
        _results(benchmarks),
        _funnel(run),
        _dataset(config),
        _training(run),
        _groups(benchmarks),
    ]


def facts(run: Path, benchmarks: Sequence[BenchmarkResults]) -> list[Fact]:
    """What the page opens with."""
    steps = read_funnel(run)
    found = [_funnel_fact(step.stage, step.n_kept, steps[0].n_read) for step in steps[-1:]]
    for benchmark in benchmarks:
        if benchmark.modalities and len(benchmark.models) > 1:
            found.append(_result_fact(benchmark))
    return found


def _funnel_fact(stage: str, n_kept: int, n_read: int) -> Fact:
    share = percent(n_kept / n_read if n_read else None)
    return Fact(str(n_kept), f"questions kept after {stage}", f"of {n_read} read ({share})")


def _result_fact(benchmark: BenchmarkResults) -> Fact:
    """The last model against the first on the richest input."""
    base, last, modality = benchmark.models[0], benchmark.models[-1], benchmark.modalities[-1]
    comparison = benchmark.compare((base, modality), (last, modality))
    if comparison is None:
        return Fact("–", f"{last} − {base} on {benchmark.name}", "not both evaluated yet")
    return Fact(
        f"{100 * comparison.difference:+.1f}",
        f"points, {last} − {base} on {benchmark.name}, {LABELS[modality].lower()}",
        f"95 % {interval_text(comparison.low, comparison.high, '+')}, {p_text(comparison.p)}, "
        f"n = {comparison.n}",
    )


def _results(benchmarks: Sequence[BenchmarkResults]) -> Section:
    shown = [benchmark for benchmark in benchmarks if benchmark.modalities]
    comparisons = [comparison_table(benchmark) for benchmark in shown]
    return Section(
        "results",
        "Results",
        "Every model on every evaluation set, given the question alone, sound, pictures, or both.",
        missing=[] if shown else ["No evaluation yet. `avrt eval` makes it."],
        figures=[accuracy_figure(b) for b in shown],
        tables=[headline_table(benchmark) for benchmark in shown],
        folded=[
            *(table for table in comparisons if table),
            *(detail_table(benchmark) for benchmark in shown),
        ],
    )


def _funnel(run: Path) -> Section:
    steps = read_funnel(run)
    account, strata = attrition_table(run), strata_table(run)
    stages = stages_table(steps) if steps else None
    done = {step.stage for step in steps}
    missing = [
        f"No {stage} yet. `avrt {stage}` makes it."
        for stage in ("prepare", "trace", "merge", "build")
        if stage not in done
    ]
    return Section(
        "funnel",
        "From questions to training traces",
        "What became of every question that was read, and why the others were left out.",
        missing=missing,
        figures=[funnel_figure(steps)] if steps else [],
        tables=[table for table in (account, strata) if table],
        folded=[stages] if stages else [],
    )


def _dataset(config: Config) -> Section:
    table = dataset_table(config)
    return Section(
        "dataset",
        "The dataset",
        "The merged traces that the student is trained on.",
        missing=[] if table else ["No dataset yet. `avrt build` makes it."],
        tables=[table] if table else [],
    )


def _training(run: Path) -> Section:
    trainings = read_training(run)
    names = [training.name for training in trainings]
    missing = []
    if "sft" not in names:
        missing.append("No SFT run yet. `avrt sft` makes it.")
    if not any(name.startswith("grpo") for name in names):
        missing.append("No GRPO run yet. `avrt grpo` makes it.")
    accuracy = held_out_figure([training for training in trainings if training.name != "sft"])
    table = held_out_table(trainings)
    return Section(
        "training",
        "Training",
        "Every optimizer step (thin) and its moving average (thick).",
        missing=missing,
        figures=[
            *([accuracy] if accuracy else []),
            *(training_figure(training) for training in trainings),
        ],
        folded=[*([table] if table else []), *([training_table(trainings)] if trainings else [])],
    )


def _groups(benchmarks: Sequence[BenchmarkResults]) -> Section:
    tables = [table for benchmark in benchmarks for table in group_tables(benchmark)]
    return Section(
        "groups",
        "By group of items",
        "Where each model is good, on its richest input.",
        missing=[] if tables else ["No evaluation yet. `avrt eval` makes it."],
        tables=tables,
    )
