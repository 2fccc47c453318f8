"""Evaluation: checkpoints on benchmarks by modality, with intervals and paired comparisons."""

from __future__ import annotations

from avrt.evaluate.run import plan, run
from avrt.evaluate.summary import compare

__all__ = ["compare", "plan", "run"]
