"""The parts of the page, each from its own files of the run directory.

In place of a part that the run does not have yet stands the command that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avrt.evaluate.sentences import Sentences
from avrt.report.accuracy import (
    BenchmarkResults,
    comparison_table,
    detail_table,
    group_tables,
    headline_table,
)
from avrt.report.charts import Chart
from avrt.report.cost import Calls, cost_table, training_cost_table
from avrt.report.course import Course, course_table
from avrt.report.curves import TrainingRun, held_out_table, training_table
from avrt.report.dataset import distribution_charts, read_distributions, repeats_table
from avrt.report.errors import errors_table, richest
from avrt.report.funnel import (
    Attrition,
    Step,
    attrition_chart,
    attrition_table,
    calls_table,
    stages_table,
)
from avrt.report.result_charts import (
    accuracy_chart,
    confusion_chart,
    confusion_table,
    differences_chart,
    errors_chart,
    group_charts,
    letters_table,
    position_chart,
)
from avrt.report.strata import gates_table, strata_by_type_table, strata_chart, strata_table
from avrt.report.tables import Table
from avrt.report.training_charts import course_charts, held_out_chart, metric_charts
from avrt.runs import manifest_path

__all__ = [
    "Picture",
    "Section",
    "cost_section",
    "data_section",
    "funnel_section",
    "result_sections",
    "training_section",
]


@dataclass(frozen=True)
class Picture:
    """A drawing that another command made."""

    name: str
    """File name without ending."""
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of a view; charts come before tables."""

    view: str
    """The view that shows it: overview, results, training, data, funnel, runs or
    experiments.
    """
    id: str
    title: str
    lead: str
    said: Sequence[tuple[str, Sequence[str]]] = ()
    """What the results show, and what not: a title, and sentences."""
    missing: Sequence[str] = ()
    """Sentences about files that are absent, with the commands that make them."""
    charts: Sequence[Chart | None] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table | None] = ()
    folded: Sequence[Table | None] = ()
    """Tables that are shown on request."""


def result_sections(
    benchmarks: Sequence[BenchmarkResults], said: Sentences | None, trained: Mapping[str, int]
) -> list[Section]:
    """What was measured, by benchmark; then what holds for all of them. `trained`: by benchmark,
    how many of its items are in the training set.
    """
    shown = [benchmark for benchmark in benchmarks if benchmark.modalities]
    results = [(model, result) for b in shown for (model, _), result in b.cells.items()]
    models = list(dict.fromkeys(model for benchmark in shown for model in benchmark.models))
    errors = richest(results, [b.name for b in shown], models)
    first = Section(
        "results",
        "results",
        "Results",
        "Every model on every evaluation set, given the question alone, sound, pictures, or both. "
        "Best: the highest of a column under one protocol. Within noise of the best: the paired "
        "test on the same items shows no difference to it.",
        said=said.parts if said else (),
        missing=[] if shown else ["No evaluation yet. `avrt eval` makes it."],
    )
    if not shown:
        return [first]
    return [
        first,
        *(_benchmark_section(benchmark, trained.get(benchmark.name, 0)) for benchmark in shown),
        Section(
            "results",
            "errors",
            "Errors",
            "What goes wrong on the richest input: a wrong answer, or one that cannot be read.",
            charts=[errors_chart(errors)],
            folded=[errors_table(errors)],
        ),
        *(_letters_section(benchmark) for benchmark in shown),
        *(section for b in shown for section in _group_sections(b)),
    ]


def _benchmark_section(benchmark: BenchmarkResults, n_trained: int) -> Section:
    n = len(benchmark.samples)
    known = (
        f"{n_trained:,} of the {n:,} items of {benchmark.name} are in the training set: what a "
        "model answers to those says little about new ones."
    )
    return Section(
        "results",
        f"results-{benchmark.name}",
        benchmark.name,
        "",
        missing=[known] if n_trained else [],
        charts=[accuracy_chart(benchmark), differences_chart(benchmark)],
        tables=[headline_table(benchmark)],
        folded=[comparison_table(benchmark), detail_table(benchmark)],
    )


