"""Tables for programs: as CSV and JSON with a column for each number, and for the page.

Nothing is read. A column whose cells have intervals becomes four: the value, the ends of its 95 %
interval, and n.

The decision to question: in CSV a text that a spreadsheet would run as a formula gets an
apostrophe in front; JSON has it as it is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.report.tables import Cell, Table, to_markdown
from avrt.runs import write_atomic

__all__ = ["table_data", "to_csv", "to_json", "write_tables"]

_NUMBER = re.compile(r"([+−-]?)([\d,]+(?:\.\d+)?)(?: %)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_tables(folder: Path, tables: Sequence[Table]) -> None:
    """Write each table in every form."""
    for table in tables:
        for ending, form in {"md": to_markdown, "csv": to_csv, "json": to_json}.items():
            # A lone surrogate in a text cannot be UTF-8; it is shown as its escape.
            content = form(table).encode("utf-8", errors="backslashreplace")
            path = folder / f"{table.name}.{ending}"
            write_atomic(path, lambda file, content=content: file.write(content))


def to_csv(table: Table) -> str:
    """A line for each row; absent numbers are empty."""
    records, file = _records(table), io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(_safe, _columns(table)))
    writer.writerows([_safe(value) for value in record.values()] for record in records)
    return file.getvalue()


def to_json(table: Table) -> str:
    """Caption, notes, and an object for each row."""
    about = {"caption": table.caption, "notes": table.notes, "rows": _records(table)}
    return f"{json.dumps(about, indent=1)}\n"


def table_data(table: Table) -> dict[str, Any]:
    """The table as the page draws it; what is absent is left out."""
    return {
        "caption": table.caption,
        "header": table.header,
        "rows": [[_cell_data(cell) for cell in row] for row in table.rows],
        "notes": table.notes,
        "text_columns": table.text_columns,
    }


def _cell_data(cell: Cell | str) -> str | dict[str, Any]:
    if isinstance(cell, str):
        return cell
    data = {name: value for name, value in vars(cell).items() if value or name == "text"}
    if (_number(cell.text) if cell.value is None else cell.value) == 0:
        data.pop("href", None)  # there are no items to show
    if cell.value is not None:
        data["value"] = round(cell.value, 6)
    if cell.interval is not None:
        data["interval"] = [round(end, 6) for end in cell.interval]
    return data


def _columns(table: Table) -> list[str]:
    """Names of the columns; a name that stands twice gets its number."""
    names: list[str] = []
    for place, name in enumerate(table.header):
        name = name or ("row" if place == 0 else f"column {place + 1}")
        name = f"{name} ({place + 1})" if name in names else name
        names.append(name)
        if _has_interval(table, place):
            names += [f"{name}, {part}" for part in ("low", "high", "n")]
    return names


def _has_interval(table: Table, place: int) -> bool:
    cells = (row[place] for row in table.rows)
    return any(isinstance(cell, Cell) and cell.interval is not None for cell in cells)


def _records(table: Table) -> list[Mapping[str, Any]]:
    columns = _columns(table)
    wide = [_has_interval(table, place) for place in range(len(table.header))]
    return [dict(zip(columns, _values(row, wide, table), strict=True)) for row in table.rows]


def _values(row: Sequence[Cell | str], wide: Sequence[bool], table: Table) -> Iterator[Any]:
    for place, cell in enumerate(row):
        is_text = place < table.text_columns
        if isinstance(cell, str):
            yield cell if is_text else _number(cell)
            yield from (None,) * (3 * wide[place])
            continue
        if cell.value is not None:
            yield round(cell.value, 6)
        else:
            yield cell.text if is_text else _number(cell.text)
        if wide[place]:
            low, high = cell.interval or (None, None)
            yield from (None if end is None else round(end, 6) for end in (low, high))
            yield cell.n


def _number(text: str) -> float | int | str | None:
    """The number that a text shows; None for a dash; other texts as they are."""
    if text in ("–", ""):
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    digits = match[2].replace(",", "")
    value = float(digits) if "." in digits else int(digits)
    return -value if match[1] in ("−", "-") and match[1] else value


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
