"""Evaluation: models on benchmarks by modality, under a stated protocol, with intervals."""

from __future__ import annotations

from avrt.evaluate.compare import compare
from avrt.evaluate.predictions import score_predictions
from avrt.evaluate.run import Choice, Shard, plan, run

__all__ = ["Choice", "Shard", "compare", "plan", "run", "score_predictions"]
