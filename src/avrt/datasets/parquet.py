"""AVRT's own sample files: `{split}.parquet`, one row per question, fields as in `Sample`.

Media paths are relative to the dataset's folder and may not leave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avrt.errors import DataError
from avrt.runs import write_parquet
from avrt.types import RELATIONS, Sample

__all__ = [
    "SAMPLE_SCHEMA",
    "dataset_row_to_sample",
    "read_avrt_parquet",
    "row_to_sample",
    "sample_to_row",
    "write_samples",
]

SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string()), nullable=False),
        pa.field("answer_index", pa.int32(), nullable=False),
        pa.field("question_type", pa.string(), nullable=False),
        pa.field("question_relation", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("video", pa.string()),
        pa.field("image", pa.string()),
        pa.field("audio", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)


def sample_to_row(sample: Sample) -> dict[str, Any]:
    """Turn a sample into a row of `SAMPLE_SCHEMA`."""
    return asdict(sample) | {"options": list(sample.options)}


def row_to_sample(row: Mapping[str, Any]) -> Sample:
    """Read the sample in a row that has at least the columns of `SAMPLE_SCHEMA`.

    Raises:
        ValueError: a sample cannot have a value of the row.
        KeyError: a column is missing.
    """
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(Sample)}
    if values["question_relation"] not in RELATIONS:
        known = ", ".join(RELATIONS)
        raise ValueError(f"question_relation {values['question_relation']!r} is not one of {known}")
    for name in ("video", "image", "audio"):
        if values[name] is not None:
            _check_inside(name, values[name])
    values["options"] = tuple(values["options"])
    return Sample(**values)


def dataset_row_to_sample(row: Mapping[str, Any], source: str) -> Sample:
    """Read the sample in a row that the stage `build` wrote under the column names of the Hub.

    Raises:
        TypeError, ValueError: a sample cannot have a value of the row.
        KeyError: a column is missing.
    """
    named = {"options": row["choices"], "answer_index": row["answer"], "source": source}
    return row_to_sample({**row, **named})


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples in the given order; equal samples give equal bytes."""
    write_parquet(path, [sample_to_row(sample) for sample in samples], SAMPLE_SCHEMA)


def read_avrt_parquet(root: Path, split: str) -> Iterator[Sample]:
    """Yield the samples of one split in file order.

    Raises:
        DataError: the file lacks columns of `SAMPLE_SCHEMA`, or an id occurs twice; file and row
            are named.
    """
    path = root / f"{split}.parquet"
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    with file:
        absent = [name for name in SAMPLE_SCHEMA.names if name not in file.schema_arrow.names]
        if absent:
            raise DataError(f"{path}: no column {', '.join(absent)}; write it with write_samples")
        first_row: dict[str, int] = {}
        rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            try:
                sample = row_to_sample(row)
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: row {number}: {error}; correct the row") from error
            if sample.id in first_row:
                both = f"rows {first_row[sample.id]} and {number}"
                raise DataError(f"{path}: {both} have the same id {sample.id!r}; make ids unique")
            first_row[sample.id] = number
            yield sample


def _check_inside(field: str, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{field} {name!r} leaves the dataset's folder; use a relative path")
