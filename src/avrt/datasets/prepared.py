"""The samples of a prepared run, as columns: a `Sample` is made where one is looked at.

Reads RUN/samples.parquet. Hundreds of thousands of samples take some hundred bytes each, as they do
in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, overload

from avrt.datasets.parquet import SAMPLE_SCHEMA, row_to_sample
from avrt.runs import read_table
from avrt.types import Modality, Sample

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PreparedSamples", "load_prepared", "load_samples", "load_usable"]

_BATCH = 500
"""Samples that are made together."""


@dataclass(frozen=True, eq=False)
class PreparedSamples(Sequence[Sample]):
    """Some rows of samples.parquet, in an order of their own."""

    table: pa.Table
    """All rows, as one chunk."""
    places: Sequence[int]
    """The rows that are meant."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> PreparedSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | PreparedSamples:
        if isinstance(index, slice):
            return PreparedSamples(self.table, self.places[index])
        return self.at(self.places[index])

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self.places), _BATCH):
            rows = self.table.take(list(self.places[start : start + _BATCH]))
            yield from map(row_to_sample, rows.to_pylist())

    def at(self, place: int) -> Sample:
        """The sample in a row of the file."""
        return row_to_sample(
            {name: self.table.column(name)[place].as_py() for name in SAMPLE_SCHEMA.names}
        )

    def column(self, name: str) -> list[Any]:
        """The values of a column, sample by sample; equal texts are in memory once."""
        values = self.table.column(name).to_pylist()
        chosen = (values[place] for place in self.places)
        return [intern(value) if isinstance(value, str) else value for value in chosen]

    @property
    def ids(self) -> list[str]:
        return self.column("id")

    def where(self, name: str, holds: Callable[[Any], object]) -> PreparedSamples:
        """The samples whose value in a column is as wanted."""
        pairs = zip(self.places, self.column(name), strict=True)
        return PreparedSamples(self.table, [place for place, value in pairs if holds(value)])

    def sorted_by_clip(self) -> PreparedSamples:
        """Those about the same files in a row, in the order in which the files are first named."""
        rank: dict[tuple[str | None, str | None], int] = {}
        files = zip(*(self.column(name) for name in ("video", "image", "audio")), strict=True)
        ranks = [
            rank.setdefault((video or image, audio or video), len(rank))
            for video, image, audio in files
        ]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        return PreparedSamples(self.table, [self.places[i] for i in order])


def load_samples(run: Path) -> PreparedSamples:
    """All samples of a prepared run, in file order.

    Raises:
        DataError: the run was not prepared.
    """
    table = read_table(run / "samples.parquet", [*SAMPLE_SCHEMA.names, "usable", "status"])
    return PreparedSamples(table, range(table.num_rows))


def load_usable(run: Path) -> PreparedSamples:
    """The samples that have a usable modality; raises as `load_samples`."""
    return load_samples(run).where("usable", lambda usable: usable is not None)


def load_prepared(run: Path, modality: Modality = "av") -> PreparedSamples:
    """The samples of which at least this modality is usable; raises as `load_samples`."""
    return load_samples(run).where("usable", lambda usable: set(modality) <= set(usable or ""))
