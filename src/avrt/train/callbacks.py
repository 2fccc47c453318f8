"""Callbacks of the trainer that measure each step and print the progress."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from typing_extensions import override

from avrt.errors import ConfigError
from avrt.runs import say

__all__ = ["Meter", "PlainLines", "ProgressBar", "memory_gib", "require_trackers"]

N_LINES = 50
"""Plain lines over a whole training, without those of evaluations."""
TRACKERS = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
"""Each tracker and its modules, of which at least one must be installed."""


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose library is not installed.

    Raises:
        ConfigError: a library is missing; the message has the command that installs it.
    """
    for name in names:
        if not any(importlib.util.find_spec(module) for module in TRACKERS[name]):
            raise ConfigError(
                f"run.report_to names {name}, which is not installed; run `pip install {name}`, or "
                f"remove it from run.report_to"
            )


class Waited(Protocol):
    """What knows how long the trainer has waited for data: a feed."""

    waited_s: float


class Meter(TrainerCallback):
    """Adds `step_time_s`, `tokens_per_s`, `waiting` and `memory_gib` to each step's numbers.

    Goes before all other callbacks, so that trackers get the numbers too. The time of a step covers
    its data, rollouts, passes and update, but no evaluation and no checkpoint. `waiting` is the
    share of it that the trainer waited for its data.
    """

    def __init__(self, feed: Waited) -> None:
        self._feed = feed
        self._mark_s = self._step_s = 0.0
        self._waited_mark_s = self._waited_s = 0.0
        self._n_tokens = 0.0

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._n_tokens = float(state.num_input_tokens_seen)
        self._start()

    @override
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._step_s = time.perf_counter() - self._mark_s
        self._waited_s = self._feed.waited_s - self._waited_mark_s
        self._start()

    @override
    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._start()

    @override
    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._start()

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: MutableMapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            self._start()  # an evaluation was logged
            return
        logs["step_time_s"] = self._step_s
        logs["waiting"] = self._waited_s / max(self._step_s, 1e-9)
        if "num_tokens" in logs:
            logs["tokens_per_s"] = (logs["num_tokens"] - self._n_tokens) / max(self._step_s, 1e-9)
            self._n_tokens = logs["num_tokens"]
        logs["memory_gib"] = memory_gib()

    def _start(self) -> None:
        self._mark_s = time.perf_counter()
        self._waited_mark_s = self._feed.waited_s


def memory_gib() -> float:
    """Measure the peak of memory so far: of the GPU, or of this process where there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


class PlainLines(TrainerCallback):
    """Writes about 50 lines to stderr over a training, and a line for each evaluation."""

    def __init__(self, stage: str, shown: Mapping[str, str]) -> None:
        """`shown` maps the trainer's name of a metric to its name in the line."""
        self._stage = stage
        self._shown = {**shown, "step_time_s": "s/step", "waiting": "waiting"}

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        step, n_steps = state.global_step, state.max_steps
        every = max(1, n_steps // N_LINES)
        if not state.is_world_process_zero or not logs:
            return
        if "loss" in logs and step % every and step not in (1, n_steps):
            return
        numbers = [f"{name} {logs[key]:.4g}" for key, name in self._shown.items() if key in logs]
        if numbers:
            say(", ".join([f"{self._stage}: step {step}/{n_steps}", *numbers]))


class ProgressBar(ProgressCallback):
    """A line on the terminal that ends with the numbers of the last step."""

    def __init__(self, stage: str, shown: Mapping[str, str]) -> None:
        """`shown` maps the trainer's name of a metric to its name on the terminal."""
        super().__init__()
        self._stage = stage
        self._shown = dict(shown)
        self._numbers: dict[str, str] = {}

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self._stage)

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.training_bar is not None and logs:
            self._numbers |= {
                name: f"{logs[key]:.3g}" for key, name in self._shown.items() if key in logs
            }
            self.training_bar.set_postfix(self._numbers)
