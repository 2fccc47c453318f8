"""Common to SFT and GRPO: arguments of TRL's trainers, and a training with its log."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl.trainer import utils as trl_utils

from avrt.config import RunConfig, StudentConfig
from avrt.train.callbacks import Meter, PlainLines, ProgressBar
from avrt.train.checkpoint import restore_weights
from avrt.train.disk import naming_full_disks
from avrt.train.feed import Feed, FollowEpochs
from avrt.train.held_out import HeldOut
from avrt.train.kept import RESUMABLE
from avrt.train.launch import deepspeed_settings, on_cpu, require_launch
from avrt.train.log import TrainingLog
from avrt.train.optimizer import has_cpu_adam, optimizer_name, use_cpu_adam
from avrt.train.reshard import resharded

__all__ = ["EndsAtLastStep", "activation_checkpointing", "common_arguments", "train_logged"]


class EndsAtLastStep(Trainer):
    """A trainer that trains no more when it is resumed from the checkpoint of its last step.

    The library's own adds a step, unless that was also the last of an epoch. And a checkpoint is
    complete, which its last file says, only when all processes have written their parts.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _score_labels_alone()
        super().__init__(*args, **kwargs)

    def _save_rng_state(self, *args: Any, **kwargs: Any) -> None:
        super()._save_rng_state(*args, **kwargs)
        self.accelerator.wait_for_everyone()

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)


def _score_labels_alone() -> None:
    """Let TRL's fused head compute logits only where a token has a label, on every device.

    Without Triton it computes them for the whole prompt as well, for the sake of compilers that
    want fixed shapes: on a CPU a large part of the work and the memory of a step.
    """
    names: Any = trl_utils
    names._use_triton = lambda _device: True  # asked for this alone; the kernels ask their own


def common_arguments(run: RunConfig, student: StudentConfig, stage: str) -> dict[str, Any]:
    """Trainer arguments that SFT and GRPO share; `stage` names the folder in the run directory.

    Raises:
        ConfigError: as `require_launch`.
    """
    require_launch(student)
    return {
        # Relative, because TRL stores it in every checkpoint.
        "output_dir": os.path.relpath(run.path / stage / "checkpoints"),
        "seed": run.seed,
        "data_seed": run.seed,
        "use_cpu": on_cpu(student),
        "bf16": student.dtype == "bfloat16",
        "optim": optimizer_name(student),
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "lr_scheduler_type": "cosine",
        # A mixture of experts is trained on the same loss as any other model.
        "router_aux_loss_coef": 0.0,
        "save_strategy": "steps",
        "save_total_limit": RESUMABLE,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(run.report_to),
        "run_name": f"{run.name}-{stage}",
        "project": "avrt",
        "remove_unused_columns": False,
        "dataloader_pin_memory": not on_cpu(student),
        # Every parameter that trains is used in every pass.
        "ddp_find_unused_parameters": False,
        # Its content, because TRL stores it, and a path is of this machine.
        "deepspeed": None if student.deepspeed is None else deepspeed_settings(student.deepspeed),
    }


def activation_checkpointing(enabled: bool) -> dict[str, Any]:
    """Give the trainer argument under its name in this version of transformers."""
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
    feed: Feed,
) -> None:
    """Train, from `checkpoint` on if it is given, with our log and a quiet progress bar.

    `shown` maps the trainer's name of a metric to its name on the terminal.
    """
    settings: Any = trainer.args.deepspeed  # those that `common_arguments` gave
    if has_cpu_adam(settings):
        use_cpu_adam(trainer)
    if trainer.accelerator.ddp_handler is not None:
        # Gradients are the buckets that processes exchange, not another copy of them.
        trainer.accelerator.ddp_handler.gradient_as_bucket_view = True
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.callback_handler.callbacks.insert(0, Meter(feed))  # before the trackers
    trainer.add_callback(log)
    printer = ProgressBar if sys.stderr.isatty() else PlainLines
    trainer.add_callback(printer(log.folder.name, shown))
    trainer.add_callback(FollowEpochs(feed, trainer))
    trainer.add_callback(held_out)
    if checkpoint is not None:
        restore_weights(trainer.model, checkpoint)
    with naming_full_disks(log.folder), resharded(trainer, checkpoint):
        trainer.train(resume_from_checkpoint=checkpoint)
