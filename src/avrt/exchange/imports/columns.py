"""Common to all imports: a published row, and the readers of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.types import LETTERS, Sample

__all__ = [
    "LETTERED",
    "MalformedError",
    "Row",
    "Source",
    "options_of",
    "strip_letters",
    "target_of",
    "text_of",
    "texts_of",
]

LETTERED = re.compile(r"\s*(?:\(([A-H])\)|([A-H])[.):])\s*(.*)", re.DOTALL)
"""An option with its letter in front."""


@dataclass(frozen=True)
class Row:
    """A published row; `split` is empty where the source has none."""

    id: str
    values: Mapping[str, Any]
    source: str
    split: str = ""


class MalformedError(Exception):
    """A row is no question that AVRT can score; the message names the reason."""


@dataclass(frozen=True)
class Source:
    """The reader of a published set."""

    read: Callable[[Path], list[Row]]
    to_sample: Callable[[Row, Mapping[str, Any]], tuple[Sample, str | None]]
    """The sample, and its trace when there is one.

    Raises:
        MalformedError: the row is no question.
    """
    survey: Callable[[Sequence[Row], Path], Mapping[str, Any]]
    """Gives `known`, which `to_sample` needs, from all rows and the media's folder."""
    licence: str


def strip_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Remove `A. ` or `(A) ` in front of options when every option has its own letter there."""
    matches = [LETTERED.fullmatch(option) for option in options]
    letters = [match and (match[1] or match[2]) for match in matches]
    if letters != list(LETTERS[: len(options)]):
        return tuple(option.strip() for option in options)
    return tuple(match[3].strip() for match in matches if match)


def texts_of(values: object) -> list[str]:
    """Give the values of a list as texts, None as an empty text; give no text for anything else."""
    if not isinstance(values, list):
        return []
    return ["" if value is None else str(value) for value in values]


def options_of(values: object) -> tuple[str, ...]:
    """Give the options without letters.

    Raises:
        MalformedError: the value does not hold two to eight texts.
    """
    options = strip_letters(texts_of(values))
    if not 2 <= len(options) <= len(LETTERS):
        raise MalformedError("bad_number_of_options" if options else "no_options")
    if not all(options):
        raise MalformedError("empty_option")
    return options


def target_of(index: int | None, options: Sequence[str]) -> int:
    """Give the index of the right option.

    Raises:
        MalformedError: there is no such option, or another option reads the same.
    """
    if index is None or index >= len(options):
        raise MalformedError("bad_answer")
    if options.count(options[index]) > 1:
        raise MalformedError("ambiguous_answer")
    return index


def text_of(value: object, reason: str) -> str:
    """Give a text without spaces around it.

    Raises:
        MalformedError: the value is no text, or empty; `reason` is the message.
    """
    if not isinstance(value, str) or not value.strip():
        raise MalformedError(reason)
    return value.strip()
