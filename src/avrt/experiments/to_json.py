"""The results of an experiment for programs: accuracies with their logs, claims, cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avrt import __version__
from avrt.experiments.claims import Finding, verdict
from avrt.experiments.outcome import Cell, Measured
from avrt.experiments.plan import Claim

__all__ = ["results_to_json"]


def results_to_json(measured: Measured, findings: Sequence[Finding]) -> dict[str, Any]:
    """Accuracies in per cent, differences in points or the metric's unit, cost in core-minutes."""
    runs = measured.runs
    return {
        "version": 1,
        "experiment": runs.name,
        "title": runs.experiment.title,
        "avrt": __version__,
        "commits": list(measured.commits),
        "ended": measured.ended,
        "seeds": list(runs.experiment.seeds),
        "runs": {arm: [str(run.folder) for run in runs.of(arm)] for arm in runs.experiment.arms},
        "accuracies": [
            {
                **dict(zip(("arm", "benchmark", "modality"), key, strict=True)),
                **_cell(measured.accuracy(key)),
                "seeds": [
                    {
                        "seed": seed,
                        "accuracy": value.accuracy,
                        "n": value.result.n_items,
                        "protocol": value.result.protocol_id,
                        "log": str(value.log),
                    }
                    for seed, value in values.items()
                ],
            }
            for key, values in measured.values.items()
        ],
        "courses": [
            {
                **dict(zip(("arm", "benchmark", "modality"), key, strict=True)),
                "step": step,
                **_cell(cell),
                "seeds": dict(cell.values),
            }
            for key in measured.courses
            for step, cell in measured.course(key).items()
        ],
        "claims": [_finding(finding) for finding in findings],
        "core_minutes": {"total": measured.cost.total, "arms": dict(measured.cost.arms)},
        "missing": [{"arm": arm, "seed": seed} for arm, seed in measured.missing],
    }


def _cell(cell: Cell | None) -> dict[str, Any]:
    assert cell is not None, "only what is measured is listed"
    return {"mean": cell.mean, "interval": cell.interval}


def _finding(finding: Finding) -> dict[str, Any]:
    claim: Claim = finding.claim
    difference = finding.difference
    return {
        **claim.model_dump(exclude_none=True),
        "seeds": [
            {"seed": seed, "better": first, "than": second}
            for seed, first, second in zip(
                finding.seeds, finding.firsts, finding.seconds, strict=True
            )
        ],
        "difference": None if difference is None else difference.mean,
        "interval": None if difference is None else difference.interval,
        "p_uncorrected": None if difference is None else difference.p,
        "p_holm": finding.p,
        "ratio": finding.ratio if claim.than is not None else None,
        "items": {
            "n": finding.n_items,
            "only_than_right": finding.b,
            "only_better_right": finding.c,
            "p_mcnemar": finding.p_items,
        }
        if finding.n_items
        else None,
        "verdict": verdict(finding),
    }
