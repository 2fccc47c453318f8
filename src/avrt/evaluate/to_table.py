"""Results as a table, for notebooks: a row for each benchmark, model and modality."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from avrt.evaluate.results import ModelResult

__all__ = ["RESULT_SCHEMA", "results_table"]

RESULT_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("benchmark", "model", "modality")),
        *(pa.field(name, pa.float64()) for name in ("accuracy", "low", "high", "official")),
        *(
            pa.field(name, pa.int64())
            for name in ("n_items", "scored", "unparsable", "failed", "missing_media", "n_left")
        ),
        *(pa.field(name, pa.int64()) for name in ("cut_sounds", "scaled_pictures")),
        pa.field("prompt", pa.string()),
        pa.field("protocol", pa.string()),
    ]
)
"""Accuracies are shares from 0 to 1; `low` and `high` bound the 95 % interval of the strict one;
counts are of answers, of which an item may have several.
"""


def results_table(results: Iterable[ModelResult]) -> pa.Table:
    """The results that `read_results` gives, in its order; `to_pandas()` makes a DataFrame."""
    return pa.Table.from_pylist([_row(result) for result in results], schema=RESULT_SCHEMA)


def _row(result: ModelResult) -> dict[str, Any]:
    low, high = result.accuracy.interval
    return {
        "benchmark": result.benchmark,
        "model": result.model,
        "modality": result.modality,
        "accuracy": result.accuracy.value,
        "low": low,
        "high": high,
        "official": None if result.official is None else result.official.value,
        "n_items": result.n_items,
        "n_left": result.n_left,
        "cut_sounds": result.cut_sounds,
        "scaled_pictures": result.scaled_pictures,
        "prompt": result.prompt,
        "protocol": result.protocol_id,
        **result.counts,
    }
