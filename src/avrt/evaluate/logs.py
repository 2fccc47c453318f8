"""The evaluation log: one JSON line per item, appended as it finishes; the report reads only this.

RUN/eval/BENCH/MODEL/MODALITY.jsonl holds the items, MODALITY.meta.json the settings that made
them, and RUN/eval/BENCH/samples.parquet the questions. A log is money: it is continued, never
rewritten. What a killed process left unfinished (a line without its newline) is cut off and done
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from avrt.errors import ConfigError, DataError
from avrt.evaluate.scoring import STATUSES, Status
from avrt.runs import fingerprint, write_json

__all__ = [
    "LOG_VERSION",
    "Line",
    "LogMeta",
    "append",
    "find_logs",
    "finished_lines",
    "log_path",
    "open_log",
    "read_log",
    "read_meta",
    "samples_path",
]

LOG_VERSION = 1


@dataclass(frozen=True)
class Line:
    """One evaluated item."""

    sample_id: str
    text: str
    """The model's whole completion."""
    answer: str | None
    target: str
    correct: bool
    status: Status
    error_class: str | None
    explanation: str
    finish_reason: str | None
    prompt_digest: str
    frames_digest: str | None
    audio_digest: str | None
    n_prompt_tokens: int
    n_completion_tokens: int
    latency_s: float
    version: int = LOG_VERSION


@dataclass(frozen=True)
class LogMeta:
    """What made a log: settings that change its results, and how many items it will have."""

    fingerprint: str
    settings: Mapping[str, Any]
    n_items: int
    version: int = LOG_VERSION


def log_path(run: Path, benchmark: str, model: str, modality: str) -> Path:
    """Where the items of one model in one modality lie."""
    return run / "eval" / benchmark / model / f"{modality}.jsonl"


def samples_path(run: Path, benchmark: str) -> Path:
    """Where the questions of a benchmark lie."""
    return run / "eval" / benchmark / "samples.parquet"


def find_logs(run: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Yield (benchmark, model, modality, path) of every log of a run, sorted."""
    for path in sorted((run / "eval").glob("*/*/*.jsonl")):
        yield path.parent.parent.name, path.parent.name, path.stem, path


def read_log(path: Path) -> list[Line]:
    """The finished items in the order in which they finished; a torn last line is not an item.

    Raises:
        DataError: a line that is not an item of this format version, or an item twice.
    """
    lines: list[Line] = []
    seen: set[str] = set()
    for row, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        line = _parse(text, f"{path}:{row}")
        if line.sample_id in seen:
            raise DataError(
                f"{path}:{row}: item {line.sample_id!r} is there twice; did two processes write "
                f"this log? Delete it to evaluate again"
            )
        seen.add(line.sample_id)
        lines.append(line)
    return lines


def read_meta(log: Path) -> LogMeta:
    """The settings of a log.

    Raises:
        DataError: the file is absent or of another format version.
    """
    path = _meta_path(log)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != LOG_VERSION:
            raise ValueError(f"format version {content['version']}, expected {LOG_VERSION}")
        return LogMeta(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {error}; delete {log} to evaluate again") from error


def finished_lines(path: Path, settings: Mapping[str, Any]) -> list[Line]:
    """The items of a log that may be continued with these settings; changes nothing.

    Raises:
        ConfigError: the log was made with other settings or another model.
        DataError: the log cannot be read.
    """
    if not path.is_file():
        return []
    stored = read_meta(path)
    if stored.fingerprint != fingerprint(settings):
        changed = ", ".join(_changed(stored.settings, settings))
        raise ConfigError(
            f"{path}: made with other settings ({changed}); choose another run.name or model "
            f"name, or delete this file to evaluate again"
        )
    return read_log(path)


def open_log(path: Path, settings: Mapping[str, Any], n_items: int) -> tuple[IO[str], list[Line]]:
    """Open a log for appending; returns the file and the items that are already finished.

    Raises:
        ConfigError, DataError: as `finished_lines`.
    """
    finished = finished_lines(path, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        _cut_torn_line(path)
    write_json(_meta_path(path), asdict(LogMeta(fingerprint(settings), settings, n_items)))
    # A lone surrogate in a model's text becomes its JSON escape instead of stopping the run.
    return path.open("a", encoding="utf-8", errors="backslashreplace"), finished


def append(file: IO[str], line: Line) -> None:
    """Write one finished item; it survives the death of this process."""
    file.write(json.dumps(asdict(line), ensure_ascii=False, sort_keys=True) + "\n")
    file.flush()


def _meta_path(log: Path) -> Path:
    return log.with_suffix(".meta.json")


def _parse(text: bytes, where: str) -> Line:
    try:
        content = json.loads(text)
        if content["version"] != LOG_VERSION:
            raise ValueError(f"format version {content['version']}, expected {LOG_VERSION}")
        line = Line(**content)
        if line.status not in STATUSES:
            raise ValueError(f"unknown status {line.status!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: not an evaluated item: {error}") from error
    return line


def _changed(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    keys = sorted({*stored, *wanted})
    return [key for key in keys if stored.get(key) != wanted.get(key)]


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
