"""One message when another process of a launch has ended or hangs.

The process that is left learns it from the library that carries its tensors, in an error of that
library's own; which one depends on the device, the version and the moment.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from avrt.errors import LaunchError
from avrt.ranks import is_launched
from avrt.train.disk import describe_last

__all__ = ["LimitWaiting", "naming_lost_processes"]

SIGNS = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    *("Timed out waiting", "Application timeout", "gloo", "NCCL"),
)
"""What gloo and NCCL write into a `RuntimeError` when a process does not answer."""

Parameters = ParamSpec("Parameters")
Outcome = TypeVar("Outcome")


def naming_lost_processes(
    output: Callable[[Any], Path],
) -> Callable[[Callable[Parameters, Outcome]], Callable[Parameters, Outcome]]:
    """Let a training that loses a process say so in one message about its `output`, which is made
    of the function's first argument.
    """

    def decorate(run: Callable[Parameters, Outcome]) -> Callable[Parameters, Outcome]:
        @functools.wraps(run)
        def run_and_name(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Outcome:
            try:
                return run(*args, **kwargs)
            except RuntimeError as error:
                if not is_launched() or not _is_about_a_process(error):
                    raise
                path = output(args[0])
                raise LaunchError(
                    f"{path}: another process of this launch ended, or did not answer within "
                    f"student.process_timeout_s ({_first_sentence(error)}); {describe_last(path)}; "
                    "end what is left of the launch and run the same command again: it continues "
                    "from there"
                ) from error

        return run_and_name

    return decorate


def _first_sentence(error: RuntimeError) -> str:
    """Without the place in the library's source that stands before it."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(error)).partition(". ")[0].partition("\n")[0]


def _is_about_a_process(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in SIGNS)


class LimitWaiting(TrainerCallback):
    """Lets processes wait for each other for so long from the first step on.

    The trainer's own limit reaches no group of processes on a CPU, and none of DeepSpeed's. Before
    the first step processes wait as long as the libraries let them: half an hour.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout = timedelta(seconds=timeout_s)

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not distributed.is_initialized():
            return
        torch_own: Any = distributed.distributed_c10d
        for group in torch_own._world.pg_map:
            torch_own._set_pg_timeout(self._timeout, group)
