"""An evaluation set as it is configured: its items, the modalities they have, its digests.

Writes RUN/eval/BENCH/samples.parquet: the questions with their groups and published rows, which
the report and every scorer read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from avrt.config import BenchmarkConfig, EvalConfig
from avrt.datasets import SAMPLE_SCHEMA, read_items, require_media, row_to_sample, sample_to_row
from avrt.errors import ConfigError, DataError
from avrt.evaluate.benchmarks import notes
from avrt.evaluate.logs import samples_path
from avrt.evaluate.protocol import questions_digest
from avrt.runs import iter_parquet, write_parquet
from avrt.types import BenchmarkItem, Given, Sample

__all__ = ["EvalSet", "StoredSet", "read_benchmark", "read_stored_set", "write_items"]

ITEM_SCHEMA = pa.schema(
    [*SAMPLE_SCHEMA, *(pa.field(name, pa.string()) for name in ("format", "groups", "row"))]
)
"""`groups` and `row` are JSON: what they hold differs from benchmark to benchmark."""


_NAMED_BY_CLIP = (
    *("daily_omni", "omnivideobench", "worldsense"),
    *("rivabench_standup", "rivabench_academic", "avhbench"),
)
"""Formats whose rows have no id of their own."""


@dataclass(frozen=True)
class StoredSet:
    """The questions of a set as they lie beside its logs."""

    format: str | None
    """Names the authors' rule; None when there is no question."""
    items: Mapping[str, BenchmarkItem]
    """By id."""


@dataclass(frozen=True)
class EvalSet:
    """One evaluation set."""

    name: str
    data: BenchmarkConfig
    items: tuple[BenchmarkItem, ...]
    """All questions of the set."""
    unusable: Mapping[str, int]
    """Rows of the annotations that hold no question to score, by reason."""
    limit: int | None
    """Only the first of them are evaluated."""

    @property
    def samples(self) -> list[Sample]:
        """All questions of the set."""
        return [item.sample for item in self.items]

    @property
    def asked(self) -> Sequence[BenchmarkItem]:
        """The questions that are evaluated."""
        return self.items[: self.limit]

    @cached_property
    def notes(self) -> list[str]:
        """Notes for readers of a result: differences from the published set, rows left out."""
        return [
            *notes(self.data, self.items),
            *(
                f"{n} rows hold no question that can be scored: {reason}"
                for reason, n in sorted(self.unusable.items())
            ),
        ]

    @cached_property
    def by_id(self) -> Mapping[str, BenchmarkItem]:
        """The items by their id."""
        return {item.sample.id: item for item in self.items}

    @cached_property
    def ids(self) -> Mapping[str, Sequence[str]]:
        """AVRT's ids of the questions that an id names, in their order: AVRT's own, that of the
        benchmark, or that of a clip where the benchmark has none for its questions.
        """
        prefix = f"{self.data.format}-"
        if self.data.format == "avqa":
            prefix += f"{self.data.split}-"
        clips: dict[str, list[str]] = {}
        for sample in self.samples if self.data.format in _NAMED_BY_CLIP else ():
            clips.setdefault(sample.video_id, []).append(sample.id)
        own = {sample.id.removeprefix(prefix): [sample.id] for sample in self.samples}
        return {**clips, **own, **{sample.id: [sample.id] for sample in self.samples}}

    @property
    def id_examples(self) -> str:
        """The kinds of ids, in words."""
        first = self.samples[0].id
        own = [repr(name) for name, ids in self.ids.items() if first in ids and name != first]
        beside = f" or, as the benchmark names them, {' or '.join(own)}" if own else ""
        return f"{first!r}{beside}"

    def modalities(self, wanted: Sequence[Given]) -> list[Given]:
        """Those of the wanted modalities that at least one item has."""
        samples = self.samples
        has: dict[Given, bool] = {
            "none": True,
            "a": any(s.sound_path for s in samples),
            "v": any(s.picture_path for s in samples),
            "av": any(s.sound_path and s.picture_path for s in samples),
        }
        return [modality for modality in dict.fromkeys(wanted) if has[modality]]

    @cached_property
    def questions_digest(self) -> str:
        """Of the questions and their gold answers, whatever limit is set."""
        return questions_digest(self.samples)


def read_benchmark(settings: EvalConfig, name: str, needs_media: bool = True) -> EvalSet:
    """The set under `eval.benchmarks.NAME`.

    Raises:
        ConfigError: its folder or file is not there, or none of the media files that are needed.
        DataError: a malformed row, or no question at all.
    """
    data = settings.benchmarks[name]
    unusable: Counter[str] = Counter()
    try:
        items = tuple(read_items(data, unusable))
        if needs_media:
            require_media(data.root, [item.sample for item in items])
    except ConfigError as error:
        raise ConfigError(
            f"eval.benchmarks.{name}: {error} "
            f"(for this benchmark, data.root is eval.benchmarks.{name}.root, and so on)"
        ) from error
    if not items:
        raise DataError(f"eval.benchmarks.{name}: no questions in {data.root} (split {data.split})")
    return EvalSet(name, data, items, unusable, settings.limit)


def write_items(run: Path, benchmark: EvalSet) -> None:
    """Store the questions of a set beside its logs; equal sets give equal bytes."""
    rows = (
        {
            **sample_to_row(item.sample),
            "format": benchmark.data.format,
            "groups": json.dumps(item.groups, ensure_ascii=False),
            "row": json.dumps(item.row, ensure_ascii=False, sort_keys=True),
        }
        for item in benchmark.items
    )
    write_parquet(samples_path(run, benchmark.name), rows, ITEM_SCHEMA)


def read_stored_set(run: Path, name: str) -> StoredSet:
    """The questions of an evaluated set.

    Raises:
        DataError: the file is absent or cannot be read.
    """
    kind: str | None = None
    items: dict[str, BenchmarkItem] = {}
    for row in iter_parquet(samples_path(run, name)):
        kind = row["format"]
        groups, published = json.loads(row["groups"]), json.loads(row["row"])
        items[row["id"]] = BenchmarkItem(row_to_sample(row), groups, published)
    return StoredSet(kind, items)
