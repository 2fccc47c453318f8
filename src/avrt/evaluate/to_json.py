"""Results for programs: what `avrt eval` prints as text, as plain dictionaries."""

from __future__ import annotations

from typing import Any

from avrt.config import Config
from avrt.evaluate.checkpoints import split_name
from avrt.evaluate.results import ModelResult, read_results
from avrt.evaluate.statistics import Accuracy

__all__ = ["results_to_json"]


def results_to_json(config: Config) -> list[dict[str, Any]]:
    """One dictionary per benchmark, model and modality of the configured models, and of the kept
    checkpoints, with their training and step.

    Accuracies are shares from 0 to 1 with their 95 % interval; null where nothing was counted.

    Raises:
        DataError: a log that cannot be read.
    """
    names = {*config.eval.models, *config.eval.pools}
    return [
        _to_json(result)
        for result in read_results(config, with_texts=False)
        if result.model in names or split_name(result.model)
    ]


def _to_json(result: ModelResult) -> dict[str, Any]:
    by_group = {
        group: {value: _accuracy(accuracy) for value, accuracy in result.by_group(group).items()}
        for group in result.groups
    }
    training, step = split_name(result.model) or (None, None)
    return {
        "benchmark": result.benchmark,
        "model": result.model,
        "training": training,
        "step": step,
        "modality": result.modality,
        "strict": _accuracy(result.accuracy),
        "official": None if result.official is None else _accuracy(result.official),
        "answers": dict(result.counts),
        "n_items": result.n_items,
        "n_left": result.n_left,
        "invalid_rate": result.invalid_rate,
        "cut_sounds": result.cut_sounds,
        "scaled_pictures": result.scaled_pictures,
        "prompt": result.prompt,
        "protocol": result.protocol_id,
        "set_notes": list(result.set_notes),
        "by_group": by_group,
    }


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    low, high = accuracy.interval
    return {"value": accuracy.value, "low": low, "high": high, "n": accuracy.n}
