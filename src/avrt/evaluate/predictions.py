"""Score what another system wrote: a file of texts takes the place of a model.

Reads JSON Lines of {"id": item, "text": reply}, or CSV with these columns, about a set in a single
modality; writes an ordinary log, which the report and all commands read. An item without a
prediction stays in the denominator as failed (`no_prediction`).

The decision to question: AVRT does not know how those texts were made, so their protocol says
`unknown` and a paired test against other models needs --force.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
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

__all__ = ["read_predictions", "score_predictions"]


Name = TypeVar("Name", bound=str)


def score_predictions(config: Config, path: Path, choice: Choice) -> Result:
    """Write the log of the predictions in a file and summarise it.

    Raises:
        ConfigError: `choice` does not name a single model, set and modality; the model has a log of
            other texts; a file that cannot be read.
        DataError: a line that is no prediction, an id that the set does not have, or an id twice.
    """
    check_names(config.eval)
    model, name, modality = _target(config.eval, choice)
    benchmark = read_benchmark(config.eval, name, needs_media=False)
    texts = read_predictions(path)
    _check_ids(path, texts, benchmark)
    protocol = {"questions": benchmark.questions_digest}
    settings = Settings({"predictions": file_digest(path)}, protocol)
    meta = LogMeta(settings, len(benchmark.asked), notes=benchmark.notes)
    log = log_path(config.run.path, name, model, modality)
    check_settings(log, settings)
    lines = [
        _line(item.sample, texts.get(item.sample.id), settings.protocol_id)
        for item in benchmark.asked
    ]
    save_config(config)
    with take_turns(config.run.path / "eval"):
        write_items(config.run.path, benchmark)
        write_log(log, meta, lines)
    results = [
        r for r in read_results(config, with_texts=False) if (r.model, r.benchmark) == (model, name)
    ]
    n_missing = sum(item.sample.id not in texts for item in benchmark.asked)
    warning = f"{n_missing} of {len(benchmark.asked)} items have no prediction and count as wrong\n"
    text = summary_text(results, config.eval)
    return Result(warning + text if n_missing else text, {"missing": n_missing})


def read_predictions(path: Path) -> dict[str, str]:
    """Text by item id.

    Raises:
        ConfigError: the file is neither JSON Lines nor CSV.
        DataError: the file cannot be read, a row is no prediction, or an id stands twice; the row
            is named.
    """
    texts: dict[str, str] = {}
    first_row: dict[str, int] = {}
    for row, entry in _rows(path):
        match entry:
            case {"id": str() | int() as key, "text": str(text)} if not isinstance(key, bool):
                key = str(key)
            case _:
                raise DataError(
                    f'{path}:{row}: not a prediction; expected "id" and "text", both texts'
                )
        if key in texts:
            raise DataError(
                f"{path}:{row}: id {key!r} stands twice (before: row {first_row[key]}); keep a "
                f"single prediction per item"
            )
        texts[key], first_row[key] = text, row
    if not texts:
        raise DataError(f"{path}: holds no predictions")
    return texts


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Every row with its number."""
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise ConfigError(f"{shown(str(path))}: predictions are a .jsonl or a .csv file")
    if path.suffix.lower() == ".jsonl":
        yield from read_json_lines(path)
        return
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader)
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV: {error}") from error


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


def _check_ids(path: Path, texts: Mapping[str, str], benchmark: EvalSet) -> None:
    unknown = [key for key in texts if key not in benchmark.by_id]
    if unknown:
        raise DataError(
            f"{path}: {benchmark.name} does not have {len(unknown)} of the {len(texts)} ids, such "
            f"as {unknown[0]!r}; its ids look like {next(iter(benchmark.by_id))!r}. Name the set "
            f"that the texts are of with --benchmark"
        )


def _line(sample: Sample, text: str | None, protocol: str) -> Line:
    completion = (
        failure("no_prediction", "the file has no text for this item")
        if text is None
        else Completion(text, "stop")
    )
    return to_line(sample, completion, score(completion, sample), protocol)
