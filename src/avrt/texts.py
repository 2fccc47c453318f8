"""Text from outside: the one way to read it, and to show it.

Annotations, imports, predictions, prompts, scripts and configurations come from editors,
spreadsheets and other people's programs. All of them are read here, so that a byte order mark or
half an emoji is treated alike everywhere, and what cannot be taken is refused with its place.

The decision to question: half a surrogate pair and NUL become U+FFFD, since no database, server or
file takes them and the rest of the text is sound. NaN, a key that stands twice and absurd sizes are
refused, since there is no telling what was meant.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from avrt.errors import DataError, machine_fault

__all__ = [
    "clean",
    "clean_value",
    "counted",
    "decode",
    "parse_json",
    "printable",
    "read_json",
    "read_json_lines",
    "read_text",
    "shown",
]

MAX_DEPTH = 100
"""Levels of lists and objects in a JSON value; deeper ones end later programs."""
MAX_DIGITS = 300
"""Digits of an integer; longer ones have no float."""

_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_NOT_PRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tabs and ends of lines, marks that turn the direction of text, and
surrogates.
"""
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class _RefusedError(Exception):  # also put in the place of a value that is refused
    """A JSON value that is not taken; `place` is filled from the inside to the outside."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place: list[str | int] = []


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with its mark; ends of lines become `\\n`.

    Raises:
        DataError: the file cannot be read, or is no such text; the message has the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        fault = None if isinstance(error, FileNotFoundError) else machine_fault(error)
        remedy = f"; {fault.partition('; ')[2]}" if fault else ""
        raise DataError(f"{_name(path)}: cannot be read: {error.strerror}{remedy}") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{_name(path)}: cannot be read: {error}") from error
    text = decode(data, path)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def decode(data: bytes, where: object) -> str:
    """Decode UTF-8, with its mark or without, or UTF-16 with its mark.

    Raises:
        DataError: neither; `where` and the line of the first wrong byte are named.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if is_utf16:
            found = f"broken UTF-16 at byte {error.start}"
        else:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"line {line}: not UTF-8 (0x{data[error.start]:02x} at byte {error.start})"
    else:
        if "\0" not in text:
            return text
        line = text.count("\n", 0, text.index("\0")) + 1
        found = f"line {line}: holds a NUL byte, so it is no text in UTF-8"
    raise DataError(f"{_name(where)}: {found}; save it as UTF-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path), path)


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of every line that is not blank.

    Raises:
        DataError: as `read_text` and `parse_json`; the line is named.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, f"{_name(path)}: line {number}")


def parse_json(text: str, where: object) -> Any:
    """Parse JSON; half surrogate pairs and NUL in its texts become U+FFFD.

    Raises:
        DataError: not JSON, NaN or infinite, an integer of over 300 digits, over 100 levels, or an
            object with a key twice; `where` and the place in the text are named.
    """
    try:
        value = json.loads(
            text.lstrip("\ufeff"),  # one for each file that was put together
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=lambda name: _RefusedError(f"{name} is no JSON number; write null"),
        )
        return clean_value(value)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{_name(where)}: {_line(text, error.pos)}not valid JSON: {error.msg} "
            f"(column {error.colno})"
        ) from error
    except RecursionError as error:
        position = _deep_position(text)
        place = _line(text, position) or f"column {position + 1}: "
        raise DataError(f"{_name(where)}: {place}over {MAX_DEPTH} levels of nesting") from error
    except _RefusedError as error:
        raise DataError(f"{_name(where)}: {_place(error.place)}{error.reason}") from error


def clean(text: str) -> str:
    """Put U+FFFD for half surrogate pairs and NUL, which no file, database or server takes."""
    try:
        text.encode()  # tells much faster than the pattern that there is nothing to do
    except UnicodeEncodeError:
        return _NO_TEXT.sub("\ufffd", text)
    return text.replace("\0", "\ufffd")


def clean_value(value: Any, depth: int = 0) -> Any:
    """Clean all texts in a value made of lists and objects; lists are changed in place."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, _RefusedError):
        raise value
    if not isinstance(value, dict | list):
        return value
    if depth == MAX_DEPTH:
        raise _RefusedError(f"over {MAX_DEPTH} levels of nesting")
    key: Any = None
    try:
        if isinstance(value, list):
            for key, part in enumerate(value):
                value[key] = clean_value(part, depth + 1)
            return value
        taken: dict[str, Any] = {}
        for key, part in value.items():
            taken[clean(key)] = clean_value(part, depth + 1)
        if len(taken) < len(value):
            raise _RefusedError("two fields differ in half surrogate pairs or NUL alone")
        return taken
    except _RefusedError as error:
        error.place.append(key)
        raise


def printable(text: str) -> str:
    """Escape what would steer a terminal or cannot be written; ends of lines and tabs stay."""
    return _NOT_PRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def counted(names: Iterable[str | None]) -> str:
    """How often each name stands there, the most frequent first, such as `2 timeout, 1 killed`."""
    counts = Counter(name or "unknown" for name in names)
    return ", ".join(f"{n} {name}" for name, n in counts.most_common())


def shown(value: object, limit: int = 80) -> str:
    """Write a value from outside into a message, as Python writes it, cut after `limit`."""
    # A long text is cut before, since its repr can be six times as long.
    text = printable(repr(value[: limit + 1] if isinstance(value, str) else value))
    return text if len(text) <= limit else f"{text[:limit]}…"


def _object(pairs: list[tuple[str, Any]]) -> Any:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    return _RefusedError(f"the field {shown(twice)} stands twice; keep one")


def _integer(digits: str) -> Any:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        return _RefusedError(f"a number of {len(digits.lstrip('-'))} digits")
    return int(digits)


def _float(digits: str) -> Any:
    value = float(digits)
    return (
        value if math.isfinite(value) else _RefusedError(f"{shown(digits)} is too large a number")
    )


def _place(place: list[str | int]) -> str:
    """Name a row from 1 and the first fields in it, such as `row 3, answer: `."""
    first, *fields = reversed(place) if place else [""]
    row = f"row {first + 1}" if isinstance(first, int) else first
    names = [shown(row)[1:-1], *(shown(field).strip("'") for field in fields[:3])]
    return f"{', '.join(names)}: " if place else ""


def _line(text: str, position: int) -> str:
    """Name the line of a position in a text of several lines."""
    return f"line {text.count(chr(10), 0, position) + 1}: " if "\n" in text.strip() else ""


def _deep_position(text: str) -> int:
    depth = 0
    for match in _BRACKET.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > MAX_DEPTH:
            return match.start()
    return 0


def _name(where: object) -> str:
    """A place in a message: names can be thousands of characters long."""
    name = printable(str(where)).replace("\n", "\\n")
    return name if len(name) <= 300 else f"{name[:200]}…{name[-80:]}"
