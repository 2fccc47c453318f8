"""Evaluation: models on benchmarks by modality, under a stated protocol, with intervals."""

from __future__ import annotations

from avrt.evaluate.compare import compare
from avrt.evaluate.predictions import score_predictions
from avrt.evaluate.run import Choice, plan, run

__all__ = ["Choice", "compare", "plan", "run", "score_predictions"]
