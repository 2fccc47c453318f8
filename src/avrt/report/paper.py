"""The paper's tables 3 to 6 from a run's logs, published values beside the run's; and the points of
its Figure 1, where checkpoints were evaluated.

Reads RUN/eval/ and `config/published.yaml`; prints the tables, or writes one file for each. A
benchmark of the run is the paper's when it has that format or that name; a model of the run stands
beside the published one that `eval.published`, or its preset, names. Others have rows of their own.

The decision to question: v1's accuracies by difficulty do not average to v1's totals, so table 6
shows v2's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avrt.config import Config, DataConfig, EvalConfig
from avrt.config.baselines import Figure, baselines, find_baseline
from avrt.errors import ConfigError
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.results import ModelResult, read_results
from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import in_order
from avrt.report.course import NAME, course_cells, course_table, course_to_csv, courses_of
from avrt.report.tables import Cell, Table, to_latex, to_markdown
from avrt.runs import Result, write_atomic

__all__ = ["PaperTable", "paper_tables", "run", "tables_to_json"]


@dataclass(frozen=True)
class Column:
    """The subject of a column."""

    title: str
    benchmark: str
    """As in `published.yaml`."""
    given: str | None
    """None: the modality, or both, that the model of the row takes."""
    difficulty: str | None = None


@dataclass(frozen=True)
class Entry:
    """A published value beside ours; either may be missing."""

    column: Column
    figures: Sequence[Figure]
    result: ModelResult | None
    accuracy: Accuracy | None


@dataclass(frozen=True)
class Row:
    """A model: as published, as evaluated in this run, or both."""

    title: str
    model: str | None
    entries: Sequence[Entry]


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables."""

    number: int
    name: str
    caption: str
    columns: Sequence[Column]
    published: Sequence[str]
    """Rows: published models."""
    sources: Sequence[str]
    """Whose figures are shown."""
    notes: Sequence[str] = ()
    takes_others: bool = True
    """Whether models of the run without a published counterpart have rows."""


CSV_HEADER = (
    *("table", "row", "model", "benchmark", "given", "difficulty", "published", "source"),
    *("ours", "low", "high", "n", "official", "invalid", "protocol"),
)
_FORMS = {"latex": to_latex, "markdown": to_markdown}
ALL_SOURCES = ("published", "reproduced", "v1", "v2")
TABLES = (
    PaperTable(
        3,
        "main-results",
        "Main results by benchmark; one-modality teachers with what they take",
        (
            Column("Daily-Omni", "daily_omni", None),
            Column("OmniBench", "omnibench", None),
            Column("AVQA", "avqa", None),
            Column("MMAR", "mmar", None),
        ),
        tuple(name for name in baselines() if name not in ("avrt-3b-rl",) and "merger" not in name),
        ALL_SOURCES,
    ),
    PaperTable(
        4,
        "stages-by-modality",
        "Stages of training by modality on OmniBench",
        (
            Column("Text", "omnibench", "none"),
            *(Column(given.upper(), "omnibench", given) for given in ("a", "v", "av")),
        ),
        ("qwen2.5-omni-3b", "avrt-3b-rl", "avrt-3b"),
        ("reproduced", "v1"),
    ),
    PaperTable(
        5,
        "mergers",
        "Which model merged the traces, on OmniBench with sound and picture",
        (Column("OmniBench", "omnibench", "av"),),
        ("merger-gemma-3-12b", "merger-qwen2.5-14b"),
        ("v1",),
        takes_others=False,
    ),
    PaperTable(
        6,
        "difficulty",
        "OmniBench by difficulty: both teachers right (easy), one (medium), none (hard)",
        tuple(Column(level, "omnibench", "av", level) for level in ("easy", "medium", "hard")),
        ("qwen2.5-omni-3b", "avrt-3b"),
        ("v2",),
        (
            "Published counts: 64 easy, 456 medium, 619 hard, together 1,139 of 1,142 items.",
            "v1's figures by difficulty do not average to its totals and are not shown.",
        ),
    ),
)


