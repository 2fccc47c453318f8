"""Charts of the evaluation: accuracies, differences, errors, letters, groups of items.

Nothing is read. Letters are those of the first answer to each item.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from avrt.evaluate.results import ModelResult, group_order
from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import interval_text, p_text, percent, shown_groups
from avrt.report.accuracy import (
    LABELS,
    BenchmarkResults,
    Compared,
    accuracy_cell,
    best_mark,
    comparisons_of,
    group_link,
    group_results,
    items_of,
)
from avrt.report.charts import Chart, dot, series_of
from avrt.report.errors import KINDS, shares_of
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table
from avrt.types import LETTERS

__all__ = [
    "accuracy_chart",
    "confusion_chart",
    "confusion_table",
    "differences_chart",
    "errors_chart",
    "group_charts",
    "letters_table",
    "position_chart",
]


def accuracy_chart(benchmark: BenchmarkResults) -> Chart:
    """Stages x modality."""
    rows = [
        dot(model, LABELS[m], result.accuracy, items_of(result, "right"),
            **_marked(best_mark(benchmark, result)))
        for model in benchmark.models
        for m in benchmark.modalities
        if (result := benchmark.cells.get((model, m))) is not None and result.has_media
    ]  # fmt: skip
    n = sorted({row["n"] for row in rows})
    size = f"n = {n[0]:,}" if len(n) == 1 else f"n = {n[0]:,} to {n[-1]:,}"
    data = {
        "x": "strict accuracy, %",
        "domain": [0, 100],
        "series": [{"name": LABELS[m], "colour": m} for m in benchmark.modalities],
        "rows": rows,
        **_chance(benchmark),
    }
    title = f"{benchmark.name}: accuracy by stage of training and input ({size})"
    note = "Bars: 95 % intervals. A mark leads to the items that the model has right."
    return Chart(
        f"{benchmark.name}-accuracy", "dots", title, data, f"{benchmark.name}-results", note
    )


def _marked(mark: str) -> dict[str, str]:
    return {"mark": mark} if mark else {}


def _chance(benchmark: BenchmarkResults) -> dict[str, Any]:
    chance = benchmark.chance
    return {} if chance is None else {"line": {"value": round(100 * chance, 2), "name": "guessing"}}


def differences_chart(
    benchmark: BenchmarkResults, compared: Sequence[Compared] | None = None
) -> Chart | None:
    """Paired differences with their intervals; None where nothing is compared."""
    rows = []
    for first, second, test in comparisons_of(benchmark) if compared is None else compared:
        same = first[1] == second[1]
        name = f"{second[0]} − {first[0]}" if same else f"{second[0]}: both − {LABELS[first[1]]}"
        ends = {"low": round(100 * test.low, 2), "high": round(100 * test.high, 2), "n": test.n}
        shown = {"y": name, "series": LABELS[second[1]], "value": round(100 * test.difference, 2)}
        shown |= {"text": f"{100 * test.difference:+.1f} points"}
        shown |= {"interval": interval_text(test.low, test.high, "+")}
        noise = ", within noise" if test.is_noise else ""
        rows.append({**shown, **ends, "mark": f"{p_text(test.p)}{noise}"})
    if not rows:
        return None
    used = {row["series"] for row in rows}
    series = [{"name": LABELS[m], "colour": m} for m in benchmark.modalities if LABELS[m] in used]
    data = {
        "x": "difference in accuracy, points",
        "series": series,
        "rows": rows,
        "line": {"value": 0, "name": "no difference"},
    }
    title = f"{benchmark.name}: paired differences on the same items"
    note = "Bars: 95 % intervals. One that crosses the line shows no difference."
    return Chart(
        f"{benchmark.name}-differences",
        "dots",
        title,
        data,
        f"{benchmark.name}-comparisons",
        note,
    )


_VERDICTS = {
    "right": ("right",),
    "invalid": ("no_answer",),
    "wrong": ("wrong",),
    "lost": ("failed", "no_media"),
}
"""Filters of the items."""
_TITLES = {
    "right": "Right",
    "invalid": "No readable answer",
    "wrong": "Wrong answer",
    "lost": "No reply or no media",
}


def errors_chart(results: Sequence[tuple[str, ModelResult]]) -> Chart | None:
    """Of every model: right, unreadable, wrong, lost."""
    if not results:
        return None
    rows: list[dict[str, Any]] = []
    for name, result in results:
        for kind, share in shares_of(result).items():
            href = items_of(result, *_VERDICTS[kind])
            label = f"{result.benchmark}, {name}, {LABELS[result.modality].lower()}"
            rows.append(dot(label, _TITLES[kind], share, href, k=round(share.k, 2)))
    series = [{"name": _TITLES[kind], "colour": kind} for kind in KINDS]
    data = {"x": "share of all items, %", "stack": True, "series": series, "rows": rows}
    return Chart("errors", "bars", "Right, wrong and unreadable answers", data, "errors")


def letters_table(benchmark: BenchmarkResults) -> Table | None:
    """How often each letter is the right one, is answered, and is answered rightly."""
    results = group_results(benchmark)
    letters = _letters(benchmark)
    if not results or not letters:
        return None
    gold = Counter(sample.target for sample in benchmark.samples.values())
    n = len(benchmark.samples)
    rows: list[tuple[Cell | str, ...]] = []
    for letter in letters:
        row: list[Cell | str] = [letter, accuracy_cell(Accuracy(gold[letter], n))]
        for result in results:
            answered = Counter(line.answer for line in result.by_id.values())
            share = Accuracy(answered[letter], len(result.by_id))
            right = _right_on(result, letter)
            details = (f"right where it is gold: {percent(right.value)} of {right.n}",)
            cell = accuracy_cell(share, _said(result, letter))
            row.append(Cell(**{**vars(cell), "details": (*cell.details, *details)}))
        rows.append(tuple(row))
    header = ("Letter", "Right answer", *(f"{r.model}, {r.modality.upper()}" for r in results))
    return Table(
        f"{benchmark.name}-letters",
        f"{benchmark.name}: how often each letter is answered",
        header,
        tuple(rows),
        ("Shares of all items with 95 % interval; first answers, on each model's richest input.",),
    )


def _letters(benchmark: BenchmarkResults) -> str:
    n = max((len(sample.options) for sample in benchmark.samples.values()), default=0)
    return LETTERS[:n]


def _right_on(result: ModelResult, letter: str) -> Accuracy:
    lines = [line for line in result.by_id.values() if line.target == letter]
    return Accuracy(sum(line.correct for line in lines), len(lines))


def _said(result: ModelResult, answer: str, **filters: str) -> str:
    """The items to which the model's first answer was this letter."""
    said = f"{result.model}:{result.modality}:{answer}"
    return items_link(origin=result.benchmark, answered=said, **filters)


