"""The student's checkpoints: load and freeze, resume an interrupted run, save the result.

Weights that train are float32 whatever `student.dtype` says: AdamW's updates at the usual learning
rates are smaller than bfloat16 can add to a weight. With bfloat16 the forward and backward passes
run under autocast, and frozen weights are held as autocast rounds them.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, Trainer

from avrt.config import LoraConfig, MediaConfig, StudentConfig
from avrt.engines.weights import (
    architecture_of,
    can_describe,
    load,
    model_identity,
    old_names_allowed,
    pick_device,
    resolve,
)
from avrt.engines.windows import choose_attention, has_towers, set_tower_attention
from avrt.errors import ConfigError, EngineError
from avrt.prompts import load_prompt
from avrt.ranks import is_main
from avrt.runs import Stage, fingerprint, remove_folder, replace_folder, write_json
from avrt.train.disk import complete_checkpoints, naming_full_disks
from avrt.train.formats import matrices
from avrt.train.launch import launch_settings
from avrt.train.optimizer import has_cpu_adam

__all__ = [
    "build_student",
    "count_parameters",
    "default_lora",
    "describe_student",
    "freeze_towers",
    "load_student",
    "lora_config",
    "old_names_allowed",
    "open_checkpoints",
    "require_student",
    "restore_weights",
    "save_model",
    "student_settings",
]

TOWERS = {"visual": ("merger", "merger_list"), "audio_tower": ("proj", "proj1", "proj2")}
"""The frozen parts of a thinker, each with its projections into the language model: `merger` and
`proj` of Qwen2.5-Omni; `merger`, `merger_list`, `proj1` and `proj2` of Qwen3-Omni.
"""


def load_student(path: str, student: StudentConfig | None = None) -> tuple[Any, Any]:
    """Load a thinker with frozen towers and its processor on the CPU, as `student` trains it.

    Without `student` all weights are float32, and the language model trains.

    Raises:
        ConfigError: the checkpoint is of another kind, or its towers cannot have their attention.
    """
    transformers.utils.logging.disable_progress_bar()
    student = student or StudentConfig(dtype="float32")

    def prepare(model: Any) -> None:
        _check_thinker(path, model)
        _freeze_and_round(model, student)

    loaded = load(path, student.revision_of(path), device="cpu", dtype="float32", prepare=prepare)
    freeze_towers(loaded.model, student.train_projections)
    device = pick_device(student.device)
    attention = choose_attention(student.tower_attention, device, student.dtype)
    set_tower_attention(loaded.model, attention)
    return loaded.model, loaded.processor


def build_student(path: str, student: StudentConfig) -> Any:
    """Build the student as it trains, with its adapters and formats, without memory for weights.

    Raises:
        ConfigError: the checkpoint is of another kind.
        EngineError: transformers cannot read its configuration.
    """
    model = _on_meta(_read_config(path, student.revision_of(path)), path)
    _check_thinker(path, model)
    _freeze_and_round(model, student)
    adapters = lora_config(student, model)
    if adapters is None:
        return model
    import peft

    with old_names_allowed():
        return peft.get_peft_model(model, adapters)


def _freeze_and_round(model: Any, student: StudentConfig) -> None:
    """Freeze what does not train, and hold of it in bfloat16 what autocast would round."""
    freeze_towers(model, student.train_projections)
    if student.lora is not None:
        model.requires_grad_(False)
    if student.dtype == "bfloat16":
        for parameter in matrices(model):
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)


def require_student(path: str, revision: str | None = None) -> None:
    """Refuse a checkpoint that cannot be the student, before any weight is read.

    Raises:
        ConfigError: the checkpoint is of another kind.
        EngineError: transformers cannot read its configuration, or does not know its class.
    """
    _check_thinker(path, _on_meta(_read_config(path, revision), path))


def _read_config(path: str, revision: str | None) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(resolve(path), revision=revision)
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: cannot load this model with transformers: {error}") from error


def _on_meta(whole: Any, path: str) -> PreTrainedModel:
    """Build the model of a configuration without memory for its weights."""
    architecture, config = architecture_of(whole, path)
    with torch.device("meta"):
        return architecture(config)


def _check_thinker(path: str, model: PreTrainedModel) -> None:
    if has_towers(model):
        return
    raise ConfigError(
        f"{path}: a {type(model).__name__} cannot be the student: it has no towers for picture and "
        "sound; name a checkpoint of a Qwen2.5-Omni or Qwen3-Omni thinker (architecture "
        "Qwen2_5OmniThinkerForConditionalGeneration or Qwen3OmniMoeThinkerForConditionalGeneration)"
    )


def freeze_towers(model: PreTrainedModel, train_projections: bool = False) -> None:
    """Freeze the towers; `train_projections` leaves their projections to the training."""
    for name, projections in TOWERS.items():
        tower = getattr(model.base_model, name)
        tower.requires_grad_(False)
        for projection in projections:
            if hasattr(tower, projection):
                getattr(tower, projection).requires_grad_(train_projections)


def default_lora(model: Any) -> LoraConfig:
    """The adapters of the default settings, on those of their targets that the model has."""
    lora, layers = LoraConfig(), _linear_layers(model)
    targets = tuple(name for name in lora.targets if name in layers)
    return lora if targets == lora.targets else LoraConfig(targets=targets)


def _linear_layers(model: Any) -> set[str]:
    return {
        name.rpartition(".")[2]
        for name, module in model.base_model.language_model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def lora_config(student: StudentConfig, model: Any) -> Any:
    """Give the configuration of adapters for peft, or None; they go into the language model only.

    Raises:
        ConfigError: the language model has no linear layer of a target's name.
    """
    if student.lora is None:
        return None
    import peft

    layers = _linear_layers(model)
    if unknown := sorted({*student.lora.targets} - layers):
        raise ConfigError(
            f"student.lora.targets: the language model has no linear layer {', '.join(unknown)}; "
            f"it has {', '.join(sorted(layers))} (experts of a mixture are no layers of their own, "
            "and get no adapters)"
        )
    names = "|".join(map(re.escape, student.lora.targets))
    return peft.LoraConfig(
        r=student.lora.rank,
        lora_alpha=student.lora.alpha,
        lora_dropout=student.lora.dropout,
        # The towers have layers of the same names.
        target_modules=rf"(.*\.)?language_model\..*\.({names})",
        # Of a mixture of experts peft keeps only the last part of the names above.
        exclude_modules=rf"(.*\.)?({'|'.join(TOWERS)})\..*",
    )


def count_parameters(model: Any) -> dict[str, int]:
    """Count the trainable and the frozen parameters."""
    counts = {"trainable": 0, "frozen": 0}
    for parameter in model.parameters():
        counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    return counts


def describe_student(path: str, student: StudentConfig) -> tuple[dict[str, int], Any] | None:
    """Parameter counts and processor of a student, without its weights.

    Of a model on the hub, configuration and processor are fetched. Returns None where the student
    is not on this machine and cannot be fetched.
    """
    revision = student.revision_of(path)
    if not can_describe(path, revision):
        return None
    counts = count_parameters(build_student(path, student))
    processor = transformers.AutoProcessor.from_pretrained(resolve(path), revision=revision)
    return counts, processor


def student_settings(
    model: str, student: StudentConfig, media: MediaConfig, seed: int
) -> dict[str, Any]:
    """The settings that change the result of training `model`, without a stage's own section."""
    launch = launch_settings(student.deepspeed)
    optimizer = "DeepSpeedCPUAdam" if has_cpu_adam(launch["deepspeed"]) else student.optimizer
    return {
        "student": {
            **model_identity(model, student.revision_of(model)),
            "dtype": student.dtype,
            "prompt": load_prompt(student.prompt).digest,
            **student.model_dump(include={"train_projections", "lora"}),
            # Only where they are set, so that trainings of before they were there stay valid.
            **({"use_audio_in_video": True} if student.use_audio_in_video else {}),
            **({} if optimizer == "adamw" else {"optimizer": optimizer}),
        },
        "media": media.decoding(),
        **launch,
        "seed": seed,
    }


