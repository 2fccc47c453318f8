"""The student's checkpoints: load and freeze, resume an interrupted run, save the result.

Weights are loaded in float32 whatever `student.dtype` says: AdamW's updates at the usual learning
rates are smaller than bfloat16 can add to a weight. With bfloat16 the forward and backward passes
run under autocast.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, Trainer

from avrt.config import Config
from avrt.engines.checkpoints import architecture_of, load, model_identity, resolve
from avrt.errors import ConfigError
from avrt.prompts import load_prompt
from avrt.runs import Stage, fingerprint, write_json

__all__ = [
    "count_parameters",
    "describe_student",
    "freeze_towers",
    "load_student",
    "open_checkpoints",
    "restore_weights",
    "save_model",
    "student_settings",
]

TOWERS = ("visual", "audio_tower")
"""The frozen parts of a thinker; the projections into the language model lie inside them."""


def load_student(path: str) -> tuple[Any, Any]:
    """A thinker with frozen towers and its processor, on the CPU in float32; the trainer moves it.

    Raises:
        ConfigError: the checkpoint is of another kind.
    """
    transformers.utils.logging.disable_progress_bar()
    loaded = load(path, device="cpu", dtype="float32")
    _check_thinker(path, loaded.model)
    freeze_towers(loaded.model)
    return loaded.model, loaded.processor


def _check_thinker(path: str, model: PreTrainedModel) -> None:
    if all(hasattr(model.base_model, tower) for tower in TOWERS):
        return
    raise ConfigError(
        f"{path}: a {type(model).__name__} cannot be the student, it has no picture and sound "
        "towers; name a checkpoint of a Qwen2.5-Omni thinker (architecture "
        "Qwen2_5OmniThinkerForConditionalGeneration)"
    )


def freeze_towers(model: PreTrainedModel) -> None:
    """Train the language model only; the towers and their projections keep their weights."""
    for tower in TOWERS:
        getattr(model.base_model, tower).requires_grad_(False)


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Numbers of trainable and of frozen parameters."""
    counts = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts


def describe_student(path: str) -> tuple[dict[str, int], Any] | None:
    """Parameter counts and processor of a student, without loading its weights.

    Returns None for a student that does not lie on this machine.
    """
    folder = resolve(path)
    if not Path(folder, "config.json").is_file():
        return None
    whole = transformers.AutoConfig.from_pretrained(folder)
    architecture, config = architecture_of(whole, path)
    with torch.device("meta"):
        model = architecture(config)
    _check_thinker(path, model)
    freeze_towers(model)
    return count_parameters(model), transformers.AutoProcessor.from_pretrained(folder)


def student_settings(config: Config, model: str) -> dict[str, Any]:
    """What, besides a stage's own section, changes the result of training `model`."""
    return {
        "student": {
            **model_identity(model, None),
            "dtype": config.student.dtype,
            "prompt": load_prompt(config.student.prompt).digest,
        },
        "media": config.media.decoding(),
        "seed": config.run.seed,
    }


def open_checkpoints(folder: Path, stage: Stage) -> str | None:
    """Claim the folder for this training; the last complete checkpoint in it, if there is one.

    Raises:
        ConfigError: the checkpoints there belong to a training with other settings or inputs.
    """
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    marker = folder / "stage.json"
    if not complete or not marker.is_file():
        write_json(marker, {"fingerprint": stage.fingerprint, "settings": stage.settings})
    stored = json.loads(marker.read_text())
    if stored["fingerprint"] != stage.fingerprint:
        changed = sorted(
            key
            for key in stage.settings
            if fingerprint(stored["settings"].get(key)) != fingerprint(stage.settings[key])
        )
        reason = f"other settings ({', '.join(changed)})" if changed else "other inputs"
        raise ConfigError(
            f"{folder}: stage {stage.name!r} was begun here with {reason}; "
            "choose another run.name, or delete this folder to train from the start"
        )
    last = max(complete, key=lambda path: int(path.name.partition("-")[2]), default=None)
    return None if last is None else str(last)


def restore_weights(model: Any, checkpoint: str) -> None:
    """Load a checkpoint's weights, which the trainer's own resume silently leaves out.

    `save_pretrained` writes a thinker's tensors under their published names. `from_pretrained` maps
    them back; the trainer does not, warns of missing keys, and goes on with the weights it has.
    """
    saved = load(checkpoint, device="cpu", dtype="float32").model
    model.load_state_dict(saved.state_dict())
    logging.getLogger("transformers.trainer").addFilter(_is_not_about_keys)


def _is_not_about_keys(record: logging.LogRecord) -> bool:
    """False for the trainer's two warnings about names, once the weights are restored."""
    return "keys in the checkpoint model loaded" not in record.getMessage()


def save_model(trainer: Trainer, processor: Any, folder: Path) -> None:
    """Write model and processor beside `folder`, then rename: a reader never finds half a model."""
    if not trainer.is_world_process_zero():
        return
    temporary = folder.with_name(f".{folder.name}.new")
    previous = folder.with_name(f".{folder.name}.old")
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(temporary)
    processor.save_pretrained(temporary)
    if folder.exists():
        folder.rename(previous)
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)
