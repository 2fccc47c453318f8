"""What the results of a run show, and what they do not, in sentences with intervals.

Nothing is read. The stages of the method are found by their checkpoints (`base`, `sft`, `grpo`,
`grpo-base`), whatever the models are called, else by their names (`base`, `rl`, `sft`, `sft_rl`),
and compared on the same items.

The decision to question: a difference is shown when its 95 % interval leaves out zero. The
intervals are over items; about a training with another seed they say nothing, and the last
sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avrt.config import EvalConfig
from avrt.evaluate.results import ModelResult
from avrt.evaluate.statistics import Z_95, Comparison, compare_paired
from avrt.evaluate.summary import in_order, interval_text, p_text

__all__ = ["Sentences", "sentences_of"]

POWER_80 = 0.8416212335729143
"""Quantile of the normal distribution below which 80 % lie: the power that is asked for."""
LEAST = 0.01
"""Smallest difference for which a number of items is given: one point."""
GAINS = (
    ("base", "sft", "SFT", "the base"),
    ("base", "rl", "GRPO without SFT", "the base"),
    ("sft", "sft_rl", "GRPO", "SFT"),
    ("rl", "sft_rl", "SFT before GRPO", "GRPO alone"),
    ("base", "sft_rl", "SFT with GRPO", "the base"),
)
"""Two stages, what makes the second out of the first, and a name of the first."""
SENSES = {"a": "sound", "v": "sight"}
SEEDS = (
    "Each interval is over these items and says nothing about other seeds: another training of the "
    "same stage may differ by more."
)


@dataclass(frozen=True)
class Sentences:
    """About one benchmark."""

    about: str
    """The items, in words."""
    shown: Sequence[str]
    not_shown: Sequence[str]
    claim: str = ""
    """What the last stage gains over the base, in one sentence."""
    interval: tuple[float, float] | None = None
    """Of that difference, 95 %, in points."""

    @property
    def parts(self) -> list[tuple[str, Sequence[str]]]:
        """Both kinds with a title, for a page or a terminal; the first only if there are any."""
        shown = [(f"What this shows, on {self.about}:", self.shown)] if self.shown else []
        title = "What it does not show:" if shown else f"Nothing is shown on {self.about}:"
        return [*shown, (title, [*self.not_shown, SEEDS])]

    def __str__(self) -> str:
        return "\n".join("\n  - ".join([title, *lines]) for title, lines in self.parts)


Line = tuple[tuple[str, str], str, Comparison]
"""Who gains over whom, what is said where no difference is shown, and the comparison."""


def sentences_of(
    results: Sequence[ModelResult], settings: EvalConfig, grpo_init: str
) -> Sentences | None:
    """Give the sentences about the first benchmark that two stages saw and heard; None without.

    `grpo_init`: where the training called `grpo` starts.
    """
    stages = _stages(settings, grpo_init)
    cells = {
        (result.benchmark, stages[result.model], result.modality): result
        for result in results
        if result.model in stages and result.has_media and not result.n_left
    }
    for benchmark in in_order({name for name, _, _ in cells}, settings.benchmarks):
        own = {key[1:]: result for key, result in cells.items() if key[0] == benchmark}
        gains = _gains(own)
        lines = [*gains, *_both_senses(own)]
        if lines:
            n = max(comparison.n for _, _, comparison in lines)
            said = {True: list[str](), False: list[str]()}
            for gain, noise, comparison in lines:
                text = (
                    _unsure(noise, comparison) if comparison.is_noise else _sure(gain, comparison)
                )
                said[comparison.is_noise].append(text)
            about = f"the {n:,} items of {benchmark}"
            claim = _claim(about, [line for line in gains if line[0][1] == "the base"])
            return Sentences(about, said[False], said[True], *claim)
    return None


def _claim(about: str, gains: Sequence[Line]) -> tuple[str, tuple[float, float] | None]:
    """The gain of the furthest stage over the base; empty without one."""
    if not gains:
        return "", None
    (doer, start), _, comparison = gains[-1]
    interval = 100 * comparison.low, 100 * comparison.high
    if not comparison.is_noise:
        return f"On {about}, {_sure((doer, start), comparison)}", interval
    change = f"{100 * comparison.difference:+.1f} points {_interval(comparison)}"
    text = f"On {about}, no difference between {doer} and {start} is shown: {change}"
    return f"{text} ({p_text(comparison.p)}).", interval


def _stages(settings: EvalConfig, grpo_init: str) -> dict[str, str]:
    """The stage of the method that each model is, as far as its checkpoint or its name tells."""
    kinds = {"base": "base", "sft": "sft", "grpo-base": "rl"}
    kinds |= {"sft": {"grpo": "sft_rl"}, "base": {"grpo": "rl"}}.get(grpo_init, {})
    places = {
        name: model if isinstance(model, str) else model.model
        for name, model in settings.models.items()
    }
    by_name = {name: name for name in places if name in ("base", "rl", "sft", "sft_rl")}
    return by_name | {name: kinds[place] for name, place in places.items() if place in kinds}


def _gains(own: Mapping[tuple[str, str], ModelResult]) -> list[Line]:
    lines: list[Line] = []
    for first, second, doer, start in GAINS:
        before, after = own.get((first, "av")), own.get((second, "av"))
        if before and after and before.protocol_id == after.protocol_id:
            comparison = compare_paired(before.correct, after.correct)
            if comparison is not None:
                lines.append(((doer, start), f"that {doer} changes {start}", comparison))
    return lines


def _both_senses(own: Mapping[tuple[str, str], ModelResult]) -> list[Line]:
    """The last stage with both senses, against the better one alone."""
    last = next((stage for stage in ("sft_rl", "sft", "rl", "base") if (stage, "av") in own), None)
    alone = [own[last, sense] for sense in SENSES if last and (last, sense) in own]
    if last is None or len(alone) < len(SENSES):
        return []
    both, best = own[last, "av"], max(alone, key=lambda result: result.accuracy.k)
    comparison = compare_paired(best.correct, both.correct)
    if comparison is None:
        return []
    sense = SENSES[best.modality]
    other = "Sound" if best.modality == "v" else "Sight"
    gain = other, f"what {both.model} gets right by {sense} alone, its better sense,"
    return [(gain, f"that {both.model} needs both senses", comparison)]


def _sure(gain: tuple[str, str], comparison: Comparison) -> str:
    doer, start = gain
    points = f"{100 * abs(comparison.difference):.1f} points"
    change = f"adds {points} to" if comparison.difference > 0 else f"takes {points} from"
    return f"{doer} {change} {start} {_interval(comparison)} ({p_text(comparison.p)})."


def _unsure(noise: str, comparison: Comparison) -> str:
    """Say how many items a test would need that finds such a difference four times in five."""
    least = max(abs(comparison.difference), LEAST)
    error = (comparison.high - comparison.low) / (2 * Z_95)
    n = comparison.n * ((Z_95 + POWER_80) * error / least) ** 2
    return (
        f"{noise[0].upper()}{noise[1:]}: {100 * comparison.difference:+.1f} points "
        f"{_interval(comparison)} ({p_text(comparison.p)}). To show {100 * least:.1f} points it "
        f"takes about {_rounded_up(n):,} items, or several seeds."
    )


def _interval(comparison: Comparison) -> str:
    return interval_text(comparison.low, comparison.high, "+")


def _rounded_up(n: float) -> int:
    """To two digits that count."""
    unit = 10 ** max(math.floor(math.log10(max(n, 1))) - 1, 0)
    return math.ceil(n / unit) * unit
