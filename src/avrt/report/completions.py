"""Tables of what policies wrote over their training.

Reads RUN/grpo*/completions.jsonl, line by line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.errors import DataError
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table

__all__ = ["completion_table"]

N_GROUPS = 10
"""Groups of a training that are shown, at even distances."""
N_TEXT = 1_000
"""Characters of a completion; the middle of a longer one is left out."""
_NOTE = (
    "Of each group at even distances over training, the completion of the highest advantage and "
    "that of the lowest."
)


def completion_table(run: Path, training: str, title: str) -> Table | None:
    """The best and the worst completion of some groups; None: none was written."""
    path = run / training / "completions.jsonl"
    if not path.is_file():
        return None
    n = sum(1 for _ in _lines(path))
    places = {round(i * (n - 1) / max(min(N_GROUPS, n) - 1, 1)) for i in range(min(N_GROUPS, n))}
    try:
        groups = [json.loads(line) for i, line in enumerate(_lines(path)) if i in places]
        names = list(groups[0]["rewards"]) if groups else []
        rows = [row for group in groups for row in _rows(group, names)]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: not what `avrt grpo` wrote ({error!r}); delete the file: it is for readers"
        ) from error
    if not groups:
        return None
    return Table(
        name=f"{training}-completions",
        caption=f"{title}: completions over training",
        header=("item", "completion", "step", "advantage", *names),
        rows=tuple(rows),
        notes=(f"{_NOTE} Groups shown: {len(groups)}; written: {n:,}.",),
        text_columns=2,
    )


def _lines(path: Path) -> Iterator[str]:
    """The whole lines: a training under way may be writing the last."""
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line for line in file if line.endswith("\n"))


def _rows(group: Mapping[str, Any], names: Sequence[str]) -> list[tuple[Cell | str, ...]]:
    advantages = group["advantages"]
    order = sorted(range(len(advantages)), key=lambda number: -advantages[number])
    item = Cell(group["id"], href=items_link(origin="dataset", id=group["id"]))
    return [
        (
            item,
            _cut(group["texts"][number]),
            f"{group['step']:,}",
            f"{advantages[number]:+.2f}",
            *(_number(group["rewards"][name][number]) for name in names),
        )
        for number in dict.fromkeys((order[0], order[-1]))
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _cut(text: str) -> str:
    half = N_TEXT // 2
    return text if len(text) <= N_TEXT else f"{text[:half]} … {text[-half:]}"
