"""The top of the page: the claim, the numbers behind it, what made the run, what is missing.

Nothing is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from avrt.evaluate.sentences import Sentences
from avrt.evaluate.summary import interval_text, p_text, percent
from avrt.report.accuracy import LABELS, BenchmarkResults, only_right
from avrt.report.cost import Calls, failures_text
from avrt.report.curves import TrainingRun
from avrt.report.funnel import Attrition, Step
from avrt.report.links import items_link

__all__ = ["Claim", "Fact", "claim_of", "facts_of"]

_SPLITS = {"train": "to train on", "validation": "to validate with"}


@dataclass(frozen=True)
class Claim:
    """The sentence that the page begins with."""

    sentence: str
    interval: tuple[float, float] | None = None
    """95 %, in points or per cent."""


@dataclass(frozen=True)
class Fact:
    """A number that a reader should see first."""

    value: str
    label: str
    detail: str
    href: str = ""


def claim_of(
    said: Sentences | None, benchmarks: Sequence[BenchmarkResults], attrition: Attrition | None
) -> Claim:
    """What the last stage gains over the base; else the last model, else the dataset."""
    if said is not None and said.claim:
        return Claim(said.claim, said.interval)
    shown = [benchmark for benchmark in benchmarks if benchmark.modalities]
    for benchmark in shown:
        if claim := _difference(benchmark):
            return claim
    if shown:
        return _accuracy(shown[0])
    if attrition is not None:
        n_read, n_kept = attrition.n_read, attrition.n_kept
        share = percent(n_kept / n_read if n_read else None)
        return Claim(f"Of {n_read:,} questions, {n_kept:,} are in the dataset ({share}).")
    return Claim("Nothing is measured yet.")


def _difference(benchmark: BenchmarkResults) -> Claim | None:
    base, last, modality = benchmark.models[0], benchmark.models[-1], benchmark.modalities[-1]
    test = benchmark.compare((base, modality), (last, modality)) if base != last else None
    if test is None:
        return None
    interval = interval_text(test.low, test.high, "+")
    change = f"{100 * test.difference:+.1f} points {interval} ({p_text(test.p)})"
    noise = ", which is within noise" if test.is_noise else ""
    given = LABELS[modality].lower()
    return Claim(
        f"On the {test.n:,} items of {benchmark.name}, {given}, {last} differs from {base} by "
        f"{change}{noise}.",
        (100 * test.low, 100 * test.high),
    )


def _accuracy(benchmark: BenchmarkResults) -> Claim:
    modality = benchmark.modalities[-1]
    model = next(name for name in reversed(benchmark.models) if (name, modality) in benchmark.cells)
    accuracy = benchmark.cells[model, modality].accuracy
    low, high = accuracy.interval
    chance = benchmark.chance
    guessing = "" if chance is None else f"; guessing would be right on {percent(chance)}"
    return Claim(
        f"{model} is right on {percent(accuracy.value)} {interval_text(low, high)} of the "
        f"{accuracy.n:,} items of {benchmark.name}, {LABELS[modality].lower()}{guessing}.",
        (100 * low, 100 * high),
    )


def facts_of(
    attrition: Attrition | None,
    steps: Sequence[Step],
    benchmarks: Sequence[BenchmarkResults],
    calls: Sequence[Calls],
    trainings: Sequence[TrainingRun],
) -> list[Fact]:
    """Questions kept, gains, and cost."""
    facts: list[Fact] = []
    if attrition is not None:
        share = percent(attrition.n_kept / attrition.n_read if attrition.n_read else None)
        href = items_link(origin="dataset", outcome=list(attrition.kept))
        split = " and ".join(f"{n:,} {_SPLITS[part]}" for part, n in attrition.kept.items())
        detail = f"{split}, of {attrition.n_read:,} questions read ({share})"
        facts.append(Fact(f"{attrition.n_kept:,}", "examples in the dataset", detail, href))
    elif steps:
        last, n_read = steps[-1], steps[0].n_read
        share = percent(last.n_kept / n_read if n_read else None)
        detail = f"of {n_read:,} read ({share})"
        facts.append(Fact(f"{last.n_kept:,}", f"questions kept after {last.stage}", detail))
    facts += [_gain(b) for b in benchmarks if b.modalities and len(b.models) > 1]
    return facts + _costs(calls, trainings)


def _gain(benchmark: BenchmarkResults) -> Fact:
    """The last model against the first on the richest input."""
    base, last, modality = benchmark.models[0], benchmark.models[-1], benchmark.modalities[-1]
    test = benchmark.compare((base, modality), (last, modality))
    if test is None:
        return Fact("–", f"{last} − {base} on {benchmark.name}", "not both evaluated yet")
    noise = ", within noise" if test.is_noise else ""
    return Fact(
        f"{100 * test.difference:+.1f}",
        f"points, {last} − {base} on {benchmark.name}, {LABELS[modality].lower()}",
        f"95 % {interval_text(test.low, test.high, '+')}, {p_text(test.p)}, n = {test.n:,}{noise}",
        only_right(benchmark.name, (last, modality), (base, modality)),
    )


def _costs(calls: Sequence[Calls], trainings: Sequence[TrainingRun]) -> list[Fact]:
    facts: list[Fact] = []
    if calls:
        failures = sum((each.failures for each in calls), Counter[str]())
        failed = failures_text(failures) if failures else "none failed"
        n = sum(each.n_replies for each in calls)
        facts.append(Fact(f"{n:,}", "replies of models", failed))
        tokens = [
            sum(getattr(each, name) for each in calls)
            for name in ("n_prompt_tokens", "n_completion_tokens")
        ]
        detail = f"{_amount(tokens[0])} in prompts, {_amount(tokens[1])} in completions"
        facts.append(Fact(_amount(sum(tokens)), "tokens", detail))
    seconds = [v for t in trainings for _, v in t.series.get("step_time_s", ())]
    asking = sum(each.seconds for each in calls)
    if seconds or calls:
        asked = f"{asking / 3600:.2f} of calls, side by side" if calls else "calls are unknown"
        detail = f"{asked}; {sum(seconds) / 3600:.2f} of training"
        facts.append(
            Fact(
                f"{(asking + sum(seconds)) / 3600:.1f}",
                "hours of calls and training, added up",
                detail,
            )
        )
    return facts


def _amount(n: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:,.0f}"
