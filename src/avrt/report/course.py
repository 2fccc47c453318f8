"""The paper's Figure 1: accuracy over the steps of training, from the kept checkpoints.

Reads nothing; `avrt eval --checkpoints` makes the results. A training is called by where its step 0
stands: on the results of the base model it is RL only, on those of SFT it is SFT + RL.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avrt.config import EvalModel
from avrt.evaluate.checkpoints import Curve, curves_of
from avrt.evaluate.results import ModelResult
from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import interval_text
from avrt.report.accuracy import LABELS, BenchmarkResults, accuracy_cell
from avrt.report.tables import Table

__all__ = [
    "NAME",
    "Course",
    "CourseGroup",
    "course_cells",
    "course_groups",
    "course_table",
    "course_to_csv",
    "courses_of",
    "kind_of",
]

NAME = "accuracy-over-training"
_KINDS = {"base": "RL only", "sft": "SFT + RL"}
_CSV_HEADER = (
    *("training", "start", "step", "benchmark", "given"),
    *("ours", "low", "high", "n", "protocol"),
)


@dataclass(frozen=True)
class Course:
    """The accuracies of one training on one benchmark in one modality."""

    curve: Curve
    start: str | None
    """`base` or `sft`, when the model of step 0 was evaluated under that name as well."""

    @property
    def label(self) -> str:
        """The training, and what it is in the paper."""
        stage = self.curve.stage
        return kind_of(stage, self.start) if stage != "sft" else stage


@dataclass(frozen=True)
class CourseGroup:
    """The trainings that stand in one drawing: one benchmark, modality and protocol."""

    name: str
    place: str
    """The benchmark and its modality in words."""
    lines: Sequence[tuple[str, Sequence[tuple[int, Accuracy]]]]
    """Each training's label, and its accuracies by step."""
    chance: float | None
    """Share that guessing has right."""


def course_groups(
    courses: Sequence[Course], benchmarks: Sequence[BenchmarkResults]
) -> list[CourseGroup]:
    """The trainings by what may be compared in one drawing."""
    groups: dict[tuple[str, str, str], list[Course]] = {}
    for course in courses:
        curve = course.curve
        groups.setdefault((curve.benchmark, curve.modality, curve.protocol_id), []).append(course)
    chances = {benchmark.name: benchmark.chance for benchmark in benchmarks}
    return [
        CourseGroup(
            name=f"{benchmark}-{modality}-{protocol}-over-training",
            place=f"{benchmark}, {LABELS[modality].lower()}",
            lines=[
                (course.label, [(step, result.accuracy) for step, result in course.curve.points])
                for course in group
            ],
            chance=chances.get(benchmark),
        )
        for (benchmark, modality, protocol), group in groups.items()
    ]


def kind_of(stage: str, start: str | None) -> str:
    """A training's name with what it is in the paper, if it starts at `base` or `sft`."""
    kind = _KINDS.get(start or "")
    return f"{kind} ({stage})" if kind else stage


def courses_of(
    results: Sequence[ModelResult], models: Mapping[str, str | EvalModel]
) -> list[Course]:
    """The course of every training with evaluated checkpoints; `models` are `eval.models`."""
    places = {
        name: value if isinstance(value, str) else value.model for name, value in models.items()
    }
    known = [(places[r.model], r) for r in results if places.get(r.model) in _KINDS]
    courses = []
    for curve in curves_of(results):
        step, first = curve.points[0]
        starts = [
            place
            for place, result in known
            if step == 0
            and (result.benchmark, result.modality) == (curve.benchmark, curve.modality)
            and result.settings.model == first.settings.model
        ]
        courses.append(Course(curve, next(iter(starts), None)))
    return courses


def course_table(courses: Sequence[Course]) -> Table | None:
    """A row for each evaluated checkpoint; None without one."""
    if not courses:
        return None
    rows = tuple(
        (
            course.label,
            course.curve.benchmark,
            course.curve.modality.upper(),
            str(step),
            replace(accuracy_cell(result.accuracy), details=()),
            interval_text(*result.accuracy.interval),
            str(result.accuracy.n),
            course.curve.protocol_id,
        )
        for course in courses
        for step, result in course.curve.points
    )
    return Table(
        NAME,
        "Figure 1. Accuracy of checkpoints over training",
        ("Training", "Benchmark", "Input", "Step", "Accuracy", "95 % interval", "n", "Protocol"),
        rows,
        ("Strict accuracy over all items. Step 0 is the model that the training started from.",),
        text_columns=3,
    )


def course_cells(courses: Sequence[Course]) -> list[dict[str, Any]]:
    """The points for programs, accuracies in per cent."""
    return [
        dict(
            zip(
                _CSV_HEADER,
                (
                    *(course.curve.stage, course.start, step),
                    *(course.curve.benchmark, course.curve.modality),
                    *(round(100 * share, 2) for share in _shares(result)),
                    *(result.accuracy.n, course.curve.protocol_id),
                ),
                strict=True,
            )
        )
        for course in courses
        for step, result in course.curve.points
    ]


def course_to_csv(courses: Sequence[Course]) -> str:
    """The same, a line for each point."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _CSV_HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(course_cells(courses))
    return file.getvalue()


def _shares(result: ModelResult) -> tuple[float, ...]:
    return (result.accuracy.value or 0.0, *result.accuracy.interval)
