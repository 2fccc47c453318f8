"""A question of a benchmark as a model reads it: system and user text, and their digest.

The text is the same in all modalities, unless a benchmark's authors name the media in it.
"""

from __future__ import annotations

from typing import TypeAlias

from avrt.prompts import PromptTemplate, format_options, letter_options
from avrt.runs import fingerprint
from avrt.types import Sample

__all__ = ["Question", "fill_question", "question_digest"]

Question: TypeAlias = tuple[str | None, str]
"""System and user text."""


def fill_question(sample: Sample, template: PromptTemplate, n_frames: int = 1) -> Question:
    """The texts of a question; only `n_frames`, of a video, depends on the media."""
    return template.fill(
        question=sample.question,
        options=format_options(sample.options),
        lettered_options=letter_options(sample.options),
        n_frames=str(n_frames if sample.video else 1),
    )


def question_digest(question: Question) -> str:
    """sha256 of both texts."""
    return fingerprint(list(question))
