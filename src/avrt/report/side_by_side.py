"""Several runs side by side: their settings, accuracies, paired differences and curves.

Reads each run directory. Models and trainings are called RUN/NAME. Models of one name are compared
between runs on the same items, where both were asked under one protocol.

The decision to question: nothing here leads to items, since the page has the items of its own run
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avrt.evaluate.results import MODALITIES
from avrt.evaluate.summary import in_order
from avrt.report.accuracy import (
    BenchmarkResults,
    Compared,
    by_benchmark,
    comparison_table,
    headline_table,
)
from avrt.report.charts import Chart
from avrt.report.cost import read_calls
from avrt.report.course import Course, course_table, courses_of
from avrt.report.curves import TrainingRun, held_out_table, read_training, training_table
from avrt.report.funnel import read_attrition
from avrt.report.paper import Evaluated
from avrt.report.result_charts import accuracy_chart, differences_chart
from avrt.report.sections import Section
from avrt.report.settings import flat_settings
from avrt.report.tables import Cell, Table
from avrt.report.training_charts import course_charts, held_out_chart, metric_charts

__all__ = ["runs_sections"]

VIEW = "runs"


def runs_sections(runs: Sequence[Evaluated]) -> list[Section]:
    """All that is compared between runs, the first of which is the page's own; nothing of one."""
    if len(runs) < 2:
        return []
    sections = [
        Section(
            VIEW,
            "runs",
            "The runs",
            "What each run made, and the settings in which they differ.",
            tables=[_runs_table(runs)],
            folded=[_settings_table(runs)],
        ),
        *(_benchmark_section(benchmark) for benchmark in _benchmarks(runs)),
        *_training_sections(runs),
    ]
    return [_detached(section) for section in sections]


def _runs_table(runs: Sequence[Evaluated]) -> Table:
    rows = []
    for run in runs:
        attrition, calls = read_attrition(run.folder), read_calls(run.folder)
        rows.append(
            (
                run.folder.name,
                "–" if attrition is None else f"{attrition.n_read:,}",
                "–" if attrition is None else f"{attrition.n_kept:,}",
                f"{sum(each.n_replies for each in calls):,}",
                str(sum(each.failures.total() for each in calls)),
                f"{sum(each.n_prompt_tokens + each.n_completion_tokens for each in calls):,}",
            )
        )
    header = ("Run", "Questions read", "Training examples", "Replies", "Failed calls", "Tokens")
    return Table("runs", "Runs", header, tuple(rows))


def _settings_table(runs: Sequence[Evaluated]) -> Table | None:
    """The settings that are not the same in all runs."""
    settings = [flat_settings(run.folder) for run in runs]
    names = dict.fromkeys(name for each in settings for name in each)
    rows = tuple(
        (name, *(each.get(name, "–") for each in settings))
        for name in names
        if name != "run.name" and len({each.get(name) for each in settings}) > 1
    )
    if not rows:
        return None
    header = ("Setting", *(run.folder.name for run in runs))
    return Table("runs-settings", "Settings in which the runs differ", header, rows,
                 text_columns=len(header))  # fmt: skip


def _benchmarks(runs: Sequence[Evaluated]) -> list[BenchmarkResults]:
    """Each benchmark on which several runs have results, with the models of all of them."""
    by_run = [(run, {b.name: b for b in by_benchmark(run.results, run.settings)}) for run in runs]
    configured = [name for run in runs for name in run.settings.benchmarks]
    merged = []
    for name in in_order({name for _, own in by_run for name in own}, dict.fromkeys(configured)):
        parts = [(run.folder.name, own[name]) for run, own in by_run if name in own]
        if len(parts) < 2:
            continue
        cells = {
            (f"{run}/{model}", modality): replace(result, model=f"{run}/{model}")
            for run, part in parts
            for (model, modality), result in part.cells.items()
        }
        samples = {key: sample for _, part in parts for key, sample in part.samples.items()}
        models = tuple(f"{run}/{model}" for run, part in parts for model in part.models)
        merged.append(BenchmarkResults(name, models, cells, samples))
    return [benchmark for benchmark in merged if benchmark.modalities]


def _benchmark_section(benchmark: BenchmarkResults) -> Section:
    compared = _between_runs(benchmark)
    return Section(
        VIEW,
        f"runs-{benchmark.name}",
        benchmark.name,
        "Paired tests compare models of one name between runs, on the items that both answered.",
        charts=[accuracy_chart(benchmark), differences_chart(benchmark, compared)],
        tables=[headline_table(benchmark), comparison_table(benchmark, compared)],
    )


def _between_runs(benchmark: BenchmarkResults) -> list[Compared]:
    """Every model of the first run that has it with those of the same name in later runs."""
    by_name: dict[str, list[str]] = {}
    for model in benchmark.models:
        by_name.setdefault(model.partition("/")[2], []).append(model)
    pairs = [(first, second) for first, *others in by_name.values() for second in others]
    tests = [
        ((first, m), (second, m), benchmark.compare((first, m), (second, m)))
        for first, second in pairs
        for m in MODALITIES
    ]
    return [(first, second, test) for first, second, test in tests if test is not None]


def _training_sections(runs: Sequence[Evaluated]) -> list[Section]:
    trainings = [
        replace(training, name=f"{run.folder.name}/{training.name}")
        for run in runs
        for training in read_training(run.folder)
    ]
    courses = [
        _renamed(course, run.folder)
        for run in runs
        for course in courses_of(run.results, run.settings.models)
    ]
    if not trainings and not courses:
        return []
    titles = {training.name: training.name for training in trainings}
    accuracy: list[Chart | None] = [*course_charts(courses, ()), held_out_chart(trainings, titles)]
    return [
        Section(
            VIEW,
            "runs-training",
            "Accuracy over training",
            "Of the kept checkpoints, where they were evaluated, and on held-out prompts.",
            charts=accuracy,
            folded=[course_table(courses), held_out_table(trainings)],
        ),
        Section(
            VIEW,
            "runs-metrics",
            "Every step",
            "Each optimizer step (thin) and its moving average (thick).",
            charts=metric_charts(_together(trainings), titles),
            folded=[training_table(trainings) if trainings else None],
        ),
    ]


def _together(trainings: Sequence[TrainingRun]) -> list[TrainingRun]:
    """Trainings of one name beside each other, so that their colours follow each other."""
    return sorted(trainings, key=lambda training: training.name.partition("/")[2])


def _renamed(course: Course, run: Path) -> Course:
    return Course(replace(course.curve, stage=f"{run.name}/{course.curve.stage}"), course.start)


def _detached(section: Section) -> Section:
    """The section with names of its own and without links."""
    return replace(
        section,
        charts=[chart and _detached_chart(chart) for chart in section.charts],
        tables=[table and _detached_table(table) for table in section.tables],
        folded=[table and _detached_table(table) for table in section.folded],
    )


def _own(name: str) -> str:
    return name if name.startswith(VIEW) else f"{VIEW}-{name}"


def _detached_chart(chart: Chart) -> Chart:
    data: dict[str, Any] = dict(chart.data)
    if "rows" in data:
        data["rows"] = [{k: v for k, v in row.items() if k != "href"} for row in data["rows"]]
    note = chart.note.replace(" A mark leads to the items that the model has right.", "")
    table = _own(chart.table) if chart.table else ""
    return Chart(_own(chart.name), chart.kind, chart.title, data, table, note)


def _detached_table(table: Table) -> Table:
    rows = tuple(
        tuple(replace(cell, href="") if isinstance(cell, Cell) else cell for cell in row)
        for row in table.rows
    )
    return replace(table, name=_own(table.name), rows=rows)
