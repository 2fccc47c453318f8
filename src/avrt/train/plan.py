"""What a dry run tells about a training's inputs: dataset, tokens, parameters. Writes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers

from avrt.config import Config
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
from avrt.train.memory import estimate_memory

__all__ = ["describe_inputs"]

MEASURED = 128
"""Samples whose tokens are counted; of a larger dataset so many, taken evenly."""
N_NAMED = 5


def describe_inputs(
    stage: str, config: Config, model: str, with_trace: bool
) -> tuple[list[str], int]:
    """Lines about dataset and student, and the size of the dataset (0: it is not there yet)."""
    path = split_path(config, "train") if with_trace else prompts_path(config)
    examples = []
    if path.is_file():
        examples = read_examples(path) if with_trace else read_prompts(config)
    maker = "avrt prepare" if path.name == "samples.parquet" else "avrt generate"
    size = f"{len(examples)} samples" if path.is_file() else f"not there yet; `{maker}` writes it"
    lines = [f"{stage}: {path}: {size}"]
    student = describe_student(model, config.student)
    if student is None:
        return [
            *lines,
            f"{stage}: student {model}: not on this machine, its size is unknown here",
        ], len(examples)
    counts, processor = student
    lines.append(
        f"{stage}: student {model}: {counts['trainable']:,} trainable, "
        f"{counts['frozen']:,} frozen parameters"
    )
    if examples:
        lengths = _measure(config, processor, examples, with_trace)
        told = _describe_tokens(config, model, lengths, len(examples), with_trace)
        if lengths:
            told.append(_describe_memory(config, model, counts, max(lengths.values()), with_trace))
        lines += [f"{stage}: {line}" for line in told]
    return lines, len(examples)


def _measure(
    config: Config, processor: Any, examples: list[Example], with_trace: bool
) -> dict[str, int]:
    """Tokens by sample id, media included, of samples taken evenly whose clips are at hand."""
    encoder = PromptEncoder(config, processor, cache_bytes=0)
    lengths = {}
    for example in spread(examples, MEASURED, "--dry-run"):
        if not _media_at_hand(config.data.root, example):
            continue
        try:
            n_prompt = len(encoder(example.sample).input_ids)
        except MediaError:  # counted and named when the stage runs
            continue
        n_trace = len(trace_ids(processor, example.trace)) if with_trace else 0
        lengths[example.sample.id] = n_prompt + n_trace
    return lengths


def _describe_tokens(
    config: Config, model: str, lengths: dict[str, int], n_samples: int, with_trace: bool
) -> list[str]:
    what = "tokens per sample" if with_trace else "tokens per prompt"
    if not lengths:
        return [f"{what}: unknown, no clip is at hand"]
    ordered = sorted(lengths.values())
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    measured = (
        "all" if len(lengths) == n_samples else f"{len(lengths)} of {n_samples}, evenly taken"
    )
    lines = [
        f"{what}: mean {sum(ordered) / len(ordered):.0f}, p95 {p95}, max {ordered[-1]} ({measured})"
    ]
    limit = config.sft.max_length
    if not with_trace:
        limit = _text_config(model).max_position_embeddings - config.grpo.max_new_tokens
    too_long = [name for name, n in lengths.items() if n > limit]
    named = f": {', '.join(too_long[:N_NAMED])}" + (", ..." if len(too_long) > N_NAMED else "")
    line = f"over the limit of {limit} tokens: {len(too_long)} of {len(lengths)}"
    return [*lines, line + (f", to be dropped{named}" if too_long else "")]


def _describe_memory(
    config: Config, model: str, counts: dict[str, int], longest: int, with_trace: bool
) -> str:
    """For the longest measured sample, one process, at the least."""
    on_gpu = torch.cuda.is_available() and config.student.device != "cpu"
    stage = config.sft if with_trace else config.grpo
    n_tokens = longest * stage.per_device_batch_size
    if not with_trace:
        n_completion = config.grpo.max_new_tokens * stage.per_device_batch_size
        n_prompts = stage.per_device_batch_size
        if config.grpo.share_prompts:
            n_prompts = max(1, n_prompts // config.grpo.group_size)
        n_tokens = longest * n_prompts + n_completion
    parts = estimate_memory(
        _text_config(model),
        counts,
        n_tokens,
        checkpointing=stage.gradient_checkpointing,
        half=config.student.dtype == "bfloat16" and on_gpu,
        reference=not with_trace and config.grpo.beta > 0 and config.student.lora is None,
    )
    told = ", ".join(f"{name} {n / 2**30:.2f}" for name, n in parts.items() if n)
    return (
        f"memory of a process, estimated: at least {sum(parts.values()) / 2**30:.2f} GiB ({told})"
    )


def _text_config(model: str) -> Any:
    whole = transformers.AutoConfig.from_pretrained(resolve(model))
    return architecture_of(whole, model)[1].get_text_config()


def _media_at_hand(root: Path, example: Example) -> bool:
    paths = (example.sample.picture_path, example.sample.sound_path)
    return all(path is not None and (root / path).is_file() for path in paths)
