"""The tables of an experiment: accuracies, claims with their verdicts, groups, errors, cost.

Nothing is read or written but the logs that count errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from avrt.evaluate.results import MODALITIES, ModelResult
from avrt.evaluate.summary import p_text
from avrt.experiments.claims import Finding, digits, verdict
from avrt.experiments.outcome import Cell, Key, Measured, metric, training_minutes
from avrt.experiments.plan import Experiment
from avrt.report.accuracy import LABELS
from avrt.report.tables import Table, rows_to_markdown
from avrt.types import Given
from avrt.world.errors import ERROR_CLASSES

__all__ = ["by_seed_table", "cost_text", "label_of", "markdown", "most_given", "shown_key"]


def markdown(measured: Measured, findings: Sequence[Finding]) -> str:
    """All tables, one below the other."""
    tables = list(_tables(measured, findings))
    parts = [
        "\n".join(
            [
                f"{table.caption}\n",
                *rows_to_markdown(table),
                *(f"\n{note}" for note in table.notes),
            ]
        )
        for table in tables
    ]
    return "\n\n".join([*parts, cost_text(measured)])


def _tables(measured: Measured, findings: Sequence[Finding]) -> Iterator[Table]:
    experiment = measured.runs.experiment
    if measured.runs.measured:
        yield _accuracy_table(measured)
    if findings:
        yield _claims_table(findings)
    for group in experiment.groups:
        for benchmark in experiment.benchmarks:
            if table := _group_table(measured, benchmark, group):
                yield table
    for benchmark, modality in experiment.columns:
        if table := _course_table(measured, benchmark, modality):
            yield table
    if experiment.errors:
        yield _errors_table(measured)


def label_of(measured: Measured, arm: str) -> str:
    """What an arm is called in tables."""
    return measured.runs.experiment.arms[arm].about or arm


def shown_key(measured: Measured, arm: str, benchmark: str) -> Key:
    """Where an arm stands on a benchmark with the most that it was given."""
    return arm, benchmark, most_given(measured.runs.experiment, benchmark)


def most_given(experiment: Experiment, benchmark: str) -> Given:
    """The most that models get of a benchmark, in whatever order the file names it."""
    return max(experiment.benchmarks[benchmark], key=MODALITIES.index)


def _accuracy_table(measured: Measured) -> Table:
    experiment, runs = measured.runs.experiment, measured.runs
    several = len(experiment.benchmarks) > 1
    header = [
        f"{name}, {LABELS[given].lower()}" if several else LABELS[given]
        for name, given in experiment.columns
    ]
    rows = []
    for arm in runs.measured:
        cells = [measured.accuracy((arm, *column)) for column in experiment.columns]
        minutes = fmean(training_minutes(run) for run in runs.of(arm))
        texts = (_cell_text(cell, len(experiment.seeds)) for cell in cells)
        rows.append((label_of(measured, arm), *texts, f"{minutes:.1f}"))
    items = {
        benchmark: next(iter(values.values())).result.n_items
        for (_, benchmark, _), values in measured.values.items()
    }
    asked = " and ".join(f"{n:,} items of {name}" for name, n in items.items()) or "no items yet"
    notes = []
    for group in experiment.groups:
        if not _has_group(measured, group):
            known = {name for each in _results(measured) for name in each.groups}
            named = ", ".join(sorted(known)) or "none"
            notes.append(f"No item has the column {group}, of groups; there are: {named}.")
    if measured.missing:
        named = "; ".join(
            f"{label_of(measured, arm)}, seed {seed}" for arm, seed in measured.missing
        )
        notes.append(f"**Not complete**; evaluations that are not there yet: {named}.")
    return Table(
        "accuracy",
        f"Accuracy in per cent, {_over_seeds(experiment)}; {asked} for each seed.",
        ("", *header, "Training, core-minutes"),
        tuple(rows),
        tuple(notes),
    )


def _over_seeds(experiment: Experiment) -> str:
    n = len(experiment.seeds)
    if n == 1:
        return "one seed, so without an interval"
    return f"mean over {n} seeds with its 95 % interval (Student's t)"


def _results(measured: Measured) -> list[ModelResult]:
    return [each.result for values in measured.values.values() for each in values.values()]


def _has_group(measured: Measured, group: str) -> bool:
    results = _results(measured)
    return not results or any(group in result.groups for result in results)


def _cell_text(cell: Cell | None, n_seeds: int = 0) -> str:
    """Per cent with its interval; of fewer seeds than the experiment has, their number, too."""
    if cell is None:
        return "–"
    interval = cell.interval
    spread = ""
    if interval is not None:
        spread = f" [{max(interval[0], 0.0):z.1f}, {min(interval[1], 100.0):z.1f}]"
    n = len(cell.values)
    return f"{cell.mean:z.1f}{spread}" + (f" (of {n})" if n < n_seeds else "")


def by_seed_table(measured: Measured) -> str:
    """Each seed's accuracy."""
    experiment = measured.runs.experiment
    rows = []
    for key in measured.values:
        cell = measured.accuracy(key)
        assert cell is not None
        arm, benchmark, modality = key
        numbers = [
            f"{cell.values[seed]:.1f}" if seed in cell.values else "–" for seed in experiment.seeds
        ]
        rows.append((label_of(measured, arm), benchmark, modality.upper(), *numbers))
    seeds = (f"seed {seed}" for seed in experiment.seeds)
    table = Table("seeds", "", ("Arm", "Benchmark", "Input", *seeds), tuple(rows), text_columns=3)
    return "\n".join(rows_to_markdown(table))


