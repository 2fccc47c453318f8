"""How many traces gates and judges flagged, how good they are, and how many leaks are left.

Pure functions over the dataset's entries and the results of the exam (`exam.py`); entries are
counted one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avrt.generate.dataset import Entry
from avrt.generate.exam import Measured, format_share, residual_rate
from avrt.generate.findings import FINDINGS
from avrt.generate.gates import GATES

__all__ = ["Check", "Flags", "render_checks"]

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


class Flags:
    """How often gates and judges read traces, and flagged them."""

    def __init__(self) -> None:
        self._gates: Counter[str] = Counter()
        """Flagged traces by gate; under "" those that gates read."""
        self._judges: Counter[tuple[str, str]] = Counter()
        """By judge and finding; under "" the traces that were sent, under "ok" those read."""

    def add(self, entry: Entry) -> None:
        if entry.flagged:
            self._gates[""] += 1
            self._gates.update(name for name, fault in entry.flagged.items() if fault is not None)
        for judgement in entry.judgements:
            self._judges[judgement.judge, ""] += 1
            if judgement.status == "ok":
                self._judges[judgement.judge, "ok"] += 1
                self._judges.update((judgement.judge, name) for name in judgement.findings)

    def check_gates(self, rejecting: Sequence[str], results: Mapping[str, Any]) -> Iterator[Check]:
        """The check of every gate on the merged traces; `results` by gate from `load_measured`."""
        for name, gate in GATES.items():
            result = results.get(name)
            is_current = result is not None and result["version"] == gate.version
            yield Check(
                name=f"gate `{name}`",
                finding=name,
                n=self._gates[""],
                flagged=self._gates[name],
                rejects=name in rejecting,
                measured=Measured(**result[_HALF]) if result is not None and is_current else None,
            )

    def check_judge(
        self, name: str, rejecting: Sequence[str], result: Mapping[str, Any] | None
    ) -> Iterator[Check]:
        """The checks of a judge by finding; `result` is its own from `load_measured`, if any."""
        read = self._judges[name, "ok"]
        for finding in FINDINGS:
            yield Check(
                name=f"judge `{name}`: {finding}",
                finding=finding,
                n=read,
                flagged=self._judges[name, finding],
                rejects=finding in rejecting,
                measured=None if result is None else Measured(**result["findings"][finding][_HALF]),
                unread=self._judges[name, ""] - read,
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
