"""Tables of the training logs: the numbers at the start and at the end, and the curves' points.

Reads RUN/sft/log.jsonl and RUN/grpo*/log.jsonl.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from avrt.errors import DataError
from avrt.evaluate.statistics import Accuracy
from avrt.evaluate.summary import interval_text
from avrt.report.accuracy import accuracy_cell
from avrt.report.faults import attempt, manifest_of
from avrt.report.tables import Table

__all__ = [
    "METRICS",
    "TrainingRun",
    "held_out_table",
    "moving_average",
    "read_training",
    "thinned",
    "training_table",
]

METRICS: Mapping[str, str] = {
    "loss": "loss",
    "eval_loss": "validation loss",
    "eval_accuracy": "held-out accuracy",
    "eval_format": "held-out well-formed answers",
    "eval_parsed": "held-out readable answers",
    "eval_n": "held-out prompts",
    "reward": "reward",
    "reward_format": "format reward",
    "reward_accuracy": "accuracy reward",
    "reward_length": "length reward",
    "reward_judge": "judge's reward",
    "pass_at_g": "share of groups with a right completion",
    "kl": "KL to the reference",
    "entropy": "entropy (nats)",
    "completion_length": "completion length (tokens)",
    "completion_length_max": "longest completion (tokens)",
    "truncated": "share of cut completions",
    "parsed": "share of readable answers",
    "zero_spread": "share of groups without spread",
    "dropped_groups": "groups replaced for lack of spread",
    "judge_failed": "share of completions without a verdict",
    "clip_fraction": "share of clipped ratios",
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
    "step_time_s": "step time (s)",
    "tokens_per_s": "tokens per second",
    "memory_gib": "most memory (GiB)",
}
"""Field of the log and its name for readers, in the order in which they are shown."""


@dataclass(frozen=True)
class TrainingRun:
    """The log of one training stage."""

    name: str
    series: Mapping[str, Sequence[tuple[int, float]]]
    """(step, value) by metric; a metric that was never logged is absent."""
    start: str | None = None
    """Revision of the model that it started from; None while it is not finished."""

    @property
    def n_steps(self) -> int:
        return max((step for points in self.series.values() for step, _ in points), default=0)

    def held_out(self) -> list[tuple[int, Accuracy]]:
        """(step, accuracy on held-out prompts), in order of the steps."""
        counts = dict(self.series.get("eval_n", ()))
        return [
            (step, Accuracy(round(share * counts[step]), round(counts[step])))
            for step, share in self.series.get("eval_accuracy", ())
            if step in counts
        ]


def read_training(run: Path, faults: list[str] | None = None) -> list[TrainingRun]:
    """Every training log of a run: sft, then the grpo runs by name; `faults` as in `attempt`."""
    paths = sorted(run.glob("sft/log.jsonl")) + sorted(run.glob("grpo*/log.jsonl"))
    runs = [
        TrainingRun(
            path.parent.name,
            attempt(lambda path=path: _read_series(path), {}, faults),
            _start(run, path.parent.name),
        )
        for path in paths
    ]
    return [training for training in runs if training.series]


def training_table(runs: Sequence[TrainingRun]) -> Table:
    """Each metric's mean over the first and the last tenth of its steps."""
    rows = [
        (training.name, METRICS[metric], *_ends(points), str(len(points)))
        for training in runs
        for metric, points in training.series.items()
    ]
    return Table(
        "training",
        "Training, start and end",
        ("Stage", "Metric", "First tenth", "Last tenth", "Points"),
        tuple(rows),
        text_columns=2,
    )


def held_out_table(runs: Sequence[TrainingRun]) -> Table | None:
    """Accuracy on held-out prompts at each evaluation during training."""
    rows = [
        (
            training.name,
            str(step),
            replace(accuracy_cell(accuracy), details=()),
            interval_text(*accuracy.interval),
            str(accuracy.n),
        )
        for training in runs
        for step, accuracy in training.held_out()
    ]
    if not rows:
        return None
    return Table(
        "held-out",
        "Held-out accuracy over training",
        ("Stage", "Step", "Accuracy", "95 % interval", "n"),
        tuple(rows),
    )


def _start(run: Path, stage: str) -> str | None:
    manifest = manifest_of(run, stage)
    return None if manifest is None else manifest["settings"].get("student", {}).get("revision")


def _read_series(path: Path) -> Mapping[str, Sequence[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {metric: [] for metric in METRICS}
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a torn last line is not a step
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            for metric in METRICS:
                value = row.get(metric)
                if value is not None and math.isfinite(value):
                    series[metric].append((int(row["step"]), float(value)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}:{number}: not a row of a training log: {error}; delete that line"
            ) from error
    return {metric: points for metric, points in series.items() if points}


def _ends(points: Sequence[tuple[int, float]]) -> tuple[str, str]:
    width = max(1, len(points) // 10)
    values = [value for _, value in points]
    first, last = values[:width], values[-width:]
    return f"{sum(first) / width:.4g}", f"{sum(last) / width:.4g}"


def moving_average(values: Sequence[float], radius: int) -> list[float]:
    """Mean over up to 2 x radius + 1 neighbours."""
    sums = list(accumulate(values, initial=0.0))
    n = len(values)
    ends = [(max(0, i - radius), min(n, i + radius + 1)) for i in range(n)]
    return [(sums[high] - sums[low]) / (high - low) for low, high in ends]


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most so many points, each the mean of as many steps, at the last of them."""
    if len(points) <= most:
        return list(points)
    width = math.ceil(len(points) / most)
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
