"""The samples of a prepared run, as rows of a file: a `Sample` is made where one is looked at.

Reads RUN/samples.parquet into a temporary file without compression, which is mapped into memory and
has no name: the system drops its pages when it needs the room. Of every sample 4 bytes are held,
the number of its row.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from avrt.datasets.parquet import SAMPLE_SCHEMA, row_to_sample
from avrt.runs import iter_batches, temporary_folder
from avrt.types import Modality, Sample

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Column", "PreparedSamples", "load_prepared", "load_samples", "load_usable"]

_BATCH = 500
"""Samples that are made, or looked at, together."""
_RECENT = 4
"""Batches of them that are held."""
_BLOCK_ROWS = 4096
_BLOCKS = 16
"""Blocks of rows that stay opened."""
_COLUMNS = (*SAMPLE_SCHEMA.names, "usable", "status")


class _Rows:
    """The rows of a file, by their numbers from 0."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        writer, self.n, starts = None, 0, list[int]()
        with tempfile.NamedTemporaryFile(dir=temporary_folder(), prefix="avrt-") as file:
            for batch in iter_batches(path, _COLUMNS, _BLOCK_ROWS):
                writer = writer or pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
                starts.append(self.n)
                self.n += batch.num_rows
            if writer is not None:
                writer.close()
                file.flush()
                self._file = pa.ipc.open_file(pa.memory_map(file.name))
        self._starts = starts
        self.recent: tuple[dict[int, Sample], ...] = ()
        """The samples that were made last, by row: replies come soon after."""
        self._block: Callable[[int], pa.RecordBatch] = lru_cache(_BLOCKS)(self._read)

    def _read(self, block: int) -> pa.RecordBatch:
        return self._file.get_batch(block)

    def row(self, row: int) -> dict[str, Any]:
        """The columns of a sample in a row."""
        block = bisect_right(self._starts, row) - 1
        within, batch = row - self._starts[block], self._block(block)
        return {name: batch.column(name)[within].as_py() for name in SAMPLE_SCHEMA.names}

    def take(self, rows: NDArray[np.int32]) -> list[dict[str, Any]]:
        """The columns of samples in some rows, in their order."""
        return self._take(rows, lambda batch: batch.select(SAMPLE_SCHEMA.names))

    def values(self, rows: NDArray[np.int32], name: str) -> list[Any]:
        """As `take`, of one column."""
        return self._take(rows, lambda batch: batch.column(name))

    def _take(self, rows: NDArray[np.int32], part: Callable[[pa.RecordBatch], Any]) -> list[Any]:
        blocks = np.searchsorted(self._starts, rows, "right") - 1
        found: list[Any] = [None] * len(rows)
        for block in np.unique(blocks).tolist():
            wanted = np.flatnonzero(blocks == block)
            within = _array(rows[wanted] - self._starts[block])
            taken = part(self._block(block)).take(within).to_pylist()
            for place, value in zip(wanted.tolist(), taken, strict=True):
                found[place] = value
        return found


def _array(values: NDArray[np.int32]) -> Any:
    import pyarrow as pa

    return pa.array(values)


@dataclass(frozen=True, eq=False)
class PreparedSamples(Sequence[Sample]):
    """Some rows of samples.parquet, in an order of their own."""

    rows: _Rows
    """All rows."""
    places: NDArray[np.int32]
    """The rows that are meant."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> PreparedSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | PreparedSamples:
        if isinstance(index, slice):
            return PreparedSamples(self.rows, self.places[index])
        return self.at(self.places[index])

    def __iter__(self) -> Iterator[Sample]:
        return (sample for _, sample in self.placed())

    def placed(self) -> Iterator[tuple[int, Sample]]:
        """Every sample with the number of its row in the file."""
        for start in range(0, len(self.places), _BATCH):
            places = self.places[start : start + _BATCH]
            samples = map(row_to_sample, self.rows.take(places))
            made = dict(zip(places.tolist(), samples, strict=True))
            self.rows.recent = made, *self.rows.recent[: _RECENT - 1]
            yield from made.items()

    def at(self, place: int) -> Sample:
        """The sample in a row of the file."""
        known = next((made[place] for made in self.rows.recent if place in made), None)
        return known or row_to_sample(self.rows.row(place))

    def column(self, name: str) -> Column:
        """The values of a column, sample by sample."""
        return Column(self, name)

    @property
    def ids(self) -> Column:
        return self.column("id")

    def where(self, name: str, holds: Callable[[Any], object]) -> PreparedSamples:
        """The samples whose value in a column is as wanted."""
        chosen = (bool(holds(value)) for value in self.column(name))
        return PreparedSamples(self.rows, self.places[np.fromiter(chosen, bool, len(self))])

    def sorted_by_clip(self) -> PreparedSamples:
        """Those about the same files in a row, in the order in which the files are first named."""
        files = zip(*(self.column(name) for name in ("video", "image", "audio")), strict=True)
        # Two clips with one hash would stand in one group, in which drafts are still told apart.
        hashes = (hash((video or image, audio or video)) for video, image, audio in files)
        clips = np.fromiter(hashes, np.int64, len(self))
        _, first, of_sample = np.unique(clips, return_index=True, return_inverse=True)
        order = np.argsort(first[of_sample], kind="stable")
        return PreparedSamples(self.rows, self.places[order])


@dataclass(frozen=True, eq=False)
class Column(Collection[Any]):
    """The values of a column, read some at a time whenever they are gone through."""

    samples: PreparedSamples
    name: str

    def __len__(self) -> int:
        return len(self.samples)

    def __contains__(self, value: object) -> bool:
        return any(each == value for each in self)

    def __iter__(self) -> Iterator[Any]:
        places = self.samples.places
        for start in range(0, len(places), _BATCH):
            yield from self.samples.rows.values(places[start : start + _BATCH], self.name)


def load_samples(run: Path) -> PreparedSamples:
    """All samples of a prepared run, in file order.

    Raises:
        DataError: the run was not prepared.
    """
    rows = _Rows(run / "samples.parquet")
    return PreparedSamples(rows, np.arange(rows.n, dtype=np.int32))


def load_usable(run: Path) -> PreparedSamples:
    """The samples that have a usable modality; raises as `load_samples`."""
    return load_samples(run).where("usable", lambda usable: usable is not None)


def load_prepared(run: Path, modality: Modality = "av") -> PreparedSamples:
    """The samples of which at least this modality is usable; raises as `load_samples`."""
    return load_samples(run).where("usable", lambda usable: set(modality) <= set(usable or ""))