def run(config: Config, form: str, output: Path | None) -> Result:
    """Print the tables, or write them below `output`.

    Raises:
        ConfigError: no such run, or `eval.published` names an unknown published model.
        DataError: a log that cannot be read.
    """
    if not config.run.path.is_dir():
        raise ConfigError(f"{config.run.path}: no such run; set run.dir and run.name")
    results = read_results(config, with_texts=False)
    tables = paper_tables(results, config.eval)
    texts = {f"table{t.number}-{t.name}": _render(t, rows, form) for t, rows in tables}
    if points := course_table(courses := courses_of(results, config.eval.models)):
        texts[f"figure1-{NAME}"] = course_to_csv(courses) if form == "csv" else _FORMS[form](points)
    counts = {"tables": len(texts)}
    if output is None:
        return Result("\n".join(texts.values()).rstrip("\n"), counts)
    ending = {"markdown": "md", "latex": "tex", "csv": "csv"}[form]
    for name, text in texts.items():
        write_atomic(output / f"{name}.{ending}", lambda file, text=text: file.write(text.encode()))
    return Result(f"tables: {', '.join(f'{output / name}.{ending}' for name in texts)}", counts)


def tables_to_json(config: Config) -> list[dict[str, Any]]:
    """The tables for programs: number, name, caption, notes, and one entry per cell, in per cent.

    The points of Figure 1, of a run that has them, come last, without a number.

    Raises:
        ConfigError, DataError: as `run`.
    """
    if not config.run.path.is_dir():
        raise ConfigError(f"{config.run.path}: no such run; set run.dir and run.name")
    results = read_results(config, with_texts=False)
    tables: list[dict[str, Any]] = [
        {
            "table": table.number,
            "name": table.name,
            "caption": table.caption,
            "notes": [*table.notes, *_protocol_notes(rows)],
            "cells": [
                dict(zip(CSV_HEADER[1:], _csv_fields(row, entry, figure), strict=True))
                for row in rows
                for entry in row.entries
                for figure in entry.figures or (None,)
            ],
        }
        for table, rows in paper_tables(results, config.eval)
    ]
    courses = courses_of(results, config.eval.models)
    if points := course_table(courses):
        about = {"name": NAME, "caption": points.caption, "notes": list(points.notes)}
        tables.append({"table": None, **about, "cells": course_cells(courses)})
    return tables


def paper_tables(
    results: Sequence[ModelResult], settings: EvalConfig
) -> list[tuple[PaperTable, list[Row]]]:
    """Every table with its rows; checkpoints of a training have none.

    Raises:
        ConfigError: as `run`.
    """
    names = _published_names(settings)
    cells = {
        (benchmark, r.model, r.modality): r
        for r in results
        if split_name(r.model) is None
        and (benchmark := _paper_benchmark(settings.benchmarks, r.benchmark)) is not None
    }
    models = in_order({model for _, model, _ in cells}, [*settings.models, *settings.pools])
    return [(table, _rows(table, cells, models, names)) for table in TABLES]


def _published_names(settings: EvalConfig) -> dict[str, str]:
    """The published model beside which each model of the run stands."""
    names: dict[str, str] = {}
    by_preset = {name: name for name in baselines()}
    by_preset |= {known.teacher: name for name, known in baselines().items() if known.teacher}
    for model, value in settings.models.items():
        preset = None if isinstance(value, str) else value.preset
        if preset in by_preset:
            names[model] = by_preset[preset]
    for model, published in settings.published.items():
        try:
            find_baseline(published)
        except ConfigError as error:
            raise ConfigError(f"eval.published.{model}: {error}") from error
        names[model] = published
    return {**{name: name for name in baselines()}, **names}


def _paper_benchmark(configured: Mapping[str, DataConfig], name: str) -> str | None:
    """The paper's name of a benchmark of the run; None when the paper has no such benchmark."""
    paper = {column.benchmark for table in TABLES for column in table.columns}
    if name in paper:
        return name
    data = configured.get(name)
    if data is None or data.format not in paper or (data.format, data.split) == ("avqa", "train"):
        return None
    return data.format


def _rows(
    table: PaperTable,
    results: Mapping[tuple[str, str, str], ModelResult],
    models: Sequence[str],
    names: Mapping[str, str],
) -> list[Row]:
    rows = []
    for published in table.published:
        own = [model for model in models if names.get(model) == published]
        for model in own or [None]:
            rows.append(_row(table, results, published, model))
    if table.takes_others:
        others = [model for model in models if model not in names]
        rows += [_row(table, results, None, model) for model in others]
    return [row for row in rows if row.model is None or any(e.result for e in row.entries)]


def _row(
    table: PaperTable,
    results: Mapping[tuple[str, str, str], ModelResult],
    published: str | None,
    model: str | None,
) -> Row:
    entries = [_entry(table, results, published, model, column) for column in table.columns]
    titles = [baselines()[published].title] if published else []
    return Row(" = ".join([*titles, *([model] if model else [])]), model, entries)


