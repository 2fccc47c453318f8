"""The state of a run as lines for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from avrt.live.sections import Section, headline, sections
from avrt.live.state import State
from avrt.texts import printable

__all__ = ["lines_of"]


def lines_of(state: State, width: int | None = None) -> list[str]:
    """The state, line by line; `width`: columns of the terminal, None: as long as they are.

    Nothing in a text can steer a terminal or begin a line of its own.
    """
    lines = [" ".join(line.split()) for line in headline(state)]
    for section in sections(state):
        lines += ["", section.title, *_table(section)]
    lines = [printable(line).rstrip() for line in lines]
    return lines if width is None else [_fit(line, width) for line in lines]


def _table(section: Section) -> Iterator[str]:
    """The rows under each other; a long text stands below its row."""
    n_columns = len(section.header) - section.is_text
    cells = [[" ".join(cell.split()) for cell in row] for row in (section.header, *section.rows)]
    widths = [max(_width(row[i]) for row in cells) for i in range(n_columns)]
    for number, row in enumerate(cells):
        shown = [_pad(row[i], widths[i], i >= section.n_words) for i in range(n_columns)]
        yield "  " + "  ".join(shown)
        if section.is_text and number:
            yield f"    {row[-1]}"


def _pad(text: str, width: int, to_right: bool) -> str:
    spaces = " " * (width - _width(text))
    return spaces + text if to_right else text + spaces


def _width(text: str) -> int:
    """Columns on a terminal: letters of East Asia take two, accents none."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit(line: str, width: int) -> str:
    if _width(line) <= width:
        return line
    kept, n = "", 1
    for character in line:
        n += _columns(character)
        if n > width:
            break
        kept += character
    return f"{kept}…"
