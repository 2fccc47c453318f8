from __future__ import annotations

from math import comb, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrt.evaluate.statistics import Accuracy, compare_paired, mcnemar, wilson


def paired(both: int, b: int, c: int, neither: int) -> tuple[dict[str, bool], dict[str, bool]]:
    cells = [(True, True)] * both + [(True, False)] * b + [(False, True)] * c
    cells += [(False, False)] * neither
    return (
        {str(i): one for i, (one, _) in enumerate(cells)},
        {str(i): two for i, (_, two) in enumerate(cells)},
    )


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]
)
def test_wilson_gives_the_published_intervals(k, n, low, high):
    """Newcombe (1998), Statistics in Medicine 17, 857, table I."""
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_of_nothing_is_everything_and_its_mean_is_none():
    assert wilson(0, 0) == (0.0, 1.0)
    assert Accuracy(0, 0).value is None


@given(st.integers(0, 400), st.integers(0, 400))
def test_wilson_contains_the_share_and_stays_inside_zero_and_one(k, wrong):
    low, high = wilson(k, k + wrong)
    assert 0 <= low <= high <= 1
    if k + wrong:
        assert low <= k / (k + wrong) <= high


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="5 successes in 4 trials"):
        wilson(5, 4)
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


@pytest.mark.parametrize(
    ("b", "c", "p"), [(0, 0, 1.0), (3, 3, 1.0), (0, 6, 0.03125), (5, 15, 0.04138947)]
)
def test_mcnemar_is_exact_for_small_counts(b, c, p):
    assert mcnemar(b, c) == pytest.approx(p, rel=1e-6)
    assert mcnemar(c, b) == mcnemar(b, c)


def test_mcnemar_does_not_overflow_for_large_counts():
    assert 0 < mcnemar(9_000, 10_000) < 1e-10
    n = 40
    tail = sum(comb(n, i) for i in range(n // 4 + 1)) / 2**n
    assert isclose(mcnemar(n // 4, n - n // 4), 2 * tail)


def test_the_paired_interval_is_the_published_one():
    """Newcombe (1998), Statistics in Medicine 17, 2635, method 10: 36, 12, 2, 0."""
    comparison = compare_paired(*paired(36, 2, 12, 0))
    assert comparison is not None
    assert (comparison.n, comparison.b, comparison.c) == (50, 2, 12)
    assert comparison.difference == pytest.approx(0.2)
    assert (comparison.low, comparison.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_only_common_items_are_compared():
    comparison = compare_paired({"x": True, "y": False}, {"y": True, "z": True})
    assert comparison is not None
    assert (comparison.n, comparison.b, comparison.c) == (1, 0, 1)
    assert compare_paired({"x": True}, {"y": True}) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_the_paired_interval_contains_the_difference(both, b, c, neither):
    comparison = compare_paired(*paired(both, b, c, neither))
    assert comparison is not None
    assert -1 <= comparison.low <= comparison.difference <= comparison.high <= 1
    mirrored = compare_paired(*paired(both, c, b, neither))
    assert mirrored is not None
    assert mirrored.low == pytest.approx(-comparison.high)
