"""Score what another system wrote: a file of texts takes the place of a model.

Reads JSON Lines of {"id": item, "text": reply}, or CSV with these columns, about a set in a single
modality; writes an ordinary log, which the report and all commands read. An id is AVRT's or the
benchmark's own. An item without a prediction, or with null in its place, stays in the denominator
as failed (`no_prediction`).

The decision to question: AVRT does not know how those texts were made, so their protocol says
`unknown` and a paired test against other models needs --force.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from avrt.ask.locks import take_turns
from avrt.config import Config, EvalConfig
from avrt.engines.base import failure
from avrt.errors import ConfigError, DataError
from avrt.evaluate.logs import (
    Line,
    LogMeta,
    Settings,
    check_settings,
    log_path,
    to_line,
    write_log,
)
from avrt.evaluate.models import check_names, check_new_name
from avrt.evaluate.results import read_results
from avrt.evaluate.run import Choice
from avrt.evaluate.scoring import score
from avrt.evaluate.sets import EvalSet, read_benchmark, write_items
from avrt.evaluate.summary import summary_text
from avrt.runs import Result, file_digest, save_config
from avrt.texts import read_json_lines, read_text, shown
from avrt.types import Completion, Given, Sample

__all__ = ["Prediction", "plan_predictions", "read_predictions", "score_predictions"]


Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Prediction:
    """One row of a file of predictions."""

    row: int
    id: str
    """As the file has it."""
    text: str | None
    """None: null stands in its place."""


@dataclass(frozen=True)
class _Import:
    """The predictions of a file, matched with the items of a set."""

    model: str
    modality: Given
    benchmark: EvalSet
    texts: Mapping[str, str]
    """By AVRT's id."""
    settings: Settings

    @property
    def lines(self) -> list[Line]:
        """The log: one line for each item."""
        protocol = self.settings.protocol_id
        return [
            _line(item.sample, self.texts.get(item.sample.id), protocol)
            for item in self.benchmark.asked
        ]

    @property
    def n_missing(self) -> int:
        """Items without a text."""
        return sum(item.sample.id not in self.texts for item in self.benchmark.asked)


def score_predictions(config: Config, path: Path, choice: Choice) -> Result:
    """Write the log of the predictions in a file and summarise it.

    Raises:
        ConfigError: `choice` does not name a single model, set and modality; the model has a log of
            other texts.
        DataError: a file that cannot be read, a line that is no prediction, an id that the set does
            not have, or an id twice.
    """
    imported = _read(config.eval, path, choice)
    run, benchmark = config.run.path, imported.benchmark
    log = log_path(run, benchmark.name, imported.model, imported.modality)
    check_settings(log, imported.settings)
    save_config(config)
    with take_turns(run / "eval"):
        write_items(run, benchmark)
        meta = LogMeta(imported.settings, len(benchmark.asked), notes=benchmark.notes)
        write_log(log, meta, imported.lines)
    results = [
        result
        for result in read_results(config, with_texts=False)
        if (result.model, result.benchmark) == (imported.model, benchmark.name)
    ]
    text = summary_text(results, config.eval)
    n_missing = imported.n_missing
    warning = f"{n_missing} of {len(benchmark.asked)} items have no prediction and count as wrong\n"
    return Result(warning + text if n_missing else text, {"missing": n_missing})


def plan_predictions(config: Config, path: Path, choice: Choice) -> str:
    """What `score_predictions` would score, in words; nothing is written.

    Raises:
        ConfigError, DataError: as `score_predictions`.
    """
    imported = _read(config.eval, path, choice)
    log = log_path(config.run.path, imported.benchmark.name, imported.model, imported.modality)
    check_settings(log, imported.settings)
    n_unread = sum(line.status == "unparsable" for line in imported.lines)
    return (
        f"eval: {path.name} as model {imported.model} on {imported.benchmark.name}, "
        f"{imported.modality.upper()}: texts for {len(imported.texts)} of "
        f"{len(imported.benchmark.asked)} items; {imported.n_missing} items without a prediction "
        f"would count as wrong, and {n_unread} texts in which no answer can be read"
    )


