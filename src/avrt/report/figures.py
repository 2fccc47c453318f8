"""The figures as files for a paper or a page: SVG and PDF, byte-identical for equal numbers.

Nothing is read. In SVG, text stays text, and the ink follows the reader's light or dark colours; in
PDF it is black and the fonts are embedded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from xml.sax.saxutils import quoteattr

from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import percent
from avrt.report.accuracy import LABELS, BenchmarkResults
from avrt.report.course import Course, course_groups
from avrt.report.curves import METRICS, TrainingRun, moving_average
from avrt.report.funnel import Step

__all__ = [
    "Figure",
    "SeedMarks",
    "accuracy_figure",
    "course_figures",
    "funnel_figure",
    "held_out_figure",
    "seeds_course_figure",
    "seeds_figure",
    "training_figure",
]

_INK = "#010203"
"""Black in PDF; in SVG it becomes `currentColor`."""
_ADAPTS = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
_COLOURS = {"none": "#7d6bb0", "a": "#c8641b", "v": "#3b78c4", "av": "#0f9d84"}
_MARKERS = {"none": "D", "a": "^", "v": "s", "av": "o"}
_KEPT, _LOST = "#0f9d84", "#b9bec7"
_PANELS = (
    ("loss", "eval_loss"),
    ("eval_accuracy", "eval_format"),
    ("reward", "reward_format", "reward_accuracy", "reward_length"),
    ("kl",),
    ("completion_length", "completion_length_max"),
    ("truncated", "zero_spread", "parsed", "clip_fraction"),
    ("learning_rate",),
)
"""Metrics that share a panel; a panel without numbers is left out."""
_LINES = ("#0f9d84", "#c8641b", "#3b78c4", "#9a5fb8")


@dataclass(frozen=True)
class Figure:
    """A drawing with its file name and caption."""

    name: str
    caption: str
    svg: str
    pdf: bytes


def accuracy_figure(benchmark: BenchmarkResults) -> Figure:
    """Accuracy with 95 % intervals: one line per model, one mark per modality."""
    models = benchmark.models
    figure, [axes] = _new_figure(7.2, 0.9 + 0.62 * len(models))
    offsets = {m: 0.22 * (i - (len(benchmark.modalities) - 1) / 2)
               for i, m in enumerate(benchmark.modalities)}  # fmt: skip
    for modality in benchmark.modalities:
        label: str | None = LABELS[modality]  # of its first mark
        for row, model in enumerate(models):
            result = benchmark.cells.get((model, modality))
            if result is None or not result.has_media or result.accuracy.value is None:
                continue
            y, value = row + offsets[modality], 100 * result.accuracy.value
            low, high = result.accuracy.interval
            colour = _COLOURS[modality]
            axes.plot([100 * low, 100 * high], [y, y], color=colour, linewidth=1.6)
            axes.plot([value], [y], _MARKERS[modality], color=colour, markersize=6, label=label)
            label = None
    if benchmark.chance is not None:
        axes.axvline(100 * benchmark.chance, color=_INK, linewidth=0.8, linestyle=(0, (3, 3)))
    _name_rows(figure, axes, models, "accuracy, %; dashed: guessing")
    return _finish(
        figure, f"{benchmark.name}-accuracy", f"{benchmark.name}: accuracy with 95 % intervals"
    )


def _name_rows(figure: Any, axes: Any, names: Sequence[str], label: str) -> None:
    """Rows from the top with their names, per cent along the other axis, and the legend above."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(label)
    axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=4, frameon=False)


@dataclass(frozen=True)
class SeedMarks:
    """Accuracies of one model over seeds, in per cent."""

    values: Sequence[float]
    """A small dot each."""
    mean: float
    interval: tuple[float, float] | None
    """95 %, over seeds."""


