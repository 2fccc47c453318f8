"""The optimizer of a training: AdamW with states of 32 or 8 bits, or DeepSpeed's own on the CPU."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch.utils.cpp_extension import get_cxx_compiler, is_ninja_available
from transformers import Trainer

from avrt.config import StudentConfig
from avrt.runs import say
from avrt.train.launch import deepspeed_settings, is_offloaded, on_cpu

__all__ = ["describe_optimizer", "has_cpu_adam", "optimizer_name", "use_cpu_adam"]


def optimizer_name(student: StudentConfig) -> str:
    """Give the optimizer under its name in transformers."""
    if student.optimizer != "adamw":
        return student.optimizer
    if on_cpu(student) or student.deepspeed is not None:
        return "adamw_torch"
    return "adamw_torch_fused"  # the other one holds a copy of all second moments for a moment


def describe_optimizer(student: StudentConfig) -> str:
    """Name the optimizer of a training; nothing is built for it."""
    name = student.deepspeed
    if name is None or not is_offloaded(deepspeed_settings(name)):
        return student.optimizer
    if _may_build():
        return "DeepSpeed's AdamW on the CPU, which is built at the first start"
    return "torch's AdamW on the CPU; DeepSpeed's own needs deepspeed, a C++ compiler and ninja"


def has_cpu_adam(settings: Mapping[str, Any] | None) -> bool:
    """Whether these settings of DeepSpeed train with its own AdamW for the CPU.

    The first call builds it, in a minute or so; where that fails, torch's is used.
    """
    return is_offloaded(settings) and _may_build() and _is_built()


def _may_build() -> bool:
    tools = shutil.which(get_cxx_compiler()) is not None and is_ninja_available()
    return tools and importlib.util.find_spec("deepspeed") is not None


@cache
def _is_built() -> bool:
    builders = importlib.import_module("deepspeed.ops.op_builder")  # an extra
    try:
        builders.CPUAdamBuilder().load(verbose=False)
    except (
        AssertionError,
        ImportError,
        OSError,
        RuntimeError,
        subprocess.SubprocessError,
    ) as error:
        say(f"train: DeepSpeed's AdamW cannot be built, so torch's is used: {error}")
        return False
    return True


def use_cpu_adam(trainer: Trainer) -> None:
    """Let a trainer make DeepSpeed's AdamW for the CPU, with the parameter groups of torch's."""
    arguments: Any = trainer.args
    options: dict[str, Any] = {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }
    adam = importlib.import_module("deepspeed.ops.adam")
    trainer.optimizer_cls_and_kwargs = (adam.DeepSpeedCPUAdam, options)
