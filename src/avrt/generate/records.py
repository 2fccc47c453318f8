"""The traces that generation hands from stage to stage, and the files they lie in.

Reads and writes traces/teachers.parquet and traces/merged.parquet. Both are derived from the
ledger: equal ledgers give equal bytes. When a retried call changes one of them, what was derived
from it is marked as to do again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from avrt.errors import ConfigError, DataError
from avrt.runs import file_digest, read_parquet, write_parquet

__all__ = [
    "STRATA",
    "MergedTrace",
    "Role",
    "Stratum",
    "TeacherTrace",
    "check_traced",
    "load_merged",
    "load_teachers",
    "merged_path",
    "stage_settings",
    "stratum_of",
    "teachers_path",
    "write_merged",
    "write_teachers",
]

Role = Literal["vision", "audio"]
Stratum = Literal["both", "vision_only", "audio_only", "none"]
STRATA: tuple[Stratum, ...] = ("both", "vision_only", "audio_only", "none")
"""Which of the two teachers answered rightly."""

_CALL_FIELDS = [
    pa.field("key", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("n_prompt_tokens", pa.int64(), nullable=False),
    pa.field("n_completion_tokens", pa.int64(), nullable=False),
]
_TEACHER_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        *_CALL_FIELDS,
        pa.field("answer", pa.string()),
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)
_MERGED_SCHEMA = pa.schema([pa.field("sample_id", pa.string(), nullable=False), *_CALL_FIELDS])


@dataclass(frozen=True)
class TeacherTrace:
    """What one teacher said about one sample."""

    sample_id: str
    role: Role
    key: str | None
    """The call in the ledger; None when the sample's media could not be read."""
    status: str
    """`ok`, or the class of the failure."""
    text: str
    answer: str | None
    """The letter; None when there is none to read or the text was cut."""
    correct: bool
    finish_reason: str
    n_prompt_tokens: int
    n_completion_tokens: int


@dataclass(frozen=True)
class MergedTrace:
    """What the merger wrote about one sample."""

    sample_id: str
    key: str
    status: str
    """`ok`, or the class of the failure."""
    text: str
    finish_reason: str
    n_prompt_tokens: int
    n_completion_tokens: int


def stratum_of(vision: TeacherTrace, audio: TeacherTrace) -> Stratum:
    """Which teachers are right."""
    if vision.correct:
        return "both" if audio.correct else "vision_only"
    return "audio_only" if audio.correct else "none"


def teachers_path(run: Path) -> Path:
    """Where the teachers' traces lie."""
    return run / "traces" / "teachers.parquet"


def merged_path(run: Path) -> Path:
    """Where the merged traces lie."""
    return run / "traces" / "merged.parquet"


def load_teachers(run: Path) -> dict[str, tuple[TeacherTrace, TeacherTrace]]:
    """The vision and the audio teacher's trace of every sample, in sample order."""
    traces = [TeacherTrace(**row) for row in read_parquet(teachers_path(run))]
    return {
        vision.sample_id: (vision, audio)
        for vision, audio in zip(traces[0::2], traces[1::2], strict=True)
    }


def load_merged(run: Path) -> dict[str, MergedTrace]:
    """The merged trace of every sample that was selected, in sample order."""
    return {row["sample_id"]: MergedTrace(**row) for row in read_parquet(merged_path(run))}


def check_traced(run: Path, prepared: Iterable[str], traced: Collection[str]) -> None:
    """Every prepared sample has its traces, and they answer the questions of now.

    Raises:
        ConfigError: the run was prepared again after it was traced.
    """
    samples, remedy = run / "samples.parquet", "run `avrt trace` again, or choose another run.name"
    missing = [sample_id for sample_id in prepared if sample_id not in traced]
    if missing:
        raise ConfigError(
            f"{samples}: {len(missing)} samples, such as {missing[0]!r}, are not in "
            f"{teachers_path(run)}: the run was prepared again after it was traced; {remedy}"
        )
    manifest = run / "manifests" / "trace.json"
    if manifest.is_file():
        read = json.loads(manifest.read_text(encoding="utf-8")).get("inputs", {})
        if read.get(samples.name) not in (None, file_digest(samples)):
            raise ConfigError(f"{samples}: not the questions that were traced; {remedy}")


def stage_settings(run: Path, stage: Literal["trace", "merge"]) -> dict[str, Any]:
    """The settings that the stage's files were made with.

    Raises:
        DataError: the stage did not finish since its inputs changed.
    """
    path = run / "manifests" / f"{stage}.json"
    if not path.is_file():
        raise DataError(f"{path}: not found: {stage} is not finished; run `avrt {stage}` again")
    return json.loads(path.read_text(encoding="utf-8"))["settings"]


def write_teachers(run: Path, traces: Sequence[TeacherTrace]) -> None:
    """Write traces in pairs, vision before audio."""
    rows = [asdict(trace) for trace in traces]
    _write(run, teachers_path(run), rows, _TEACHER_SCHEMA, derived=("merge", "build"))


def write_merged(run: Path, traces: Sequence[MergedTrace]) -> None:
    """Write the merged traces in sample order."""
    rows = [asdict(trace) for trace in traces]
    _write(run, merged_path(run), rows, _MERGED_SCHEMA, derived=("build",))


def _write(
    run: Path,
    path: Path,
    rows: Sequence[dict[str, object]],
    schema: pa.Schema,
    derived: Sequence[str],
) -> None:
    before = file_digest(path) if path.is_file() else None
    write_parquet(path, rows, schema)
    if before is not None and file_digest(path) != before:
        for stage in derived:
            (run / "manifests" / f"{stage}.json").unlink(missing_ok=True)
