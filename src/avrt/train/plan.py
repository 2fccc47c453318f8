"""Describe a training's inputs for a dry run: dataset, tokens, parameters and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from avrt.config import Config, GrpoConfig, SftConfig
from avrt.engines.weights import architecture_of, resolve
from avrt.errors import MediaError
from avrt.train.checkpoint import describe_student
from avrt.train.data import (
    Example,
    PromptEncoder,
    prompts_path,
    read_examples,
    read_prompts,
    split_path,
    trace_ids,
)
from avrt.train.held_out import spread
from avrt.train.launch import on_cpu
from avrt.train.lengths import count_prompt_tokens
from avrt.train.memory import estimate_memory

__all__ = ["describe_inputs"]

MEASURED = 128
"""Samples whose tokens are counted; a larger dataset is measured at even distances."""
N_NAMED = 5
"""Samples over the limit that are named."""


def describe_inputs(
    stage: str, config: Config, model: str, with_trace: bool
) -> tuple[list[str], int]:
    """Describe dataset and student in lines; give the size of the dataset, 0 before it is built."""
    run, student = config.run.path, config.student
    path = split_path(run, "train") if with_trace else prompts_path(run, config.grpo)
    examples = []
    if path.is_file():
        examples = read_examples(path) if with_trace else read_prompts(run, config.grpo)
    maker = "avrt prepare" if path.name == "samples.parquet" else "avrt generate"
    size = f"{len(examples)} samples" if path.is_file() else f"not there yet; `{maker}` writes it"
    lines = [f"{stage}: {path}: {size}"]
    described = describe_student(model, student)
    if described is None:
        lines.append(f"{stage}: student {model}: not on this machine, its size is unknown here")
        return lines, len(examples)
    counts, processor = described
    lines.append(
        f"{stage}: student {model}: {counts['trainable']:,} trainable, "
        f"{counts['frozen']:,} frozen parameters"
    )
    if not examples:
        return lines, 0
    encoder = PromptEncoder(processor, config.data.root, config.media, student.prompt)
    lengths = _measure(encoder, run, examples, with_trace)
    text = _text_config(model)
    limit = config.sft.max_length
    if not with_trace:
        limit = text.max_position_embeddings - config.grpo.max_new_tokens
    unit = "tokens per sample" if with_trace else "tokens per prompt"
    details = _describe_tokens(lengths, len(examples), limit, unit)
    if lengths:
        section = config.sft if with_trace else config.grpo
        parts = estimate_memory(
            text,
            counts,
            _tokens_of_pass(section, max(lengths.values())),
            checkpointing=section.gradient_checkpointing,
            half=student.dtype == "bfloat16" and not on_cpu(student),
            reference=not with_trace and config.grpo.beta > 0 and student.lora is None,
        )
        details.append(_describe_memory(parts))
    return [*lines, *(f"{stage}: {line}" for line in details)], len(examples)


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


def _tokens_of_pass(section: SftConfig | GrpoConfig, longest: int) -> int:
    """Count the tokens of a pass in which every sample is as long as the longest measured."""
    n_rows = section.per_device_batch_size
    if isinstance(section, SftConfig):
        return longest * n_rows
    n_prompts = max(1, n_rows // section.group_size) if section.share_prompts else n_rows
    return longest * n_prompts + section.max_new_tokens * n_rows


def _describe_memory(parts: Mapping[str, int]) -> str:
    purposes = ", ".join(f"{name} {n / 2**30:.2f}" for name, n in parts.items() if n)
    total = sum(parts.values()) / 2**30
    return f"memory of a process, estimated: at least {total:.2f} GiB ({purposes})"


def _text_config(model: str) -> Any:
    whole = transformers.AutoConfig.from_pretrained(resolve(model))
    return architecture_of(whole, model)[1].get_text_config()
