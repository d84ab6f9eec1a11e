"""Train and test rows as index arrays; pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def by_class(y: Rows, rng: np.random.Generator) -> Rows:
    """All row numbers, class after class, shuffled inside each class."""
    shuffled = rng.permutation(len(y))
    return shuffled[np.argsort(y[shuffled], kind="stable")]


def subset(y: Rows, size: int, rng: np.random.Generator) -> Rows:
    """`size` sorted row numbers with the shares of the classes kept to within one row.

    Evenly spaced picks from the rows ordered by class.
    """
    picks = np.arange(size) * len(y) // size
    return np.sort(by_class(y, rng)[picks])


def holdout(y: Rows, rng: np.random.Generator, test_share: float = 0.3) -> tuple[Rows, Rows]:
    """A stratified split: (train rows, test rows), the test part rounded up."""
    test = subset(y, int(np.ceil(len(y) * test_share)), rng)
    return np.setdiff1d(np.arange(len(y)), test), test


def stratified(y: Rows, folds: int, fold: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Fold number `fold` of a stratified K-fold partition: (train rows, test rows).

    Rows ordered by class are dealt like cards, so class counts differ by at most one row between
    folds, and so do the folds' sizes.
    """
    order = by_class(y, rng)
    test = np.sort(order[fold::folds])
    return np.setdiff1d(np.arange(len(y)), test), test
