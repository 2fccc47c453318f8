"""Describe a training's inputs for a dry run: dataset, tokens, parameters and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.config import Config, GrpoConfig
from avrt.errors import ConfigError, MediaError
from avrt.train.checkpoint import build_student, describe_student
from avrt.train.data import (
    Example,
    PromptEncoder,
    prompts_path,
    read_examples,
    rows_of,
    split_path,
    trace_ids,
)
from avrt.train.grpo_prompts import read_grpo_prompts
from avrt.train.held_out import spread
from avrt.train.lengths import count_prompt_tokens
from avrt.train.memory import longest_sample
from avrt.train.optimizer import describe_optimizer
from avrt.train.room import describe_room, estimate_training

__all__ = ["Inputs", "describe_inputs", "prompt_limit"]

MEASURED = 128
"""Samples whose tokens are counted; a larger dataset is measured at even distances."""
N_NAMED = 5
"""Samples over the limit that are named."""


@dataclass(frozen=True)
class Inputs:
    """What a dry run says of a training's inputs."""

    lines: list[str]
    n_samples: int = 0
    """0 before the dataset is built."""
    table: list[str] = field(default_factory=list)
    """The memory that trainings of this student need, in several ways."""


def describe_inputs(stage: str, config: Config, model: str, with_trace: bool) -> Inputs:
    """Describe dataset and student; the student's weights need not be there."""
    run, student = config.run.path, config.student
    path = split_path(run, "train") if with_trace else prompts_path(run, config.grpo)
    examples, n_rows = [], 0
    if path.is_file():
        if with_trace:
            rows = read_examples(path)
            examples = rows_of(config.sft, config.run.seed, rows)
            n_rows = len(rows)
        else:
            prompts = read_grpo_prompts(run, config.grpo, config.build, config.run.seed)
            examples, n_rows = prompts.trained, len(prompts.trained)
    maker = "avrt prepare" if path.name == "samples.parquet" else "avrt generate"
    size = f"not there yet; `{maker}` writes it"
    if path.is_file():
        of = f" of {n_rows}" if n_rows > len(examples) else ""
        size = f"{len(examples)}{of} samples"
    lines = [f"{stage}: {path}: {size}"]
    described = describe_student(model, student)
    if described is None:
        unknown = "not on this machine and cannot be fetched, so its size is unknown here"
        lines.append(f"{stage}: student {model}: {unknown}")
        return Inputs(lines, len(examples))
    counts, processor = described
    lines.append(
        f"{stage}: student {model}: {counts['trainable']:,} trainable, "
        f"{counts['frozen']:,} frozen parameters, optimizer {describe_optimizer(student)}"
    )
    built = build_student(model, student)
    sample = longest_sample(config.media, built.config.vision_config)
    section = config.sft if with_trace else config.grpo
    lengths: dict[str, int] = {}
    if examples:
        encoder = PromptEncoder(
            processor,
            *(config.data.root, config.media, student.prompt),
            interleaved=student.use_audio_in_video,
        )
        lengths = _measure(encoder, run, examples, with_trace)
        limit = config.sft.max_length
        if not with_trace:
            limit = prompt_limit(built, config.grpo)
        unit = "tokens per sample" if with_trace else "tokens per prompt"
        details = _describe_tokens(lengths, len(examples), limit, unit)
        lines += [f"{stage}: {line}" for line in details]
    if lengths:
        sample = (max(lengths.values()), min(sample[1], max(lengths.values())))
        parts = estimate_training(built, section, student, sample)
        lines.append(f"{stage}: {_describe_memory(parts)}")
    table = describe_room(model, (config.sft, config.grpo), student, sample)
    return Inputs(lines, len(examples), table)


def prompt_limit(model: Any, grpo: GrpoConfig) -> int:
    """Give the most tokens that a prompt may have beside `grpo.max_new_tokens`.

    Raises:
        ConfigError: there is room for none.
    """
    room = model.config.get_text_config().max_position_embeddings
    if grpo.max_new_tokens >= room:
        raise ConfigError(
            f"grpo.max_new_tokens = {grpo.max_new_tokens} leaves no room for a prompt in the "
            f"student's context of {room} tokens; set fewer"
        )
    return room - grpo.max_new_tokens


def _measure(
    encoder: PromptEncoder, run: Path, examples: list[Example], with_trace: bool
) -> dict[str, int]:
    """Count tokens by sample id, media included, of samples at even distances with a clip."""
    measured = spread(examples, MEASURED, "--dry-run")
    samples = [example.sample for example in measured]
    n_prompt = count_prompt_tokens(run, encoder, samples, keep=False)
    lengths = {}
    for example in measured:
        n_tokens = n_prompt[example.sample.id]
        if isinstance(n_tokens, MediaError):  # counted and named when the stage runs
            continue
        n_trace = len(trace_ids(encoder.processor, example.trace)) if with_trace else 0
        lengths[example.sample.id] = n_tokens + n_trace
    return lengths


def _describe_tokens(lengths: dict[str, int], n_samples: int, limit: int, unit: str) -> list[str]:
    if not lengths:
        return [f"{unit}: unknown, no clip is on this machine"]
    ordered = sorted(lengths.values())
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    measured = f"{len(lengths)} of {n_samples}, at even distances"
    if len(lengths) == n_samples:
        measured = "all"
    too_long = [name for name, n in lengths.items() if n > limit]
    line = f"over the limit of {limit} tokens: {len(too_long)} of {len(lengths)}"
    if too_long:
        more = ", ..." if len(too_long) > N_NAMED else ""
        line += f", to be dropped: {', '.join(too_long[:N_NAMED])}{more}"
    mean = sum(ordered) / len(ordered)
    return [f"{unit}: mean {mean:.0f}, p95 {p95}, max {ordered[-1]} ({measured})", line]


def _describe_memory(parts: Mapping[str, int]) -> str:
    purposes = ", ".join(f"{name} {n / 2**30:.2f}" for name, n in parts.items() if n)
    total = sum(parts.values()) / 2**30
    return f"memory of a process, estimated: {total:.2f} GiB ({purposes})"
