"""A call by its content, and the key of that content: equal calls have equal keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from avrt.ask.database import SCHEMA
from avrt.runs import fingerprint
from avrt.types import Sampling

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """One call to a model, by its content: equal calls have equal keys."""

    stage: str
    sample_id: str
    role: str
    engine: Mapping[str, Any]
    """The engine's identity: model, revision, how media are handed over."""
    system: str | None
    text: str
    sampling: Sampling
    frames: str | None = None
    """Digest of the decoded frames."""
    audio: str | None = None
    """Digest of the decoded sound."""
    recipe: Mapping[str, Any] | None = None
    """How each of the media was decoded, by kind."""
    k: int = 0
    """Which of several answers to the same prompt."""
    dataset: str = ""
    """Name of the evaluation set of the sample; empty: the run's own dataset. Not in the key."""
    files: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Path below the dataset's root and sha256 of the file of each medium. Not in the key."""

    @property
    def request(self) -> dict[str, Any]:
        """The content of the key; no address, concurrency, path, row order or sample id."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "engine": dict(self.engine),
            "system": self.system,
            "text": self.text,
            "sampling": dict(vars(self.sampling)),
            "k": self.k,
            "frames": self.frames,
            "audio": self.audio,
            "recipe": dict(self.recipe) if self.recipe is not None else None,
        }

    @cached_property
    def key(self) -> str:
        """sha256 over `request`."""
        return fingerprint(self.request)
