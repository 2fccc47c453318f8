"""The traces that generation hands from stage to stage, and the files they lie in.

Reads and writes traces/teachers.parquet and traces/merged.parquet. Both are derived from the
ledger: equal ledgers give equal bytes. When a retried call changes one of them, what was derived
from it is marked as to do again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pyarrow as pa

from avrt.config import TeacherRole
from avrt.datasets.prepared import PreparedSamples
from avrt.errors import ConfigError, DataError
from avrt.runs import (
    IdSet,
    file_digest,
    iter_parquet,
    manifest_path,
    read_manifest,
    write_parquet,
)
from avrt.types import Sample

__all__ = [
    "ABSENT",
    "COUNTS",
    "NOT_ASKED",
    "STRATA",
    "Answers",
    "MergedTrace",
    "Stratum",
    "TeacherTrace",
    "along",
    "answers_about",
    "best_answer",
    "check_teachers",
    "check_traced",
    "columns_of",
    "is_asked",
    "iter_merged",
    "iter_teachers",
    "merged_path",
    "stage_settings",
    "stratum_of",
    "teachers_path",
    "trace_outcome",
    "write_merged",
    "write_teachers",
]

T = TypeVar("T")
Stratum = Literal["both", "vision_only", "audio_only", "none"]
STRATA: tuple[Stratum, ...] = ("both", "vision_only", "audio_only", "none")
"""Which of the two modalities' teachers answered rightly, by their first answers."""
ABSENT = "absent"
"""Status of a teacher that was not asked, because its half of the sample cannot be used."""
NOT_ASKED = "not_asked"
"""Status of all teachers of a sample beyond `generate.limit`."""

COUNTS = ("k", "answered", "right", "first")
"""What is counted of each teacher's answers, in this order: see `columns_of`."""

_CALL_FIELDS = [
    pa.field("key", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("order", pa.list_(pa.int8()), nullable=False),
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("n_prompt_tokens", pa.int64(), nullable=False),
    pa.field("n_completion_tokens", pa.int64(), nullable=False),
]
_TEACHER_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("k", pa.int32(), nullable=False),
        *_CALL_FIELDS,
        pa.field("answer", pa.string()),
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)
_MERGED_SCHEMA = pa.schema([pa.field("sample_id", pa.string(), nullable=False), *_CALL_FIELDS])


@dataclass(frozen=True, slots=True)
class TeacherTrace:
    """One answer of one teacher about one sample."""

    sample_id: str
    role: str
    """The teacher's name."""
    modality: str
    """What it was given: v, a, av or none."""
    k: int
    """Which of its answers, from 0."""
    key: str | None
    """The call in the ledger; None when there was none, since the sample's media failed."""
    status: str
    """`ok`, `absent`, `not_asked`, or the class of the failure."""
    text: str
    """Letters are those of the stored options, whatever order the teacher saw."""
    order: Sequence[int]
    """The order in which it saw the options: place i showed option `order[i]`."""
    answer: str | None
    """The letter; None when there is none to read or the text was cut."""
    correct: bool
    finish_reason: str
    n_prompt_tokens: int
    n_completion_tokens: int


Answers: TypeAlias = Mapping[str, Sequence[TeacherTrace]]
"""All answers about one sample by teacher, in the order of the configuration."""


@dataclass(frozen=True, slots=True)
class MergedTrace:
    """The merger's reply about a sample, or one teacher's reply in its place."""

    sample_id: str
    key: str
    """The call in the ledger; of a teacher that was not asked, empty."""
    status: str
    """`ok`, or the class of the failure."""
    text: str
    order: Sequence[int]
    """The order of the options in it: letter i is that of option `order[i]`."""
    finish_reason: str
    n_prompt_tokens: int
    n_completion_tokens: int


