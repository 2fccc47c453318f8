"""Experiments on the page: the tables and the figure that `avrt experiment` wrote.

Reads results.json, table.md and figure.svg of each folder of `report.experiments`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from avrt.errors import ConfigError
from avrt.report.sections import Picture, Section
from avrt.report.tables import Cell, Table
from avrt.texts import read_json, read_text

__all__ = ["check_experiments", "experiment_sections"]

FILES = ("results.json", "table.md", "figure.svg")
_CELLS = re.compile(r"(?<!\\)\|")
_STRONG = re.compile(r"\*\*(.+)\*\*")


def check_experiments(folders: Sequence[Path]) -> None:
    """Refuse folders that hold no experiment.

    Raises:
        ConfigError: a file of an experiment is not there.
    """
    for folder in folders:
        for name in FILES:
            if not (folder / name).is_file():
                raise ConfigError(
                    f"report.experiments: {folder / name}: not found; name a folder that "
                    "`avrt experiment` wrote, such as runs/experiments/NAME"
                )


def experiment_sections(folders: Sequence[Path]) -> list[Section]:
    """A section for each experiment."""
    return [_section(folder) for folder in folders]


def _section(folder: Path) -> Section:
    results = read_json(folder / "results.json")
    name, title = str(results["experiment"]), str(results["title"])
    seeds = ", ".join(map(str, results["seeds"]))
    commits = ", ".join(map(str, results["commits"])) or "not recorded"
    date = str(results["ended"] or "")[:10] or "not recorded"
    picture = Picture(f"experiment-{name}", title, read_text(folder / "figure.svg"))
    return Section(
        "experiments",
        f"experiment-{name}",
        title,
        f"avrt experiment {name}; seeds {seeds}; {date}; commit {commits}.",
        pictures=[picture],
        tables=_tables(f"experiment-{name}", read_text(folder / "table.md")),
    )


def _tables(name: str, text: str) -> list[Table]:
    """The tables of a Markdown file; the paragraph before one is its caption, those after it are
    its notes.
    """
    tables: list[Table] = []
    caption = ""
    notes: list[str] = []
    blocks = [block.split("\n") for block in re.split(r"\n{2,}", text.strip())]
    for place, lines in enumerate(blocks):
        if not lines[0].startswith("|"):
            follows = place + 1 < len(blocks) and blocks[place + 1][0].startswith("|")
            caption, notes = (" ".join(lines), notes) if follows else (caption, [*notes, *lines])
            continue
        rows = [_cells(line) for line in lines]
        tables.append(
            Table(
                f"{name}-{len(tables) + 1}",
                caption,
                tuple(map(str, rows[0])),
                tuple(rows[2:]),
                text_columns=max(1, sum(str(rule).startswith(":") for rule in rows[1])),
            )
        )
    if tables and notes:
        tables[-1] = Table(**{**vars(tables[-1]), "notes": tuple(notes)})
    return tables


def _cells(line: str) -> tuple[Cell | str, ...]:
    texts = [part.strip() for part in _CELLS.split(line.strip())[1:-1]]
    return tuple(_cell(html.unescape(text.replace("\\|", "|"))) for text in texts)


def _cell(text: str) -> Cell | str:
    strong = _STRONG.fullmatch(text)
    return Cell(strong[1], strong=True) if strong else text