def seeds_figure(
    name: str,
    caption: str,
    arms: Sequence[str],
    marks: Mapping[tuple[str, str], SeedMarks],
) -> Figure:
    """Accuracy by arm and modality: a dot for each seed, a mark for the mean with its interval.

    `marks` are those of each arm and modality.
    """
    modalities = [m for m in _COLOURS if any(given == m for _, given in marks)]
    figure, [axes] = _new_figure(7.2, 0.9 + (0.2 + 0.16 * len(modalities)) * max(len(arms), 2))
    for i, modality in enumerate(modalities):
        colour, label = _COLOURS[modality], LABELS[modality]
        offset = 0.2 * (i - (len(modalities) - 1) / 2)
        for row, arm in enumerate(arms):
            mark = marks.get((arm, modality))
            if mark is None:
                continue
            y = row + offset
            if mark.interval is not None:
                axes.plot(mark.interval, [y, y], color=colour, linewidth=1.6, clip_on=True)
            axes.plot(mark.values, [y] * len(mark.values), "o", color=colour, markersize=4.5,
                      markerfacecolor="none", markeredgewidth=0.9)  # fmt: skip
            axes.plot([mark.mean], [y], _MARKERS[modality], color=colour, markersize=6, label=label)
            label = None
    _name_rows(figure, axes, arms, "accuracy, %")
    return _finish(figure, name, caption)


def seeds_course_figure(
    name: str, caption: str, lines: Sequence[tuple[str, Mapping[int, SeedMarks]]]
) -> Figure:
    """Accuracy over optimizer steps: means over seeds with their intervals, a line for each arm."""
    points = [
        (label, [(step, mark.mean, *(mark.interval or (mark.mean, mark.mean)))
                 for step, mark in marks.items()])
        for label, marks in lines
    ]  # fmt: skip
    return _finish(_draw_lines(points, "accuracy, %"), name, caption)


def funnel_figure(steps: Sequence[Step]) -> Figure:
    """Questions that were read, then those that each stage kept; grey: those it left out."""
    bars = [("read", steps[0].n_read), *((f"after {step.stage}", step.n_kept) for step in steps)]
    n_read = bars[0][1]
    figure, [axes] = _new_figure(7.2, 0.5 + 0.42 * len(bars))
    n_before = n_read
    for row, (_, n) in enumerate(bars):
        axes.barh(row, n, height=0.62, color=_KEPT)
        axes.barh(row, max(n_before - n, 0), left=n, height=0.62, color=_LOST)
        text = f"{n} ({percent(n / n_read if n_read else None)})"
        axes.text(max(n_before, n) + 0.012 * n_read, row, text, va="center", fontsize=9)
        n_before = n
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * max(n_read, 1))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return _finish(
        figure, "funnel", "Questions kept after each stage; grey: questions that the stage left out"
    )


def training_figure(training: TrainingRun) -> Figure:
    """One panel per group of metrics: every step thin, a moving average thick."""
    panels = [[m for m in panel if m in training.series] for panel in _PANELS]
    panels = [panel for panel in panels if panel]
    n_rows = (len(panels) + 1) // 2
    figure, all_axes = _new_figure(7.6, 2.6 * n_rows, n_rows, 2)
    for axes in all_axes[len(panels) :]:
        axes.remove()
    for axes, panel in zip(all_axes, panels, strict=False):
        for metric, colour in zip(panel, _LINES, strict=False):
            points = training.series[metric]
            steps, values = [step for step, _ in points], [value for _, value in points]
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.35)
            smooth = moving_average(values, len(values) // 20)
            axes.plot(steps, smooth, color=colour, linewidth=1.8, label=METRICS[metric])
        if len(panel) == 1:
            axes.set_title(METRICS[panel[0]], loc="left", fontsize=10)
        axes.set_xlabel("optimizer step")
        axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
        if len(panel) > 1:  # above the lines: inside, it would cover some
            axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1),
                        borderaxespad=0)  # fmt: skip
    return _finish(figure, f"{training.name}-curves", f"{training.name}: training curves")


