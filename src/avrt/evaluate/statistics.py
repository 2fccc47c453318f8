"""Intervals and paired tests for accuracies: of one answer per item, or of several.

Nothing is read or written. Two models are compared on the same items, because comparing two
separate intervals throws away that most items come out the same. Several answers to one item
(seeds) are not several items: they are averaged first; intervals and tests are over items.

The decision to question: Wilson's interval is written out here, although SciPy has it. It is needed
with counts that are no whole numbers (several answers per item), and `avrt stats` would pay a
second for the import of `scipy.stats`. The tests, which only a comparison needs, are SciPy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

__all__ = [
    "Z_95",
    "Accuracy",
    "Comparison",
    "SeedDifference",
    "bootstrap",
    "compare_paired",
    "compare_seeds",
    "holm",
    "mcnemar",
    "mean_interval",
    "pooled",
    "t_interval",
    "wilson",
]

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""
_RESAMPLES = 9_999
_BATCH = 500
"""Resamples that are in memory together."""


def wilson(k: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval for k successes in n trials; nothing known (n = 0) is (0, 1)."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    p = k / n
    scale = 1 + z * z / n
    centre = p + z * z / (2 * n)
    margin = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else (centre - margin) / scale
    high = 1.0 if k == n else (centre + margin) / scale
    return low, high


def mean_interval(shares: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of shares in [0, 1]; nothing known is (0, 1).

    The normal interval of the mean, with the variance of the shares, after as many pseudo-values as
    Agresti and Coull (1998), The American Statistician 52, 119, add to a proportion: half of z^2
    zeros and as many ones. For shares that are all 0 or 1 it is their interval; for others it is
    narrower, and equal shares, which have no variance, still leave it a width.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"not shares of [0, 1]: {min(shares)} to {max(shares)}")
    n = len(shares) + Z_95**2
    mean = (sum(shares) + Z_95**2 / 2) / n
    variance = (sum(share * share for share in shares) + Z_95**2 / 2) / n - mean * mean
    margin = Z_95 * sqrt(variance / n)
    return max(mean - margin, 0.0), min(mean + margin, 1.0)


def mcnemar(b: int, c: int) -> float:
    """Two-sided exact p of b against c discordant pairs: a fair coin thrown b + c times."""
    from scipy.stats import binomtest

    if b < 0 or c < 0:
        raise ValueError(f"negative counts: {b}, {c}")
    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def bootstrap(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of differences, one per item: percentiles of resampled items.

    The resamples are those of a fixed seed: equal input gives equal intervals.
    """
    import numpy as np
    from scipy import stats

    if len(set(differences)) == 1:  # also of one item alone, of which nothing can be resampled
        return differences[0], differences[0]
    resampled = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    interval = resampled.confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Accuracy:
    """k right of n items; n counts every item, also those without an answer."""

    k: float
    """The sum over items of the share of right answers; a whole number with one answer each."""
    n: int
    n_effective: float | None = None
    """Answers that are worth as much as independent ones, when items have several; else n."""
    spread: float | None = None
    """Standard deviation of the accuracy between the runs (seeds), when there are several."""
    n_runs: int = 1
    """Answers per item."""

    @property
    def value(self) -> float | None:
        """The share of right answers; the mean of nothing is None, not 0."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval over items (Wilson)."""
        if self.n_effective is None:
            return wilson(self.k, self.n)
        return wilson(self.k / self.n * self.n_effective, self.n_effective)


def pooled(answers: Mapping[str, Sequence[bool]]) -> Accuracy:
    """The accuracy over items of which each has one answer, or several (one per seed).

    With several, the items are the clusters: their means differ by less than single answers, and
    how much less says how many independent answers they are worth (Korn and Graubard 1998, Survey
    Methodology 24, 193), never fewer than there are items, nor more than there are answers.
    """
    means = [fmean(runs) for runs in answers.values()]
    n, n_runs = len(means), max((len(runs) for runs in answers.values()), default=1)
    if n_runs == 1:
        return Accuracy(sum(map(round, means)), n)
    p, n_answers = fmean(means), sum(len(runs) for runs in answers.values())
    variance = sum((mean - p) ** 2 for mean in means) / (n * max(n - 1, 1))
    worth = p * (1 - p) / variance if variance else n
    complete = [runs for runs in answers.values() if len(runs) == n_runs]
    by_run = [fmean(run) for run in zip(*complete, strict=True)]
    return Accuracy(sum(means), n, min(max(worth, n), n_answers), stdev(by_run), n_runs)


