from __future__ import annotations

import math
import random
import subprocess
import sys
from math import comb, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from avrt.evaluate.statistics import (
    Accuracy,
    bootstrap,
    compare_paired,
    compare_seeds,
    holm,
    mcnemar,
    mean_interval,
    pooled,
    t_interval,
    wilson,
)

Answers = dict[str, list[bool]]


def paired(both: int, b: int, c: int, neither: int) -> tuple[Answers, Answers]:
    cells = [(True, True)] * both + [(True, False)] * b + [(False, True)] * c
    cells += [(False, False)] * neither
    return (
        {str(i): [one] for i, (one, _) in enumerate(cells)},
        {str(i): [two] for i, (_, two) in enumerate(cells)},
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


def test_the_mean_of_no_shares_is_unknown_and_values_that_are_no_shares_are_refused():
    assert mean_interval([]) == pytest.approx((0.0, 1.0))
    with pytest.raises(ValueError, match=r"not shares of \[0, 1\]: 0\.5 to 2"):
        mean_interval([0.5, 2])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_equal_shares_leave_an_interval_that_narrows_with_their_number(share):
    widths = []
    for n in (1, 2, 5, 40):
        low, high = mean_interval([share] * n)
        assert low <= share <= high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0.05


@given(st.lists(st.floats(0, 1)))
def test_the_interval_of_a_mean_contains_it_and_stays_inside_zero_and_one(shares):
    low, high = mean_interval(shares)
    assert 0 <= low <= high <= 1
    if shares:
        assert low - 1e-9 <= sum(shares) / len(shares) <= high + 1e-9


def test_shares_of_all_or_nothing_have_the_published_interval_of_their_proportion():
    """Agresti and Coull (1998) add z^2 / 2 successes and as many failures to 81 of 263."""
    n, k = 263 + 3.8414588, 81 + 1.9207294
    margin = 1.9599640 * (k / n * (1 - k / n) / n) ** 0.5
    low, high = mean_interval([1.0] * 81 + [0.0] * 182)
    assert (low, high) == pytest.approx((k / n - margin, k / n + margin))
    assert (low, high) == pytest.approx(wilson(81, 263), abs=1e-3)


@pytest.mark.parametrize(("n", "least"), [(5, 900), (20, 930), (200, 930)])
@pytest.mark.parametrize("weights", [(1, 1, 1), (0, 1, 9), (8, 1, 1), (0, 0, 1)])
def test_the_interval_of_a_mean_covers_the_truth_at_least_about_as_often_as_it_says(
    n, least, weights
):
    draw, n_inside, values = random.Random(0), 0, (0.0, 0.5, 1.0)
    truth = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    for _ in range(1000):
        low, high = mean_interval(draw.choices(values, weights, k=n))
        n_inside += low <= truth <= high
    assert n_inside >= least


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
    comparison = compare_paired({"x": [True], "y": [False]}, {"y": [True], "z": [True]})
    assert comparison is not None
    assert (comparison.n, comparison.b, comparison.c) == (1, 0, 1)
    assert compare_paired({"x": [True]}, {"y": [True]}) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_the_paired_interval_contains_the_difference(both, b, c, neither):
    comparison = compare_paired(*paired(both, b, c, neither))
    assert comparison is not None
    assert -1 <= comparison.low <= comparison.difference <= comparison.high <= 1
    mirrored = compare_paired(*paired(both, c, b, neither))
    assert mirrored is not None
    assert mirrored.low == pytest.approx(-comparison.high)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_wilson_is_scipys(k, wrong):
    if k + wrong:
        expected = binomtest(k, k + wrong).proportion_ci(method="wilson")
        assert wilson(k, k + wrong) == pytest.approx(tuple(expected), abs=1e-9)


def test_the_statistics_of_a_dataset_do_not_pay_for_scipy():
    code = "import sys, avrt.generate.strata; print('scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_the_bootstrap_agrees_with_the_paired_interval_and_repeats_itself():
    first, second = paired(500, 60, 100, 482)
    comparison = compare_paired(first, second)
    assert comparison is not None
    differences = [float(second[item][0]) - first[item][0] for item in first]
    low, high = bootstrap(differences)
    assert (low, high) == pytest.approx((comparison.low, comparison.high), abs=0.003)
    assert bootstrap(differences) == (low, high)
    assert bootstrap([0.5]) == (0.5, 0.5)


def answers(n_items: int, n_runs: int, agreement: float, seed: int = 0) -> Answers:
    """Items whose runs all come out alike with probability `agreement`, else independently."""
    draw = random.Random(seed)
    found: Answers = {}
    for item in range(n_items):
        same, first = draw.random() < agreement, draw.random() < 0.5
        found[str(item)] = [first if same else draw.random() < 0.5 for _ in range(n_runs)]
    return found


def width(accuracy: Accuracy) -> float:
    low, high = accuracy.interval
    return high - low


def test_equal_answers_to_one_item_are_worth_one_item():
    once = pooled({item: runs[:1] for item, runs in answers(400, 4, 1.0).items()})
    four_times = pooled(answers(400, 4, 1.0))
    assert four_times.value == once.value
    assert width(four_times) == pytest.approx(width(once), rel=1e-2)
    assert four_times.spread == 0


def test_independent_answers_narrow_the_interval_as_more_items_would():
    once = pooled({item: runs[:1] for item, runs in answers(400, 4, 0.0).items()})
    four_times = pooled(answers(400, 4, 0.0))
    assert width(four_times) == pytest.approx(width(once) / 2, rel=0.1)
    assert four_times.spread is not None
    assert 0 < four_times.spread < 0.06


def test_an_interval_over_items_covers_the_truth_about_as_often_as_it_says():
    n_inside = 0
    for seed in range(200):
        low, high = pooled(answers(120, 3, 0.5, seed)).interval
        n_inside += low <= 0.5 <= high
    assert 180 <= n_inside <= 198


def test_a_missing_run_of_an_item_does_not_weigh_more_than_other_items():
    accuracy = pooled({"x": [True, True], "y": [False]})
    assert (accuracy.k, accuracy.n, accuracy.value, accuracy.n_runs) == (1.0, 2, 0.5, 2)


@pytest.mark.parametrize("n_same", [0, 5])
def test_models_with_several_answers_that_differ_on_a_single_item_are_no_different(n_same):
    same = {str(item): [True, False] for item in range(n_same)}
    first, second = same | {"x": [False, False]}, same | {"x": [True, False]}
    comparison = compare_paired(first, second)
    assert comparison is not None
    assert (comparison.p, comparison.b, comparison.c) == (1.0, 0, 1)
    assert comparison.low <= comparison.difference <= comparison.high


def test_models_with_several_answers_are_compared_over_items():
    first, second = answers(300, 4, 0.5, 1), answers(300, 4, 0.5, 2)
    better = {item: [True] * 2 + runs[2:] for item, runs in first.items()}
    same, more = compare_paired(first, second), compare_paired(first, better)
    assert same is not None
    assert more is not None
    assert (same.is_noise, same.n_runs, same.n) == (True, 4, 300)
    assert same.p > 0.05
    assert more.p < 0.001
    assert more.low > 0
    assert "permutation" in more.test


def test_equal_models_do_not_differ():
    same = answers(50, 3, 0.5)
    comparison = compare_paired(same, same)
    assert comparison is not None
    assert (comparison.p, comparison.difference, comparison.is_noise) == (1.0, 0.0, True)


def test_the_interval_over_seeds_is_students():
    interval = t_interval([1, 2, 3, 4, 5])
    margin = 2.7764451 * math.sqrt(2.5 / 5)  # the table's quantile with 4 degrees of freedom
    assert interval == pytest.approx((3 - margin, 3 + margin), abs=1e-6)
    assert t_interval([1]) is None, "one repetition has no spread"


def test_the_paired_t_test_over_seeds_is_that_of_the_closed_forms():
    two = compare_seeds([4, 8], [3, 5])  # t = 2 with one degree of freedom: Cauchy
    assert two.p == pytest.approx(1 - 2 / math.pi * math.atan(2))
    assert (two.mean, two.n) == (2, 2)
    five = compare_seeds([11, 22, 33, 44, 55], [10, 20, 30, 40, 50])
    x = math.sqrt(18 / 22)  # t^2 = 18 with four degrees of freedom
    assert five.p == pytest.approx(2 * (0.5 - 0.75 * x + 0.25 * x**3))
    assert five.interval == t_interval([1, 2, 3, 4, 5])


def test_seeds_are_paired_so_that_what_both_arms_share_does_not_count():
    easy_and_hard = [10.0, 50.0, 90.0]
    better = [value + step for value, step in zip(easy_and_hard, (4, 5, 6), strict=True)]
    assert compare_seeds(better, easy_and_hard).p == pytest.approx(0.0131, abs=1e-4)


@pytest.mark.parametrize("step", [2.0, 0.0, -2.0])
def test_equal_differences_have_no_spread_so_nothing_is_tested(step):
    compared = compare_seeds([1 + step, 5 + step], [1, 5])
    assert (compared.p, compared.interval, compared.n) == (None, (step, step), 2)
    assert compare_seeds([0.1 + 0.2, 0.3], [0.0, 0.0]).p is None, "equal but for rounding"


def test_one_seed_has_no_p():
    assert compare_seeds([3], [1]).p is None
    assert compare_seeds([3], [1]).interval is None


def test_holm_multiplies_by_the_tests_that_are_left_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_a_corrected_p_lies_between_the_plain_one_and_bonferronis(ps):
    assert all(p <= corrected for p, corrected in zip(ps, holm(ps), strict=True))
    assert all(
        corrected <= min(1, len(ps) * max(other for other in ps if other <= p))
        for p, corrected in zip(ps, holm(ps), strict=True)
    )
