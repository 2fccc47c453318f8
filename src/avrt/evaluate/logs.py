"""The evaluation log: one JSON line per answer, in the order of the items.

RUN/eval/BENCH/MODEL/MODALITY.jsonl holds the answers, MODALITY.meta.json the model and the protocol
that made them, and RUN/eval/BENCH/samples.parquet the questions. A log is derived: the same command
writes it again, byte for byte, from the ledger (from the file, for predictions), so it may be
deleted. The report reads nothing else.

The decision to question: `answer`, `correct` and `status` in a line are those of the parser that
wrote it. Every reader of a log scores the stored text again (`scoring.py`), so that a corrected
scorer costs no model call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, get_args

from avrt.errors import ConfigError, DataError
from avrt.evaluate.protocol import protocol_id
from avrt.evaluate.scoring import STATUSES, Score, Status
from avrt.runs import fingerprint, write_atomic, write_json
from avrt.types import Completion, Given, Sample

__all__ = [
    "LOG_VERSION",
    "Line",
    "LogMeta",
    "Settings",
    "check_settings",
    "find_logs",
    "iter_log",
    "log_path",
    "read_log",
    "read_meta",
    "samples_path",
    "to_line",
    "write_log",
]

LOG_VERSION = 1


@dataclass(frozen=True)
class Line:
    """One answer to one item."""

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
    prompt_digest: str | None
    """Of the question as the model read it; None when that is not known."""
    protocol: str
    """Id of the protocol when the line was written."""
    k: int = 0
    """Which of the answers to this item."""
    key: str | None = None
    """The call in the ledger; None where there is none: media failed, or a prediction."""
    frames_digest: str | None = None
    audio_digest: str | None = None
    n_frames: int | None = None
    """Pictures in the prompt; like the three below, None when it is not known."""
    audio_s: float | None = None
    """Seconds of sound in the prompt."""
    source_audio_s: float | None = None
    """Seconds of sound in its file, of which those are the first."""
    frame_pixels: int | None = None
    """Height x width of each picture in the prompt."""
    source_pixels: int | None = None
    """Height x width of the picture, or of the clip, in its file."""
    n_frame_tokens: int | None = None
    """Tokens of the prompt that are pictures, as the engine counted them."""
    n_audio_tokens: int | None = None
    """Tokens of the prompt that are sound, as the engine counted them."""
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    latency_s: float = 0.0
    version: int = LOG_VERSION

    @property
    def id(self) -> tuple[str, int]:
        """The item, and which of its answers."""
        return self.sample_id, self.k


def to_line(
    sample: Sample,
    completion: Completion,
    result: Score,
    protocol: str,
    prompt_digest: str | None = None,
) -> Line:
    """The line of a scored completion, with nothing about a call."""
    return Line(
        sample_id=sample.id,
        text=completion.text,
        answer=result.answer,
        target=sample.target,
        correct=result.value == 1.0,
        status=result.status,
        error_class=completion.error_class,
        explanation=result.explanation,
        finish_reason=completion.finish_reason,
        prompt_digest=prompt_digest,
        protocol=protocol,
    )


@dataclass(frozen=True)
class Settings:
    """All that decides the answers in a log."""

    model: Mapping[str, Any]
    protocol: Mapping[str, Any]
    """Everything else, each setting under its name."""

    @property
    def protocol_id(self) -> str:
        return protocol_id(self.protocol)


@dataclass(frozen=True)
class LogMeta:
    """The settings of a log, and the number of answers that it has when nothing is left to do."""

    settings: Settings
    n_items: int
    n_answers: int = 1
    """Of each item."""
    notes: Sequence[str] = ()
    """Notes on the set for readers of its results."""
    prompt: str | None = None
    """Name of the prompt for readers; the protocol has its digest."""


def log_path(run: Path, benchmark: str, model: str, modality: str) -> Path:
    """The log of one model in one modality."""
    return run / "eval" / benchmark / model / f"{modality}.jsonl"


def samples_path(run: Path, benchmark: str) -> Path:
    """The questions of a benchmark."""
    return run / "eval" / benchmark / "samples.parquet"


def find_logs(run: Path) -> list[Path]:
    """All logs of a run, sorted: RUN/eval/BENCH/MODEL/MODALITY.jsonl."""
    return sorted(
        path for path in (run / "eval").glob("*/*/*.jsonl") if path.stem in get_args(Given)
    )


def iter_log(path: Path) -> Iterator[Line]:
    """The answers of a log, one after another.

    Raises:
        DataError: a line that is not an answer in this format version, or an answer twice.
    """
    ids: set[tuple[str, int]] = set()
    with path.open("rb") as file:
        for row, text in enumerate(file, start=1):
            if text == b"\n":
                continue
            line = _parse(text, f"{path}:{row}")
            if line.id in ids:
                raise DataError(
                    f"{path}:{row}: item {line.sample_id!r} stands twice; delete this file, the "
                    f"same command writes it again"
                )
            ids.add(line.id)
            yield line


def read_log(path: Path) -> list[Line]:
    """All answers of a log; raises as `iter_log`."""
    return list(iter_log(path))


def read_meta(log: Path) -> LogMeta:
    """The settings of a log.

    Raises:
        DataError: the file is absent or of another format version.
    """
    path = _meta_path(log)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _check_version(content)
        settings = Settings(content["model"], content["protocol"])
        counts = (content["n_items"], content["n_answers"])
        return LogMeta(settings, *counts, content["notes"], content.get("prompt"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: {error}; delete {log}, the same command writes both again"
        ) from error


def check_settings(path: Path, settings: Settings) -> None:
    """Refuse a log that other settings made: numbers under two settings must not be mixed.

    Raises:
        ConfigError: the log was made with other settings or another model.
        DataError: its settings cannot be read.
    """
    if not path.is_file():
        return
    stored = read_meta(path).settings
    changed = ["model"] if fingerprint(stored.model) != fingerprint(settings.model) else []
    changed += [
        name
        for name in sorted({**stored.protocol, **settings.protocol})
        if fingerprint(stored.protocol.get(name)) != fingerprint(settings.protocol.get(name))
    ]
    if changed:
        raise ConfigError(
            f"{path}: made with other settings ({', '.join(changed)}); choose another run.name or "
            f"model name, or delete this file to evaluate again"
        )


def write_log(path: Path, meta: LogMeta, lines: Iterable[Line]) -> None:
    """Write a log and its settings, line by line; equal answers give equal bytes.

    Raises:
        ConfigError, DataError: as `check_settings`.
    """
    check_settings(path, meta.settings)
    write_json(
        _meta_path(path),
        {
            "model": meta.settings.model,
            "protocol": meta.settings.protocol,
            "protocol_id": meta.settings.protocol_id,
            "n_items": meta.n_items,
            "n_answers": meta.n_answers,
            "notes": list(meta.notes),
            "prompt": meta.prompt,
            "version": LOG_VERSION,
        },
    )

    def write(file: IO[bytes]) -> None:
        for line in lines:
            row = json.dumps(vars(line), ensure_ascii=False, sort_keys=True)
            # A lone surrogate in a text becomes its JSON escape instead of stopping the run.
            file.write(f"{row}\n".encode("utf-8", errors="backslashreplace"))

    write_atomic(path, write)


def _meta_path(log: Path) -> Path:
    return log.with_suffix(".meta.json")


def _parse(text: bytes, source: str) -> Line:
    try:
        content = json.loads(text)
        _check_version(content)
        line = Line(**content)
        if line.status not in STATUSES:
            raise ValueError(f"unknown status {line.status!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{source}: not an evaluated item: {error}; delete the file, then run `avrt eval`, "
            "which writes it again"
        ) from error
    return line


def _check_version(content: Mapping[str, Any]) -> None:
    if content["version"] != LOG_VERSION:
        raise ValueError(f"format version {content['version']}, expected {LOG_VERSION}")
