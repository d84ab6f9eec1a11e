"""Train and test rows as index arrays; pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def by_class(y: Rows, rng: np.random.Generator) -> Rows:
    """All row numbers, class after class, shuffled inside each class."""
    shuffled = rng.permutation(len(y))
    # Stable: another sort would undo the shuffle inside a class.
    return shuffled[np.argsort(y[shuffled], kind="stable")]


def subset(y: Rows, size: int, rng: np.random.Generator) -> Rows:
    """`size` sorted row numbers with the proportions of the classes kept to within one row.

    Evenly spaced picks from the rows ordered by class.
    """
    # In whole numbers, so that no rounding moves a pick.
    picks = np.arange(size) * len(y) // size
    return np.sort(by_class(y, rng)[picks])


def sample(y: Rows, size: int, rng: np.random.Generator) -> Rows:
    """`size` sorted row numbers: the classes' proportions are kept, and one row of each at least.

    Which classes have the row that is left over is drawn, in proportion to what each is short of.
    Where there are more classes than rows, the rows are drawn from all.
    """
    # 1. What each class is due, rounded down, but one row of each where that can be.
    counts = np.bincount(y)
    wanted = size * counts / len(y)
    least = (counts > 0).astype(np.int64)
    take = np.floor(wanted).astype(np.int64)
    if least.sum() <= size:
        take = np.maximum(take, least)
    while take.sum() > size:  # what the rarest have too much, the largest give
        over = np.where(take > 1, take - wanted, -np.inf)
        take[rng.choice(np.flatnonzero(over == over.max()))] -= 1
    # 2. The rows that are left over, dealt by what each class is short of.
    take += _dealt(np.clip(wanted - take, 0, None), size - int(take.sum()), rng)
    # 3. So many of each class: by_class has them shuffled, and class after class.
    rows = by_class(y, rng)
    first = np.cumsum(counts) - counts
    picked = [rows[at : at + count] for at, count in zip(first, take, strict=True)]
    return np.sort(np.concatenate(picked))


def _dealt(short: NDArray[np.float64], left: int, rng: np.random.Generator) -> Rows:
    """`left` rows over the classes, in proportion to what each is `short` of, one each at most."""
    order = rng.permutation(len(short))
    ends = np.cumsum(short[order]) * (left / max(short.sum(), 1e-9))
    ends[-1] = left  # not a last bit less
    # Systematic sampling: one random offset, and a row wherever the running sum passes a whole.
    dealt = np.zeros(len(short), dtype=np.int64)
    dealt[order] = np.diff(np.floor(ends + rng.random()), prepend=0)
    return dealt


def holdout(
    y: Rows, rng: np.random.Generator, test_fraction: float = 0.3, groups: Rows | None = None
) -> tuple[Rows, Rows]:
    """A stratified split: (train rows, test rows), the test part rounded up.

    groups  (rows,) of which none is in both parts; sizes and proportions are then nearly kept
    """
    if groups is not None:
        test = np.flatnonzero(apart(y, groups, [1 - test_fraction, test_fraction], rng) == 1)
    else:
        test = subset(y, int(np.ceil(len(y) * test_fraction)), rng)
    return np.setdiff1d(np.arange(len(y)), test), test


def stratified(
    y: Rows, folds: int, fold: int, rng: np.random.Generator, groups: Rows | None = None
) -> tuple[Rows, Rows]:
    """Fold number `fold` of a stratified K-fold partition: (train rows, test rows).

    Rows ordered by class are dealt like cards, so class counts differ by at most one row between
    folds, and so do the folds' sizes.
    groups  (rows,) of which none is in two folds; sizes and proportions are then nearly kept
    """
    if groups is not None:
        test = np.flatnonzero(apart(y, groups, [1 / folds] * folds, rng) == fold)
    else:
        order = by_class(y, rng)
        # Every `folds`-th row, as cards are dealt: neighbours of one class go to different folds.
        test = np.sort(order[fold::folds])
    return np.setdiff1d(np.arange(len(y)), test), test


def apart(
    y: Rows, groups: Rows, fractions: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int64]:
    """(rows,) the number of the part for each row: the rows of a group are all in one.

    fractions  of all rows per part, which the counts of the classes keep as far as groups allow
    Groups go, the largest first and equals in drawn order, where their classes are most wanting.
    """
    members, numbers = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(members), int(y.max()) + 1))  # (groups, classes)
    np.add.at(counts, (numbers, y), 1)
    totals = counts.sum(axis=0)
    wanting = np.outer(fractions, totals)  # (parts, classes)
    weight = 1 / np.maximum(totals, 1)  # a row of a rare class counts for more
    parts = np.zeros(len(members), dtype=np.int64)
    drawn = rng.permutation(len(members))
    largest_first = drawn[np.argsort(-counts[drawn].sum(axis=1), kind="stable")]
    for left, group in zip(range(len(members), 0, -1), largest_first, strict=True):
        # Where what the group brings is most wanted: larger for parts still
        # far from their fraction.
        gain = (wanting * counts[group] * weight).sum(axis=1)
        gain += 1e-9 * wanting.sum(axis=1)  # of equals the emptier
        # Parts without a group; when only as many groups are left, each of them gets one.
        empty = np.setdiff1d(np.arange(len(fractions)), parts[largest_first[: len(members) - left]])
        if len(empty) >= left:  # none stays so
            gain[empty] += np.inf
        parts[group] = int(gain.argmax())
        wanting[parts[group]] -= counts[group]
    return parts[numbers]