def held_out_figure(trainings: Sequence[TrainingRun], titles: Mapping[str, str]) -> Figure | None:
    """Held-out accuracy over the steps, one line per training with its 95 % intervals.

    `titles`: what each training is called.
    """
    lines = [(titles[each.name], points) for each in trainings if (points := each.held_out())]
    if not lines:
        return None
    title = "Held-out accuracy over training"
    return _lines_figure("held-out-accuracy", title, lines, "held-out accuracy, %")


def course_figures(
    courses: Sequence[Course], benchmarks: Sequence[BenchmarkResults]
) -> list[Figure]:
    """Accuracy of checkpoints over the steps: a figure for each benchmark, modality and protocol,
    a line for each training.
    """
    return [
        _lines_figure(
            group.name,
            f"{group.place}: accuracy over training, of checkpoints",
            group.lines,
            "accuracy, %",
            group.chance,
        )
        for group in course_groups(courses, benchmarks)
    ]


def _lines_figure(
    name: str,
    title: str,
    lines: Sequence[tuple[str, Sequence[tuple[int, Accuracy]]]],
    label: str,
    chance: float | None = None,
) -> Figure:
    """Accuracies over steps, each line with its 95 % intervals; the caption has their n."""
    drawn = [
        (line, [(step, *_in_percent(accuracy)) for step, accuracy in points])
        for line, points in lines
    ]
    sizes = sorted({accuracy.n for _, points in lines for _, accuracy in points})
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    dashed = "; dashed: guessing" if chance is not None else ""
    caption = f"{title}, with 95 % intervals (n = {n}{dashed})"
    return _finish(_draw_lines(drawn, label, chance), name, caption)


def _in_percent(accuracy: Accuracy) -> tuple[float, float, float]:
    low, high = accuracy.interval
    return 100 * (accuracy.value or 0.0), 100 * low, 100 * high


def _draw_lines(
    lines: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]],
    label: str,
    chance: float | None = None,
) -> Any:
    """Lines over steps; a point is a step, its value, and the ends of its interval, in per cent."""
    figure, [axes] = _new_figure(7.2, 3.2)
    for (line, points), colour, marker in zip(lines, cycle(_LINES), cycle("os^D")):
        steps, values, lows, highs = zip(*points, strict=True)
        axes.plot(
            *(steps, values, f"{marker}-"), color=colour, markersize=4, linewidth=1.6, label=line
        )
        axes.fill_between(steps, lows, highs, color=colour, alpha=0.13)
    if chance is not None:
        axes.axhline(100 * chance, color=_INK, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set_ylim(0, 100)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(label)
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    figure.legend(loc="outside upper left", ncols=4, frameon=False)
    return figure


def _new_figure(
    width: float, height: float, n_rows: int = 1, n_columns: int = 1
) -> tuple[Any, list[Any]]:
    """A figure outside pyplot (no global state, no display) and its axes, row by row."""
    import matplotlib
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context(_STYLE):
        figure = Drawing(figsize=(width, height), layout="constrained")
        all_axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    return figure, all_axes


_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "avrt",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "ytick.major.size": 0,
}


def _finish(drawing: Any, name: str, caption: str) -> Figure:
    """The drawing as SVG with a description and a width that a page may change, and as PDF."""
    import matplotlib

    svg, pdf = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        drawing.get_layout_engine().execute(drawing)
        drawing.set_layout_engine(None)  # with one, each file would be laid out and drawn once more
        unset = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawing.savefig(svg, format="svg", metadata=unset, transparent=True)
        unset = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        drawing.savefig(pdf, format="pdf", metadata=unset, transparent=True)
    text = svg.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(
        r'(<svg [^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', r'\1width="\2"', text, count=1
    )
    label = f'<svg role="img" fill="currentColor" aria-label={quoteattr(caption)} '
    text = text.replace("<svg ", label, 1).strip()
    place = text.index(">") + 1
    return Figure(name, caption, f"{text[:place]}{_ADAPTS}{text[place:]}\n", pdf.getvalue())
