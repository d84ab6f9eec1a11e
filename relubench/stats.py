"""Tests, intervals and corrections; pure numpy and scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_LIMIT = 20  # up to so many pairs all sign patterns are counted
DRAWN = 100_000  # and beyond, so many are drawn


@dataclass(frozen=True)
class Paired:
    """A mean paired difference with its confidence interval and two-sided p; None: not defined."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    pairs: int


def paired(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Paired:
    """What the pairs (a[i], b[i]) say of mean(a) - mean(b).

    Student's t interval of the mean difference, and the exact sign-flip test. One pair has no
    interval, and its p is 1.
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n = len(difference)
    if n == 0:
        return Paired(None, None, None, None, 0)
    mean = float(difference.mean())
    low = high = None
    if n > 1:
        from scipy.stats import t  # slow to import, and `list` does not need it

        error = difference.std(ddof=1) / math.sqrt(n)
        margin = float(t.ppf((1 + confidence) / 2, n - 1) * error)
        low, high = mean - margin, mean + margin
    return Paired(mean, low, high, sign_flip(difference), n)


def sign_flip(difference: NDArray[np.float64]) -> float:
    """Two-sided p of the sign-flip test: how often random signs give a mean at least as far from 0.

    Exact (all 2^n sign patterns) up to n = 20; beyond, 100,000 patterns drawn from a fixed stream.
    """
    n = len(difference)
    if n <= EXACT_LIMIT:
        sums = np.zeros(1)
        for value in difference:  # doubles the list of sums: 2^n in the end
            sums = np.concatenate([sums + value, sums - value])
        extra = 0
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWN, n))
        sums, extra = signs @ difference, 1
    observed = abs(difference.sum())
    tolerance = 1e-12 * np.abs(difference).sum()  # equal sums may differ in the last bits
    as_far = int((np.abs(sums) >= observed - tolerance).sum())
    return (as_far + extra) / (len(sums) + extra)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that a sign-flip test on n pairs can give."""
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(comparisons: int, alpha: float = 0.05) -> int:
    """The fewest pairs with which Holm's first step over so many comparisons can reach alpha."""
    return next(n for n in range(1, 100) if smallest_p(n) * comparisons < alpha)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979), in input order."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1); None where there are too few values."""
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
