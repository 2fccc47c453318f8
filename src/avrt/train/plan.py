"""What a dry run tells about a training's inputs: dataset, tokens, parameters. Writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avrt.config import Config
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

__all__ = ["describe_inputs"]

MEASURED = 64
"""Samples whose tokens are counted."""


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
        lines.append(
            f"{stage}: {_describe_tokens(config, processor, examples[:MEASURED], with_trace)}"
        )
    return lines, len(examples)


def _describe_tokens(
    config: Config, processor: Any, examples: list[Example], with_trace: bool
) -> str:
    encoder = PromptEncoder(config, processor, cache_bytes=0)
    lengths = []
    for example in examples:
        if not _media_at_hand(config.data.root, example):
            continue
        try:
            n_prompt = len(encoder(example.sample).input_ids)
        except MediaError:  # counted and named when the stage runs
            continue
        lengths.append(n_prompt + (len(trace_ids(processor, example.trace)) if with_trace else 0))
    what = "tokens per sample" if with_trace else "tokens per prompt"
    if not lengths:
        return f"{what}: unknown, no clip of the first {len(examples)} samples is at hand"
    mean = sum(lengths) / len(lengths)
    return f"{what}: mean {mean:.0f}, max {max(lengths)} (first {len(lengths)} samples)"


def _media_at_hand(root: Path, example: Example) -> bool:
    paths = (example.sample.picture_path, example.sample.sound_path)
    return all(path is not None and (root / path).is_file() for path in paths)
