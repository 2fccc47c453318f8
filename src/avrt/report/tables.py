"""A table that is written several times: into the page, as Markdown, LaTeX, CSV and JSON.

Nothing is read. Cells are text; the page shows them as text alone, `to_markdown` escapes what
would end a cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Cell", "Table", "rows_to_markdown", "to_latex", "to_markdown"]


@dataclass(frozen=True)
class Cell:
    """One value, with smaller lines below it."""

    text: str
    details: tuple[str, ...] = ()
    strong: bool = False
    """The value that the reader came for."""
    href: str = ""
    """Where the page leads from here: the items behind the number."""
    mark: str = ""
    """What the page says beside the value, such as `best`."""
    value: float | None = None
    """The number that the text shows, for programs and for sorting."""
    interval: tuple[float, float] | None = None
    """95 %, in the unit of the value."""
    n: int | None = None
    """Items behind the value."""

    def __str__(self) -> str:
        text = f"**{self.text}**" if self.strong else self.text
        return "; ".join([text, *self.details])


@dataclass(frozen=True)
class Table:
    """A caption, a header and rows; the first column names the row."""

    name: str
    """File name without ending."""
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 1
    """How many columns from the left hold words; the others hold numbers."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.name}: row of {len(row)}, header of {len(self.header)}"
                )


def to_markdown(table: Table) -> str:
    """The table as GitHub Markdown."""
    lines = [f"# {_escape(table.caption)}", "", *rows_to_markdown(table)]
    if table.notes:
        lines += ["", *(f"- {_escape(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def rows_to_markdown(table: Table) -> list[str]:
    """The header and the rows alone, as lines of GitHub Markdown."""
    rule = [":--" if i < table.text_columns else "--:" for i in range(len(table.header))]
    rows = [_row([str(cell) for cell in row]) for row in table.rows]
    return [_row(table.header), _row(rule), *rows]


def to_latex(table: Table) -> str:
    """The table as LaTeX, with the rules of the package booktabs."""
    columns = "".join("l" if i < table.text_columns else "r" for i in range(len(table.header)))
    rows = [[str(Cell(c.text, c.details)) if isinstance(c, Cell) else c for c in row]
            for row in table.rows]  # fmt: skip
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{_latex(table.caption)}}}"]
    lines += [f"\\label{{tab:{table.name}}}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
    lines += [_latex_row(table.header), "\\midrule", *map(_latex_row, rows)]
    lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
    return "\n".join([*(f"% {' '.join(note.split())}" for note in table.notes), *lines]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


_LATEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """Keep text on one line, inside its cell, and from being read as HTML.

    A `<` before a space opens no tag, and stays readable where the table is printed.
    """
    text = re.sub(r"<(?! )", "&lt;", text.replace("&", "&amp;"))
    return " ".join(text.replace("|", "\\|").split())
