"""The share of the work that one command does: budgets and shards, which no fingerprint knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from avrt.errors import ConfigError
from avrt.types import Completion

__all__ = ["Budget", "Shard"]

T = TypeVar("T")
S = TypeVar("S", bound=Sequence[Any])


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` of the samples, for several processes or machines."""

    index: int
    """From 1."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that `2/8` names.

        Raises:
            ConfigError: not two numbers, or a part that is not there.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f"shard {text!r}: write PART/PARTS, such as 1/4 for the first of four"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """As in the names of files."""
        return f"{self.index}of{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def part(self, samples: Sequence[T]) -> Sequence[T]:
        """The samples of this part: every `count`-th."""
        return samples[self.index - 1 :: self.count]


@dataclass
class Budget:
    """The work that one command may do, and has done, in all of its stages together.

    Calls that are under way when the budget is spent are finished and stored.
    """

    calls: int | None = None
    """Calls that may be started."""
    tokens: int | None = None
    """Tokens, of prompts and replies, after which no call is started."""
    samples: int | None = None
    """Only the first samples of each stage."""
    shard: Shard | None = None
    """Only this part of the samples."""
    n_calls: int = 0
    n_tokens: int = 0
    n_failed: int = 0
    stopped_by: str | None = field(default=None, init=False)
    """The reason in words why work is left; None: none is."""
    _remedy: str = field(default=" goes on", init=False)

    @property
    def is_spent(self) -> bool:
        """Whether no further call may be started."""
        no_calls = self.calls is not None and self.n_calls >= self.calls
        return no_calls or (self.tokens is not None and self.n_tokens >= self.tokens)

    def take(self, samples: S) -> S:
        """The samples that may be worked on; the stage is not finished when others are left."""
        taken: Any = samples
        if self.shard is not None:
            taken = self.shard.part(samples)
            self.stopped_by = f"its shard, {self.shard} of {len(samples):,} samples"
            self._remedy = " without --shard, after all shards are done, goes on"
        if self.samples is not None and self.samples < len(taken):
            self.stopped_by = f"the limit of {self.samples:,} of {len(taken):,} samples"
            self._remedy = (
                " with a higher limit goes on; for a small run that finishes, set data.limit, "
                "from `avrt prepare` on, or generate.limit (`avrt eval`: eval.limit), instead of "
                "--limit"
            )
            taken = taken[: self.samples]
        return taken

    def start_call(self) -> bool:
        """Count one more call; when the budget is spent, note that as the reason and give False."""
        if self.is_spent:
            self.stop()
            return False
        self.n_calls += 1
        return True

    def stop(self) -> None:
        """Note that calls are left because the budget is spent."""
        if self.calls is not None and self.n_calls >= self.calls:
            self.stopped_by = f"the budget of {self.calls:,} calls"
        else:
            self.stopped_by = f"the budget of {self.tokens:,} tokens"
        self._remedy = " goes on"

    def finish_call(self, completion: Completion) -> None:
        """Count the tokens of a call that came back."""
        self.n_tokens += completion.n_prompt_tokens + completion.n_completion_tokens
        self.n_failed += completion.finish_reason == "error"

    def summarize(self, stage: str) -> str:
        """The reason why a stage stopped, and how to go on; call when `stopped_by` is set."""
        failed = f", of which {self.n_failed:,} failed" if self.n_failed else ""
        return (
            f"{stage}: stopped by {self.stopped_by}, after {self.n_calls:,} calls with "
            f"{self.n_tokens:,} tokens{failed}; all replies are stored, the stage is not done; "
            f"the same command{self._remedy}"
        )