def _letters_section(benchmark: BenchmarkResults) -> Section:
    return Section(
        "results",
        f"letters-{benchmark.name}",
        f"{benchmark.name}: letters",
        "Whether a model prefers a letter, and which it mistakes for which.",
        charts=[position_chart(benchmark), confusion_chart(benchmark)],
        folded=[letters_table(benchmark), confusion_table(benchmark)],
    )


def _group_sections(benchmark: BenchmarkResults) -> list[Section]:
    charts, tables = group_charts(benchmark), group_tables(benchmark)
    if not tables:
        return []
    return [
        Section(
            "results",
            f"groups-{benchmark.name}",
            f"{benchmark.name}: by group of items",
            "Where each model is good, on its richest input.",
            charts=charts,
            folded=tables,
        )
    ]


def funnel_section(run: Path, steps: Sequence[Step], attrition: Attrition | None) -> list[Section]:
    """Every question that was read: kept, or left out at a stage for a reason."""
    done = {step.stage for step in steps}
    missing = [
        f"No {stage} yet. `avrt {stage}` makes it."
        for stage in ("prepare", "trace", "merge", "build")
        if stage not in done and not manifest_path(run, stage).is_file()
    ]
    return [
        Section(
            "funnel",
            "funnel",
            "From questions to training traces",
            "Every question that was read: kept, or left out at a stage for a reason.",
            missing=missing,
            charts=[attrition_chart(attrition) if attrition else None],
            tables=[attrition_table(attrition) if attrition else None],
            folded=[stages_table(steps) if steps else None, calls_table(run)],
        ),
        Section(
            "funnel",
            "strata",
            "Which teacher was right",
            "What could be seen, what could be heard, and what took both.",
            charts=[strata_chart(run)],
            folded=[strata_table(run), strata_by_type_table(run)],
        ),
        Section(
            "funnel",
            "gates",
            "Faults of merged traces",
            "What the gates found, whether they reject it or not.",
            tables=[gates_table(run)],
        ),
    ]


def data_section(run: Path, statistics: Table | None) -> list[Section]:
    """The merged traces that the student is trained on."""
    is_built = (run / "dataset" / "train.parquet").is_file()
    missing = [] if is_built else ["No dataset yet. `avrt build` makes it."]
    counted = read_distributions(run)
    charts, tables = distribution_charts(counted) if counted else ([], [])
    return [
        Section(
            "data",
            "dataset",
            "The dataset",
            "The merged traces that the student is trained on.",
            missing=missing,
            charts=charts,
            tables=[statistics],
            folded=tables,
        ),
        Section(
            "data",
            "repeats",
            "Duplicates and contamination",
            "What the dataset holds more than once, and what it shares with benchmarks.",
            tables=[repeats_table(counted) if counted else None],
        ),
    ]


def training_section(
    run: Path,
    trainings: Sequence[TrainingRun],
    titles: dict[str, str],
    benchmarks: Sequence[BenchmarkResults],
    courses: Sequence[Course],
    completions: Sequence[Table | None],
) -> list[Section]:
    """Accuracy over training, then every logged metric and what policies wrote."""
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
    accuracy = [*course_charts(courses, benchmarks), held_out_chart(trainings, titles)]
    return [
        Section(
            "training",
            "training",
            "Accuracy over training",
            "Of the kept checkpoints, where they were evaluated, and on held-out prompts.",
            missing=missing,
            charts=accuracy,
            folded=[course_table(courses), held_out_table(trainings)],
        ),
        Section(
            "training",
            "metrics",
            "Every step",
            "Each optimizer step (thin) and its moving average (thick).",
            charts=metric_charts(trainings, titles),
            folded=[training_table(trainings) if trainings else None],
        ),
        Section(
            "training",
            "completions",
            "What the policies wrote",
            "",
            tables=completions,
        ),
    ]


def cost_section(calls: Sequence[Calls], trainings: Sequence[TrainingRun]) -> Section:
    """What the run cost."""
    return Section(
        "overview",
        "cost",
        "Cost",
        "What models were asked and what training took.",
        tables=[cost_table(calls), training_cost_table(trainings)],
    )
