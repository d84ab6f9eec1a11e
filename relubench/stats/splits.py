"""Overlapping splits: what K folds × R repeats say, though they share their training rows.

Every function takes (splits,) differences, one for each split, the seeds inside it averaged first
(`by_split`), and ratio = n_test / n_train of a split, 1 / (K - 1) for K folds. The correction was
derived for random subsampling; for one plain K-fold it is a heuristic (`caveat`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from relubench.stats.intervals import all_equal, t_interval
from relubench.stats.signs import Floats, sign_flip_above


@dataclass(frozen=True)
class Resampled:
    """A mean difference over splits with its corrected interval and two-sided p."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    splits: int


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the difference is below, inside and above the region of equivalence."""

    left: float
    rope: float
    right: float


def by_split(values: Mapping[tuple[int, int], float]) -> Floats:
    """(split, seed) → value, as the mean over the seeds of each split, in the order of splits."""
    inside: dict[int, list[float]] = {}
    # Seeds of one split share its rows: they are no further observations, but one better one.
    for split, seed in sorted(values):
        inside.setdefault(split, []).append(values[split, seed])
    return np.array([np.mean(of_split) for of_split in inside.values()])


def caveat(folds: int, repeats: int) -> str | None:
    """What must be said beside a corrected test over K folds × R repeats."""
    if repeats > 1:
        return None
    return (
        f"one plain {folds}-fold: the correction was derived for random subsampling and is a"
        " heuristic here; --repeats 2 or more is better founded"
    )


def corrected_t_above(difference: Floats, ratio: float) -> float:
    """One-sided p of the corrected resampled t test that the mean is above 0.

    t = mean / (s √(1/J + ratio)), J - 1 degrees of freedom (Nadeau & Bengio, Machine Learning 52,
    2003). One split has no spread: p is 1. Where all J differences are equal t is not defined, and
    the p of the sign-flip test, 1 / 2^J at the least, stands in.
    """
    n = len(difference)
    if n < 2:
        return 1.0
    if all_equal(difference):
        return sign_flip_above(difference)
    error = difference.std(ddof=1) * math.sqrt(1 / n + ratio)
    return float(scipy.special.stdtr(n - 1, -difference.mean() / error))


def smallest_difference(n: int, ratio: float, alpha: float) -> float:
    """The mean difference, in spreads, under which n ≥ 2 splits give no two-sided p below alpha."""
    return float(scipy.special.stdtrit(n - 1, 1 - alpha / 2)) * math.sqrt(1 / n + ratio)


def corrected_t(difference: Floats, ratio: float, confidence: float = 0.95) -> Resampled:
    """The corrected resampled t test, two-sided, with its interval."""
    if not len(difference):
        return Resampled(None, None, None, None, 0)
    limits = t_interval(difference, confidence, ratio)
    p = 2 * min(corrected_t_above(difference, ratio), corrected_t_above(-difference, ratio))
    mean = float(difference.mean())
    return Resampled(mean, limits.low, limits.high, min(1.0, p), len(difference))


def correlated_t(difference: Floats, ratio: float, rope: float) -> Posterior | None:
    """The Bayesian correlated t test (Corani & Benavoli, Machine Learning 100, 2015).

    The posterior of the mean difference is Student's t about the mean with scale s √(1/J + ratio)
    and J - 1 degrees of freedom; where all differences are equal, that point. None under two.

    rope  half the width of the region of practical equivalence; its ends belong to it
    """
    n = len(difference)
    if n < 2:
        return None
    mean = float(difference.mean())
    if all_equal(difference):
        # No spread: the posterior is a point, which lies in one of the three regions.
        return Posterior(float(mean < -rope), float(abs(mean) <= rope), float(mean > rope))
    scale = float(difference.std(ddof=1)) * math.sqrt(1 / n + ratio)
    left = float(scipy.special.stdtr(n - 1, (-rope - mean) / scale))
    right = float(scipy.special.stdtr(n - 1, (mean - rope) / scale))
    # Rounding may leave the middle a last bit below 0.
    return Posterior(left, max(0.0, 1 - left - right), right)
