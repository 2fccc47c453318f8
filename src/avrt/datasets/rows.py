"""Common to all readers of annotations: the fields of a row, and a message for each malformed row.

What a row may be is decided here alone, so every format takes and refuses the same: options lose
the letters in front of them, and gold may be an index, a letter or a text.

The decision to question: the way in which a format's authors write gold comes first. Another way is
taken where it leaves one option; a number is an index only where the authors write indices, since
elsewhere it could count from 1.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from avrt.errors import DataError
from avrt.runs import DiskMap
from avrt.texts import read_json, shown
from avrt.types import LETTERS, BenchmarkItem

__all__ = [
    "by_index",
    "by_letter",
    "by_text",
    "folded",
    "group",
    "identifier",
    "options_and_gold",
    "read_annotations",
    "read_json_list",
    "read_questions",
    "same_options",
    "text",
    "without_letters",
]

_LETTERED = re.compile(
    r"\s*(?P<bold>\*\*)?(?:[Oo]ption\s+)?(?:[(\[（【]\s*(?P<enclosed>[A-Ha-hＡ-Ｈａ-ｈ])\s*[)\]）】]"
    r"|(?P<open>[A-Ha-hＡ-Ｈａ-ｈ])(?:\s*[.):．）：、]|\s+[-–—]\s))(?(bold)\*\*)\s*(?P<text>.*)",
    re.DOTALL,
)
"""An option with its letter in front: `A. dog`, `A.dog`, `(A) dog`, `a) dog`, `A - dog`,
`Option A: dog`, `**A.** dog`.
"""
_LETTER = re.compile(r"(?:option\s*)?[(\[]?\s*([a-h])\s*[)\]]?\s*[.:]?")
_INDEX = re.compile(r"(\d{1,3})(?:\.0*)?")


def read_json_list(path: Path) -> list[Any]:
    """Read the rows of a JSON list.

    Raises:
        DataError: the file cannot be read, or holds no list.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: a {type(content).__name__}, not a list of questions")
    return content


