"""Tests of an experiment's claims, and the verdict on each in words.

Nothing is read or written. Seeds are the repetitions: each has data, items and trainings of its
own, so that the paired t test over seeds is about further repetitions of all of it. The test over
items beside it is about further items for these very trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from avrt.evaluate.statistics import (
    SeedDifference,
    compare_paired,
    compare_seeds,
    holm,
    mcnemar,
    t_interval,
)
from avrt.evaluate.summary import p_text
from avrt.experiments.outcome import Measured, Value, metric
from avrt.experiments.plan import Claim, is_lower_better

__all__ = ["Finding", "digits", "find_all", "verdict"]


@dataclass(frozen=True)
class Finding:
    """A claim and what was found about it."""

    claim: Claim
    seeds: Sequence[int]
    """Those that both sides have."""
    firsts: Sequence[float]
    """The metric of what should be better, by seed."""
    seconds: Sequence[float]
    """The same of what it is compared with; zeros without it."""
    difference: SeedDifference | None
    """In favour of the claim; None: nothing was measured."""
    p: float | None = None
    """Corrected for the number of the experiment's claims (Holm)."""
    b: int = 0
    """Items of all seeds that only the second has right."""
    c: int = 0
    """Items of all seeds that only the first has right."""
    n_items: int = 0
    """Items of all seeds; 0 where the metric is no accuracy, and where seeds share items."""

    @property
    def p_items(self) -> float | None:
        """Exact McNemar over the items of all seeds."""
        return mcnemar(self.b, self.c) if self.n_items else None

    @property
    def ratio(self) -> float | None:
        """The first to the second, of their means."""
        return fmean(self.firsts) / fmean(self.seconds) if any(self.seconds) else None


def find_all(measured: Measured) -> list[Finding]:
    """Test every claim; p values are corrected for their number, also of those without a p, so
    that a job that failed makes no other claim more certain.
    """
    findings = [_test(measured, claim) for claim in measured.runs.experiment.claims]
    ps = [finding.difference.p if finding.difference else None for finding in findings]
    corrected = holm([1.0 if p is None else p for p in ps])
    return [
        replace(finding, p=None if p is None else both)
        for finding, p, both in zip(findings, ps, corrected, strict=True)
    ]


def _test(measured: Measured, claim: Claim) -> Finding:
    first = _side(measured, claim.better)
    second = _side(measured, claim.than) if claim.than is not None else {}
    seeds = [seed for seed in first if claim.than is None or seed in second]
    firsts = [metric(first[seed], claim.metric) for seed in seeds]
    seconds = [metric(second[seed], claim.metric) if second else 0.0 for seed in seeds]
    finding = Finding(claim, seeds, firsts, seconds, None)
    if not seeds:
        return finding
    pair = (seconds, firsts) if is_lower_better(claim.metric) else (firsts, seconds)
    finding = replace(finding, difference=compare_seeds(*pair))
    shares_items = any(value.run.world is None for value in first.values())
    if claim.metric != "accuracy" or not second or shares_items:
        return finding  # an item that all seeds share counts once, not once for each
    tests = [compare_paired(second[s].result.correct, first[s].result.correct) for s in seeds]
    known = [test for test in tests if test is not None]
    b, c, n = (sum(numbers) for numbers in zip(*((t.b, t.c, t.n) for t in known), strict=True))
    return replace(finding, b=b, c=c, n_items=n)


def _side(measured: Measured, text: str) -> Mapping[int, Value]:
    arm, modality, benchmark = measured.runs.experiment.side(text)
    return measured.values.get((arm, benchmark, modality), {})


def verdict(finding: Finding) -> str:
    """Whether the claim holds: it does when it reaches its bar and its p; it does not when the
    interval over seeds lies below the bar; else the seeds do not show it.
    """
    claim, difference = finding.claim, finding.difference
    if difference is None:
        return "not measured"
    if difference.n < 2:
        return "not shown: one seed"
    if finding.p is None:
        return "not shown: the same difference with every seed, so its spread is unknown"
    short = _short_of(finding)
    if short is not None and short.is_sure:
        return f"does not hold: {short.text}"
    if short is not None:
        return f"not shown: {short.text}, but that is within the interval"
    if finding.p > claim.p:
        return f"not shown: {p_text(finding.p)}, asked is p ≤ {claim.p:g}"
    return "holds"


@dataclass(frozen=True)
class _Short:
    text: str
    """By how much the bar is missed."""
    is_sure: bool
    """Whether the interval over seeds lies below the bar."""


def _short_of(finding: Finding) -> _Short | None:
    """By how much the claim misses its bar; None where it reaches it."""
    claim, difference = finding.claim, finding.difference
    assert difference is not None
    assert difference.interval is not None
    if claim.factor is not None:
        ratio = finding.ratio
        if ratio is None:
            return _Short("there is none in the second", is_sure=False)
        if ratio <= claim.factor:
            return None
        over = [x - claim.factor * y for x, y in zip(finding.firsts, finding.seconds, strict=True)]
        interval = t_interval(over)
        is_sure = interval is not None and interval[0] > 0
        return _Short(f"{ratio:.2f} of it, asked is at most {claim.factor:g}", is_sure)
    bar = claim.at_least or 0.0
    if difference.mean >= bar and difference.mean > 0:
        return None
    unit = digits(claim.metric)
    text = f"{bar - difference.mean:.{unit}f} short of {bar:+g}" if bar else "no gain"
    return _Short(text, difference.interval[1] < bar)


def digits(name: str) -> int:
    """Decimals with which a metric is shown."""
    return {"kl": 4, "minutes": 2}.get(name, 1)
