"""Published rows on their way in, and how their parts are read."""

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
    "gold_of",
    "options_of",
    "strip_letters",
    "text_of",
    "texts_of",
]

LETTERED = re.compile(r"\s*(?:\(([A-H])\)|([A-H])[.):])\s*(.*)", re.DOTALL)
"""An option with its letter in front."""


@dataclass(frozen=True)
class Row:
    """One published row; `split` is empty where the source has none."""

    id: str
    values: Mapping[str, Any]
    source: str
    split: str = ""


class MalformedError(Exception):
    """A row that is no question we can score; the message names the reason."""


@dataclass(frozen=True)
class Source:
    """How one published set is read."""

    read: Callable[[Path], list[Row]]
    to_sample: Callable[[Row, Mapping[str, Any]], tuple[Sample, str | None]]
    """The sample, and its trace when there is one.

    Raises:
        MalformedError: the row is no question.
    """
    survey: Callable[[Sequence[Row], Path], Mapping[str, Any]]
    """What must be known before any row is read: `known`, from all rows and the media's folder."""
    licence: str


def strip_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Options without `A. ` or `(A) ` in front, when all of them have their own letter there."""
    matches = [LETTERED.fullmatch(option) for option in options]
    letters = [match and (match[1] or match[2]) for match in matches]
    if letters != list(LETTERS[: len(options)]):
        return tuple(option.strip() for option in options)
    return tuple(match[3].strip() for match in matches if match)


def texts_of(values: object) -> list[str]:
    """The texts of a list; what is no list has none, what is no text is empty."""
    if not isinstance(values, list):
        return []
    return ["" if value is None else str(value) for value in values]


def options_of(values: object) -> tuple[str, ...]:
    """The options without letters.

    Raises:
        MalformedError: not two to eight texts.
    """
    options = strip_letters(texts_of(values))
    if not 2 <= len(options) <= len(LETTERS):
        raise MalformedError("bad_number_of_options" if options else "no_options")
    if not all(options):
        raise MalformedError("empty_option")
    return options


def gold_of(place: int | None, options: Sequence[str]) -> int:
    """The place of the right option.

    Raises:
        MalformedError: there is none, or another option reads the same.
    """
    if place is None or place >= len(options):
        raise MalformedError("bad_answer")
    if options.count(options[place]) > 1:
        raise MalformedError("ambiguous_answer")
    return place


def text_of(value: object, reason: str) -> str:
    """A text that is not empty.

    Raises:
        MalformedError: it is no text or empty; `reason` is its message.
    """
    if not isinstance(value, str) or not value.strip():
        raise MalformedError(reason)
    return value.strip()