@dataclass(frozen=True)
class Comparison:
    """Two results on the same items: `second` minus `first`."""

    n: int
    """Items that both have."""
    b: int
    """Items that the first has right more often: with one answer each, only the first right."""
    c: int
    """Items that the second has right more often."""
    p: float
    """Two-sided: exact McNemar, or of signs exchanged at random when items have several answers."""
    difference: float
    """Accuracy of the second minus accuracy of the first."""
    low: float
    high: float
    """95 % interval of the difference: Newcombe's score interval for paired proportions, or of
    resampled items when items have several answers.
    """
    n_runs: int = 1
    """Answers per item, of the model that has more."""

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high

    @property
    def test(self) -> str:
        """The name of the test behind `p`."""
        return "exact McNemar" if self.n_runs == 1 else "sign-flip permutation of item means"


def compare_paired(
    first: Mapping[str, Sequence[bool]], second: Mapping[str, Sequence[bool]]
) -> Comparison | None:
    """Compare two results on the items that both have; None when there are none."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    n_runs = max(len(runs) for result in (first, second) for runs in result.values())
    pairs = [(fmean(first[item]), fmean(second[item])) for item in common]
    b, c = sum(x > y for x, y in pairs), sum(y > x for x, y in pairs)
    n, differences = len(pairs), [y - x for x, y in pairs]
    if n_runs > 1:
        p, (low, high) = _sign_flips(differences), bootstrap(differences)
        return Comparison(n, b, c, p, fmean(differences), low, high, n_runs)
    both = sum(x == y == 1 for x, y in pairs)
    low, high = _newcombe(both, b, c, n - both - b - c)
    return Comparison(n, b, c, mcnemar(b, c), (c - b) / n, low, high)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of values of independent repetitions (Student's t); None with fewer
    than two, of which no spread is known.
    """
    from scipy import stats

    if len(values) < 2:
        return None
    mean, error = fmean(values), stdev(values) / sqrt(len(values))
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - margin, mean + margin


@dataclass(frozen=True)
class SeedDifference:
    """The mean difference between two arms over seeds: first minus second."""

    mean: float
    interval: tuple[float, float] | None
    """95 %, over seeds; None with one seed."""
    p: float | None
    """Two-sided, of the paired t test over seeds; None with one seed."""
    n: int
    """Seeds."""


def compare_seeds(first: Sequence[float], second: Sequence[float]) -> SeedDifference:
    """Compare two arms that had the same seeds, in the same order.

    Seeds share nothing (training, data and items are each seed's own), so that their differences
    are independent and the paired t test is exact for normal ones. Without a spread, of one seed or
    of equal differences, nothing can be tested: p is None.
    """
    from scipy import stats

    differences = [x - y for x, y in zip(first, second, strict=True)]
    mean, n = fmean(differences), len(differences)
    if n < 2:
        return SeedDifference(mean, None, None, n)
    if len({round(difference, 9) for difference in differences}) == 1:
        return SeedDifference(mean, (mean, mean), None, n)
    test: Any = stats.ttest_1samp(differences, 0.0)  # its result has no types
    return SeedDifference(mean, t_interval(differences), float(test.pvalue), n)


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6, 65):
    the chance of any false rejection among all of them stays below the level.
    """
    corrected, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected


def _sign_flips(differences: Sequence[float]) -> float:
    """Two-sided p of the mean when every item's difference could as well have the other sign."""
    import numpy as np
    from scipy import stats

    moved = np.array([difference for difference in differences if difference])
    if len(moved) < 2:  # of a single item, both signs are as extreme; SciPy refuses it
        return 1.0
    permuted = stats.permutation_test(
        (moved,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        rng=np.random.default_rng(0),
    )
    return float(permuted.pvalue)


def _newcombe(both: int, b: int, c: int, neither: int) -> tuple[float, float]:
    """Interval of p2 - p1: method 10 of Newcombe (1998), Statistics in Medicine 17, 2635."""
    n = both + b + c + neither
    p1, p2 = (both + b) / n, (both + c) / n
    low1, high1 = wilson(both + b, n)
    low2, high2 = wilson(both + c, n)
    phi = _correlation(both, b, c, neither)
    below = (p2 - low2) ** 2 - 2 * phi * (p2 - low2) * (high1 - p1) + (high1 - p1) ** 2
    above = (high2 - p2) ** 2 - 2 * phi * (high2 - p2) * (p1 - low1) + (p1 - low1) ** 2
    difference = p2 - p1
    return difference - sqrt(max(below, 0.0)), difference + sqrt(max(above, 0.0))


def _correlation(both: int, b: int, c: int, neither: int) -> float:
    """Correlation of the two results, with Newcombe's continuity correction towards zero."""
    margins = (both + b) * (c + neither) * (both + c) * (b + neither)
    if margins == 0:
        return 0.0
    product = both * neither - b * c
    if product > 0:
        product = max(product - (both + b + c + neither) / 2, 0.0)
    return product / sqrt(margins)
