"""The rows of a plan."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stage", "Store"]


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
    rates: tuple[str, ...] = ()
    """Names of the rates behind these numbers."""


@dataclass(frozen=True)
class Store:
    """Something that lies on a disk."""

    name: str
    gb: float
    rates: tuple[str, ...] = ()
