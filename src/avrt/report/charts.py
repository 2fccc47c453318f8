"""What the page draws: marks with intervals, bars, lines, matrices and a flow, as plain data.

Nothing is read. Every chart names the table that holds the same numbers, its text alternative. What
a mark says is text, made as in that table: values are for places alone, so no two can differ.
Colours are names (`a`, `v`, `av`, `none` for modalities, else numbers), which the page maps to its
two themes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import interval_text, percent

__all__ = ["Chart", "Kind", "Series", "chart_data", "dot", "series_of"]

Kind = Literal["dots", "bars", "lines", "matrix", "flow"]
Series = Sequence[Mapping[str, str]]
N_COLOURS = 8


@dataclass(frozen=True)
class Chart:
    """One drawing."""

    name: str
    kind: Kind
    title: str
    data: Mapping[str, Any]
    table: str = ""
    """The table with the same numbers."""
    note: str = ""


def chart_data(chart: Chart) -> dict[str, Any]:
    """The chart as the page reads it."""
    about = {"kind": chart.kind, "title": chart.title, "table": chart.table, "note": chart.note}
    return {**{name: value for name, value in about.items() if value}, **chart.data}


def series_of(names: Iterable[str]) -> Series:
    """Series with colours by their order; as many as there are colours, then from the start."""
    return [
        {"name": name, "colour": str(1 + place % N_COLOURS)}
        for place, name in enumerate(dict.fromkeys(names))
    ]


def dot(y: str, series: str, accuracy: Accuracy, href: str = "", **more: Any) -> dict[str, Any]:
    """A share in per cent with its 95 % interval and n."""
    low, high = accuracy.interval
    shown = {"y": y, "series": series, "value": round(100 * (accuracy.value or 0.0), 2)}
    shown |= {"low": round(100 * low, 2), "high": round(100 * high, 2), "n": accuracy.n}
    shown |= {"text": percent(accuracy.value), "interval": interval_text(low, high)}
    return {**shown, **({"href": href} if href and accuracy.k else {}), **more}
