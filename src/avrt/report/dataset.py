"""The statistics of the dataset as a table, as `avrt stats` computes them.

Reads RUN/dataset/ and RUN/media.parquet through the stage `stats`, which also stores them in
RUN/dataset/statistics.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from avrt.config import Config
from avrt.generate import stats
from avrt.report.tables import Table

__all__ = ["dataset_table"]


def dataset_table(config: Config) -> Table | None:
    """Every statistic of both splits; None while there is no dataset."""
    folder = config.run.path / "dataset"
    needed = (
        folder / "train.parquet",
        folder / "validation.parquet",
        config.run.path / "media.parquet",
    )
    if not all(path.is_file() for path in needed):
        return None
    stats.run(config)
    described = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
    train, validation = described["train"], described["validation"]
    return Table(
        "dataset",
        "Statistics of the dataset",
        ("", "Train", "Validation"),
        tuple((name, train[name] or "–", validation[name] or "–") for name in _ordered(train)),
        (f"Lengths are counted in {described['length_unit']}; ± is one standard deviation.",),
    )


_GROUPS = (
    "samples",
    "format",
    "think",
    "answer",
    "duration",
    "primary",
    "type",
    "gold",
    "relation",
)


def _ordered(described: Mapping[str, str | None]) -> list[str]:
    """Statistics in the order of the method's own table; question types by their share."""

    def rank(name: str) -> tuple[int, float, str]:
        group = name.split()[0].rstrip(",")
        share = float(described[name] or 0) if group == "type" else 0.0
        return (_GROUPS.index(group) if group in _GROUPS else len(_GROUPS), -share, name)

    return sorted(described, key=rank)