def _entry(
    table: PaperTable,
    results: Mapping[tuple[str, str, str], ModelResult],
    published: str | None,
    model: str | None,
    column: Column,
) -> Entry:
    figures: list[Figure] = []
    result = None
    for given in (column.given,) if column.given else ("av", "a", "v"):
        if published and not figures:
            known = baselines()[published].figures_of(column.benchmark, given, column.difficulty)
            figures = [figure for figure in known if figure.source in table.sources]
        result = result or (model and results.get((column.benchmark, model, given))) or None
    if result is None or not result.has_media:
        return Entry(column, figures, None, None)
    if column.difficulty is None:
        return Entry(column, figures, result, result.accuracy)
    accuracy = result.by_group("difficulty").get(column.difficulty)
    return Entry(column, figures, result if accuracy else None, accuracy)


def _render(table: PaperTable, rows: Sequence[Row], form: str) -> str:
    if form == "csv":
        return _to_csv(table, rows)
    header = ["Model"]
    for column in table.columns:
        header += [f"{column.title}, published", f"{column.title}, ours"]
    cells = tuple(
        (row.title, *(cell for entry in row.entries for cell in _cells(entry))) for row in rows
    )
    notes = (
        "Per cent. Ours: strict accuracy with 95 % interval; official: by the authors' own rule.",
        *table.notes,
        *_protocol_notes(rows),
    )
    caption = f"Table {table.number}. {table.caption}"
    whole = Table(f"table{table.number}-{table.name}", caption, tuple(header), cells, notes)
    return _FORMS[form](whole)


def _cells(entry: Entry) -> tuple[str, Cell | str]:
    published = ", ".join(f"{f.value:.1f} ({f.source})" for f in entry.figures) or "–"
    accuracy, result = entry.accuracy, entry.result
    if accuracy is None or result is None:
        return published, "–"
    low, high = accuracy.interval
    value = 100 * (accuracy.value or 0.0)
    details = [f"n = {accuracy.n}"]
    if result.official is not None and entry.column.difficulty is None:
        details.insert(0, f"official {100 * (result.official.value or 0.0):.1f}")
    return published, Cell(f"{value:.1f} [{100 * low:.1f}, {100 * high:.1f}]", tuple(details))


def _protocol_notes(rows: Sequence[Row]) -> Iterable[str]:
    """Which of our numbers may be compared with each other; published ones have no protocol."""
    by_column: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for entry in row.entries:
            if entry.result is not None and row.model is not None:
                ids = by_column.setdefault(entry.column.benchmark, {})
                ids.setdefault(entry.result.protocol_id, []).append(row.model)
    for benchmark, ids in by_column.items():
        listed = "; ".join(f"{key} ({', '.join(dict.fromkeys(m))})" for key, m in ids.items())
        yield f"Protocol on {benchmark}: {listed}."
    losses = dict.fromkeys(
        f"{row.model} on {entry.column.benchmark} {entry.result.modality.upper()}: "
        f"{entry.result.notes}."
        for row in rows
        for entry in row.entries
        if entry.result is not None and entry.result.notes
    )
    yield from losses


def _to_csv(table: PaperTable, rows: Sequence[Row]) -> str:
    """One line per cell, for programs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row in rows:
        for entry in row.entries:
            figures: Sequence[Figure | None] = entry.figures or (None,)
            for figure in figures:
                writer.writerow([table.number, *_csv_fields(row, entry, figure)])
    return file.getvalue()


def _csv_fields(row: Row, entry: Entry, figure: Figure | None) -> list[object]:
    column, result, accuracy = entry.column, entry.result, entry.accuracy
    given = result.modality if result else figure.given if figure else column.given
    fields: list[object] = [row.title, row.model, column.benchmark, given, column.difficulty]
    fields += [figure.value, figure.source] if figure else [None, None]
    if result is None or accuracy is None:
        return [*fields, *[None] * 7]
    official = result.official.value if result.official and not column.difficulty else None
    shares = (accuracy.value, *accuracy.interval)
    return [
        *fields,
        *(round(100 * share, 2) for share in shares if share is not None),
        accuracy.n,
        None if official is None else round(100 * official, 2),
        None if result.invalid_rate is None else round(100 * result.invalid_rate, 2),
        result.protocol_id,
    ]
