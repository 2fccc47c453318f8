"""The rewards of GRPO: pure functions of a completion and its sample.

A bad completion earns 0.0. A bad target raises, because paying 0.0 for it would teach the policy
our data bugs.
"""

from __future__ import annotations

from collections.abc import Callable

from avrt.answers import extract_answer, is_well_formed
from avrt.errors import DataError
from avrt.types import Sample

__all__ = ["REWARDS", "RewardFn", "reward_accuracy", "reward_format"]

RewardFn = Callable[[str, Sample], float]


def reward_format(completion: str, sample: Sample) -> float:
    """1.0 for exactly one non-empty think block, then one letter in an answer block."""
    return float(is_well_formed(completion, len(sample.options)))


def reward_accuracy(completion: str, sample: Sample) -> float:
    """1.0 when the letter the completion answers with is the target.

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
    return float(extract_answer(completion, sample.options) == sample.target)


REWARDS: dict[str, RewardFn] = {"format": reward_format, "accuracy": reward_accuracy}
"""Rewards by name; the weight of NAME is the setting `grpo.NAME_weight`."""
