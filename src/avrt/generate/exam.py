"""How good rules and judges are: their results on the labelled traces, the exam of both.

Reads the packaged measured.json and other files that `benchmarks/gates.py` writes. A gate is known
by its name and version, a judge by its digest: another prompt, model or sampling was never
measured.

The decision to question: the precision that holds on the labelled traces is taken to hold on a
dataset too, although labelled traces have more faults than good mergers make.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from avrt.errors import ConfigError
from avrt.evaluate.statistics import wilson

__all__ = ["HALVES", "Measured", "format_share", "load_measured", "residual_rate"]

HALVES = ("open", "held_out")
"""Labelled traces that rules and prompts were written with, and those that no author has read."""


@dataclass(frozen=True)
class Measured:
    """How often a rule or a judge was right about a fault on the labelled traces of a half."""

    right: int
    """Traces with the fault that were flagged."""
    wrong: int
    """Traces without it that were flagged."""
    missed: int
    """Traces with it that passed."""
    passed: int
    """Traces without it that passed."""

    @property
    def precision(self) -> float | None:
        """Share of the flagged traces that have the fault; None when none was flagged."""
        return _share(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float | None:
        """Share of the traces with the fault that were flagged; None when none has it."""
        return _share(self.right, self.right + self.missed)


def load_measured(exam: Path | None = None) -> Mapping[str, Any]:
    """The results of gates and judges in the packaged file, and in `exam` where it is given.

    `gates` maps name to `version` and a half's counts by name; `judges` maps a judge's digest to
    its description and, in `findings`, the same by finding.

    Raises:
        ConfigError: `exam` is no file of results.
    """
    packaged = (
        resources.files("avrt.generate").joinpath("measured.json").read_text(encoding="utf-8")
    )
    measured: dict[str, Any] = json.loads(packaged)
    if exam is None:
        return measured
    try:
        own = json.loads(exam.read_text(encoding="utf-8"))
        return {**measured, "judges": measured["judges"] | own["judges"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{exam}: not a result of an exam ({type(error).__name__}: {error}); write it with "
            "`python benchmarks/gates.py --judge CONFIG --output FILE`"
        ) from error


def residual_rate(n: int, flagged: int, rejects: bool, measured: Measured | None) -> float | None:
    """Estimated share of faulty traces among those that are left of `n` traces; None: unknown.

    Of the flagged traces, flagged * precision have the fault. They are the share `recall` of all
    that have it, so flagged * precision / recall do. Where flagged traces are rejected, those that
    were found are gone:

        left = flagged * precision / recall - (flagged * precision if they are rejected)
        rate = left / (n - (flagged if they are rejected))
    """
    if measured is None or not measured.precision or not measured.recall:
        return None
    hits = flagged * measured.precision
    left = hits / measured.recall - (hits if rejects else 0)
    n_left = n - (flagged if rejects else 0)
    return min(1.0, left / n_left) if n_left else None


def format_share(hits: int, n: int) -> str:
    """A share with its 95 % interval (Wilson), such as "0.96 (0.90-0.98)"; "none" of nothing."""
    if n == 0:
        return "none"
    low, high = wilson(hits, n)
    return f"{hits / n:.2f} ({low:.2f}-{high:.2f})"


def _share(hits: int, n: int) -> float | None:
    return hits / n if n else None
