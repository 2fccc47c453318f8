"""Describe the parts of a checkpoint and which of them train; no weight is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from avrt.checkpoints.omni import family_of, read_checkpoint
from avrt.checkpoints.tensors import StoredTensor
from avrt.config import StudentConfig
from avrt.engines.names import published_name
from avrt.train.checkpoint import describe_student

__all__ = ["PARTS", "describe", "part_of"]

PARTS = {
    "model.embed_tokens.": "embeddings",
    "model.": "language model",
    "lm_head.": "head",
    "visual.merger.": "vision projection",
    "visual.merger_list.": "vision projection",
    "visual.": "vision tower",
    "audio_tower.proj": "audio projection",
    "audio_tower.": "audio tower",
    "talker.": "talker",
    "token2wav.": "vocoder",
    "code2wav.": "vocoder",
}
"""Beginning of a tensor's published name, and its part; the first that fits counts."""
LANGUAGE = ("embeddings", "language model", "head")
PROJECTIONS = ("vision projection", "audio projection")


@dataclass
class Part:
    """The tensors of one part, counted."""

    n_parameters: int = 0
    n_bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)

    def add(self, tensor: StoredTensor) -> None:
        """Count one tensor."""
        self.n_parameters += tensor.n_elements
        self.n_bytes += tensor.n_stored
        self.formats[tensor.dtype] += 1


def describe(folder: Path, student: StudentConfig) -> str:
    """Give a table of the checkpoint's parts, and which of them `student` trains.

    Raises:
        ConfigError: not a checkpoint of Qwen2.5-Omni or Qwen3-Omni.
        DataError: configuration or weights are damaged.
    """
    config, tensors = read_checkpoint(folder)
    parts: dict[str, Part] = {}
    for name, tensor in tensors.items():
        parts.setdefault(part_of(name), Part()).add(tensor)
    family = family_of(config)
    is_whole = family.form_of(config["model_type"]) == "whole"
    kind = f"a whole {family.name}" if is_whole else f"a {family.name} thinker"
    n_files = len({tensor.file for tensor in tensors.values()})
    counts = describe_student(str(folder), student)
    assert counts is not None, "its configuration was read above"
    files = f"{n_files} files" if n_files > 1 else "one file"
    lines = [f"{folder}: {kind}, {len(tensors)} tensors in {files}", *_table(parts, student)]
    if "head" not in parts:
        lines.append("head: uses the embeddings")
    trainable, frozen = counts[0]["trainable"], counts[0]["frozen"]
    lines.append(f"training: {trainable:,} parameters train, {frozen:,} are frozen")
    if is_whole:
        lines.append("SFT and GRPO train the thinker inside")
    return "\n".join(lines)


def part_of(name: str) -> str:
    """Give the part of a tensor by its name in a file."""
    published = published_name(name)
    return next((part for start, part in PARTS.items() if published.startswith(start)), "other")


def _table(parts: dict[str, Part], student: StudentConfig) -> list[str]:
    rows = [("PART", "PARAMETERS", "MIB", "FORMAT", "TRAINS")]
    total = Part()
    ordered = dict.fromkeys([*PARTS.values(), *parts])
    for name in ordered:
        if name not in parts:
            continue
        part = parts[name]
        rows.append((name, *_cells(part), _trains(name, student)))
        total.n_parameters += part.n_parameters
        total.n_bytes += part.n_bytes
        total.formats += part.formats
    rows.append(("total", *_cells(total), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  "
        f"{row[3]:<{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]


def _cells(part: Part) -> tuple[str, str, str]:
    size = f"{part.n_bytes / 2**20:,.2f}"
    return f"{part.n_parameters:,}", size, "+".join(sorted(part.formats))


def _trains(part: str, student: StudentConfig) -> str:
    if part in LANGUAGE and student.lora is None:
        return "yes"
    if part == "language model":
        return "adapters"
    return "yes" if part in PROJECTIONS and student.train_projections else "no"
