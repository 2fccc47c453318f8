"""Turn one completion into a score. The only place that decides whether a benchmark item is right.

An answer that cannot be read is wrong, is counted as unparsable, and is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avrt.answers import extract_answer
from avrt.datasets.rows import folded
from avrt.types import LETTERS, Completion, Sample

__all__ = ["STATUSES", "Score", "Status", "score"]

Status = Literal["scored", "unparsable", "failed", "missing_media"]
STATUSES: tuple[Status, ...] = ("scored", "unparsable", "failed", "missing_media")
"""Every item ends as one of these; only `scored` can be right, all are in the denominator."""


@dataclass(frozen=True)
class Score:
    """The worth of a completion, and why."""

    value: float
    """1.0 when the answer is the target, else 0.0."""
    answer: str | None
    """The letter that was given; None when there is none."""
    explanation: str
    status: Status = "scored"


def score(completion: Completion, sample: Sample) -> Score:
    """Compare the letter in `completion` with the target of `sample`.

    Of two options that read alike, as some benchmarks have, either letter is right.
    """
    if completion.finish_reason == "error":
        reason = f"{completion.error_class}: {completion.error}"
        return Score(0.0, None, f"the call failed: {reason}", "failed")
    is_cut = completion.finish_reason == "length"
    answer = extract_answer(completion.text, sample.options, cut=is_cut)
    if answer is None:
        cut = " (cut at max_new_tokens)" if is_cut else ""
        return Score(0.0, None, f"no answer found{cut}", "unparsable")
    correct = folded(sample.options[LETTERS.index(answer)]) == folded(sample.target_text)
    verdict = "right" if correct else f"the target is {sample.target}"
    return Score(float(correct), answer, f"answered {answer}: {verdict}")
