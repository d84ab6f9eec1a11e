"""What many comparisons, and many looks at the same one, do to a p-value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_LOOKS = 5
GROWTH = 1.4  # about, from one look to the next, as long as that makes no more


@dataclass(frozen=True)
class Look:
    """One declared look: after so many seeds, at this level."""

    seeds: int
    alpha: float


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979), in input order."""
    # The i-th smallest p times how many are left with it; never below one that came before.
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def looks(first: int, last: int, alpha: float = 0.05) -> list[Look]:
    """The looks at which a run that grows from `first` to `last` seeds may stop, and their levels.

    At most five, in equal ratios.
    """
    # As many looks as give steps of about GROWTH, both ends counted; np.unique
    # joins what rounds alike.
    count = min(MOST_LOOKS, 1 + math.ceil(math.log(last / first) / math.log(GROWTH)))
    return spent([int(n) for n in np.unique(np.geomspace(first, last, count).round())], alpha)


def spent(seeds: Sequence[int], alpha: float = 0.05) -> list[Look]:
    """Looks after so many seeds, in ascending order, each with its level.

    Each look spends the part of alpha that its new seeds are of all (linear spending, Lan & DeMets,
    Biometrika 70, 1983) as a level of its own. The levels add up to alpha, so that by Bonferroni's
    inequality the error rate over all looks is at most alpha whatever the test and however the
    looks depend on each other; the price is some power.
    """
    new = np.diff(seeds, prepend=0)
    return [Look(n, alpha * int(k) / seeds[-1]) for n, k in zip(seeds, new, strict=True)]