def read_questions(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number the questions in a JSON list of videos; each has its video's fields, then its own.

    Raises:
        DataError: as `read_json_list`, or a video without a list of questions.
    """
    n_questions = 0
    for number, video in enumerate(read_json_list(path), start=1):
        if not isinstance(video, dict) or not isinstance(video.get("questions"), list):
            raise DataError(
                f"{path}: video {number}: not an object with a list of questions; set the format "
                "and the root of this set"
            )
        about = {field: value for field, value in video.items() if field != "questions"}
        for question in video["questions"]:
            if not isinstance(question, dict):
                raise DataError(f"{path}: video {number}: {shown(question)} is not a question")
            n_questions += 1
            yield n_questions, {**about, **question}


def read_annotations(
    path: Path,
    rows: Iterable[tuple[int, Any]],
    required: Sequence[str],
    to_item: Callable[[Any, str], BenchmarkItem],
) -> Iterator[BenchmarkItem]:
    """Yield `to_item(row, source)` of every numbered row; its errors get file and row.

    Raises:
        DataError: the first row has no `required` field, so the file has another format; a row
            lacks a field or has an impossible value; an id occurs twice.
    """
    first_row = DiskMap[str, int]()  # of any number of questions
    is_first = True
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: a {type(row).__name__}, not a question")
        if is_first and not any(field in row for field in required):
            raise DataError(
                f"{path}: not this format: row {number} has the fields "
                f"{shown(', '.join(row), 200)} and none of {', '.join(required)}; set the format "
                "and the root of this set"
            )
        try:
            item = to_item(row, f"{path.name}:{number}")
        except KeyError as error:
            raise DataError(
                f"{path}: row {number}: the field {error} is missing; add it, or check that the "
                "file is the published version"
            ) from error
        except ValueError as error:
            raise DataError(
                f"{path}: row {number}: {error}; correct the row or remove it"
            ) from error
        if (twice := item.sample.id) in first_row:
            both = f"rows {first_row[twice]} and {number}"
            raise DataError(f"{path}: {both} have the same id {shown(twice)}; make ids unique")
        first_row[twice], is_first = number, False
        yield item


def text(row: dict[str, Any], field: str) -> str:
    """Give a text that is not empty, without spaces around it.

    Raises:
        ValueError: the value is no text, or empty.
        KeyError: the field is missing.
    """
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is {shown(value)}, not a text")
    return value.strip()


def identifier(row: dict[str, Any], field: str) -> str:
    """Give a name or a whole number as a text; 7.0, which tables make of 7, is 7.

    Raises:
        ValueError: the value is neither, or empty.
        KeyError: the field is missing.
    """
    value = row[field]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{field} is {shown(value)}, neither a name nor a whole number")
    return str(value).strip()


def group(row: dict[str, Any], field: str) -> str:
    """Give the value of a field for a breakdown; `none` where it is empty or missing."""
    value = row.get(field)
    return " ".join(str(value).split()) if value not in (None, "") else "none"


def options_and_gold(
    row: dict[str, Any], field: str, answer_field: str, form: Literal["index", "letter", "text"]
) -> tuple[tuple[str, ...], int]:
    """Give the options without letters and spaces, and the index of gold among them.

    Numbers become texts. `form` is how the format's authors write gold. An option may be blank, and
    options may be equal; gold is then the first of them, and `prepare` decides.

    Raises:
        ValueError: the value is no list of two to eight texts, or the answer does not name one.
        KeyError: a field is missing.
    """
    published = _option_texts(row[field], field)
    options = without_letters(published)
    answer = row[answer_field]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"{answer_field} is {shown(answer)}, not an index, a letter or a text")
    own = _own_letters(options)
    in_order = own in ([], list(LETTERS[: len(options)]))
    if not in_order and by_letter(answer, len(LETTERS)) is not None:
        raise ValueError(
            f"{answer_field} is {shown(answer)}, but the options have other letters than A, B, …; "
            "write the text of the right one"
        )
    readings: dict[str, Callable[[], int | None]] = {
        "index": lambda: by_index(answer, len(options)),
        "letter": lambda: by_letter(answer, len(options)),
        "text": lambda: by_text(answer, options, published),
    }
    first = readings[form]()
    if first is not None:
        return options, first
    if form != "index":
        del readings["index"]
    elif not isinstance(answer, str):
        readings = {}
    found = {index for read in readings.values() if (index := read()) is not None}
    if len(found) == 1:
        return options, found.pop()
    given = f"{answer_field} is {shown(answer)}"
    if found:
        raise ValueError(f"{given}, the letter of one option and the text of another")
    ways = (
        f"a letter from A to {LETTERS[len(options) - 1]} or the text of one of {shown(published)}"
    )
    if form == "index":
        raise ValueError(f"{given}; expected an index from 0 to {len(options) - 1}, {ways}")
    raise ValueError(f"{given}; expected {ways}")


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Remove the letters in front of options, and spaces, when every option has its own letter."""
    if _own_letters(options) == list(LETTERS[: len(options)]):
        texts = tuple(_LETTERED.sub(r"\g<text>", option).strip() for option in options)
        if any(texts):
            return texts
    return tuple(option.strip() for option in options)


def folded(text: str) -> str:
    """Give what two texts share that differ in case, blanks or the width of letters alone."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def same_options(options: Sequence[str]) -> set[int]:
    """List the options that read like another one."""
    texts = [folded(option) for option in options]
    return {index for index, text in enumerate(texts) if texts.count(text) > 1}


def _own_letters(options: Sequence[str]) -> list[str]:
    """The letters in front of the options, when every option has one."""
    matches = [_LETTERED.fullmatch(option) for option in options]
    letters = [_letter(match) for match in matches if match]
    return letters if len(letters) == len(options) else []


def _letter(match: re.Match[str]) -> str:
    return folded(match["enclosed"] or match["open"]).upper()


def _option_texts(values: object, field: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{field} is a {type(values).__name__}, not a list")
    for option in values:
        if isinstance(option, bool) or not isinstance(option, str | int | float):
            raise ValueError(f"{field}: option {shown(option)} is not a text")
    if not 2 <= len(values) <= len(LETTERS):
        raise ValueError(f"{field} has {len(values)} options; need 2 to {len(LETTERS)}")
    return tuple(str(option).strip() for option in values)


def by_index(answer: str | int | float, n_options: int) -> int | None:
    """The option with this index; None: there is none."""
    match = _INDEX.fullmatch(folded(str(answer)))
    return int(match[1]) if match and int(match[1]) < n_options else None


def by_letter(answer: str | int | float, n_options: int) -> int | None:
    """The index of the option with this letter; None: it is no letter of an option."""
    match = _LETTER.fullmatch(folded(str(answer)))
    index = LETTERS.index(match[1].upper()) if match else n_options
    return index if index < n_options else None


def by_text(
    answer: str | int | float, options: Sequence[str], published: Sequence[str]
) -> int | None:
    """The index of the first option that reads exactly like the answer, else but for case, blanks
    and width; `published` are the options with their letters.
    """
    written = str(answer).strip()
    if not written:
        return None
    if isinstance(answer, float) and answer.is_integer() and written not in published:
        written = str(int(answer))
    for form in (str, folded):
        for texts in (published, options):
            if (wanted := form(written)) in (alike := [form(text) for text in texts]):
                return alike.index(wanted)
    if match := _LETTERED.fullmatch(written):  # its letter and its text, where they agree
        index = LETTERS.index(_letter(match))
        if index < len(options) and folded(options[index]) == folded(match["text"]):
            return index
    return None
