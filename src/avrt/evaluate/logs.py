"""The evaluation log: one JSON line per item, appended as it finishes; the report reads only this.

RUN/eval/BENCH/MODEL/MODALITY.jsonl holds the items, MODALITY.meta.json the model and the protocol
that made them, and RUN/eval/BENCH/samples.parquet the questions. A shard has a log of its own,
MODALITY.2of8.jsonl; the logs of one model in one modality are read as one. A log is money: it is
continued, never rewritten. What a killed process left unfinished (a line without its newline) is
cut off and done again.

The decision to question: `answer`, `correct` and `status` in a line are what the parser of that day
said. Whoever reads a log has the stored text judged again (`scoring.py`), so that a corrected
scorer costs no model call.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from avrt.errors import ConfigError, DataError
from avrt.evaluate.protocol import protocol_id
from avrt.evaluate.scoring import STATUSES, Status
from avrt.runs import fingerprint, write_json

__all__ = [
    "LOG_VERSION",
    "Line",
    "LogMeta",
    "Settings",
    "append",
    "check_settings",
    "find_logs",
    "log_path",
    "log_paths",
    "open_log",
    "read_log",
    "read_logs",
    "read_meta",
    "samples_path",
]

LOG_VERSION = 2

_LOG_NAME = re.compile(r"(none|a|v|av)(?:\.\d+of\d+)?\.jsonl")


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
    frames_digest: str | None
    audio_digest: str | None
    n_prompt_tokens: int
    n_completion_tokens: int
    latency_s: float
    k: int = 0
    """Which of the answers to this item."""
    n_frames: int | None = None
    """Pictures in the prompt; like the four below, None when it is not known."""
    audio_s: float | None = None
    """Seconds of sound in the prompt."""
    n_frame_tokens: int | None = None
    """Tokens of the prompt that are pictures, as the engine counted them."""
    n_audio_tokens: int | None = None
    """Tokens of the prompt that are sound, as the engine counted them."""
    protocol: str | None = None
    """Id of the protocol when the line was written."""
    version: int = LOG_VERSION

    @property
    def id(self) -> tuple[str, int]:
        """The item, and which of its answers."""
        return self.sample_id, self.k


@dataclass(frozen=True)
class Settings:
    """What decides the answers in a log."""

    model: Mapping[str, Any]
    protocol: Mapping[str, Any]
    """Everything else, each setting under its name."""

    @property
    def protocol_id(self) -> str:
        return protocol_id(self.protocol)


@dataclass(frozen=True)
class LogMeta:
    """What made a log, and how many answers it will have, together with its other shards."""

    settings: Settings
    n_items: int
    n_answers: int = 1
    """Of each item."""
    notes: Sequence[str] = ()
    """What a reader of its results must know about the set."""
    version: int = LOG_VERSION


def log_path(
    run: Path, benchmark: str, model: str, modality: str, shard: str | None = None
) -> Path:
    """Where the items of one model in one modality lie; `shard` is such as `2of8`."""
    name = f"{modality}.jsonl" if shard is None else f"{modality}.{shard}.jsonl"
    return run / "eval" / benchmark / model / name


def log_paths(run: Path, benchmark: str, model: str, modality: str) -> list[Path]:
    """The log of one model in one modality and those of its shards: what is there."""
    folder = run / "eval" / benchmark / model
    names = sorted(path for path in folder.glob("*.jsonl") if _LOG_NAME.fullmatch(path.name))
    return [path for path in names if path.name.partition(".")[0] == modality]


def samples_path(run: Path, benchmark: str) -> Path:
    """Where the questions of a benchmark lie."""
    return run / "eval" / benchmark / "samples.parquet"


def find_logs(run: Path) -> Iterator[tuple[str, str, str, list[Path]]]:
    """Yield (benchmark, model, modality, its logs) of everything evaluated in a run, sorted."""
    keys = {
        (path.parent.parent.name, path.parent.name, path.name.partition(".")[0])
        for path in (run / "eval").glob("*/*/*.jsonl")
        if _LOG_NAME.fullmatch(path.name)
    }
    for benchmark, model, modality in sorted(keys):
        yield benchmark, model, modality, log_paths(run, benchmark, model, modality)


def read_log(path: Path) -> list[Line]:
    """The finished answers in the order in which they finished; a torn last line is none.

    Raises:
        DataError: a line that is not an item of a known format version, or an answer twice.
    """
    return read_logs([path])


def read_logs(paths: Sequence[Path]) -> list[Line]:
    """The finished answers of a log and its shards.

    Raises:
        DataError: as `read_log`.
    """
    lines: list[Line] = []
    seen: dict[tuple[str, int], str] = {}
    for path in paths:
        for row, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            line, where = _parse(text, f"{path}:{row}"), f"{path.name}:{row}"
            if line.id in seen:
                raise DataError(
                    f"{path}:{row}: item {line.sample_id!r} is there twice (before: "
                    f"{seen[line.id]}); did two processes write it? Delete one of the logs to "
                    f"evaluate its items again"
                )
            seen[line.id] = where
            lines.append(line)
    return lines


def read_meta(log: Path) -> LogMeta:
    """The settings of a log; those of version 1 are brought into today's form.

    Raises:
        DataError: the file is absent or of another format version.
    """
    path = _meta_path(log)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] == 1:
            return LogMeta(_settings_of_1(content["settings"]), content["n_items"], version=1)
        if content["version"] != LOG_VERSION:
            raise ValueError(f"format version {content['version']}, expected {LOG_VERSION}")
        settings = Settings(content["model"], content["protocol"])
        return LogMeta(settings, content["n_items"], content["n_answers"], content["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {error}; delete {log} to evaluate again") from error


def check_settings(path: Path, settings: Settings) -> None:
    """Refuse to continue a log that other settings made; changes nothing.

    Raises:
        ConfigError: the log was made with other settings, another model, or by an older version.
        DataError: its settings cannot be read.
    """
    stored = read_meta(path)
    if stored.version != LOG_VERSION:
        raise ConfigError(
            f"{path}: format version {stored.version}, which can be read (`avrt report`, "
            f"`--compare`, `avrt tables`) but not continued; choose another run.name, or delete "
            f"this file to evaluate again"
        )
    changed = _changed(stored.settings, settings)
    if changed:
        raise ConfigError(
            f"{path}: made with other settings ({', '.join(changed)}); choose another run.name or "
            f"model name, or delete this file to evaluate again"
        )


def open_log(path: Path, meta: LogMeta) -> IO[str]:
    """Open a log for appending, for this process alone.

    Raises:
        ConfigError: as `check_settings`, or another process has it open.
        DataError: as `check_settings`.
    """
    if path.is_file():
        check_settings(path, meta.settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate in a model's text becomes its JSON escape instead of stopping the run.
    file = path.open("a", encoding="utf-8", errors="backslashreplace")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError(
            f"{path}: another process is evaluating this now; wait for it, or share the work with "
            f"--shard 1/2 and --shard 2/2"
        ) from None
    _cut_torn_line(path)
    write_json(
        _meta_path(path),
        {
            "model": meta.settings.model,
            "protocol": meta.settings.protocol,
            "protocol_id": meta.settings.protocol_id,
            "n_items": meta.n_items,
            "n_answers": meta.n_answers,
            "notes": list(meta.notes),
            "version": LOG_VERSION,
        },
    )
    return file


def append(file: IO[str], line: Line) -> None:
    """Write one finished answer; it survives the death of this process."""
    file.write(json.dumps(asdict(line), ensure_ascii=False, sort_keys=True) + "\n")
    file.flush()


def _meta_path(log: Path) -> Path:
    return log.with_suffix(".meta.json")


def _parse(text: bytes, where: str) -> Line:
    try:
        content = json.loads(text)
        if content["version"] not in (1, LOG_VERSION):
            raise ValueError(f"format version {content['version']}, expected {LOG_VERSION}")
        line = Line(**content)  # version 1 lacks only fields that have a default
        if line.status not in STATUSES:
            raise ValueError(f"unknown status {line.status!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: not an evaluated item: {error}") from error
    return line


def _settings_of_1(stored: Mapping[str, Any]) -> Settings:
    """Version 1 knew neither the questions nor the files; its decoding was greedy."""
    protocol = {
        "questions": None,
        "media": None,
        "prompt": stored["prompt"],
        **stored["media"],
        "frames_as": "pixels",
        "audio_as": "samples",
        "temperature": 0.0,
        "top_p": 1.0,
        "max_new_tokens": stored["max_new_tokens"],
    }
    return Settings({**stored["model"], "dtype": stored["dtype"]}, protocol)


def _changed(stored: Settings, wanted: Settings) -> list[str]:
    names = [
        name
        for name in sorted({**stored.protocol, **wanted.protocol})
        if fingerprint(stored.protocol.get(name)) != fingerprint(wanted.protocol.get(name))
    ]
    return [*(["model"] if fingerprint(stored.model) != fingerprint(wanted.model) else []), *names]


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