def position_chart(benchmark: BenchmarkResults) -> Chart | None:
    """How often each letter is answered, beside how often it is right."""
    results, letters = group_results(benchmark), _letters(benchmark)
    if not results or not letters:
        return None
    gold = Counter(sample.target for sample in benchmark.samples.values())
    n = len(benchmark.samples)
    rows = [dot(letter, "right answer", Accuracy(gold[letter], n)) for letter in letters]
    for result in results:
        answered = Counter(line.answer for line in result.by_id.values())
        rows += [
            dot(
                letter,
                result.model,
                Accuracy(answered[letter], len(result.by_id)),
                _said(result, letter),
            )
            for letter in letters
        ]
    series = [{"name": "right answer", "colour": "none"}, *series_of(r.model for r in results)]
    data = {"x": "share of items, %", "series": series, "rows": rows}
    title = f"{benchmark.name}: position bias, the letters that are answered"
    note = "A model without a bias answers each letter as often as it is right."
    return Chart(
        f"{benchmark.name}-letters", "dots", title, data, f"{benchmark.name}-letters", note
    )


def confusion_chart(benchmark: BenchmarkResults) -> Chart | None:
    """Which letter is answered where another is right: a matrix for each model."""
    results, letters = group_results(benchmark), _letters(benchmark)
    if not results or not letters:
        return None
    panels = []
    for result in results:
        pairs = Counter((line.target, line.answer) for line in result.by_id.values())
        of_gold = Counter(line.target for line in result.by_id.values())
        cells = []
        for gold in letters:
            answers = {letter: pairs[gold, letter] for letter in letters}
            answers[NO_LETTER] = of_gold[gold] - sum(answers.values())
            for answer, n in answers.items():
                is_linked = n and answer != NO_LETTER
                href = {"href": _said(result, answer, letter=gold)} if is_linked else {}
                share = n / of_gold[gold] if of_gold[gold] else 0.0
                shown = {"n": n, "value": round(100 * share, 2), "text": percent(share)}
                cells.append({"x": answer, "y": gold, **shown, **href})
        panels.append({"title": f"{result.model}, {result.modality.upper()}", "cells": cells})
    data = {
        "x": "answered",
        "y": "right answer",
        "xs": [*letters, NO_LETTER],
        "ys": list(letters),
        "panels": panels,
    }
    title = f"{benchmark.name}: which letter is answered where another is right"
    note = "Numbers of items; the shade is their share of the row. First answers."
    return Chart(
        f"{benchmark.name}-confusion", "matrix", title, data, f"{benchmark.name}-confusion", note
    )


NO_LETTER = "none"


def confusion_table(benchmark: BenchmarkResults) -> Table | None:
    """The numbers of the matrices, a row for each model and right letter."""
    chart = confusion_chart(benchmark)
    if chart is None:
        return None
    rows = tuple(
        (
            panel["title"],
            gold,
            *(
                Cell(str(cell["n"]), (cell["text"],), href=cell.get("href", ""))
                for cell in panel["cells"]
                if cell["y"] == gold
            ),
        )
        for panel in chart.data["panels"]
        for gold in chart.data["ys"]
    )
    return Table(
        chart.name,
        chart.title,
        ("Model", "Right answer", *(f"answered {x}" for x in chart.data["xs"])),
        rows,
        ("Numbers of items, and their share of those with that right answer.",),
        text_columns=2,
    )


def group_charts(benchmark: BenchmarkResults) -> list[Chart]:
    """Accuracy of every model by every group of items, on its richest input."""
    results = group_results(benchmark)
    return [_group_chart(benchmark, group, results) for group in shown_groups(results)]


def _group_chart(benchmark: BenchmarkResults, group: str, results: Sequence[ModelResult]) -> Chart:
    tables = {result.model: (result, result.by_group(group)) for result in results}
    values = group_order({value for _, table in tables.values() for value in table})
    rows = [
        dot(value, model, table[value], group_link(result, group, value))
        for value in values
        for model, (result, table) in tables.items()
        if value in table
    ]
    title = group.replace("_", " ")
    data = {
        "x": "strict accuracy, %",
        "domain": [0, 100],
        "series": series_of(tables),
        "rows": rows,
        **_chance(benchmark),
    }
    name = f"{benchmark.name}-{group.replace('_', '-')}"
    return Chart(name, "dots", f"{benchmark.name}: accuracy by {title}", data, name)
