"""Common to the readers of published annotations: read JSON, and name each malformed row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from avrt.errors import DataError
from avrt.types import LETTERS, BenchmarkItem

__all__ = [
    "group",
    "index_of_letter",
    "index_of_text",
    "option_texts",
    "present_or_first",
    "read_annotations",
    "read_json",
    "read_json_lines",
    "read_json_list",
    "text",
    "without_letters",
]

_LETTERED = re.compile(r"\s*(?:\(([A-H])\)|([A-H])\s*[.):])\s*(.*)", re.DOTALL)
"""An option with its letter in front: `A. dog`, `A.dog`, `(A) dog`."""


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: not UTF-8; save it as UTF-8") from error


def read_json_list(path: Path) -> list[Any]:
    """Read the rows of a JSON list.

    Raises:
        DataError: as `read_json`, or the file holds no list.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: a {type(content).__name__}, not a list of questions")
    return content


def read_json_lines(path: Path) -> Iterator[Any]:
    """Yield the rows of a file with a JSON object in each line.

    Raises:
        DataError: the file cannot be read, or a line is no JSON.
    """
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: not UTF-8; save it as UTF-8") from error


def read_annotations(
    path: Path,
    rows: Iterable[Any],
    required: Sequence[str],
    to_item: Callable[[Any, str], BenchmarkItem],
) -> Iterator[BenchmarkItem]:
    """Yield `to_item(row, source)` of every row; its errors get file and row.

    Raises:
        DataError: the first row has no `required` field, so the file has another format; a row
            lacks a field or has an impossible value; an id occurs twice.
    """
    first_row: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: a {type(row).__name__}, not a question")
        if number == 1 and not any(field in row for field in required):
            raise DataError(
                f"{path}: not this benchmark: its rows have the fields {', '.join(row)} and none "
                f"of {', '.join(required)}; set the format and the root of this set"
            )
        try:
            item = to_item(row, f"{path.name}:{number}")
        except KeyError as error:
            raise DataError(
                f"{path}: row {number}: the field {error} is missing; check that the file is the "
                "published version of the benchmark"
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}: row {number}: {error}; correct the row or remove it"
            ) from error
        if (twice := item.sample.id) in first_row:
            both = f"rows {first_row[twice]} and {number}"
            raise DataError(f"{path}: {both} have the same id {twice!r}; make ids unique")
        first_row[twice] = number
        yield item


def text(row: dict[str, Any], field: str) -> str:
    """Give a text that is not empty, without spaces around it.

    Raises:
        ValueError: the value is no text, or empty.
        KeyError: the field is missing.
    """
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is {value!r}, not a text")
    return value.strip()


def group(row: dict[str, Any], field: str) -> str:
    """Give the value of a field for a breakdown; `none` where it is empty or missing."""
    value = row.get(field)
    return " ".join(str(value).split()) if value not in (None, "") else "none"


def option_texts(row: dict[str, Any], field: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """Give the options in a list, without spaces around them; numbers become texts.

    Raises:
        ValueError: the value is no list of texts.
        KeyError: the field is missing.
    """
    options = row[field]
    if not isinstance(options, list):
        raise ValueError(f"{field} is a {type(options).__name__}, not a list")
    for option in options:
        is_empty = option == "" and not may_be_empty
        if isinstance(option, bool) or not isinstance(option, str | int | float) or is_empty:
            raise ValueError(f"option {option!r} is not a text")
    return tuple(str(option).strip() for option in options)


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Remove the letters in front of options when every option has its own letter there.

    Raises:
        ValueError: an option is nothing but its letter.
    """
    matches = [_LETTERED.fullmatch(option) for option in options]
    letters = [match and (match[1] or match[2]) for match in matches]
    if letters != list(LETTERS[: len(options)]):
        return tuple(options)
    texts = tuple(match[3].strip() for match in matches if match)
    if "" in texts:
        raise ValueError(f"option {options[texts.index('')]!r} is only a letter")
    return texts


def index_of_text(options: Sequence[str], answer: str) -> int:
    """Give the index of the first option that reads exactly like `answer`.

    Raises:
        ValueError: no option does.
    """
    if answer not in options:
        raise ValueError(f"answer {answer!r} is not among the options {list(options)}")
    return options.index(answer)


def index_of_letter(options: Sequence[str], letter: str) -> int:
    """Give the index of the option with that letter.

    Raises:
        ValueError: no option has it.
    """
    letters = LETTERS[: len(options)]
    if len(letter) != 1 or letter not in letters:
        raise ValueError(f"answer {letter!r} is not among the letters {', '.join(letters)}")
    return letters.index(letter)


def present_or_first(root: Path, *names: str) -> str:
    """Give the first relative path that exists, else the first: the usual path.

    Raises:
        ValueError: a path leaves the folder.
    """
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"media file {name!r} leaves the dataset's folder")
    plain = [str(PurePosixPath(name)) for name in names]
    return next((name for name in plain if (root / name).is_file()), plain[0])
