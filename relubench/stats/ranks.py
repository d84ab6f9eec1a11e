"""Tests on ranks: several datasets, each one an observation; and seeds that are not paired.

Scores may hold None for a run that diverged: it ranks below every score, level with others of its
kind. Larger scores are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from relubench.stats.corrections import holm
from relubench.stats.signs import SAME, Floats, sign_flip

Scores = Sequence[float | None]


@dataclass(frozen=True)
class Friedman:
    """The omnibus test over datasets: χ² corrected for ties, its p, each mean rank (1 is best)."""

    chi2: float
    p: float
    mean_ranks: tuple[float, ...]


@dataclass(frozen=True)
class Pair:
    """One cell of the comparison matrix: first against second over all datasets.

    difference  mean of first - second; None where a run diverged
    p           two-sided Wilcoxon; `p_holm` corrected over the pairs that were asked for
    """

    first: int
    second: int
    difference: float | None
    wins: int
    ties: int
    losses: int
    p: float
    p_holm: float


def losing(scores: Scores) -> Floats:
    """The scores with -∞ for a run that diverged."""
    return np.array([-np.inf if score is None else score for score in scores], dtype=float)


def differences(a: Scores, b: Scores) -> Floats:
    """a - b by pairs; 0 where both diverged."""
    first, second = losing(a), losing(b)
    # Without the masks -∞ - -∞ would be NaN, and numpy would warn of it.
    level = first == second
    return np.where(level, 0.0, first - np.where(level, 0.0, second))


def mid_ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean; values that differ in their last bits are ties."""
    # Rounded to a grid of SAME of the largest, on which values that differ in
    # last bits fall together.
    size = np.abs(values)
    largest = size[np.isfinite(size)].max(initial=np.finfo(float).tiny)
    rounded = np.round(values / (largest * SAME))
    _, place, ties = np.unique(rounded, return_inverse=True, return_counts=True)
    # Of a group of t ties that ends at rank r: r - (t - 1) / 2.
    means = np.cumsum(ties) - (ties - 1) / 2
    return means[place]


def wilcoxon(difference: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on (n,) differences; ±∞ count as the largest.

    Exact with ties as well: the sign-flip test on the signed mid-ranks of |difference|. Zeros are
    ranked and then dropped (Pratt, JASA 54, 1959).
    """
    return sign_flip(np.sign(difference) * mid_ranks(np.abs(difference)))


def mann_whitney_above(a: Scores, b: Scores) -> float:
    """One-sided p of the exact Mann-Whitney test that a tends to be above b; ties as mid-ranks.

    Counts, rank after rank, the choices of len(a) of all values by the sum of their doubled ranks.
    """
    n = len(a)
    both = np.concatenate([losing(a), losing(b)])
    ranks = np.round(2 * mid_ranks(both)).astype(int)  # doubled: mid-ranks end in .5
    # In float64: counts are exact up to 2⁵³, and p is a ratio of them.
    counts = np.zeros((n + 1, ranks.sum() + 1))  # (chosen, sum) → choices
    counts[0, 0] = 1
    for rank in ranks:
        # A copy: the sum would read what it has just written, and choose a value twice.
        counts[1:, rank:] += counts[:-1, : counts.shape[1] - rank].copy()
    # a's own values come first: their sum is the one that was seen.
    as_large = counts[n, ranks[:n].sum() :].sum()
    return float(as_large / counts[n].sum())


def mann_whitney(a: Scores, b: Scores) -> float:
    """Two-sided p of the exact Mann-Whitney test on unpaired values: twice the smaller side.

    Two values beside two tell nothing: `smallest_p_unpaired` says how little a design can show.
    """
    return min(1.0, 2 * min(mann_whitney_above(a, b), mann_whitney_above(b, a)))


def mean_ranks(scores: Sequence[Scores]) -> tuple[float, ...]:
    """The mean rank of each candidate, 1 the best, over (datasets) rows of scores."""
    # Turned round: mid_ranks counts from the smallest, and 1 is to be the best.
    ranks = [mid_ranks(-losing(row)) for row in scores]
    return tuple(map(float, np.mean(ranks, axis=0)))


def friedman(scores: Sequence[Scores]) -> Friedman:
    """Friedman's test (JASA 32, 1937) on (datasets) rows of (candidates ≥ 3) scores.

    The χ² approximation is conservative for few datasets. Iman and Davenport's F is not used: it is
    infinite where the datasets agree entirely.
    """
    # Ranks of ours, since scipy's would part values that differ in their last bits.
    ranks = np.array([mid_ranks(-losing(row)) for row in scores])
    if (ranks == ranks[:, :1]).all():  # level everywhere
        return Friedman(0.0, 1.0, mean_ranks(scores))
    datasets, candidates = ranks.shape
    # 12 / (N k (k + 1)) Σ R² - 3 N (k + 1), with the rank sums R of k candidates on N datasets;
    # then over what ties leave of 1.
    spread = np.square(ranks.sum(axis=0)).sum()
    statistic = 12 * spread / (candidates * datasets * (candidates + 1))
    statistic -= 3 * datasets * (candidates + 1)
    statistic /= 1 - sum(map(_ties, ranks)) / (datasets * candidates * (candidates**2 - 1))
    p = float(scipy.special.chdtrc(candidates - 1, statistic))
    return Friedman(float(statistic), p, mean_ranks(scores))


def _ties(ranks: Floats) -> int:
    """Sum of t³ - t over the groups of t equal ranks."""
    _, times = np.unique(ranks, return_counts=True)
    return int((times**3 - times).sum())


def matrix(scores: Sequence[Scores], pairs: Sequence[tuple[int, int]]) -> list[Pair]:
    """The comparison matrix: pairs of candidates over (datasets) rows of (candidates) scores.

    pairs  those with the reference, or all; Holm's correction is over them
    A verdict on two candidates depends on these two alone, which mean ranks do not promise
    (Benavoli, Corani & Mangili, JMLR 17, 2016).
    """
    by_pair = [differences(_column(scores, i), _column(scores, j)) for i, j in pairs]
    p_values = [wilcoxon(difference) for difference in by_pair]
    rows = zip(pairs, by_pair, p_values, holm(p_values), strict=True)
    return [pair(i, j, difference, p, p_holm) for (i, j), difference, p, p_holm in rows]


def _column(scores: Sequence[Scores], candidate: int) -> Scores:
    return [row[candidate] for row in scores]


def pair(first: int, second: int, difference: Floats, p: float, p_holm: float) -> Pair:
    """One cell of the matrix from the differences of two candidates, a dataset each."""
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    return Pair(
        first=first,
        second=second,
        difference=float(difference.mean()) if np.isfinite(difference).all() else None,
        wins=wins,
        ties=len(difference) - wins - losses,
        losses=losses,
        p=p,
        p_holm=p_holm,
    )
