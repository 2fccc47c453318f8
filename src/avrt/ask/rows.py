"""The rows of the ledger's table `calls`: what is asked, and what came of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from avrt.ask.database import SCHEMA
from avrt.runs import fingerprint
from avrt.types import Completion, Prompt, Sampling

__all__ = [
    "COMPLETION",
    "Call",
    "Carried",
    "StoredCall",
    "completion_of",
    "insert_into_calls",
    "latest_by_key",
    "names_of",
    "sizes_in",
    "stored_call",
]

COMPLETION = (
    *("text", "finish_reason", "n_prompt_tokens", "n_completion_tokens", "latency_s"),
    *("error_class", "error", "n_frame_tokens", "n_audio_tokens"),
)
"""Fields of a completion that are kept, each in a column of its name."""


@dataclass(frozen=True)
class Call:
    """One call to a model, by its content: equal calls have equal keys."""

    stage: str
    sample_id: str
    role: str
    engine: Mapping[str, Any]
    """The engine's identity: model, revision, how media are handed over."""
    system: str | None
    text: str
    sampling: Sampling
    frames: str | None = None
    """Digest of the decoded frames."""
    audio: str | None = None
    """Digest of the decoded sound."""
    recipe: Mapping[str, Any] | None = None
    """How each of the media was decoded, by kind."""
    k: int = 0
    """Which of several answers to the same prompt."""
    dataset: str = ""
    """Name of the evaluation set of the sample; empty: the run's own dataset. Not in the key."""
    files: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Path below the dataset's root and sha256 of the file of each medium. Not in the key."""

    @property
    def request(self) -> dict[str, Any]:
        """The content of the key; no address, concurrency, path, row order or sample id."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "engine": dict(self.engine),
            "system": self.system,
            "text": self.text,
            "sampling": dict(vars(self.sampling)),
            "k": self.k,
            "frames": self.frames,
            "audio": self.audio,
            "recipe": dict(self.recipe) if self.recipe is not None else None,
        }

    @cached_property
    def key(self) -> str:
        """sha256 over `request`."""
        return fingerprint(self.request)


@dataclass(frozen=True)
class Carried:
    """The sizes of the media that a prompt carried."""

    n_frames: int = 0
    has_sound: bool = False
    audio_s: float = 0.0
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What was used of each file and what it has, by kind."""

    @classmethod
    def by(cls, prompt: Prompt) -> Carried:
        """The sizes of a prompt's media."""
        frames, audio = prompt.frames, prompt.audio
        return cls(
            n_frames=0 if frames is None else len(frames),
            has_sound=audio is not None,
            audio_s=0.0 if audio is None else audio.duration_s,
            sizes={
                "frames": {} if frames is None else _known(frames, "n_pixels", "source_pixels"),
                "audio": {} if audio is None else _known(audio, "source_s"),
            },
        )


@dataclass(frozen=True)
class StoredCall:
    """One call with its latest outcome, as the ledger has it."""

    key: str
    stage: str
    sample_id: str
    role: str
    dataset: str
    """As in `Call`; so are the two below."""
    files: Mapping[str, tuple[str, str | None]]
    request: Mapping[str, Any]
    n_frames: int
    """Pictures in the prompt."""
    audio_s: float
    """Seconds of sound in the prompt."""
    sizes: Mapping[str, float]
    """Of the media and of their files, by the names that `Frames` and `Waveform` have for them;
    empty for calls of earlier versions.
    """
    completion: Completion


def names_of(call: Call, sizes: Mapping[str, Mapping[str, Any]]) -> tuple[Any, ...]:
    """The columns of `calls` that say what is asked, in their order.

    A file's sizes, where they are known, are its third entry.
    """
    files = {kind: [*file, *filter(None, [sizes.get(kind)])] for kind, file in call.files.items()}
    return (
        *(call.key, call.stage, call.sample_id, call.role, call.k, call.dataset),
        json.dumps(files, ensure_ascii=False, sort_keys=True),
        json.dumps(call.request, ensure_ascii=False, sort_keys=True),
    )


def insert_into_calls(row: Sequence[Any]) -> str:
    """The statement that writes a row of `calls`."""
    return f"INSERT OR REPLACE INTO calls VALUES ({', '.join('?' * len(row))})"


def stored_call(row: sqlite3.Row) -> StoredCall:
    """The call of a row that has all columns."""
    files = json.loads(row["files_json"])
    return StoredCall(
        key=row["key"],
        stage=row["stage"],
        sample_id=row["sample_id"],
        role=row["role"],
        dataset=row["dataset"],
        files={kind: (file[0], file[1]) for kind, file in files.items()},
        request=json.loads(row["request_json"]),
        n_frames=row["n_frames"],
        audio_s=row["audio_s"],
        sizes={name: size for known in sizes_in(row).values() for name, size in known.items()},
        completion=completion_of(row),
    )


def completion_of(row: sqlite3.Row) -> Completion:
    """The outcome in a row that has the columns of `COMPLETION`."""
    return Completion(**{name: row[name] for name in COMPLETION})


def sizes_in(row: sqlite3.Row) -> dict[str, dict[str, Any]]:
    """The sizes of a call's media and of their files, by kind, as a ledger has them."""
    files = json.loads(row["files_json"])
    return {kind: file[2] for kind, file in files.items() if len(file) > 2}


def latest_by_key(rows: Iterable[sqlite3.Row]) -> dict[str, sqlite3.Row]:
    """Of the rows of several files the outcome that counts, by key: a reply, else the last."""
    latest: dict[str, sqlite3.Row] = {}
    for row in rows:
        known = latest.get(row["key"])
        if known is None or _rank(row) > _rank(known):
            latest[row["key"]] = row
    return latest


def _known(medium: Any, *names: str) -> dict[str, float]:
    return {name: value for name in names if (value := getattr(medium, name)) is not None}


def _rank(row: sqlite3.Row) -> tuple[bool, str]:
    return row["finish_reason"] != "error", row["created"]
