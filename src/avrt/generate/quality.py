"""How many traces gates and judges flagged, how good they are, and how many leaks are left.

Pure functions over the dataset's entries and the results of the exam (`exam.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avrt.generate.dataset import Entry
from avrt.generate.exam import Measured, format_share, residual_rate
from avrt.generate.findings import FINDINGS
from avrt.generate.gates import GATES

__all__ = ["Check", "check_gates", "check_judge", "render_checks"]

_EXACT = ("truncated", "empty", "wrong_letter", "length")
"""Gates that need no exam: they count or compare."""
_HALF = "held_out"
"""The labelled traces that no author of rules or prompts has read."""


@dataclass(frozen=True)
class Check:
    """The traces that a gate, or a judge by a kind of finding, read and flagged."""

    name: str
    finding: str
    """The gate's name, or the judge's kind of finding."""
    n: int
    """Traces that it read."""
    flagged: int
    rejects: bool
    measured: Measured | None
    """Its result in the exam; None: never measured."""
    unread: int = 0
    """Traces that were sent to the judge, and on which it has no verdict."""


def check_gates(
    entries: Sequence[Entry], rejecting: Sequence[str], results: Mapping[str, Any]
) -> Iterator[Check]:
    """The check of every gate on the merged traces; `results` by gate from `load_measured`."""
    flags = [entry.flagged for entry in entries if entry.flagged]
    for name, gate in GATES.items():
        result = results.get(name)
        is_current = result is not None and result["version"] == gate.version
        yield Check(
            name=f"gate `{name}`",
            finding=name,
            n=len(flags),
            flagged=sum(of[name] is not None for of in flags),
            rejects=name in rejecting,
            measured=Measured(**result[_HALF]) if result is not None and is_current else None,
        )


def check_judge(
    name: str, entries: Sequence[Entry], rejecting: Sequence[str], result: Mapping[str, Any] | None
) -> Iterator[Check]:
    """The checks of a judge by finding; `result` is its own from `load_measured`, if it has any."""
    asked = [j for entry in entries for j in entry.judgements if j.judge == name]
    read = [judgement for judgement in asked if judgement.status == "ok"]
    for finding in FINDINGS:
        yield Check(
            name=f"judge `{name}`: {finding}",
            finding=finding,
            n=len(read),
            flagged=sum(finding in judgement.findings for judgement in read),
            rejects=finding in rejecting,
            measured=None if result is None else Measured(**result["findings"][finding][_HALF]),
            unread=len(asked) - len(read),
        )


def render_checks(checks: Sequence[Check]) -> str:
    """A table with a row per check, and the estimated share of leaks among the traces left."""
    lines = ["| by | read | flagged | rejects | precision (95 %) | recall (95 %) |"]
    lines.append("| --- | ---: | ---: | --- | --- | --- |")
    for check in checks:
        rejects = "yes" if check.rejects else "no"
        lines.append(
            f"| {check.name} | {check.n} | {check.flagged} | {rejects} | {_quality(check)} |"
        )
    lines += ["", _residual([check for check in checks if check.finding == "leak"][-1])]
    return "\n".join(lines) + "\n"


def _quality(check: Check) -> str:
    if check.measured is None:
        return "exact | exact" if check.finding in _EXACT else "not measured | not measured"
    right, wrong, missed = check.measured.right, check.measured.wrong, check.measured.missed
    return f"{format_share(right, right + wrong)} | {format_share(right, right + missed)}"


def _residual(last: Check) -> str:
    """The estimate by the check for leaks that read the traces last."""
    rate = residual_rate(last.n, last.flagged, last.rejects, last.measured)
    if rate is None:
        why = "never measured" if last.measured is None else "it has found no leak in its exam"
        return f"Estimated residual leak rate: unknown ({last.name}: {why})."
    note = f"; {last.unread} traces without its verdict are not in it" if last.unread else ""
    return (
        f"Estimated residual leak rate: {rate:.1%} of the traces that {last.name} leaves, from its "
        f"flags, precision and recall{note}."
    )
