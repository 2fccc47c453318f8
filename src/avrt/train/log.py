"""The logs of a training, as callbacks of the trainer.

Writes log.jsonl, a line for each optimizer step and each evaluation, and for GRPO
completions.jsonl, a line for each group that a person may read. A resumed run drops the lines
beyond its checkpoint, so that every step is in a log once. Warnings stand in the line that is their
reason, and are said once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from avrt.errors import AvrtError
from avrt.runs import say, write_atomic
from avrt.train.doubts import Doubt

__all__ = ["CompletionLog", "Completions", "TrainingLog", "read_log", "warning_lines"]


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a log, without a last line that a crash cut off."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def warning_lines(path: Path) -> str:
    """Give the warnings in a log, each on a line of its own that follows a summary."""
    warnings = (row["warnings"] for row in read_log(path) if "warnings" in row)
    return "".join(f"\n  warning: {text}" for of_row in warnings for text in of_row.values())


class TrainingLog(TrainerCallback):
    """Append the chosen metrics of each step to a file; stop a run that has diverged."""

    def __init__(self, path: Path, fields: Mapping[str, str], doubt: Doubt | None = None) -> None:
        """`fields` maps the trainer's name of a metric to its name in the log; `doubt` gives the
        warnings that a new row is the reason for.
        """
        self._path = path
        self._doubt = doubt
        self._rows: list[dict[str, Any]] = []
        self.folder = path.parent
        self._fields = dict(fields)

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._rows = _keep_until(self._path, state.global_step)

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        row = {name: logs[key] for key, name in self._fields.items() if logs and key in logs}
        if not row:
            return
        for name in ("loss", "grad_norm"):
            if not math.isfinite(row.get(name) or 0.0):
                raise AvrtError(
                    f"step {state.global_step}: {name} is {row[name]}, the training has diverged; "
                    "lower learning_rate or max_grad_norm, and train under another run.name"
                )
        if state.is_world_process_zero:
            row = {"step": state.global_step, **row}
            self._rows.append(row)
            if self._doubt is not None and (warnings := self._doubt(self._rows)):
                row["warnings"] = dict(warnings)
                for text in warnings.values():
                    say(f"{self.folder.name}: warning: {text}")
            _append(self._path, row)


@dataclass(frozen=True)
class Completions:
    """The completions of one prompt in a rollout."""

    id: str
    """Of the sample."""
    texts: Sequence[str]
    rewards: Mapping[str, Sequence[float | None]]
    """By name, before their weights; None where a judge gave no verdict."""
    advantages: Sequence[float]


class CompletionLog(TrainerCallback):
    """Append the first groups of each rollout to a file, so that a person can read on."""

    def __init__(
        self,
        path: Path,
        rollout: Callable[[], Iterator[Completions]],
        n_groups: int,
        every: int,
    ) -> None:
        """`rollout` gives the groups of the last rollout; there is one in `every` steps."""
        self._path, self._rollout = path, rollout
        self._n_groups, self._every = n_groups, every

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            _keep_until(self._path, state.global_step)

    @override
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and (state.global_step - 1) % self._every == 0:
            for group in islice(self._rollout(), self._n_groups):
                _append(self._path, {"step": state.global_step, **asdict(group)})


def _keep_until(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the rows of later steps, which will be written again."""
    rows = [row for row in read_log(path) if row["step"] <= step]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomic(path, lambda file: file.write(text.encode()))
    return rows


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
