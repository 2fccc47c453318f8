"""The state of a run as a page that the browser loads again by itself.

Plain HTML without a script; every text is escaped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from avrt.live.sections import Section, headline, sections
from avrt.live.state import State, Watcher
from avrt.texts import printable

__all__ = ["LivePage", "to_html"]

KEPT_S = 1.0
"""How long a page is good for further readers."""


class LivePage:
    """Makes the page when it is asked for, from any thread, one look at a time."""

    def __init__(self, run: Path, every_s: int, report: str | None) -> None:
        """`report`: the address of the run's own page, where it has one."""
        self._watcher, self._every_s, self._report = Watcher(run), every_s, report
        self._lock = threading.Lock()
        self._text, self._made_s = "", float("-inf")

    def render(self) -> str:
        """The page, at most a second old."""
        with self._lock:
            if time.monotonic() - self._made_s > KEPT_S:
                self._text = to_html(self._watcher.look(), self._every_s, self._report)
                self._made_s = time.monotonic()
            return self._text


def to_html(state: State, every_s: int, report: str | None = None) -> str:
    """The whole page; the browser loads it again every so many seconds."""
    first, *others = map(_text, headline(state))
    link = "" if report is None else f'<p><a href="{escape(report)}">The page of the run</a></p>'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{every_s}">
<title>{_text(state.run)}: live</title>
<link rel="stylesheet" href="live.css">
</head>
<body>
<main>
<h1>{first}</h1>
{"".join(f"<p>{line}</p>" for line in others)}
{link}
{"".join(map(_table, sections(state)))}
<p class="note">Loaded again every {every_s} s.</p>
</main>
</body>
</html>
"""


def _table(section: Section) -> str:
    head = "".join(
        f'<th scope="col"{_attributes(section, place)}>{_text(name)}</th>'
        for place, name in enumerate(section.header)
    )
    rows = "".join(f"<tr>{_cells(section, row)}</tr>\n" for row in section.rows)
    return (
        f'\n<section tabindex="0" aria-label="{_text(section.title)}"><table>'
        f"<caption>{_text(section.title)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></section>"
    )


def _cells(section: Section, row: Sequence[str]) -> str:
    cells = enumerate(row)
    return "".join(f"<td{_attributes(section, i)}>{_text(cell)}</td>" for i, cell in cells)


def _attributes(section: Section, column: int) -> str:
    if section.is_text and column == len(section.header) - 1:
        return ' class="text" dir="auto"'
    return "" if column < section.n_words else ' class="number"'


def _text(text: str) -> str:
    return escape(printable(text))
