"""What SFT and GRPO ask of TRL's trainers alike: their common arguments, and one logged run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from avrt.config import Config
from avrt.train.callbacks import Meter, PlainLines, ProgressBar
from avrt.train.checkpoint import restore_weights
from avrt.train.disk import naming_full_disks
from avrt.train.held_out import HeldOut
from avrt.train.launch import deepspeed_settings, on_cpu, require_launch
from avrt.train.log import TrainingLog

__all__ = ["activation_checkpointing", "common_arguments", "train_logged"]


def common_arguments(config: Config, folder: Path) -> dict[str, Any]:
    """Trainer arguments that SFT and GRPO share.

    Raises:
        ConfigError: as `require_launch`.
    """
    require_launch(config)
    name = config.student.deepspeed
    return {
        # Relative, because TRL stores it in every checkpoint.
        "output_dir": os.path.relpath(folder / "checkpoints"),
        "seed": config.run.seed,
        "data_seed": config.run.seed,
        "use_cpu": on_cpu(config),
        "bf16": config.student.dtype == "bfloat16",
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
        "dataloader_pin_memory": not on_cpu(config),
        # Every parameter that trains is used in every pass, so none has to be looked for.
        "ddp_find_unused_parameters": False,
        # Its content, because TRL stores it, and a path is of this machine.
        "deepspeed": None if name is None else deepspeed_settings(name),
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
    trainer.add_callback(printer(log.folder.name, shown))
    trainer.add_callback(held_out)
    if checkpoint is not None:
        restore_weights(trainer.model, checkpoint)
    with naming_full_disks(log.folder):
        trainer.train(resume_from_checkpoint=checkpoint)
