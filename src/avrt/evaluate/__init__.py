"""Evaluation: models on benchmarks by modality, under a stated protocol, with intervals."""

from __future__ import annotations

from avrt.evaluate.compare import compare
from avrt.evaluate.predictions import plan_predictions, score_predictions
from avrt.evaluate.run import Choice, plan, run

__all__ = ["Choice", "compare", "plan", "plan_predictions", "run", "score_predictions"]
