"""The index of the page: every item in columns, for the grid, its filters and the search.

Memory grows by some bytes per item and by its question; no trace and no answer is held.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avrt.evaluate.logs import Line

__all__ = ["CHUNK", "Index", "code_of"]

CHUNK = 200
"""Items of one data file."""
MAX_QUESTION = 500
"""Characters of a question in the index."""
_CODES = {"unparsable": 2, "failed": 3, "missing_media": 4}


class _Coded:
    """A column of few texts: each stands once, rows name it by its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.codes = array("i")

    def number(self, value: str) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def add(self, value: str | None) -> None:
        self.codes.append(-1 if value is None else self.number(value))

    @property
    def values(self) -> list[str]:
        return list(self._numbers)


def code_of(line: Line) -> int:
    """What became of an answer: 0 right, 1 wrong, or it was no answer; -1 is for not asked."""
    return _CODES.get(line.status, 0 if line.correct else 1)


class Index:
    """Takes item after item, in their order."""

    def __init__(self) -> None:
        self.n = 0
        self._coded: dict[str, _Coded] = {}
        self._numbers: dict[str, list[float | None]] = {}
        self._sets: dict[str, tuple[_Coded, list[list[int]]]] = {}
        self._ids: list[str] = []
        self._questions: list[str] = []
        self._strips: list[str] = []
        self._media = array("b")
        self.models: list[dict[str, Any]] = []

    def add(
        self,
        item: Mapping[str, Any],
        coded: Mapping[str, str | None],
        numbers: Mapping[str, float | None],
        sets: Mapping[str, Iterable[str]],
    ) -> None:
        """Note an item; all others have the same names for every item."""
        for name, value in coded.items():
            self._coded.setdefault(name, _Coded()).add(value)
        for name, number in numbers.items():
            self._numbers.setdefault(name, []).append(number)
        for name, values in sets.items():
            column, rows = self._sets.setdefault(name, (_Coded(), []))
            rows.append([column.number(value) for value in values])
        self._ids.append(item["id"])
        question = item["question"]
        is_long = len(question) > MAX_QUESTION
        self._questions.append(f"{question[:MAX_QUESTION]}…" if is_long else question)
        media = item["media"]
        self._strips.append(media.get("strip", ""))
        self._numbers.setdefault("n_frames", []).append(media.get("n_frames"))
        self._media.append("strip" in media or "sound" in media)
        self.n += 1

    def add_model(self, asked: Mapping[str, str], answers: Sequence[tuple[int, str]]) -> None:
        """Note one log: a code and a letter (or a blank) for each item from the next one on."""
        codes, letters = zip(*answers, strict=True)
        column = {"first": self.n, "codes": codes, "letters": "".join(letters)}
        self.models.append({**asked, **column})

    def to_json(self) -> dict[str, Any]:
        """The index as the page reads it; a column without any value is left out."""
        coded = {
            name: {"values": column.values, "codes": column.codes.tolist()}
            for name, column in self._coded.items()
            if column.values
        }
        numbers = {name: of for name, of in self._numbers.items() if _any(of)}
        sets = {
            name: {"values": column.values, "codes": rows}
            for name, (column, rows) in self._sets.items()
            if column.values
        }
        return {
            "n": self.n,
            "chunk": CHUNK,
            "coded": coded,
            "texts": {"id": self._ids, "question": self._questions, "strip": self._strips},
            "numbers": numbers,
            "sets": sets,
            "models": self.models,
            "media": self._media.tolist(),
        }


def _any(numbers: Sequence[float | None]) -> bool:
    return any(number is not None for number in numbers)
