"""Intervals and paired tests for accuracies, exact where the counts are small.

Nothing is read or written. Two models are compared on the same items (McNemar, Newcombe's paired
interval), because comparing two separate intervals throws away that most items come out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

__all__ = ["Z_95", "Accuracy", "Comparison", "compare_paired", "mcnemar", "wilson"]

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def wilson(k: int, n: int, z: float = Z_95) -> tuple[float, float]:
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


def mcnemar(b: int, c: int) -> float:
    """Two-sided exact p of b against c discordant pairs: a fair coin thrown b + c times."""
    if b < 0 or c < 0:
        raise ValueError(f"negative counts: {b}, {c}")
    n, tail, ways = b + c, 0, 1
    for i in range(min(b, c) + 1):  # ways: i heads in n throws
        tail += ways
        ways = ways * (n - i) // (i + 1)
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class Accuracy:
    """k right of n items; n counts every item, also those without an answer."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        """The share of right answers; the mean of nothing is None, not 0."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval (Wilson)."""
        return wilson(self.k, self.n)


@dataclass(frozen=True)
class Comparison:
    """Two results on the same items: `second` minus `first`."""

    n: int
    """Items that both have."""
    b: int
    """Items only the first has right."""
    c: int
    """Items only the second has right."""
    p: float
    """Exact two-sided McNemar p."""
    difference: float
    """Accuracy of the second minus accuracy of the first."""
    low: float
    high: float
    """95 % interval of the difference (Newcombe's score interval for paired proportions)."""


def compare_paired(first: Mapping[str, bool], second: Mapping[str, bool]) -> Comparison | None:
    """Compare two results on the items that both have; None when there are none."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    pairs = [(first[item], second[item]) for item in common]
    both = sum(one and two for one, two in pairs)
    b = sum(one and not two for one, two in pairs)
    c = sum(two and not one for one, two in pairs)
    n = len(pairs)
    low, high = _newcombe(both, b, c, n - both - b - c)
    return Comparison(n, b, c, mcnemar(b, c), (c - b) / n, low, high)


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
