"""How two figures of runs go together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

FEWEST = 4  # pairs, below which Fisher's interval has no width


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
