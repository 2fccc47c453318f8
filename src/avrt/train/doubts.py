"""Warnings about a training that cannot show anything, each with its remedy.

Pure functions over the rows of log.jsonl so far, of which the last is new, and over the rewards
that `--reward-check` sampled. The rewards are judged at the start alone: at the end they may well
be near the ceiling, for that is what a training is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from avrt.config import GrpoConfig, SftConfig
from avrt.evaluate.statistics import Accuracy
from avrt.train.rewards import reward_weights

__all__ = ["Doubt", "doubt_grpo", "doubt_rewards", "doubt_sft"]

Row = Mapping[str, Any]
Doubt = Callable[[Sequence[Row]], Mapping[str, str]]
"""Gives the warnings for which the newest row is the reason, by their name in the log."""

N_FIRST = 10
"""Rollouts from whose rewards it is judged where a training starts, and steps over which the KL is
averaged.
"""
FEWEST_ROLLOUTS = 5
"""A training of fewer, as in a trial, is not judged."""
MOST_EARNED = 0.9
"""Share of the rewards from which there is little left to learn."""
MOST_WITHOUT_SPREAD = 0.6
KL_STEPS = 20
"""Steps behind the warm-up after which a policy that is trained has moved."""
LEAST_KL = 1e-4
MOST_RIGHT = 0.95
"""Accuracy on held-out prompts that leaves no room for a difference."""
FEWEST_HELD_OUT = 200
"""With fewer, the interval is wider than a difference of five points."""


def doubt_sft(sft: SftConfig, rows: Sequence[Row]) -> dict[str, str]:
    """Give the warnings about a fine-tuning."""
    harder = "hold out harder ones (build.view), or evaluate on a benchmark"
    return _doubt_held_out(rows[-1], "sft.eval_samples", sft.eval_samples, harder)


def doubt_grpo(grpo: GrpoConfig, rows: Sequence[Row]) -> dict[str, str]:
    """Give the warnings about a training with rewards."""
    found: dict[str, str] = {}
    every = grpo.updates_per_rollout
    n_judged = min(N_FIRST, -(-grpo.max_steps // every))
    if "reward" in rows[-1] and rows[-1]["step"] <= n_judged * every:
        paid = [row for row in rows if "reward" in row]
        if len(paid) == n_judged >= FEWEST_ROLLOUTS:
            means = (fmean(row[name] for row in paid) for name in ("reward", "zero_spread"))
            found |= doubt_rewards(grpo, *means)
    harder = f"take harder ones ({_harder(grpo)})"
    held_out = _doubt_held_out(rows[-1], "grpo.eval_samples", grpo.eval_samples, harder)
    return found | held_out | _doubt_kl(grpo, rows)


def doubt_rewards(grpo: GrpoConfig, earned: float, without_spread: float) -> dict[str, str]:
    """Give the warnings about the rewards at the start.

    `earned`: their weighted mean; `without_spread`: the share of groups in which all earn the same.
    """
    found = {}
    most = sum(reward_weights(grpo).values()) + grpo.judge_weight
    if earned >= MOST_EARNED * most:
        found["ceiling"] = (
            f"the rewards begin at {earned:.2f} of {most:g}, so little is left to learn: take "
            f"harder questions ({_harder(grpo)}), or fine-tune on fewer traces first (sft.limit)"
        )
    if without_spread >= MOST_WITHOUT_SPREAD:
        remedies = [f"take harder questions ({_harder(grpo)})"]
        if earned < most / 2:
            remedies = ["fine-tune the policy first (grpo.init)", "raise grpo.temperature"]
        remedies += ["raise grpo.group_size"]
        remedies += [] if grpo.drop_zero_spread else ["set grpo.drop_zero_spread=true"]
        found["spread"] = (
            f"in {without_spread:.0%} of the groups all completions earn the same, so they teach "
            f"nothing: {', '.join(remedies[:-1])}, or {remedies[-1]}"
        )
    return found


def _harder(grpo: GrpoConfig) -> str:
    if grpo.data == "dataset":
        return "grpo.data=samples"
    return "grpo.view, such as 'vision_first != audio_first'"


def _doubt_kl(grpo: GrpoConfig, rows: Sequence[Row]) -> dict[str, str]:
    """Of the first measurement at which a policy that learns has moved; noisy, so of the mean."""
    # A long training may take its time: what it has moved grows with the square of the steps.
    first = min(max(grpo.warmup_steps + KL_STEPS, grpo.max_steps // 10), grpo.max_steps)
    step = rows[-1]["step"]
    if "kl" not in rows[-1] or step < first or first < KL_STEPS:
        return {}
    before = next((row for row in reversed(rows) if "kl" in row and row["step"] < step), None)
    if before is not None and before["step"] >= first:
        return {}  # judged there
    kl = fmean(row["kl"] for row in rows if "kl" in row and row["step"] > step - N_FIRST)
    if kl >= LEAST_KL:
        return {}
    return {
        "kl": f"after {step} steps the KL to the start is {kl:.1e}, so the policy hardly moves: "
        f"raise grpo.learning_rate (now {grpo.learning_rate:g})"
    }


def _doubt_held_out(new: Row, setting: str, n_asked: int, harder: str) -> dict[str, str]:
    """Of the evaluation before the first step."""
    if new["step"] != 0 or "eval_accuracy" not in new:
        return {}
    found, n, share = {}, new["eval_n"], new["eval_accuracy"]
    if share >= MOST_RIGHT:
        found["held_out_ceiling"] = (
            f"{share:.0%} of the {n} held-out prompts are answered rightly before the first step, "
            f"so they cannot show what is learned: {harder}"
        )
    if n < FEWEST_HELD_OUT:
        low, high = Accuracy(share * n, n).interval
        # Fewer than were asked for: there are no more.
        name = setting if n >= n_asked else "build.validation_fraction"
        found["held_out_size"] = (
            f"{n} held-out prompts measure an accuracy to within ± {50 * (high - low):.0f} points, "
            f"too few to show a gain of 5: raise {name}, to {FEWEST_HELD_OUT} prompts or more"
        )
    return found