def best_answer(traces: Sequence[TeacherTrace]) -> TeacherTrace:
    """The first right answer, else the first with a letter, else the first that came."""
    return min(
        traces,
        key=lambda trace: (not trace.correct, trace.answer is None, trace.status != "ok"),
    )


def stratum_of(answers: Answers) -> Stratum:
    """Whether the first teacher of each modality is right with its first answer."""
    vision, audio = (
        next(
            (traces[0].correct for traces in answers.values() if traces[0].modality == half), False
        )
        for half in "va"
    )
    if vision:
        return "both" if audio else "vision_only"
    return "audio_only" if audio else "none"


def is_asked(answers: Answers) -> bool:
    """Whether the sample is among those that `generate.limit` asks about."""
    return all(traces[0].status != NOT_ASKED for traces in answers.values())


def trace_outcome(answers: Answers) -> str | None:
    """Why a sample has no answers to merge, as stages count; None when it has.

    Teachers without media, such as a blind one, do not count.
    """
    if not is_asked(answers):
        return f"dropped/{NOT_ASKED}"
    with_media = [traces for traces in answers.values() if traces[0].modality != "none"]
    for traces in with_media:
        if traces[0].status != ABSENT and all(trace.status != "ok" for trace in traces):
            return f"failed/{traces[0].status}"
    if any(traces[0].status == ABSENT for traces in with_media):
        return "dropped/one_sided"
    return None


def columns_of(answers: Answers) -> dict[str, int | None]:
    """Per teacher: answers that came, with a letter, right, and whether the first is right.

    All are None for a teacher that was not asked.
    """
    columns: dict[str, int | None] = {}
    for role, traces in answers.items():
        asked = traces[0].status not in (ABSENT, NOT_ASKED)
        counts = (
            sum(trace.status == "ok" for trace in traces),
            sum(trace.answer is not None for trace in traces),
            sum(trace.correct for trace in traces),
            int(traces[0].correct),
        )
        for name, n in zip(COUNTS, counts, strict=True):
            columns[f"{role}_{name}"] = n if asked else None
    return columns


def teachers_path(run: Path) -> Path:
    """Where the teachers' traces lie."""
    return run / "traces" / "teachers.parquet"


def merged_path(run: Path) -> Path:
    """Where the merged traces lie."""
    return run / "traces" / "merged.parquet"


def iter_teachers(run: Path, with_texts: bool = True) -> Iterator[tuple[str, Answers]]:
    """The id of every sample with the answers about it, in sample order; texts may be left out."""
    columns = [name for name in _TEACHER_SCHEMA.names if with_texts or name != "text"]
    rows = iter_parquet(teachers_path(run), columns)
    traces = (TeacherTrace(**{"text": "", **row}) for row in rows)
    for sample_id, of_sample in groupby(traces, lambda trace: trace.sample_id):
        by_role = groupby(of_sample, lambda trace: trace.role)
        yield sample_id, {role: list(answers) for role, answers in by_role}


def iter_merged(run: Path) -> Iterator[tuple[str, MergedTrace]]:
    """The id of every sample that was selected with its merged trace, in sample order."""
    for row in iter_parquet(merged_path(run)):
        yield row["sample_id"], MergedTrace(**row)


def along(
    ids: Iterable[str],
    pairs: Iterable[tuple[str, T]],
    path: Path,
    known: Container[str] | None = None,
) -> Iterator[T | None]:
    """For each id in turn the value that one of the pairs has for it, else None.

    Ids and pairs are in the same order, so that files are read side by side, some rows at a time.
    `known`: the set of the ids, where it is there already; without it, `ids` are gone through
    twice.

    Raises:
        DataError: the pairs of the file `path` are in another order.
    """
    wanted = IdSet(ids) if known is None else known
    waiting = (pair for pair in pairs if pair[0] in wanted)
    pair = next(waiting, None)
    for id_ in ids:
        if pair is not None and pair[0] == id_:
            yield pair[1]
            pair = next(waiting, None)
        else:
            yield None
    if pair is not None:
        raise DataError(
            f"{path}: sample {pair[0]!r} is not in the order of samples.parquet; delete this file "
            "and run the stage that writes it again"
        )


