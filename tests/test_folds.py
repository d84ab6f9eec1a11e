"""Properties of splits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from relubench import folds

labels = st.lists(st.integers(0, 3), min_size=12, max_size=80).map(np.array)


def shares(y: np.ndarray) -> np.ndarray:
    return np.bincount(y, minlength=4)


@given(labels, st.integers(2, 6), st.integers(0, 9))
def test_folds_partition_the_rows_and_keep_class_shares(
    y: np.ndarray, count: int, seed: int
) -> None:
    parts = [folds.stratified(y, count, k, np.random.default_rng(seed)) for k in range(count)]
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(y)))
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= 1
    for train, test in parts:
        assert not set(train) & set(test)
        assert len(train) + len(test) == len(y)
        assert (np.abs(shares(y[test]) - shares(y) / count) < 1).all()


@given(labels, st.integers(0, 9))
def test_holdout_is_a_stratified_30_percent(y: np.ndarray, seed: int) -> None:
    train, test = folds.holdout(y, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(y)))
    assert len(test) == -(-3 * len(y) // 10)
    assert (np.abs(shares(y[test]) - shares(y) * len(test) / len(y)) <= 1).all()


@given(labels, st.integers(1, 12), st.integers(0, 9))
def test_subset_keeps_class_shares(y: np.ndarray, size: int, seed: int) -> None:
    rows = folds.subset(y, size, np.random.default_rng(seed))
    assert len(set(rows)) == size
    assert (np.abs(shares(y[rows]) - shares(y) * size / len(y)) <= 1).all()


def test_another_seed_is_another_split() -> None:
    y = np.repeat([0, 1], 50)
    first, second = (folds.holdout(y, np.random.default_rng(seed))[1] for seed in (0, 1))
    assert not np.array_equal(first, second)
