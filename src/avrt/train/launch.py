"""The devices and processes of a training, checked before anything is loaded.

A training runs in one process, or in several that torchrun starts; `student.deepspeed` adds
DeepSpeed. The result depends on the number of processes only through the effective batch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from avrt.config import StudentConfig
from avrt.engines.windows import choose_attention
from avrt.errors import ConfigError, DataError, install_command
from avrt.ranks import is_launched, n_processes
from avrt.texts import read_json

__all__ = ["deepspeed_settings", "is_offloaded", "launch_settings", "on_cpu", "require_launch"]

PACKAGED = ("zero2",)
"""Names of DeepSpeed settings inside the package."""


def on_cpu(student: StudentConfig) -> bool:
    """Whether training runs on the CPU."""
    return student.device == "cpu" or not torch.cuda.is_available()


def require_launch(student: StudentConfig) -> None:
    """Refuse settings that this launch cannot train with.

    Raises:
        ConfigError: `student.device` names a device that only the launcher can choose, or a GPU
            that torch cannot use; bfloat16 on a CPU; several GPUs but one process; DeepSpeed
            without its package, its file or a launcher; or an optimizer or an attention that
            cannot work here.
    """
    if student.device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"student.device = {student.device!r}: training takes auto, cpu or cuda; "
            "choose among several GPUs with CUDA_VISIBLE_DEVICES"
        )
    if student.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "student.device = 'cuda', but torch can use no GPU here; set student.device to auto or "
            "cpu; `avrt doctor` shows what torch sees"
        )
    if on_cpu(student) and student.dtype == "bfloat16":
        raise ConfigError(
            "student.dtype = 'bfloat16': on a CPU training runs in float32; set "
            "student.dtype=float32, or use a GPU"
        )
    device = "cpu" if on_cpu(student) else "cuda"
    choose_attention(student.tower_attention, device, student.dtype)
    n_gpus = 0 if on_cpu(student) else torch.cuda.device_count()
    if n_gpus > 1 and not is_launched():
        raise ConfigError(
            f"{n_gpus} GPUs, but one process; start a process for each GPU: torchrun "
            f"--nproc-per-node {n_gpus} -m avrt sft CONFIG (or grpo), or choose a GPU with "
            "CUDA_VISIBLE_DEVICES"
        )
    if student.deepspeed is not None:
        _require_deepspeed(student.deepspeed, student.device == "cpu")
    if student.optimizer != "adamw":
        _require_8bit(student)


def _require_8bit(student: StudentConfig) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"student.optimizer = {student.optimizer!r} needs bitsandbytes, which is not "
            f"installed; run: {install_command('8bit')}, or set student.optimizer=adamw"
        )
    if student.optimizer == "paged_adamw_8bit" and on_cpu(student):
        raise ConfigError(
            "student.optimizer = 'paged_adamw_8bit': it moves pages between a GPU and its host, "
            "and training runs on the CPU; set student.optimizer=adamw_8bit"
        )
    if student.deepspeed and is_offloaded(deepspeed_settings(student.deepspeed)):
        raise ConfigError(
            f"student.optimizer = {student.optimizer!r}: DeepSpeed keeps the optimizer on the CPU "
            "in float32; set student.optimizer=adamw, or student.deepspeed=null"
        )


def _require_deepspeed(name: str, is_cpu_wanted: bool) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            "student.deepspeed is set, but deepspeed is not installed; run: "
            f"{install_command('deepspeed')}, or set student.deepspeed=null"
        )
    if not is_launched():
        raise ConfigError(
            f"student.deepspeed = {name!r} needs a launcher, even for one process: run "
            "torchrun --nproc-per-node 1 -m avrt sft CONFIG (or grpo), or set "
            "student.deepspeed=null"
        )
    if torch.cuda.is_available() and is_cpu_wanted:
        raise ConfigError(
            "student.deepspeed with student.device = 'cpu' works only while GPUs are hidden; set "
            "CUDA_VISIBLE_DEVICES to the empty string, or set student.deepspeed=null"
        )
    deepspeed_settings(name)


def deepspeed_settings(name: str) -> dict[str, Any]:
    """The settings that `student.deepspeed` names, as DeepSpeed takes them.

    Raises:
        ConfigError: no such file, or its settings train in half precision or at ZeRO stage 3.
    """
    path = Path(str(resources.files("avrt.train") / f"{name}.json" if name in PACKAGED else name))
    try:
        settings: dict[str, Any] = read_json(path)
        stage = settings.get("zero_optimization", {}).get("stage", 0)
        is_half = settings.get("fp16", {}).get("enabled", False)
    except DataError as error:
        raise ConfigError(
            f"student.deepspeed: {error}; name a JSON file, or packaged "
            f"settings: {', '.join(PACKAGED)}"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{name}: not DeepSpeed's JSON settings: {error}") from error
    if stage == 3:
        raise ConfigError(
            f"{name}: ZeRO stage 3 hangs on batches of pictures and sound; use stage 2"
        )
    if is_half:
        raise ConfigError(f"{name}: fp16 is not supported; remove it and set student.dtype")
    return settings


def is_offloaded(settings: Mapping[str, Any] | None) -> bool:
    """Whether these settings let DeepSpeed keep the optimizer on the CPU."""
    zero = (settings or {}).get("zero_optimization", {})
    return zero.get("offload_optimizer", {}).get("device") == "cpu"


def launch_settings(name: str | None) -> dict[str, Any]:
    """The parts of a launch that change the result or the form of the checkpoints.

    They belong to the stage's fingerprint. `name` is `student.deepspeed`.
    """
    return {
        "processes": n_processes(),
        "deepspeed": None if name is None else deepspeed_settings(name),
    }
