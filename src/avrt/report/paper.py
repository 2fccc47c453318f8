"""The paper's tables from runs' logs, published values beside ours; the errors behind them; and the
points of the paper's Figure 1, where checkpoints were evaluated.

Reads RUN/eval/, also of further runs, and `config/published.yaml`; prints the tables, or writes one
file for each. A benchmark of a run is the paper's when it has that format or that name; a model of
a run stands beside the published one that `eval.published`, or its preset, names. Others have rows
of their own. Models of further runs are called RUN/MODEL.

The decision to question: the paper has three states with other figures. All are shown, each figure
with its state, unless some are chosen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.config import Config, DataConfig, EvalConfig, load_config
from avrt.config.baselines import STATES, Figure, State, baselines, find_baseline
from avrt.errors import ConfigError
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.results import ModelResult, read_results
from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import in_order
from avrt.report.course import NAME, course_cells, course_table, course_to_csv, courses_of
from avrt.report.errors import NAME as ERRORS
from avrt.report.errors import error_cells, errors_table, errors_to_csv, richest
from avrt.report.layout import FAULTY, TABLES, Column, PaperTable
from avrt.report.tables import Cell, Table, to_latex, to_markdown
from avrt.runs import Result, write_atomic

__all__ = ["Wanted", "load_other", "paper_tables", "read_runs", "run", "tables_to_json"]


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

    @property
    def has_results(self) -> bool:
        return any(entry.result for entry in self.entries)


CSV_HEADER = (
    *("table", "row", "model", "benchmark", "given", "difficulty", "published", "source"),
    *("ours", "low", "high", "n", "official", "invalid", "protocol"),
)
_FORMS = {"latex": to_latex, "markdown": to_markdown}


@dataclass(frozen=True)
class Wanted:
    """What is to be shown."""

    states: Sequence[State] = STATES
    """States of the paper whose figures stand beside ours."""
    others: Sequence[str] = ()
    """Further runs, by name or folder, whose models have rows too."""
    faulty: bool = False
    """Also the first version's table by difficulty."""

    @property
    def tables(self) -> list[PaperTable]:
        """The tables that one of the states has."""
        tables = [*TABLES, *([FAULTY] if self.faulty else [])]
        return [t for t in tables if t is FAULTY or set(t.states) & set(self.states)]


@dataclass(frozen=True)
class Evaluated:
    """The results of one run."""

    results: Sequence[ModelResult]
    settings: EvalConfig
    folder: Path = Path()
    run: str = ""
    """Its name, with which the names of its models begin; empty: the run of the command."""

    def name_of(self, model: str) -> str:
        """The model's name in the tables."""
        return f"{self.run}/{model}" if self.run else model


def run(config: Config, form: str, output: Path | None, wanted: Wanted = Wanted()) -> Result:
    """Print the tables, or write them below `output`.

    Raises:
        ConfigError: no such run, or `eval.published` names an unknown published model.
        DataError: a log that cannot be read.
    """
    runs = read_runs(config, wanted.others)
    texts = {t.file: _render(t, rows, form) for t, rows in paper_tables(runs, wanted)}
    errors = _errors(runs)
    if table := errors_table(errors):
        texts[f"table-{ERRORS}"] = errors_to_csv(errors) if form == "csv" else _FORMS[form](table)
    courses = courses_of(runs[0].results, config.eval.models)
    if points := course_table(courses):
        texts[f"figure1-{NAME}"] = course_to_csv(courses) if form == "csv" else _FORMS[form](points)
    counts = {"tables": len(texts)}
    if output is None:
        return Result("\n".join(texts.values()).rstrip("\n"), counts)
    ending = {"markdown": "md", "latex": "tex", "csv": "csv"}[form]
    for name, text in texts.items():
        write_atomic(output / f"{name}.{ending}", lambda file, text=text: file.write(text.encode()))
    return Result(f"tables: {', '.join(f'{output / name}.{ending}' for name in texts)}", counts)


def tables_to_json(runs: Sequence[Evaluated], wanted: Wanted = Wanted()) -> list[dict[str, Any]]:
    """The tables for programs: number, name, caption, notes, and one entry per cell, in per cent.

    The errors, and the points of Figure 1 of a run that has them, come last, without a number.

    Raises:
        ConfigError: `eval.published` names an unknown published model.
    """
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
        for table, rows in paper_tables(runs, wanted)
    ]
    errors, courses = _errors(runs), courses_of(runs[0].results, runs[0].settings.models)
    for name, table, cells in (
        (ERRORS, errors_table(errors), error_cells(errors)),
        (NAME, course_table(courses), course_cells(courses)),
    ):
        if table is not None:
            about = {"name": name, "caption": table.caption, "notes": list(table.notes)}
            tables.append({"table": None, **about, "cells": cells})
    return tables


