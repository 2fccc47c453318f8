"""When a command stops although calls are left: budgets, which no fingerprint knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from avrt.types import Completion

__all__ = ["Limits"]

T = TypeVar("T")


@dataclass
class Limits:
    """What one command may spend, and what it has spent, in all of its stages together.

    Calls that are under way when a limit is reached are finished and stored.
    """

    calls: int | None = None
    """Calls that may be started."""
    tokens: int | None = None
    """Tokens, of prompts and replies, after which no call is started."""
    samples: int | None = None
    """Only the first samples of each stage."""
    n_calls: int = 0
    n_tokens: int = 0
    stopped_by: str | None = None
    """What ended the work early, in words; None: nothing did."""
    _remedy: str = ""

    def first(self, samples: Sequence[T]) -> Sequence[T]:
        """The samples that may be worked on."""
        if self.samples is None or self.samples >= len(samples):
            return samples
        self.stopped_by = f"the limit of {self.samples:,} of {len(samples):,} samples"
        self._remedy = " with a higher limit"
        return samples[: self.samples]

    def is_spent(self) -> bool:
        """Whether a call that is due must not be started; then that is what stops the work."""
        if self.calls is not None and self.n_calls >= self.calls:
            self.stopped_by = f"the budget of {self.calls:,} calls"
        elif self.tokens is not None and self.n_tokens >= self.tokens:
            self.stopped_by = f"the budget of {self.tokens:,} tokens"
        else:
            return False
        return True

    def start_call(self) -> bool:
        """Count one more call; False when it must not be started."""
        if self.is_spent():
            return False
        self.n_calls += 1
        return True

    def finish_call(self, completion: Completion) -> None:
        """Count what a call cost."""
        self.n_tokens += completion.n_prompt_tokens + completion.n_completion_tokens

    def summarize(self, stage: str) -> str:
        """What stopped a stage and how to go on; call when `stopped_by` is set."""
        return (
            f"{stage}: stopped by {self.stopped_by}, after {self.n_calls:,} calls with "
            f"{self.n_tokens:,} tokens; all replies are stored, the stage is not done; "
            f"the same command{self._remedy} goes on"
        )
