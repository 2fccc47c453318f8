"""The rewards of GRPO: pure functions of a completion, its sample and the settings.

A bad completion earns 0.0. A bad target raises, because paying 0.0 for it would teach the policy
our data bugs. A reward whose weight is 0 is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from avrt.answers import extract_answer, is_well_formed, split_trace
from avrt.config import GrpoConfig
from avrt.errors import DataError
from avrt.types import Sample

__all__ = [
    "REWARDS",
    "RewardFn",
    "reward_accuracy",
    "reward_format",
    "reward_length",
    "reward_weights",
]

RewardFn = Callable[[str, Sample, GrpoConfig], float]


def reward_format(completion: str, sample: Sample, _settings: GrpoConfig) -> float:
    """Pay 1.0 for exactly one non-empty think block, then a single letter in an answer block."""
    return float(is_well_formed(completion, len(sample.options)))


def reward_accuracy(completion: str, sample: Sample, _settings: GrpoConfig) -> float:
    """Pay 1.0 when the completion's letter is the target.

    Raises:
        DataError: the target is empty, or another option has the same text.
    """
    if not sample.target_text.strip():
        raise DataError(
            f"{sample.source}: sample {sample.id!r}: the text of the target ({sample.target}) "
            "is empty; remove the sample or give the option a text"
        )
    if sample.options.count(sample.target_text) > 1:
        raise DataError(
            f"{sample.source}: sample {sample.id!r}: several options read {sample.target_text!r}, "
            "so its target is not one letter; remove the sample or make the options differ"
        )
    # Whether a limit cut it off is not known here, so a block that never closes earns nothing.
    return float(extract_answer(completion, sample.options, cut=True) == sample.target)


def reward_length(completion: str, _sample: Sample, settings: GrpoConfig) -> float:
    """Pay min(1, exp(-(w - mean)^2 / (2 std^2)) + bonus [low <= w <= high]) for w words.

    From arXiv 2604.16617, with the window as its authors corrected it. w counts the
    words of the thought, between blanks. A completion without a thought and an answer earns 0.0.
    """
    parts = split_trace(completion)
    if parts is None:
        return 0.0
    n_words = len(parts[0].split())
    low, high = settings.length_window
    near = math.exp(-(((n_words - settings.length_mean) / settings.length_std) ** 2) / 2)
    return min(1.0, near + settings.length_bonus * (low <= n_words <= high))


REWARDS: dict[str, RewardFn] = {
    "format": reward_format,
    "accuracy": reward_accuracy,
    "length": reward_length,
}
"""Rewards by name; the weight of NAME is the setting `grpo.NAME_weight`."""


def reward_weights(settings: GrpoConfig) -> dict[str, float]:
    """Give the weight of each reward whose weight is above 0, in the order of `REWARDS`."""
    weights = {name: getattr(settings, f"{name}_weight") for name in REWARDS}
    return {name: weight for name, weight in weights.items() if weight > 0}
