"""AVRT-20K: Parquet, a question about a clip of AVQA and a trace in each row.

As published, every sample has a trace, also where a teacher was wrong; the teachers' texts are not
published. Sets that AVRT wrote have these nine columns and more: those of `avrt build`, in
RUN/dataset/ and in an export for the Hub, are read with all columns, splits and rejected rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.datasets import dataset_row_to_sample
from avrt.datasets.avqa import RELATION_OF, find_video
from avrt.datasets.names import MediaNames
from avrt.datasets.parquet import check_unpacked, open_foreign_parquet
from avrt.datasets.rows import by_index, by_letter, by_text
from avrt.errors import DataError
from avrt.exchange.imports.columns import (
    SPLITS,
    MalformedError,
    Row,
    Source,
    options_of,
    target_of,
    text_of,
    texts_of,
)
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA
from avrt.texts import clean
from avrt.types import Sample

__all__ = ["AVRT_20K", "read_hub"]

_COLUMNS = ("id", "video_name", "video_id", "question", "choices", "answer",
            "question_relation", "question_type", "av_reasoning")  # fmt: skip


def _read(folder: Path) -> list[Row]:
    paths = _files(folder)
    if not paths:
        raise DataError(
            f"{folder}: no Parquet file here or in data/; name the folder of AVRT-20K, "
            "RUN/dataset, or an export for the Hub"
        )
    return [row for path in paths for row in _read_file(path)]


def _files(folder: Path) -> list[Path]:
    """Find the files of a set: an export for the Hub, RUN/dataset, or the set as published."""
    exported = sorted(folder.glob("data/traces/*.parquet"))
    if exported:
        return [*exported, *sorted(folder.glob("data/rejected/*.parquet"))]
    paths = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    # Beside the files of a dataset, `avrt build` writes tables about it.
    return [path for path in paths if _split_of(path.name) and _is_own(path)] or paths


def _is_own(path: Path) -> bool:
    with open_foreign_parquet(path) as file:
        return _has_own_columns(file.schema_arrow.names)


def _has_own_columns(columns: Sequence[str]) -> bool:
    """Whether AVRT wrote a table with these columns."""
    return set(DATASET_SCHEMA.names) <= set(columns)


def _split_of(name: str) -> str:
    """The split that a file or a split of the Hub is named after; empty: none."""
    part = name.partition(".")[0].partition("-")[0]
    return part if part in SPLITS else ""


def _read_file(path: Path) -> Iterator[Row]:
    with open_foreign_parquet(path) as file:
        present = file.schema_arrow.names
        _check_columns(path.name, present)
        # A set with media holds gigabytes in columns of no use here.
        columns = [name for name in present if name in REJECTED_SCHEMA.names]
        check_unpacked(path, columns)
        table = file.read(columns=columns)
    yield from _rows(table, path.name)


def _check_columns(name: str, present: Sequence[str]) -> None:
    absent = [column for column in _COLUMNS if column not in present]
    if absent:
        raise DataError(
            f"{name}: no column {', '.join(absent)}; it has {', '.join(present) or 'none'}, and "
            f"AVRT-20K has {', '.join(_COLUMNS)}"
        )


def _rows(table: pa.Table, name: str) -> Iterator[Row]:
    """Yield the rows of a table; those that AVRT wrote keep their ids, splits and columns."""
    is_own, split = _has_own_columns(table.column_names), _split_of(name)
    try:
        rows = (_cast(table, name) if is_own else table).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: a text is not UTF-8 ({error}); write the file again") from error
    for number, row in enumerate(rows, start=1):
        source = f"{name}:{number}"
        if is_own:
            yield Row(row["id"], row, source, split, kept=row)
        else:
            yield Row(f"avrt-20k-{row['id']}", row, source)


def _cast(table: pa.Table, name: str) -> pa.Table:
    """Give the columns their types; the gates are those of another version, perhaps."""
    for index, column in enumerate(table.column_names):
        wanted = REJECTED_SCHEMA.field(column)
        if column != "gates" and table.schema.field(index).type != wanted.type:
            try:
                cast = table.column(index).cast(wanted.type)
            except pa.ArrowException as error:
                raise DataError(
                    f"{name}: column {column}: {table.schema.field(index).type} is not "
                    f"{wanted.type}: {error}"
                ) from error
            table = table.set_column(index, wanted, cast)
    return table


def _survey(rows: Sequence[Row], root: Path) -> dict[str, Any]:
    """Find the files that exist, and the form of the answers that fits the most rows.

    A single row can be ambiguous: among the options 1, 2, 3, 4 the answer "2" is an index or a
    text.
    """
    fitting = Counter({"index": 0, "letter": 0, "text": 0})
    for row in rows:
        if not row.kept:
            with suppress(MalformedError):
                fitting.update(_readings(row, options_of(row.values["choices"])).keys())
    (form, _), *_ = fitting.most_common(1)
    return {"form": form, "present": MediaNames(root)}


def _readings(row: Row, options: Sequence[str]) -> dict[str, int]:
    """The index of the right option by each form of answers that can be meant."""
    answer = row.values["answer"]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return {}
    if isinstance(answer, str):
        answer = clean(answer)
    found = {
        "index": by_index(answer, len(options)),
        "letter": by_letter(answer, len(options)),
        "text": by_text(answer, options, texts_of(row.values["choices"])),
    }
    return {form: index for form, index in found.items() if index is not None}


def _to_sample(row: Row, known: Mapping[str, Any]) -> tuple[Sample, str | None]:
    values = row.values
    if row.kept:
        return _own_sample(row), values["av_reasoning"]
    options = options_of(values["choices"])
    target = target_of(_readings(row, options).get(known["form"]), options)
    relation = RELATION_OF.get(str(values["question_relation"]).lower())
    if relation is None:
        raise MalformedError("bad_relation")
    try:
        video = find_video(text_of(values["video_name"], "no_video_name"), known["present"])
    except ValueError as error:
        raise MalformedError("bad_video_name") from error
    sample = Sample(
        id=row.id,
        question=text_of(values["question"], "no_question"),
        options=options,
        answer_index=target,
        question_type=text_of(values["question_type"], "no_question_type"),
        question_relation=relation,
        video_id=str(values["video_id"]),
        video=video,
        source=row.source,
    )
    return sample, text_of(values["av_reasoning"], "no_trace")


def _own_sample(row: Row) -> Sample:
    try:
        sample = dataset_row_to_sample(row.values, row.source)
    except (TypeError, ValueError) as error:
        raise MalformedError("bad_sample") from error
    target_of(sample.answer_index, sample.options)
    return replace(sample, source=row.values["source"] or row.source)


def read_hub(source: str) -> list[Row]:
    """Read all splits of the set with this id on the Hub, one after the other."""
    from datasets import load_dataset

    rows: list[Row] = []
    for split, table in load_dataset(source).items():
        _check_columns(str(split), table.column_names)
        wanted = [name for name in table.column_names if name in REJECTED_SCHEMA.names]
        rows += _rows(table.select_columns(wanted).with_format("arrow")[:], str(split))
    return rows


AVRT_20K = Source(
    _read,
    _to_sample,
    _survey,
    "Its publishers label it CC-BY-4.0. The questions are AVQA's, and the terms of the models that "
    "wrote\nthe traces (Audio Flamingo 3: non-commercial) flow to them; read both before any use.",
)
