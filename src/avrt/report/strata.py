"""Which teacher was right: vision x audio, and the teacher without media where one was asked.

Reads RUN/dataset/statistics.json, or before `build` the counts of RUN/manifests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import interval_text, percent
from avrt.report.accuracy import accuracy_cell
from avrt.report.charts import Chart
from avrt.report.funnel import read_counts
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table
from avrt.texts import read_json

__all__ = ["gates_table", "strata_by_type_table", "strata_chart", "strata_table"]

_BASIS = "Over the questions that both teachers replied to; not right is wrong, cut or unreadable."

STRATA = ("both", "vision_only", "audio_only", "none")
_RIGHT, _NOT = (
    ("Vision teacher right", "Audio teacher right"),
    (
        "Vision teacher not right",
        "Audio teacher not right",
    ),
)
_PLACES = {
    "both": (_RIGHT[0], _RIGHT[1]),
    "vision_only": (_RIGHT[0], _NOT[1]),
    "audio_only": (_NOT[0], _RIGHT[1]),
    "none": (_NOT[0], _NOT[1]),
}
_TITLES = {"both": "both right", "vision_only": "vision alone", "audio_only": "audio alone",
           "none": "neither"}  # fmt: skip
_BLIND = {
    "no answer": "without a teacher that got no media",
    "right": "right without media as well",
    "not right": "not right without media",
}
_MAX_TYPES = 12


def strata_table(run: Path) -> Table | None:
    """Which teacher was right, 2 x 2; None before the teachers were asked."""
    strata = _counts(run)
    if strata is None:
        return None
    total = sum(strata.values())

    def cell(name: str) -> Cell:
        text = f"{strata[name]} ({percent(strata[name] / total)})"
        return Cell(text, href=_link(name), value=strata[name])

    return Table(
        "strata",
        f"Which teacher was right (n = {total})",
        ("", "Audio teacher right", "Audio teacher not right"),
        (
            ("Vision teacher right", cell("both"), cell("vision_only")),
            ("Vision teacher not right", cell("audio_only"), cell("none")),
        ),
        (_BASIS,),
    )


def strata_chart(run: Path) -> Chart | None:
    """The same, with a matrix for each verdict of the teacher without media."""
    strata = _counts(run)
    if strata is None:
        return None
    stored = [entry for entry in _stored(run) if entry["question_type"] == "all"]
    verdicts = list(dict.fromkeys(entry["blind"] for entry in stored))
    if len(verdicts) > 1:
        panels = [
            _panel(f"Question {_BLIND[verdict]}", {e["stratum"]: e["n"] for e in stored
                   if e["blind"] == verdict}, sum(strata.values()), linked=False)
            for verdict in verdicts
        ]  # fmt: skip
    else:
        panels = [_panel("", strata, sum(strata.values()), linked=True)]
    data = {
        "x": "",
        "y": "",
        "xs": [_RIGHT[1], _NOT[1]],
        "ys": [_RIGHT[0], _NOT[0]],
        "panels": panels,
    }
    title = f"Which teacher was right (n = {sum(strata.values()):,})"
    note = f"Their share with its 95 % interval. {_BASIS}"
    return Chart("strata", "matrix", title, data, "strata", note)


def _panel(title: str, counts: Mapping[str, int], total: int, linked: bool) -> dict[str, Any]:
    cells = []
    for name in STRATA:
        share = Accuracy(counts.get(name, 0), total)
        low, high = share.interval
        y, x = _PLACES[name]
        cell = {"x": x, "y": y, "n": counts.get(name, 0)}
        cell |= {"value": round(100 * (share.value or 0.0), 2)}
        cell |= {"text": percent(share.value), "interval": interval_text(low, high)}
        cells.append({**cell, **({"href": _link(name)} if linked and cell["n"] else {})})
    return {"title": title, "cells": cells}


def strata_by_type_table(run: Path) -> Table | None:
    """The strata of each question type, the most frequent ones; None before `build`."""
    by_type: dict[str, dict[str, int]] = {}
    for entry in _stored(run):
        counts = by_type.setdefault(entry["question_type"], dict.fromkeys(STRATA, 0))
        counts[entry["stratum"]] += entry["n"]
    by_type.pop("all", None)
    if len(by_type) < 2:
        return None
    rows = []
    for name, counts in list(by_type.items())[:_MAX_TYPES]:
        total = sum(counts.values())
        cells = [
            accuracy_cell(Accuracy(counts[stratum], total), _link(stratum, type=name))
            for stratum in STRATA
        ]
        rows.append((name, *cells))
    return Table(
        "strata-by-type",
        "Which teacher was right, by type of question",
        ("Type", *(_TITLES[name].capitalize() for name in STRATA)),
        tuple(rows),
        ("Shares of the questions of a type that both teachers replied to, with 95 % interval.",),
    )


def gates_table(run: Path) -> Table | None:
    """What each gate found in the merged traces; None before `build`."""
    gates: Mapping[str, Mapping[str, Any]] = _statistics(run).get("gates", {})
    rows = [
        (
            name.replace("_", " "),
            "yes" if gate["rejects"] else "no",
            str(gate["looked_at"]),
            accuracy_cell(
                Accuracy(gate["found"], gate["looked_at"]),
                items_link(origin="dataset", gates=name),
            ),
            Cell(
                str(gate["rejected"]),
                href=items_link(origin="dataset", outcome="gate", reason=f"dropped/{name}"),
            )
            if gate["rejects"]
            else "–",
        )
        for name, gate in gates.items()
    ]
    if not rows:
        return None
    return Table(
        "gates",
        "Faults that the gates found in merged traces",
        ("Gate", "Rejects", "Traces", "Found", "Rejected by it"),
        tuple(rows),
        ("Found: share of the traces with 95 % interval. Rejected: by the first gate that found.",),
        text_columns=2,
    )


def _link(stratum: str, **filters: str) -> str:
    return items_link(origin="dataset", stratum=stratum, **filters)


def _statistics(run: Path) -> Mapping[str, Any]:
    path = run / "dataset" / "statistics.json"
    return read_json(path) if path.is_file() else {}


def _stored(run: Path) -> Sequence[Mapping[str, Any]]:
    return _statistics(run).get("strata", ())


def _counts(run: Path) -> dict[str, int] | None:
    for stage in ("trace", "build"):
        counts = read_counts(run, stage) or {}
        strata = {name: counts.get(f"stratum/{name}", 0) for name in STRATA}
        if sum(strata.values()):
            return strata
    return None
