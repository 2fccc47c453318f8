"""A question of a benchmark as a model reads it: system and user text, and their digest.

The text is the same in all modalities, unless a benchmark's authors name the media in it.
"""

from __future__ import annotations

from typing import TypeAlias

from avrt.errors import ConfigError
from avrt.prompts import FIELDS, PromptTemplate, format_options, letter_options
from avrt.runs import fingerprint
from avrt.types import Sample

__all__ = ["Question", "check_template", "fill_question", "question_digest"]

Question: TypeAlias = tuple[str | None, str]
"""System and user text."""


_OPTIONS = ("options", "lettered_options")
_FIELDS = ("question", *_OPTIONS, "n_frames")
"""Those that `fill_question` has values for."""


def check_template(template: PromptTemplate) -> None:
    """Refuse a prompt that would not show the question and its options, or that wants more.

    Raises:
        ConfigError: any of these.
    """
    fields = template.fields
    if foreign := [name for name in FIELDS if name in fields and name not in _FIELDS]:
        raise ConfigError(
            f"prompt {template.name}: evaluation has no value for placeholder {{{foreign[0]}}}; "
            f"available: {', '.join(f'{{{name}}}' for name in _FIELDS)}"
        )
    if "question" not in fields or not fields & {*_OPTIONS}:
        hidden = "options" if "question" in fields else "question"
        raise ConfigError(
            f"prompt {template.name}: the model would not see the {hidden}; put the placeholders "
            "{question} and {options} (or {lettered_options}) into it"
        )


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