def paper_tables(
    runs: Sequence[Evaluated], wanted: Wanted = Wanted()
) -> list[tuple[PaperTable, list[Row]]]:
    """Every table with its rows; checkpoints of a training have none.

    Raises:
        ConfigError: as `run`.
    """
    names = {
        run.name_of(model): name
        for run in runs
        for model, name in _published_names(run.settings).items()
    }
    cells = {
        (benchmark, run.name_of(r.model), r.modality): r
        for run in runs
        for r in run.results
        if split_name(r.model) is None
        and (benchmark := _paper_benchmark(run.settings.benchmarks, r.benchmark)) is not None
    }
    models = in_order({model for _, model, _ in cells}, _models(runs))
    return [
        _without_empty_sets(table, _rows(table, cells, models, names, wanted.states))
        for table in wanted.tables
    ]


def _without_empty_sets(table: PaperTable, rows: list[Row]) -> tuple[PaperTable, list[Row]]:
    """The table without the sets on which neither the chosen states nor the runs have a value."""
    kept = [
        place
        for place, column in enumerate(table.columns)
        if column.given is not None
        or any(row.entries[place].figures or row.entries[place].result for row in rows)
    ]
    columns = [table.columns[place] for place in kept]
    return replace(table, columns=columns), [
        replace(row, entries=[row.entries[place] for place in kept]) for row in rows
    ]


def read_runs(
    config: Config, others: Sequence[str] = (), faults: list[str] | None = None
) -> list[Evaluated]:
    """The command's run and further ones, each with the settings that it was evaluated with;
    `faults` as in `read_results`.

    Raises:
        ConfigError: no such run.
        DataError: a log that cannot be read.
    """
    if not config.run.path.is_dir():
        raise ConfigError(f"{config.run.path}: no such run; set run.dir and run.name")
    runs = [Evaluated(read_results(config, False, faults), config.eval, config.run.path)]
    for name in others:
        own = load_other(config.run.dir, name)
        path = own.run.path
        if path.name in (run.run for run in runs):
            raise ConfigError(
                f"{name}: another run of the name {path.name} is given, and models are "
                "called by the name of their run; rename its folder"
            )
        runs.append(Evaluated(read_results(own, False, faults), own.eval, path, path.name))
    return runs


def load_other(runs: Path, name: str) -> Config:
    """The configuration of a run, which is named by its folder, or by its name in `runs`.

    Raises:
        ConfigError: no such run.
    """
    path = Path(name) if "/" in name else runs / name
    stored = path / "config.yaml"
    if not stored.is_file():
        raise ConfigError(f"{path}: no such run, or no stage of it was run; name another")
    own = load_config(stored)
    place = own.run.model_copy(update={"dir": path.parent, "name": path.name})
    return own.model_copy(update={"run": place})


def _models(runs: Sequence[Evaluated]) -> list[str]:
    """The names of the models and pools of all runs, in the configured order."""
    return [
        run.name_of(model) for run in runs for model in (*run.settings.models, *run.settings.pools)
    ]


def _errors(runs: Sequence[Evaluated]) -> list[tuple[str, ModelResult]]:
    results = [(run.name_of(result.model), result) for run in runs for result in run.results]
    benchmarks = [name for run in runs for name in run.settings.benchmarks]
    return richest(results, list(dict.fromkeys(benchmarks)), _models(runs))


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
    states: Sequence[State],
) -> list[Row]:
    rows: list[Row] = []
    for published in table.published:
        alike = {published, baselines()[published].same_as or published}
        own = [model for model in models if names.get(model) in alike]
        found = [_row(table, results, published, model, states) for model in own]
        found = [row for row in found if row.has_results]
        rows += found or [_row(table, results, published, None, states)]
    if table.takes_others:
        others = [model for model in models if model not in names]
        found = [_row(table, results, None, model, states) for model in others]
        rows += [row for row in found if row.has_results]
    return [row for row in rows if row.has_results or any(e.figures for e in row.entries)]


def _row(
    table: PaperTable,
    results: Mapping[tuple[str, str, str], ModelResult],
    published: str | None,
    model: str | None,
    states: Sequence[State],
) -> Row:
    entries = [_entry(table, results, published, model, column) for column in table.columns]
    entries = [
        replace(entry, figures=[f for f in entry.figures if {*f.printed_in} & {*states}])
        for entry in entries
    ]
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
    whole = Table(table.file, table.title, tuple(header), cells, notes)
    return _FORMS[form](whole)


def _cells(entry: Entry) -> tuple[str, Cell | str]:
    published = ", ".join(f"{f.value:.1f} ({f.label})" for f in entry.figures) or "–"
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
                writer.writerow([table.number or table.name, *_csv_fields(row, entry, figure)])
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
