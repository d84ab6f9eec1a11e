"""Properties of splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relubench.datasets import folds

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


@given(labels, st.integers(4, 12), st.integers(0, 9))
def test_a_sample_keeps_class_shares_and_a_row_of_each(y: np.ndarray, size: int, seed: int) -> None:
    rows = folds.sample(y, size, np.random.default_rng(seed))
    assert len(set(rows)) == len(rows) == size
    assert set(y[rows]) == set(y)
    wanted, rare = shares(y) * size / len(y), shares(y) * size < len(y)
    given_up = (1 - wanted)[rare & (shares(y) > 0)].sum()
    assert (np.abs(shares(y[rows]) - wanted) <= 1 + given_up).all()


@given(st.integers(1, 3), st.integers(0, 9))
def test_a_sample_of_fewer_rows_than_classes_is_one(size: int, seed: int) -> None:
    rows = folds.sample(np.repeat(np.arange(5), 7), size, np.random.default_rng(seed))
    assert len(set(rows)) == size


NAMINGS = [[0, 1], [1, 0], [0, 1, 2], [2, 0, 1], [1, 2, 0], [3, 1, 0, 2]]


@pytest.mark.parametrize("naming", NAMINGS, ids=str)
def test_what_a_sample_rounds_follows_no_alphabet(naming: list[int]) -> None:
    """Each class has its exact share on average, under whatever name it stands."""
    counts = [5, 33, 41, 70][: len(naming)]
    y = np.repeat(naming, counts)
    draws = [y[folds.sample(y, 23, np.random.default_rng(seed))] for seed in range(2000)]
    mean = np.mean([np.bincount(draw, minlength=len(naming)) for draw in draws], axis=0)
    wanted = 23 * np.bincount(y) / len(y)
    if wanted.min() >= 1:  # else the rarest has more than its share
        assert mean == pytest.approx(wanted, abs=0.05)
    assert min(np.bincount(draw, minlength=len(naming)).min() for draw in draws) >= 1


groups = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 2)), min_size=40, max_size=120)


@given(groups, st.integers(2, 4), st.integers(0, 9))
def test_folds_part_no_group(rows: list[tuple[int, int]], count: int, seed: int) -> None:
    whose, y = np.array(rows).T
    if len(set(whose)) < count:
        return
    parts = [
        folds.stratified(y, count, k, np.random.default_rng(seed), whose) for k in range(count)
    ]
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(y)))
    for train, test in parts:
        assert len(test)
        assert not set(whose[train]) & set(whose[test])


@given(groups, st.integers(0, 9))
def test_a_holdout_parts_no_group(rows: list[tuple[int, int]], seed: int) -> None:
    whose, y = np.array(rows).T
    if len(set(whose)) < 2:
        return
    train, test = folds.holdout(y, np.random.default_rng(seed), groups=whose)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert len(train)
    assert len(test)
    assert not set(whose[train]) & set(whose[test])


@pytest.mark.parametrize("seed", range(5))
def test_folds_of_many_small_groups_keep_sizes_and_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(60), rng.integers(3, 12, 60))
    y = rng.integers(0, 3, 60)[whose]
    for fold in range(5):
        _, test = folds.stratified(y, 5, fold, np.random.default_rng(seed), whose)
        assert len(test) == pytest.approx(len(y) / 5, rel=0.15)
        assert np.bincount(y[test], minlength=3) == pytest.approx(np.bincount(y) / 5, abs=10)
    _, test = folds.holdout(y, np.random.default_rng(seed), groups=whose)
    assert len(test) == pytest.approx(0.3 * len(y), rel=0.1)