def open_checkpoints(folder: Path, stage: Stage) -> str | None:
    """Claim the folder for this training, and give its last complete checkpoint, or None.

    Half-written checkpoints, of a training that was killed or ran out of space, are removed.

    Raises:
        ConfigError: the checkpoints in it belong to a training with other settings or inputs.
    """
    complete = complete_checkpoints(folder)
    for path in folder.glob("checkpoint-*"):
        if path not in complete and is_main():
            remove_folder(path)
    marker = folder / "stage.json"
    if not complete or not marker.is_file():
        if not is_main():
            return None  # the main process claims it
        write_json(marker, {"fingerprint": stage.fingerprint, "settings": stage.settings})
    stored = json.loads(marker.read_text(encoding="utf-8"))
    if stored["fingerprint"] != stage.fingerprint:
        changed = sorted(
            key
            for key in stage.settings
            if fingerprint(stored["settings"].get(key)) != fingerprint(stage.settings[key])
        )
        reason = f"other settings ({', '.join(changed)})" if changed else "other inputs"
        raise ConfigError(
            f"{folder}: stage {stage.name!r} was started here with {reason}; choose another "
            "run.name, or delete this folder to train from the start"
        )
    return str(complete[-1]) if complete else None


def restore_weights(model: Any, checkpoint: str) -> None:
    """Load a checkpoint's weights, which the trainer's own resume silently leaves out.

    `save_pretrained` writes a thinker's tensors under their published names. `from_pretrained` maps
    them back; the trainer does not, warns of missing keys, and goes on with the weights it has.
    """
    if hasattr(model, "peft_config"):
        return  # adapters have one name only, and the trainer loads them
    named = model.named_parameters(remove_duplicate=False)  # a tied head is not tied yet below
    formats = {name: parameter.dtype for name, parameter in named}

    def prepare(built: Any) -> None:
        for name, parameter in built.named_parameters():
            parameter.data = parameter.data.to(formats[name])

    saved = load(checkpoint, device="cpu", dtype="float32", prepare=prepare).model
    model.load_state_dict(saved.state_dict())
    logging.getLogger("transformers.trainer").addFilter(_is_not_about_keys)


def _is_not_about_keys(record: logging.LogRecord) -> bool:
    """Drop the trainer's two warnings about names; the weights are restored by then."""
    return "keys in the checkpoint model loaded" not in record.getMessage()


def _restore_precision(model: torch.nn.Module) -> None:
    """Replace the bfloat16 weights of a model by the float32 weights that DeepSpeed keeps."""
    deepspeed = importlib.import_module("deepspeed.utils")  # an extra that may not be installed
    for parameter in model.parameters():
        if parameter.dtype != torch.float32:
            full = deepspeed.safe_get_full_fp32_param(parameter)
            if full is not None:
                parameter.data = full.to(parameter.device)


def save_model(trainer: Trainer, processor: Any, folder: Path) -> None:
    """Write model and processor, adapters merged into the model they adapt, in one step.

    Ends the training: afterwards the trainer's model has no adapters any more.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_deepspeed_enabled:
        _restore_precision(model)  # all processes take part
    if not trainer.is_world_process_zero():
        return
    if hasattr(model, "merge_and_unload"):
        # In float32, because bfloat16 would round most of what adapters have learned away.
        model = model.to("cpu").float().merge_and_unload()
    with naming_full_disks(folder.parent), replace_folder(folder) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