def answers_about(
    run: Path, samples: PreparedSamples, with_texts: bool = True
) -> Iterator[tuple[Sample, Answers]]:
    """The samples that were traced, each with its answers.

    Raises:
        DataError: the run is not traced, or its files are in different orders.
    """
    answers = along(samples.ids, iter_teachers(run, with_texts), teachers_path(run))
    for sample, of_sample in zip(samples, answers, strict=True):
        if of_sample is not None:
            yield sample, of_sample


def check_traced(run: Path, prepared: PreparedSamples) -> None:
    """Every usable sample has its traces, and they answer the questions that are there now.

    Raises:
        ConfigError: the run was prepared again after it was traced.
    """
    samples, remedy = run / "samples.parquet", "run `avrt trace` again, or choose another run.name"
    traced = IdSet(row["sample_id"] for row in iter_parquet(teachers_path(run), ["sample_id"]))
    usable = prepared.where("usable", lambda usable: usable is not None)
    missing = usable.where("id", lambda id_: id_ not in traced)
    if missing:
        raise ConfigError(
            f"{samples}: {len(missing)} samples, such as {missing[0].id!r}, are not in "
            f"{teachers_path(run)}: the run was prepared again after it was traced; {remedy}"
        )
    manifest = run / "manifests" / "trace.json"
    if manifest.is_file():
        read = read_manifest(manifest)["inputs"]
        if read.get(samples.name) not in (None, file_digest(samples)):
            raise ConfigError(f"{samples}: not the questions that were traced; {remedy}")


def check_teachers(run: Path, teachers: Mapping[str, TeacherRole]) -> None:
    """The run is traced with these teachers and as many answers: more may have begun since.

    Raises:
        ConfigError: it is traced with others.
    """
    manifest = run / "manifests" / "trace.json"
    if not manifest.is_file():
        return
    traced = read_manifest(manifest)["settings"]
    had = {
        name: settings["k"]
        for name, settings in traced.items()
        if isinstance(settings, dict) and "k" in settings
    }
    wanted = {name: teacher.k for name, teacher in teachers.items()}
    if had != wanted:
        words = (
            " ".join(f"{name}.k={k}" for name, k in sorted(counts.items()))
            for counts in (had, wanted)
        )
        raise ConfigError(
            "{}: traced with teachers {}, but the configuration has {}; run `avrt trace` with it, "
            "which makes only the new calls".format(run, *words)
        )


def stage_settings(run: Path, stage: Literal["trace", "merge", "judge"]) -> dict[str, Any]:
    """The settings that the stage's files were made with.

    Raises:
        DataError: the stage did not finish since its inputs changed.
    """
    path = manifest_path(run, stage)
    if not path.is_file():
        raise DataError(f"{path}: not found: {stage} is not finished; run `avrt {stage}` again")
    return read_manifest(path)["settings"]


def write_teachers(run: Path, traces: Iterable[TeacherTrace]) -> None:
    """Write all answers about a sample together, teacher by teacher, in the order of k."""
    _write(run, teachers_path(run), traces, _TEACHER_SCHEMA, derived=("merge", "judge", "build"))


def write_merged(run: Path, traces: Iterable[MergedTrace]) -> None:
    """Write the merged traces in sample order."""
    _write(run, merged_path(run), traces, _MERGED_SCHEMA, derived=("judge", "build"))


def _write(
    run: Path,
    path: Path,
    traces: Iterable[TeacherTrace] | Iterable[MergedTrace],
    schema: pa.Schema,
    derived: Sequence[str],
) -> None:
    rows = ({name: getattr(trace, name) for name in schema.names} for trace in traces)
    write_parquet(path, rows, schema, derived=[manifest_path(run, stage) for stage in derived])
