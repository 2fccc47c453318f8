"""What SFT and GRPO ask of TRL's trainers alike: their common arguments, and one logged run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.train.checkpoint import restore_weights
from avrt.train.held_out import HeldOut
from avrt.train.log import TrainingLog
from avrt.train.watch import Meter, PlainLines, ProgressBar

__all__ = ["activation_checkpointing", "common_arguments", "train_logged"]


def common_arguments(config: Config, folder: Path) -> dict[str, Any]:
    """Trainer arguments that SFT and GRPO share.

    Raises:
        ConfigError: `student.device` names a device that only the launcher can choose, or a GPU
            that torch cannot use.
    """
    if config.student.device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"student.device = {config.student.device!r}: training takes auto, cpu or cuda; "
            "choose one of several devices with CUDA_VISIBLE_DEVICES"
        )
    if config.student.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "student.device = 'cuda', but torch can use no GPU here; set student.device to auto or "
            "cpu; `avrt doctor` shows what torch sees"
        )
    on_cpu = config.student.device == "cpu" or not torch.cuda.is_available()
    return {
        # Relative, because TRL stores it in every checkpoint.
        "output_dir": os.path.relpath(folder / "checkpoints"),
        "seed": config.run.seed,
        "data_seed": config.run.seed,
        "use_cpu": on_cpu,
        "bf16": config.student.dtype == "bfloat16" and not on_cpu,
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "lr_scheduler_type": "cosine",
        "save_strategy": "steps",
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(config.run.report_to),
        "run_name": f"{config.run.name}-{folder.name}",
        "project": "avrt",
        "remove_unused_columns": False,
        "dataloader_pin_memory": not on_cpu,
    }


def activation_checkpointing(enabled: bool) -> dict[str, Any]:
    """The trainer argument under the name that this version of transformers has for it."""
    # Renamed in transformers 5.23; the old name then warns.
    names = {field.name for field in fields(TrainingArguments)}
    new, old = "activation_checkpointing", "gradient_checkpointing"
    return {new if new in names else old: enabled}


def train_logged(
    trainer: Trainer,
    log: TrainingLog,
    shown: Mapping[str, str],
    checkpoint: str | None,
    held_out: HeldOut,
) -> None:
    """Train, from `checkpoint` on if there is one, with our log and one quiet progress bar.

    `shown` maps the trainer's name of a metric to its name on the terminal.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.callback_handler.callbacks.insert(0, Meter())  # before the trackers
    trainer.add_callback(log)
    printer = ProgressBar if sys.stderr.isatty() else PlainLines
    trainer.add_callback(printer(log.stage, shown))
    trainer.add_callback(held_out)
    if checkpoint is not None:
        restore_weights(trainer.model, checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
