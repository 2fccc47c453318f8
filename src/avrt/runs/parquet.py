"""Tables in the run directory, written and read some rows at a time.

The decision to question: rows of texts take kilobytes each, so a file is written in groups of rows,
and read in batches; only columns of numbers and names are held whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avrt.errors import DataError, machine_fault
from avrt.runs.files import atomic_file
from avrt.texts import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "ParquetRows",
    "iter_batches",
    "iter_parquet",
    "not_written",
    "open_parquet",
    "read_parquet",
    "read_table",
    "unreadable_parquet",
    "write_parquet",
]

_WRITERS = {
    **dict.fromkeys(("samples.parquet", "media.parquet"), "prepare"),
    "teachers.parquet": "trace",
    "merged.parquet": "merge",
    "judged.parquet": "judge",
    **dict.fromkeys(("train.parquet", "validation.parquet", "rejected.parquet"), "generate"),
}
"""The command that writes a file of a run."""
_GROUP_ROWS = 10_000
_GROUP_BYTES = 32 << 20
"""A group of rows ends at either size, so that memory does not grow with a file."""
_BATCH_ROWS = 500


class ParquetRows:
    """A Parquet file that takes row after row; equal rows give equal bytes."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []
        self._is_empty = True

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _BATCH_ROWS:
            self._pack()
            n_rows = sum(batch.num_rows for batch in self._batches)
            n_bytes = sum(batch.nbytes for batch in self._batches)
            if n_rows >= _GROUP_ROWS or n_bytes >= _GROUP_BYTES:
                self._write_group()

    def finish(self) -> None:
        """Write the rows that wait; a file without rows gets an empty group."""
        self._pack()
        if self._batches or self._is_empty:
            self._write_group()

    def _pack(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, self._schema))
            self._rows = []

    def _write_group(self) -> None:
        import pyarrow as pa

        group = pa.Table.from_batches(self._batches, self._schema)
        self._batches = []
        self._writer.write_table(group.combine_chunks())
        self._is_empty = False


@contextmanager
def open_parquet(
    path: Path, schema: pa.Schema, *, derived: Iterable[Path] = ()
) -> Iterator[ParquetRows]:
    """A file that takes rows, and stands at `path` once the block has ended without an error;
    see `atomic_file`.
    """

    import pyarrow.parquet as pq

    with (
        atomic_file(path, derived=derived) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        rows = ParquetRows(writer, schema)
        yield rows
        rows.finish()


def write_parquet(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    *,
    derived: Iterable[Path] = (),
) -> None:
    """Write rows under a fixed schema, atomically and some at a time."""
    with open_parquet(path, schema, derived=derived) as file:
        for row in rows:
            file.add(row)


def iter_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a file that an earlier stage wrote, some at a time, with all columns or with those
    of `columns` that it has.

    Raises:
        DataError: the file is absent or not Parquet; the message names the stage that writes it.
    """
    with _reading(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()


def iter_batches(path: Path, columns: Sequence[str], n_rows: int) -> Iterator[pa.RecordBatch]:
    """As `iter_parquet`, at most `n_rows` rows together, as columns."""
    with _reading(path) as file:
        yield from file.iter_batches(n_rows, columns=columns)


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of a file that an earlier stage wrote; they take a small part of the memory that
    rows do. Raises as `iter_parquet`.
    """
    with _reading(path) as file:
        return file.read(columns).combine_chunks()


def not_written(path: Path) -> DataError:
    """The error of a file that an earlier stage should have written: the message names it."""
    return DataError(
        f"{path}: not found; {_writer(path)} first, or name the run: run.dir, run.name"
    )


def _writer(path: Path) -> str:
    """What to do so that a file of a run is written."""
    in_eval = "eval" in (folder.name for folder in path.parents[:2])
    command = "eval" if in_eval else _WRITERS.get(path.name)
    return f"run `avrt {command}`" if command else "run the stage that writes it"


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not `pq.read_table`, which imports a whole framework for data in many files.
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise not_written(path) from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise unreadable_parquet(path, error, f"; delete it, then {_writer(path)}") from error


def unreadable_parquet(path: Path, error: Exception, remedy: str = "") -> Exception:
    """What to raise for an error while a file is read: it is the file's fault, or the machine's."""
    if machine_fault(error) is not None:
        return error
    said = shown(str(error), 200)[1:-1]
    return DataError(f"{path}: not a readable Parquet file: {said}{remedy}")


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """All rows of a file; raises as `iter_parquet`."""
    return list(iter_parquet(path))
