"""The exact sign-flip test, and what it can show at best."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT_LIMIT = 32  # up to so many pairs all sign patterns are counted
DRAWN = 100_000  # and beyond, so many are drawn
SAME = 1e-12  # relative: sums that are equal may differ in the last bits


def sign_flip_above(difference: Floats) -> float:
    """One-sided p of the sign-flip test: how often random signs give a sum at least as large.

    difference  (n,) finite
    Assumes that without an effect each difference is as likely as its negative (Fisher 1935): true
    of exchangeable pairs; of differences shifted by a margin, if they are symmetric about it.
    Exact (all 2^n patterns, the sums of two halves of the pairs matched by bisection) up to n = 32;
    beyond, 100,000 patterns drawn from a fixed stream and the observed one.
    """
    n = len(difference)
    # A little less than was seen: patterns with an equal sum count, whatever their last bits.
    observed = difference.sum() - SAME * np.abs(difference).sum()
    if n > EXACT_LIMIT:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWN, n))
        # The observed pattern counts as one more draw: without it p could be 0.
        return (int((signs @ difference >= observed).sum()) + 1) / (DRAWN + 1)
    # Halves: 2^16 sums twice instead of 2^32 once.
    left = signed_sums(difference[: n // 2])
    right = np.sort(signed_sums(difference[n // 2 :]))
    # From the left: a sum that equals what was seen counts as at least as large.
    as_large = len(right) - np.searchsorted(right, observed - left)
    return float(as_large.sum() / 2**n)


def signed_sums(values: Floats) -> Floats:
    """The sums of (n,) values under all sign patterns, (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def sign_flip(difference: Floats) -> float:
    """Two-sided p of the sign-flip test: how often random signs give a sum as far from 0."""
    # Patterns are symmetric: the side to which the sum lies has the smaller p.
    toward = difference if difference.sum() >= 0 else -difference
    return min(1.0, 2 * sign_flip_above(toward))


def smallest_p(n: int, sides: int = 2) -> float:
    """The smallest p that a sign-flip or Wilcoxon test on n pairs can give: sides / 2^n."""
    return min(1.0, sides * 2.0**-n)


def attainable(n: int, level: float) -> float:
    """The largest one-sided p of a sign-flip test on n pairs that lies below this level."""
    if n > EXACT_LIMIT:
        return level
    # The largest k / 2ⁿ strictly below the level; ldexp scales by powers of 2 without rounding.
    return math.ldexp(math.ceil(math.ldexp(level, n)) - 1, -n)


def smallest_p_unpaired(n: int, m: int, sides: int = 2) -> float:
    """The smallest p that a Mann-Whitney test on n and m values can give."""
    return min(1.0, sides / math.comb(n + m, n))


def pairs_needed(comparisons: int, alpha: float = 0.05, sides: int = 2) -> int:
    """The fewest pairs with which Holm's first step over so many comparisons can reach alpha."""
    return next(n for n in range(1, 200) if smallest_p(n, sides) * comparisons < alpha)
