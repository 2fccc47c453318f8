"""Verdicts on claims, from numbers by seed that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from avrt.evaluate.statistics import compare_seeds
from avrt.experiments.claims import Finding, verdict
from avrt.experiments.plan import Claim


def finding(firsts: Sequence[float], seconds: Sequence[float], **claim: Any) -> Finding:
    lower = claim.get("metric", "accuracy") == "errors.walk"
    difference = compare_seeds(*((seconds, firsts) if lower else (firsts, seconds)))
    asked = Claim.model_validate({"claim": "c", "better": "x av", "than": "y av", **claim})
    seeds = range(len(firsts))
    return Finding(asked, seeds, firsts, seconds, difference, p=difference.p)


@pytest.mark.parametrize(
    ("firsts", "seconds", "claim", "words"),
    [
        ((70, 72, 74), (60, 61, 65), {"at_least": 8}, "holds"),
        ((70, 72, 74), (60, 61, 65), {"at_least": 20}, "does not hold: 10.0 short of +20"),
        ((70, 72, 74), (60, 61, 65), {"at_least": 11}, "not shown: 1.0 short of +11, but that is"),
        ((70, 72, 74), (60, 61, 65), {"p": 0.0001}, "not shown: p = 0.003, asked is p ≤ 0.0001"),
        ((60, 61, 65), (70, 72, 74), {}, "does not hold: no gain"),
        ((60, 70, 50), (61, 60, 59), {}, "not shown: no gain, but that is within the interval"),
        ((60, 70, 62), (61, 60, 59), {}, "not shown: p = "),
        ((60,), (50,), {}, "not shown: one seed"),
        ((60, 62), (50, 52), {}, "not shown: the same difference with every seed"),
        ((4, 5, 6), (10, 12, 13), {"metric": "errors.walk", "factor": 0.5}, "holds"),
        (
            (9, 10, 12),
            (10, 12, 13),
            {"metric": "errors.walk", "factor": 0.5},
            "does not hold: 0.89 of it, asked is at most 0.5",
        ),
        ((1, 2), (0, 0), {"metric": "errors.walk", "factor": 0.5}, "not shown: there is none in"),
    ],
)
def test_the_verdict_says_whether_a_claim_holds_and_by_how_much_it_misses(
    firsts: Sequence[float], seconds: Sequence[float], claim: dict[str, Any], words: str
) -> None:
    assert verdict(finding(firsts, seconds, **claim)).startswith(words)


def test_a_claim_without_numbers_is_not_measured() -> None:
    claim = Claim.model_validate({"claim": "c", "better": "x av"})
    assert verdict(Finding(claim, (), (), (), None)) == "not measured"
