"""AVRT's own sample files: `{split}.parquet`, one row per question, fields as in `Sample`.

Media paths are relative to the dataset's folder and may not leave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath
from sys import intern
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avrt.datasets.names import MediaNames
from avrt.datasets.rows import identifier, options_and_gold, read_annotations, text
from avrt.errors import DataError
from avrt.runs import unreadable_parquet, write_parquet
from avrt.stores import StorePath
from avrt.texts import clean_value, shown
from avrt.types import RELATIONS, BenchmarkItem, Sample

__all__ = [
    "SAMPLE_SCHEMA",
    "check_unpacked",
    "dataset_row_to_sample",
    "open_foreign_parquet",
    "read_avrt_parquet",
    "read_parquet_rows",
    "row_to_sample",
    "sample_to_row",
    "write_samples",
]

MEDIA = ("video", "image", "audio")
BATCH_ROWS = 500
MAX_TEXT = 1 << 20
"""Bytes of a text from outside."""
MAX_VALUES = 20_000_000
"""Values of a column in one group of rows."""
MAX_PAGES = 64 << 20
MAX_UNPACKED = 256 << 20
MAX_RATIO = 200
"""Bytes in memory for each byte of a file, and bytes that are allowed whatever the ratio is."""
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
        given = shown(values["question_relation"])
        raise ValueError(f"question_relation {given} is not one of {known}")
    for name in MEDIA:
        if values[name] is not None:
            _check_inside(name, values[name])
    values["id"] = intern(values["id"])  # each stage keeps the ids of all samples
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


def read_avrt_parquet(root: Path, split: str, names: MediaNames | None = None) -> Iterator[Sample]:
    """Yield the samples of one split in file order.

    Raises:
        DataError: the file lacks columns of `SAMPLE_SCHEMA`, or an id occurs twice; file and row
            are named.
    """
    path, files = root / f"{split}.parquet", MediaNames(root) if names is None else names

    def to_item(row: dict[str, Any], source: str) -> BenchmarkItem:
        options, gold = options_and_gold(row, "options", "answer_index", "index")
        media = {kind: row[kind] and files.find(identifier(row, kind)) for kind in MEDIA}
        texts = {field: text(row, field) for field in ("question", "question_type")}
        own = {"id": identifier(row, "id"), "video_id": identifier(row, "video_id")}
        given = {"options": options, "answer_index": gold, "source": row["source"] or source}
        return BenchmarkItem(row_to_sample(row | media | texts | own | given), {}, {})

    rows = read_parquet_rows(path, SAMPLE_SCHEMA.names, "write it with write_samples")
    return (item.sample for item in read_annotations(path, rows, SAMPLE_SCHEMA.names, to_item))


def read_parquet_rows(
    path: Path, columns: Sequence[str], remedy: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield these columns of a Parquet file from outside, row by row, with numbers from 1.

    Raises:
        DataError: not a readable Parquet file, a column is absent, a text is no UTF-8; also as
            `check_unpacked`.
    """
    number = 0
    with open_foreign_parquet(path, remedy) as file:
        names = file.schema_arrow.names
        absent = [name for name in columns if name not in names]
        if absent:
            raise DataError(f"{path}: no column {', '.join(absent)}; {remedy}")
        if twice := [name for name in columns if names.count(name) > 1]:
            raise DataError(f"{path}: the column {twice[0]} stands twice; keep one")
        check_unpacked(path, columns)
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            try:
                rows = batch.to_pylist()
            except UnicodeDecodeError as error:
                number += _first_unreadable(batch)
                raise DataError(
                    f"{path}: row {number}: a text is not UTF-8; write the table again"
                ) from error
            for row in rows:
                number += 1
                yield number, clean_value(row)


@contextmanager
def open_foreign_parquet(path: Path, remedy: str = "name another file") -> Iterator[pq.ParquetFile]:
    """A Parquet file from outside; errors of the reader in the body are the file's.

    Raises:
        DataError: no such file, or not a readable one.
    """
    try:
        with _source(path) as source, pq.ParquetFile(source) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found; {remedy}") from error
    except (OSError, pa.ArrowException) as error:
        raise unreadable_parquet(path, error) from error


def check_unpacked(path: Path, columns: Sequence[str]) -> None:
    """Refuse a file whose columns take far more memory than the file, without unpacking them.

    A text that stands in every row is stored once, so a small file can hold any amount of text.
    Here each text is read once, and only its length is taken for the rows.

    Raises:
        DataError: a text is too long, or all are too long for the file's size.
        OSError, pa.ArrowException: not a readable Parquet file.
    """
    allowed = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
    with _source(path) as source, pq.ParquetFile(source) as file:
        leaves = [
            group.column(place)
            for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
            for place in range(group.num_columns)
            if group.column(place).path_in_schema.partition(".")[0] in columns
        ]
    for leaf in leaves:
        pages = max(MAX_PAGES, MAX_RATIO * leaf.total_compressed_size)
        if leaf.num_values > MAX_VALUES or leaf.total_uncompressed_size > pages:
            raise _too_large(path, f"column {leaf.path_in_schema}")
    texts = {leaf.path_in_schema for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"}
    n_bytes = n_rows = 0
    options: dict[str, Any] = {"read_dictionary": sorted(texts), "buffer_size": 1 << 20}
    with _source(path) as source, pq.ParquetFile(source, **options) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
            n_rows += batch.num_rows
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                longest, total = _text_sizes(column)
                if longest > MAX_TEXT:
                    raise DataError(
                        f"{path}: column {name}, up to row {n_rows}: a text of {longest:,} bytes; "
                        f"at most {MAX_TEXT:,} are read"
                    )
                n_bytes += total
            if n_bytes > allowed:
                raise _too_large(path, f"the first {n_rows:,} rows")


def _source(path: Path) -> AbstractContextManager[Any]:
    """What the library reads: the path, or the handle of a copy."""
    return path.open("rb") if isinstance(path, StorePath) else nullcontext(path)


def _text_sizes(column: pa.Array) -> tuple[int, int]:
    """The bytes of the longest text in a column, and of all."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    if not isinstance(column, pa.DictionaryArray) or not len(column.dictionary):
        return 0, column.nbytes
    lengths = pc.call_function("binary_length", [column.dictionary])
    longest = pc.call_function("max", [lengths]).as_py()
    total = pc.call_function("sum", [lengths.take(column.indices)]).as_py()
    return longest or 0, total or 0


def _too_large(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what} would unpack to more than {MAX_RATIO} times the file's size; write the "
        "table again, with the questions alone"
    )


def _first_unreadable(batch: pa.RecordBatch) -> int:
    """The number from 1 of the first row with a text that is not UTF-8."""
    for place in range(batch.num_rows):
        try:
            batch.slice(place, 1).to_pylist()
        except UnicodeDecodeError:
            return place + 1
    raise AssertionError("the batch is readable")


def _check_inside(field: str, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{field} {shown(name)} leaves the dataset's folder; use a relative path")
