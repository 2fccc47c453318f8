"""One message when another process of a launch has ended or hangs.

The process that is left learns it from the library that carries its tensors, in an error of that
library's own; which one depends on the device, the version and the moment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from avrt.config import Config
from avrt.errors import LaunchError
from avrt.ranks import is_launched
from avrt.train.disk import describe_last

__all__ = ["naming_lost_processes"]

SIGNS = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    *("Timed out waiting", "Application timeout", "gloo", "NCCL"),
)
"""What gloo and NCCL write into a `RuntimeError` when a process does not answer."""

Parameters = ParamSpec("Parameters")
Outcome = TypeVar("Outcome")


def naming_lost_processes(
    folder: Callable[[Config], Path],
) -> Callable[[Callable[[Config], Outcome]], Callable[[Config], Outcome]]:
    """Let a training that loses a process say so in one message about its `folder`."""

    def decorate(run: Callable[[Config], Outcome]) -> Callable[[Config], Outcome]:
        @functools.wraps(run)
        def run_and_name(config: Config) -> Outcome:
            try:
                return run(config)
            except RuntimeError as error:
                if not is_launched() or not _is_about_a_process(error):
                    raise
                path = folder(config)
                raise LaunchError(
                    f"{path}: another process of this launch ended, or did not answer for "
                    f"student.process_timeout_s = {config.student.process_timeout_s:g} s (here: "
                    f"{str(error).splitlines()[0]}); {describe_last(path)}; end what is left of "
                    "the launch and run the same command again: it continues from there"
                ) from error

        return run_and_name

    return decorate


def _is_about_a_process(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or any(
        sign in str(error) for sign in SIGNS
    )