def _claims_table(findings: Sequence[Finding]) -> Table:
    return Table(
        "claims",
        "Claims. Difference: in favour of the claim, with its 95 % interval over seeds; p: paired "
        "t test over seeds, corrected for the number of claims (Holm); items: all seeds' items "
        "that only the second has right, that only the first has, and exact McNemar, given these "
        "trainings.",
        ("Claim", "First", "Second", "Difference", "p", "Items", "Verdict"),
        tuple(map(_claim_row, findings)),
    )


def _claim_row(finding: Finding) -> tuple[str, ...]:
    difference, n = finding.difference, digits(finding.claim.metric)
    if difference is None:
        return (finding.claim.claim, *("–",) * 5, verdict(finding))
    interval = difference.interval
    spread = "" if interval is None else f" [{interval[0]:+.{n}f}, {interval[1]:+.{n}f}]"
    items = "–"
    if finding.p_items is not None:
        items = f"{finding.b}, {finding.c}, {p_text(finding.p_items)}"
    return (
        finding.claim.claim,
        f"{fmean(finding.firsts):.{n}f}",
        f"{fmean(finding.seconds):.{n}f}" if finding.claim.than else "–",
        f"{difference.mean:+.{n}f}{spread}",
        "–" if finding.p is None else p_text(finding.p),
        items,
        f"**{verdict(finding)}**",
    )


def _group_table(measured: Measured, benchmark: str, group: str) -> Table | None:
    rows = {}
    for arm in measured.runs.measured:
        key = shown_key(measured, arm, benchmark)
        if cells := measured.by_group(key, group):
            rows[label_of(measured, arm)] = cells
    values = list(dict.fromkeys(value for cells in rows.values() for value in cells))
    if not values:
        return None
    return Table(
        group,
        f"{benchmark}, by {group.replace('_', ' ')}, "
        f"{LABELS[most_given(measured.runs.experiment, benchmark)].lower()}.",
        ("", *values),
        tuple(
            (label, *(_cell_text(cells.get(value)) for value in values))
            for label, cells in rows.items()
        ),
    )


def _course_table(measured: Measured, benchmark: str, modality: str) -> Table | None:
    experiment = measured.runs.experiment
    courses = {
        label_of(measured, arm): course
        for arm in experiment.arms
        if (course := measured.course((arm, benchmark, modality)))
    }
    steps = sorted({step for course in courses.values() for step in course})
    if not steps:
        return None
    return Table(
        "course",
        f"Accuracy of checkpoints by optimizer step, in per cent, {benchmark}, "
        f"{LABELS[modality].lower()}; {_over_seeds(experiment)}.",
        ("Step", *courses),
        tuple(
            (str(step), *(_cell_text(course.get(step)) for course in courses.values()))
            for step in steps
        ),
    )


def _errors_table(measured: Measured) -> Table:
    """The share of each class in the replies to world-bench, both modalities."""
    rows = []
    for arm in measured.runs.measured:
        values = measured.values.get((arm, "world-bench", "av"), {})
        cells = [
            Cell({seed: metric(value, f"errors.{name}") for seed, value in values.items()})
            if values
            else None
            for name in ERROR_CLASSES
        ]
        rows.append((label_of(measured, arm), *map(_cell_text, cells)))
    return Table(
        "errors",
        "Replies to world-bench, both modalities, by the first step of the reasoning that breaks, "
        "in per cent.",
        ("", *(name.replace("_", " ") for name in ERROR_CLASSES)),
        tuple(rows),
    )


def cost_text(measured: Measured) -> str:
    """What all jobs took, and by arm."""
    cost = measured.cost
    arms = ", ".join(f"{label_of(measured, arm)} {each:.0f}" for arm, each in cost.arms.items())
    return f"Cost: {cost.total:.0f} core-minutes ({arms})."
