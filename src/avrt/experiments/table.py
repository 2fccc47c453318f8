"""The tables of an experiment in Markdown: accuracies, claims with their verdicts, cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from avrt.evaluate.summary import p_text
from avrt.experiments.outcome import Cell, Finding, Outcome

__all__ = ["accuracy_table", "claims_table", "markdown", "verdict"]


def markdown(outcome: Outcome) -> str:
    """All tables."""
    cost = outcome.cost
    parts = [accuracy_table(outcome)]
    if outcome.findings:
        parts.append(claims_table(outcome))
    arms = ", ".join(f"{name} {minutes:.1f}" for name, minutes in cost.arms.items())
    parts.append(f"Cost: {cost.total:.1f} core-minutes ({arms}).")
    return "\n\n".join(parts)


def accuracy_table(outcome: Outcome) -> str:
    """A row for each arm, a column for each benchmark and modality."""
    experiment = outcome.runs.experiment
    columns = [(name, given) for name, each in experiment.benchmarks.items() for given in each]
    header = ["", *(f"{name} {given.upper()}" for name, given in columns)]
    rows = []
    for arm in outcome.runs.measured:
        about = experiment.arms[arm].about or arm
        cells = [outcome.cells.get((arm, *column)) for column in columns]
        rows.append([about, *(_cell_text(cell) for cell in cells)])
    return _table(header, rows)


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    interval = cell.interval
    spread = "" if interval is None else f" [{interval[0]:.1f}, {interval[1]:.1f}]"
    return f"{cell.mean:.1f}{spread}"


def claims_table(outcome: Outcome) -> str:
    """A row for each claim."""
    header = ["claim", "difference over seeds", "p (Holm)", "items: lost, gained, p", "verdict"]
    return _table(header, [_claim_row(finding) for finding in outcome.findings])


def _claim_row(finding: Finding) -> list[str]:
    difference = finding.difference
    if difference is None:
        return [finding.claim.claim, "–", "–", "–", verdict(finding)]
    interval = difference.interval
    spread = "" if interval is None else f" [{interval[0]:+.1f}, {interval[1]:+.1f}]"
    items = "–"
    if finding.p_items is not None:
        items = f"{finding.b}, {finding.c}, {p_text(finding.p_items)}"
    p = "–" if finding.p is None else p_text(finding.p)
    return [finding.claim.claim, f"{difference.mean:+.1f}{spread}", p, items, verdict(finding)]


def verdict(finding: Finding) -> str:
    """Whether the claim holds, in words."""
    claim, difference = finding.claim, finding.difference
    if difference is None:
        return "not measured"
    bar = claim.at_least or 0.0
    if difference.interval is not None and difference.interval[1] < bar:
        return f"does not hold: {difference.mean:+.1f}, {bar - difference.mean:.1f} short"
    if finding.p is None or finding.p > claim.p:
        return "not shown"
    if difference.mean < bar:
        return f"not shown: {difference.mean:+.1f}, {bar - difference.mean:.1f} short"
    return "**holds**"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
