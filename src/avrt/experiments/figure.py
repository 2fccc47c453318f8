"""The figure of an experiment: accuracy over training where that was measured, else by arm."""

from __future__ import annotations

from avrt.experiments.outcome import Cell, Measured
from avrt.experiments.table import label_of, most_given
from avrt.report.accuracy import LABELS
from avrt.report.figures import Figure, SeedMarks, seeds_course_figure, seeds_figure

__all__ = ["draw"]


def draw(measured: Measured) -> Figure:
    """The figure of the first benchmark."""
    runs, experiment = measured.runs, measured.runs.experiment
    benchmark, modalities = next(iter(experiment.benchmarks.items()))
    most = most_given(experiment, benchmark)
    title = f"{experiment.title}: accuracy on {benchmark}"
    lines = []
    for arm in experiment.arms:
        course = measured.course((arm, benchmark, most))
        if course:
            marks = {step: _marks(cell) for step, cell in course.items()}
            lines.append((label_of(measured, arm), marks))
    n_seeds = len(experiment.seeds)
    over = f"mean over {n_seeds} seeds with its 95 % interval" if n_seeds > 1 else "one seed"
    if lines:
        given = LABELS[most].lower()
        return seeds_course_figure(runs.name, f"{title} over training, {given}; {over}", lines)
    found = {
        (label_of(measured, arm), modality): _marks(cell)
        for arm in runs.measured
        for modality in modalities
        if (cell := measured.accuracy((arm, benchmark, modality))) is not None
    }
    labels = [label_of(measured, arm) for arm in runs.measured]
    return seeds_figure(runs.name, f"{title}; a dot for each seed; {over}", labels, found)


def _marks(cell: Cell) -> SeedMarks:
    return SeedMarks(list(cell.values.values()), cell.mean, cell.interval)
