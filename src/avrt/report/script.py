"""The data files of the page: scripts with one line of JSON, which load without a server.

`AVRT.put(KEY, JSON);` in ASCII alone, so that NUL, half an emoji or an end of line of another
script is an escape, whatever a model or a data set wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from avrt.runs import write_atomic

__all__ = ["MAX_BYTES", "cut", "cut_texts", "encode", "read_script", "write_list", "write_script"]

MAX_BYTES = 20_000
"""Most of one text on the page."""


def write_script(path: Path, key: str, value: Any) -> None:
    """Write a data file that gives the page `value` under `key`."""
    _write(path, key, [encode(value)])


def write_list(path: Path, key: str, values: Sequence[str]) -> None:
    """Write a data file that gives the page a list of values that are encoded already."""
    rest = (f",{value}" for value in values[1:])
    _write(path, key, chain("[", values[:1], rest, "]"))


def encode(value: Any) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _write(path: Path, key: str, parts: Iterable[str]) -> None:
    def write(file: IO[bytes]) -> None:
        for part in chain([f"AVRT.put({json.dumps(key)},"], parts, [");\n"]):
            file.write(part.encode("ascii"))

    write_atomic(path, write)


def read_script(path: Path) -> tuple[str, Any]:
    """The key and the value of a data file.

    Raises:
        ValueError: it is none.
    """
    text = path.read_text(encoding="ascii")
    call = re.fullmatch(r'AVRT\.put\(("[^"]*"),(.*)\);\n', text, re.DOTALL)
    if call is None:
        raise ValueError(f"{path}: not a data file of a page")
    return json.loads(call[1]), json.loads(call[2])


def cut(text: str) -> tuple[str, str]:
    """What stands on the page of a text, and a note where that is its beginning alone."""
    if len(text) <= MAX_BYTES // 4:
        return text, ""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= MAX_BYTES:
        return text, ""
    shown = data[:MAX_BYTES].decode("utf-8", "ignore")
    return shown, f" … [the first {len(shown):,} of {len(text):,} characters]"


def cut_texts(value: Any) -> Any:
    """A value of lists and objects in which no text would fill the page."""
    if isinstance(value, str):
        return value if len(value) <= MAX_BYTES // 4 else "".join(cut(value))
    if isinstance(value, dict):
        return {key: cut_texts(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [cut_texts(part) for part in value]
    return value
