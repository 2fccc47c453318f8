"""Charts of trainings: accuracy over the steps, and every logged metric.

Nothing is read. Long logs are thinned to a few hundred points a line: the mean of each part and its
moving average, which is taken over all steps before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avrt.evaluate.statistics import Accuracy
from avrt.report.accuracy import BenchmarkResults
from avrt.report.charts import Chart, series_of
from avrt.report.course import NAME as COURSE
from avrt.report.course import Course, course_groups, kind_of
from avrt.report.curves import METRICS, TrainingRun, moving_average, thinned

__all__ = ["course_charts", "held_out_chart", "metric_charts", "titles_of"]

MAX_POINTS = 240
"""Of a line."""
_HIDDEN = ("eval_accuracy", "eval_n", "learning_rate", "memory_gib", "step_time_s", "tokens_per_s")
"""Metrics that other charts show, or that say nothing about learning: those come last."""


def titles_of(trainings: Sequence[TrainingRun], starts: Mapping[str, str]) -> dict[str, str]:
    """What each training is called in the paper; `starts`: `base` and `sft` by revision."""
    return {
        training.name: training.name
        if training.name.endswith("sft")
        else kind_of(training.name, starts.get(training.start or ""))
        for training in trainings
    }


def metric_charts(trainings: Sequence[TrainingRun], titles: Mapping[str, str]) -> list[Chart]:
    """A small chart for every metric, a line for each training."""
    names = [name for name in METRICS if name not in _HIDDEN]
    names += [name for name in _HIDDEN[2:] if name in METRICS]
    colours = _colours(titles.values())
    charts = []
    for metric in names:
        lines = [
            _line(titles[training.name], colours, training.series[metric])
            for training in trainings
            if metric in training.series
        ]
        if lines:
            data = {"x": "optimizer step", "lines": lines, "small": True}
            title = METRICS[metric][0].upper() + METRICS[metric][1:]
            charts.append(Chart(f"training-{metric}", "lines", title, data, "training"))
    return charts


def _line(
    name: str, colours: Mapping[str, str], points: Sequence[tuple[int, float]]
) -> dict[str, Any]:
    steps = [step for step, _ in points]
    smooth = moving_average([value for _, value in points], len(points) // 20)
    thin = thinned(points, MAX_POINTS)
    smooth_thin = thinned(list(zip(steps, smooth, strict=True)), MAX_POINTS)
    line: dict[str, Any] = {"name": name, "colour": colours[name]}
    line["points"] = [[step, _short(value)] for step, value in thin]
    if len(points) >= 20:
        line["smooth"] = [[step, _short(value)] for step, value in smooth_thin]
    return line


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def held_out_chart(trainings: Sequence[TrainingRun], titles: Mapping[str, str]) -> Chart | None:
    """Accuracy on held-out prompts, with its 95 % intervals."""
    lines = [(titles[each.name], points) for each in trainings if (points := each.held_out())]
    if not lines:
        return None
    title = f"Accuracy on held-out prompts over training ({_sizes(lines)})"
    colours = _colours(titles.values())
    return Chart("held-out", "lines", title, _accuracies(lines, colours), "held-out", _BANDS)


_BANDS = "Bands: 95 % intervals over items; they say nothing about other seeds."


def course_charts(courses: Sequence[Course], benchmarks: Sequence[BenchmarkResults]) -> list[Chart]:
    """The paper's Figure 1, for each benchmark, modality and protocol."""
    charts = []
    for group in course_groups(courses, benchmarks):
        data = _accuracies(group.lines, _colours(name for name, _ in group.lines))
        if group.chance is not None:
            data["line"] = {"value": round(100 * group.chance, 2), "name": "guessing"}
        title = f"{group.place}: accuracy over training ({_sizes(group.lines)})"
        charts.append(Chart(group.name, "lines", title, data, COURSE, _BANDS))
    return charts


_Lines = Sequence[tuple[str, Sequence[tuple[int, Accuracy]]]]


def _colours(names: Iterable[str]) -> dict[str, str]:
    return {each["name"]: each["colour"] for each in series_of(names)}


def _accuracies(lines: _Lines, colours: Mapping[str, str]) -> dict[str, Any]:
    drawn = [
        {
            "name": name,
            "colour": colours[name],
            "points": [
                [step, *(round(100 * share, 2) for share in (a.value or 0.0, *a.interval))]
                for step, a in points
            ],
            "marks": True,
        }
        for name, points in lines
    ]
    return {"x": "optimizer step", "y": "accuracy, %", "domain": [0, 100], "lines": drawn}


def _sizes(lines: _Lines) -> str:
    sizes = sorted({accuracy.n for _, points in lines for _, accuracy in points})
    return f"n = {sizes[0]:,}" if len(sizes) == 1 else f"n = {sizes[0]:,} to {sizes[-1]:,}"
