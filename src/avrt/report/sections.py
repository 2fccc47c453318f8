"""The parts of the page, each from its own files of the run directory.

In place of a part that the run does not have yet stands the command that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avrt.evaluate.sentences import Sentences
from avrt.evaluate.summary import interval_text, p_text, percent
from avrt.report.accuracy import (
    LABELS,
    BenchmarkResults,
    comparison_table,
    detail_table,
    group_tables,
    headline_table,
)
from avrt.report.course import Course, course_table
from avrt.report.curves import held_out_table, read_training, training_table
from avrt.report.errors import errors_table, richest
from avrt.report.figures import (
    Figure,
    accuracy_figure,
    course_figures,
    funnel_figure,
    held_out_figure,
    training_figure,
)
from avrt.report.funnel import attrition_table, calls_table, read_funnel, stages_table, strata_table
from avrt.report.tables import Table

__all__ = ["Fact", "Part", "facts", "parts_of"]


@dataclass(frozen=True)
class Fact:
    """A number that a reader should see first."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class Part:
    """A part of the page."""

    id: str
    title: str
    lead: str
    said: Sequence[tuple[str, Sequence[str]]] = ()
    """What the results show, and what not: a title, and sentences."""
    missing: Sequence[str] = ()
    """Sentences about files that are absent, with the commands that make them."""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    """Tables that are shown on request."""


def parts_of(
    run: Path,
    dataset: Table | None,
    benchmarks: Sequence[BenchmarkResults],
    courses: Sequence[Course] = (),
    said: Sentences | None = None,
) -> list[Part]:
    """All parts in the order of the page; `dataset` has the dataset's statistics, `said` is about
    the results.
    """
    return [
        _results(benchmarks, said),
        _funnel(run),
        _dataset(dataset),
        _training(run, benchmarks, courses),
        _groups(benchmarks),
    ]


def facts(run: Path, benchmarks: Sequence[BenchmarkResults]) -> list[Fact]:
    """The numbers at the top of the page."""
    shown: list[Fact] = []
    steps = read_funnel(run)
    if steps:
        last, n_read = steps[-1], steps[0].n_read
        share = percent(last.n_kept / n_read if n_read else None)
        label, detail = f"questions kept after {last.stage}", f"of {n_read} read ({share})"
        shown.append(Fact(str(last.n_kept), label, detail))
    for benchmark in benchmarks:
        if benchmark.modalities and len(benchmark.models) > 1:
            shown.append(_result_fact(benchmark))
    return shown


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


def _results(benchmarks: Sequence[BenchmarkResults], said: Sentences | None) -> Part:
    shown = [benchmark for benchmark in benchmarks if benchmark.modalities]
    comparisons = [comparison_table(benchmark) for benchmark in shown]
    results = [(model, result) for b in shown for (model, _), result in b.cells.items()]
    models = [model for benchmark in shown for model in benchmark.models]
    errors = errors_table(richest(results, [b.name for b in shown], list(dict.fromkeys(models))))
    return Part(
        "results",
        "Results",
        "Every model on every evaluation set, given the question alone, sound, pictures, or both.",
        said=said.parts if said else (),
        missing=[] if shown else ["No evaluation yet. `avrt eval` makes it."],
        figures=[accuracy_figure(b) for b in shown],
        tables=[headline_table(benchmark) for benchmark in shown],
        folded=[
            *(table for table in (*comparisons, errors) if table),
            *(detail_table(benchmark) for benchmark in shown),
        ],
    )


def _funnel(run: Path) -> Part:
    steps = read_funnel(run)
    account, strata = attrition_table(run), strata_table(run)
    folded = [stages_table(steps) if steps else None, calls_table(run)]
    done = {step.stage for step in steps}
    missing = [
        f"No {stage} yet. `avrt {stage}` makes it."
        for stage in ("prepare", "trace", "merge", "build")
        if stage not in done
    ]
    return Part(
        "funnel",
        "From questions to training traces",
        "Every question that was read: kept, or left out at a stage for a reason.",
        missing=missing,
        figures=[funnel_figure(steps)] if steps else [],
        tables=[table for table in (account, strata) if table],
        folded=[table for table in folded if table],
    )


def _dataset(table: Table | None) -> Part:
    return Part(
        "dataset",
        "The dataset",
        "The merged traces that the student is trained on.",
        missing=[] if table else ["No dataset yet. `avrt build` makes it."],
        tables=[table] if table else [],
    )


def _training(run: Path, benchmarks: Sequence[BenchmarkResults], courses: Sequence[Course]) -> Part:
    trainings = read_training(run)
    names = [training.name for training in trainings]
    missing = []
    if "sft" not in names:
        missing.append("No SFT run yet. `avrt sft` makes it.")
    if not any(name.startswith("grpo") for name in names):
        missing.append("No GRPO run yet. `avrt grpo` makes it.")
    drawn = {course.curve.stage for course in courses}
    for name in sorted(path.parents[1].name for path in run.glob("*/checkpoints/kept/")):
        if name not in drawn:
            missing.append(
                f"The kept checkpoints of {name} were not evaluated yet. "
                f"`avrt eval --checkpoints {name}` does it."
            )
    starts = {
        revision: model
        for benchmark in benchmarks
        for (model, _), result in benchmark.cells.items()
        if model in ("base", "sft") and (revision := result.settings.model.get("revision"))
    }
    with_rewards = [training for training in trainings if training.name != "sft"]
    accuracy = held_out_figure(with_rewards, starts)
    table = held_out_table(trainings)
    return Part(
        "training",
        "Training",
        "Accuracy of the kept checkpoints, where they were evaluated; then every optimizer step "
        "(thin) and its moving average (thick).",
        missing=missing,
        figures=[
            *course_figures(courses, benchmarks),
            *([accuracy] if accuracy else []),
            *(training_figure(training) for training in trainings),
        ],
        folded=[
            *(each for each in (course_table(courses), table) if each),
            *([training_table(trainings)] if trainings else []),
        ],
    )


def _groups(benchmarks: Sequence[BenchmarkResults]) -> Part:
    tables = [table for benchmark in benchmarks for table in group_tables(benchmark)]
    return Part(
        "groups",
        "By group of items",
        "Where each model is good, on its richest input.",
        missing=[] if tables else ["No evaluation yet. `avrt eval` makes it."],
        tables=tables,
    )
