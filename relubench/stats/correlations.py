"""How two figures of runs go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy

from relubench.stats.ranks import mid_ranks
from relubench.stats.signs import Floats

FEWEST = 4  # pairs, below which Fisher's interval has no width
FEWEST_RANKED = 3  # pairs, below which there are but two orders
SAMPLES = 4000  # drawn for the interval of a rank correlation
LEVEL = 1e-9  # by which two r may differ and be the same
HALVINGS = 12  # of what that interval's ends lie in: to 0.0005


def correlation(
    x: Sequence[float], y: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Pearson's r and the ends of its interval, by Fisher's z; None where one figure is constant.

    The interval takes pairs for independent draws: n at the least 4.
    """
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if abs(r) == 1:
        return r, r, r
    half = float(scipy.special.ndtri((1 + confidence) / 2)) / math.sqrt(n - 3)
    z = math.atanh(r)
    return r, math.tanh(z - half), math.tanh(z + half)


def rank_correlation(
    x: Sequence[float], y: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Spearman's r and the ends of its interval; None of under 3 pairs, or of a constant figure.

    At an end, normal numbers so correlated come to this r or a farther one in 2.5 % of samples of
    as many pairs. So a r of 1 over few pairs has a wide interval; Fisher's would have no width.
    """
    n = len(x)
    if n < FEWEST_RANKED or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    ranks = [mid_ranks(np.array(figures, dtype=float))[None] for figures in (x, y)]
    found = float(_pearson(*ranks)[0])
    draws = np.random.default_rng(0).normal(size=(2, SAMPLES, n))
    tail = (1 - confidence) / 2

    def above(normal: float) -> bool:
        return bool((_correlated(draws, normal) >= found - LEVEL).mean() >= tail)

    def below(normal: float) -> bool:
        return bool((_correlated(draws, normal) <= found + LEVEL).mean() < tail)

    low, high = _first(above), _first(below)
    return found, _of_ranks(low), _of_ranks(high)


def _correlated(draws: Floats, normal: float) -> Floats:
    """Spearman's r of samples of normal pairs with this correlation; draws (2, samples, pairs)."""
    first, other = draws
    second = normal * first + math.sqrt(1 - normal**2) * other
    # Sorted twice: the place of each number among those of its sample. Drawn numbers do not tie.
    ranks = [figures.argsort(axis=1).argsort(axis=1) for figures in (first, second)]
    return _pearson(*ranks)


def _pearson(x: Floats, y: Floats) -> Floats:
    """r by rows of (samples, pairs)."""
    first, second = (each - each.mean(axis=1, keepdims=True) for each in (x, y))
    size = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    correlations: Floats = (first * second).sum(axis=1) / size
    return correlations


def _first(reached: Callable[[float], bool]) -> float:
    """The least correlation from -1 to 1 from which on something is reached."""
    low, high = -1.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    # The ends themselves are never tried: beside one of them it is meant.
    return -1.0 if low == -1 else 1.0 if high == 1 else (low + high) / 2


def _of_ranks(normal: float) -> float:
    """The r of ranks of normal numbers with this correlation (Pearson 1907)."""
    return 6 / math.pi * math.asin(normal / 2)