def read_predictions(path: Path) -> list[Prediction]:
    """The rows of a file of predictions.

    Raises:
        ConfigError: the name is not that of a JSONL or CSV file.
        DataError: the file cannot be read, or a row is no prediction; the row is named.
    """
    predictions = [_prediction(path, row, entry) for row, entry in _rows(path)]
    if not predictions:
        raise DataError(f"{path}: holds no predictions")
    return predictions


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Every row with the number of its line."""
    if path.suffix.lower() == ".jsonl":
        yield from read_json_lines(path)
        return
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"{shown(str(path))}: predictions are a .jsonl or a .csv file")
    text = read_text(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # long thoughts pass 128 kB
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not {"id", "text"} <= {*(reader.fieldnames or ())}:
            first = shown(text.partition("\n")[0].rstrip("\r"))
            raise DataError(f"{path}:1: expected the columns id,text with a comma; found {first}")
        yield from ((reader.line_num, row) for row in reader)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.reader.line_num}: not valid CSV: {error}") from error


def _prediction(path: Path, row: int, entry: Any) -> Prediction:
    """The row as a prediction: a number is an id or a text too, null is no text."""
    fields = entry if isinstance(entry, dict) else {}
    name, text = fields.get("id"), fields.get("text", False)
    is_id = isinstance(name, str | int | float) and not isinstance(name, bool)
    is_text = text is None or (isinstance(text, str | int | float) and not isinstance(text, bool))
    if not (is_id and is_text):
        wrong = "text" if is_id else "id"
        is_there = f"{shown(fields[wrong])} is neither" if wrong in fields else "it has none"
        raise DataError(
            f'{path}:{row}: not a prediction; expected "id" and "text", each a text or a number, '
            f"but for {wrong} {is_there}"
        )
    if isinstance(name, float) and name.is_integer():  # a table made floats of the numbers
        name = int(name)
    return Prediction(row, str(name), None if text is None else str(text))


def _read(evaluation: EvalConfig, path: Path, choice: Choice) -> _Import:
    check_names(evaluation)
    model, name, modality = _target(evaluation, choice)
    benchmark = read_benchmark(evaluation, name, needs_media=False)
    texts = _match(path, read_predictions(path), benchmark)
    protocol = {"questions": benchmark.questions_digest}
    settings = Settings({"predictions": file_digest(path)}, protocol)
    return _Import(model, modality, benchmark, texts, settings)


def _match(path: Path, predictions: Sequence[Prediction], benchmark: EvalSet) -> dict[str, str]:
    """The texts by AVRT's ids."""
    by_id: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_id.setdefault(prediction.id, []).append(prediction)
    if unknown := [name for name in by_id if name not in benchmark.ids]:
        raise DataError(
            f"{path}: {benchmark.name} does not have {len(unknown)} of the {len(by_id)} ids, such "
            f"as {shown(unknown[0])} in row {by_id[unknown[0]][0].row}; its ids look like "
            f"{benchmark.id_examples}. Name the set that the texts are of with --benchmark"
        )
    texts: dict[str, str] = {}
    first_row: dict[str, int] = {}
    for name, rows in by_id.items():
        items = benchmark.ids[name]
        if len(items) > 1 and len(rows) != len(items):
            raise DataError(
                f"{path}:{rows[0].row}: {shown(name)} names {len(items)} questions and stands "
                f"{len(rows)} times; name each question, as {items[0]!r}, or give a row for each, "
                f"in the order of the annotations"
            )
        for n, row in enumerate(rows):
            item = items[n] if len(items) > 1 else items[0]
            if item in first_row:
                raise DataError(
                    f"{path}:{row.row}: id {shown(name)} stands twice (before: row "
                    f"{first_row[item]}); keep a single prediction per item"
                )
            first_row[item] = row.row
            if row.text is not None:
                texts[item] = row.text
    return texts


def _target(settings: EvalConfig, choice: Choice) -> tuple[str, str, Given]:
    """Model, set and modality of the predictions; a set or modality without alternatives need not
    be named.
    """
    models, benchmarks = choice.models or (), choice.benchmarks or tuple(settings.benchmarks)
    modalities: Sequence[Given] = choice.modalities or ("av",)
    model, benchmark = _single("model", models), _single("benchmark", benchmarks)
    if benchmark not in settings.benchmarks:
        raise ConfigError(
            f"benchmark {benchmark!r} is not in eval.benchmarks; known: "
            f"{', '.join(settings.benchmarks)}"
        )
    check_new_name(settings, model)
    return model, benchmark, _single("modality", modalities)


def _single(option: str, values: Sequence[Name]) -> Name:
    if len(values) != 1:
        known = f"; known: {', '.join(values)}" if values else ""
        raise ConfigError(f"--predictions: name a single --{option} for the texts{known}")
    return values[0]


def _line(sample: Sample, text: str | None, protocol: str) -> Line:
    completion = (
        failure("no_prediction", "the file has no text for this item")
        if text is None
        else Completion(text, "stop")
    )
    return to_line(sample, completion, score(completion, sample), protocol)
