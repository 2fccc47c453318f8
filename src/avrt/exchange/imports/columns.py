"""Common to all imports: a published row, and the readers of its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.datasets.rows import same_options, without_letters
from avrt.texts import clean
from avrt.types import LETTERS, Sample

__all__ = [
    "SPLITS",
    "MalformedError",
    "Row",
    "Source",
    "options_of",
    "target_of",
    "text_of",
    "texts_of",
]


SPLITS = ("train", "validation", "rejected")
"""The files of a dataset, and what they are called in other sets as well."""


@dataclass(frozen=True)
class Row:
    """A published row."""

    id: str
    values: Mapping[str, Any]
    source: str
    split: str = ""
    """The file of the dataset it belongs to; empty where the set does not say, so that its clip
    decides.
    """
    kept: Mapping[str, Any] = field(default_factory=dict)
    """Columns that are the dataset's own already, for rows that AVRT wrote; they are kept as they
    are.
    """


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


def texts_of(values: object) -> list[str]:
    """Give the values of a list as texts, None as an empty text; give no text for anything else."""
    if not isinstance(values, list):
        return []
    return ["" if value is None else clean(str(value)).strip() for value in values]


def options_of(values: object) -> tuple[str, ...]:
    """Give the options without letters.

    Raises:
        MalformedError: the value does not hold two to eight texts.
    """
    if isinstance(values, list) and any(isinstance(value, list | dict | bool) for value in values):
        raise MalformedError("bad_option")
    options = without_letters(texts_of(values))
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
    if index in same_options(options):
        raise MalformedError("ambiguous_answer")
    return index


def text_of(value: object, reason: str) -> str:
    """Give a text without spaces around it.

    Raises:
        MalformedError: the value is no text, or empty; `reason` is the message.
    """
    if not isinstance(value, str) or not value.strip():
        raise MalformedError(reason)
    return clean(value).strip()
