"""Which trainings fit on which cards; a training that cannot fit is refused with one that can."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import torch

from avrt.config import GrpoConfig, MediaConfig, SftConfig, StudentConfig
from avrt.errors import ConfigError
from avrt.ranks import n_processes
from avrt.train.checkpoint import build_student, default_lora
from avrt.train.launch import on_cpu
from avrt.train.memory import FRAMEWORK_BYTES, Way, estimate_memory, load_of, longest_sample

__all__ = ["describe_room", "estimate_training", "free_bytes", "require_room"]

GIB = 2**30
CARDS = {24: 23.5, 48: 44.4, 80: 79.1, 141: 139.8}
"""Cards by their name in GB, and the GiB that torch can use of them."""
Section = SftConfig | GrpoConfig


def free_bytes(student: StudentConfig) -> int | None:
    """The free memory of this process's GPU; None on the CPU, where nothing is refused."""
    if on_cpu(student):
        return None
    return torch.cuda.mem_get_info(int(os.environ.get("LOCAL_RANK", "0")))[0]


def estimate_training(
    model: Any, section: Section, student: StudentConfig, sample: tuple[int, int]
) -> dict[str, int]:
    """Estimate by purpose the bytes of a training of this launch; see `estimate_memory`.

    `sample`: the tokens of the longest sample, and those of its frames.
    """
    way = Way(student, on_gpu=not on_cpu(student), several=n_processes() > 1)
    return estimate_memory(model, load_of(section, *sample), way)


def require_room(path: str, section: Section, student: StudentConfig, media: MediaConfig) -> None:
    """Refuse a training that cannot fit on this process's GPU, before weights are read.

    Raises:
        ConfigError: the estimate is more than what is free; it names settings that fit.
    """
    free = free_bytes(student)
    if free is None:
        return
    model = build_student(path, student)
    sample = longest_sample(media, model.config.vision_config)
    needed = sum(estimate_training(model, section, student, sample).values())
    if needed <= free:
        return
    remedy = "no other settings fit either; use a GPU with more memory"
    for changes, other_section, other in _smaller(section, student, model):
        built = model if other.lora == student.lora else build_student(path, other)
        smaller = sum(estimate_training(built, other_section, other, sample).values())
        if smaller <= free:
            remedy = f"{smaller / GIB:.1f} GiB are enough with {changes}"
            break
    raise ConfigError(
        f"this training needs about {needed / GIB:.1f} GiB of GPU memory, but "
        f"{free / GIB:.1f} GiB are free; {remedy}; --dry-run has a table of what fits where"
    )


def _smaller(
    section: Section, student: StudentConfig, model: Any
) -> Iterator[tuple[str, Section, StudentConfig]]:
    """Settings that need less, each on top of the ones before, those that change least first.

    More passes per step keep the effective batch; DeepSpeed rounds more; 8-bit states and adapters
    train another student.
    """
    changes: list[str] = []
    name = "sft" if isinstance(section, SftConfig) else "grpo"
    if not section.gradient_checkpointing:
        section = section.model_copy(update={"gradient_checkpointing": True})
        changes.append(f"{name}.gradient_checkpointing=true")
        yield " ".join(changes), section, student
    whole = section.group_size if isinstance(section, GrpoConfig) and section.share_prompts else 1
    if section.per_device_batch_size > whole:
        factor = section.per_device_batch_size // whole
        section, text = _by_sample(section, whole, factor)
        changes.append(text)
        yield " ".join(changes), section, student
    if student.deepspeed is None:
        ways = {
            "student.optimizer=adamw_8bit": {"optimizer": "adamw_8bit"},
            "student.deepspeed=zero2": {"deepspeed": "zero2", "optimizer": "adamw"},
            "student.optimizer=paged_adamw_8bit": {"optimizer": "paged_adamw_8bit"},
        }
        for text, update in ways.items():
            yield " ".join([*changes, text]), section, student.model_copy(update=update)
    if student.lora is None:
        lora = default_lora(model)
        update = {"lora": lora, "train_projections": False}
        names = ",".join(lora.targets) if lora.model_fields_set else ""
        text = f"student.lora.targets=[{names}]" if names else "student.lora={}"
        yield " ".join([*changes, text]), section, student.model_copy(update=update)


def _by_sample(section: Section, rows: int, factor: int) -> tuple[Section, str]:
    """The section with `rows` in a pass, and as many more passes in SFT; GRPO makes its own."""
    update = {"per_device_batch_size": rows}
    if isinstance(section, GrpoConfig):
        return section.model_copy(update=update), f"grpo.per_device_batch_size={rows}"
    update["gradient_accumulation_steps"] = section.gradient_accumulation_steps * factor
    text = " ".join(f"sft.{key}={value}" for key, value in update.items())
    return section.model_copy(update=update), text


def describe_room(
    path: str, stages: tuple[SftConfig, GrpoConfig], student: StudentConfig, sample: tuple[int, int]
) -> list[str]:
    """A table of both stages, trained in four ways on a GPU: GiB needed, and the cards that fit.

    `sample`: as for `estimate_training`.
    """
    plain = student.model_copy(update={"lora": None, "deepspeed": None})
    lora = student.lora or default_lora(build_student(path, plain))
    adapters = {"lora": lora, "train_projections": False}
    ways = {
        "one GPU": Way(plain, on_gpu=True),
        "DDP": Way(plain, on_gpu=True, several=True),
        "ZeRO-2 + offload": Way(
            plain.model_copy(update={"deepspeed": "zero2", "optimizer": "adamw"}), on_gpu=True
        ),
    }
    if importlib.util.find_spec("peft") is not None:
        ways["LoRA"] = Way(plain.model_copy(update=adapters), on_gpu=True)
    columns = "".join(f"{f'{card} GB':>8}" for card in CARDS)
    head = f"{'GPU memory':26}{'GiB':>7}{columns}"
    rows = []
    for name, way in ways.items():
        model = build_student(path, way.student)
        for section in stages:
            stage = "SFT" if isinstance(section, SftConfig) else "GRPO"
            parts = estimate_memory(model, load_of(section, *sample), way)
            gib = (sum(parts.values()) + FRAMEWORK_BYTES) / GIB
            fits = "".join(f"{'yes' if gib <= room else 'no':>8}" for room in CARDS.values())
            rows.append(f"{f'{stage}, {name}':26}{gib:7.1f}{fits}")
    note = f"(samples of {sample[0]} tokens; {student.dtype}; {student.optimizer}, or offloaded)"
    return [head, *sorted(rows, key=lambda row: row.startswith("GRPO")), note]
