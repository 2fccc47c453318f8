"""The rows of a plan."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stage", "Store", "counted"]


@dataclass(frozen=True)
class Stage:
    """A stage, or the part of it that one model does."""

    name: str
    calls: float = 0.0
    prompt_tokens: float = 0.0
    reply_tokens: float = 0.0
    gpu_hours: float = 0.0
    core_hours: float = 0.0
    hours: float = 0.0
    money: float = 0.0
    note: str = ""
    no_gpu: str = ""
    """Why the model that is asked takes no GPU hours: `scripted` or `hosted`."""
    batch: int = 0
    """Of a training: samples, or prompts, of a step on all GPUs."""
    rates: tuple[str, ...] = ()
    """Names of the rates behind these numbers."""


@dataclass(frozen=True)
class Store:
    """Something that lies on a disk."""

    name: str
    gb: float
    rates: tuple[str, ...] = ()


def counted(n: int, noun: str) -> str:
    """A number with its noun, such as 1 GPU or 2,000 GPUs."""
    many = f"{noun[:-1]}ies" if noun.endswith("ply") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else many}"
