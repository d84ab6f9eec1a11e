"""Preparation against scikit-learn, and that it never sees the test set."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from relubench.datasets.preprocessing import prepare
from relubench.plan import Preparation

rng = np.random.default_rng(0)
TABLE = rng.normal(3, 2, (60, 7)) @ rng.normal(size=(7, 7))
IMAGES = rng.integers(0, 256, (60, 2, 4, 4)).astype(np.uint8)
TRAIN, TEST = np.arange(0, 40), np.arange(40, 60)


def test_tables_are_standardised_per_feature() -> None:
    scaler = StandardScaler().fit(TABLE[TRAIN])
    x_train, x_test = prepare(TABLE, TRAIN, TEST, Preparation())
    assert x_train == pytest.approx(scaler.transform(TABLE[TRAIN]))
    assert x_test == pytest.approx(scaler.transform(TABLE[TEST]))


def test_images_are_standardised_per_channel() -> None:
    x_train, x_test = prepare(IMAGES, TRAIN, TEST, Preparation())
    by_channel = IMAGES.transpose(0, 2, 3, 1).reshape(-1, 2)
    scaler = StandardScaler().fit(by_channel[: 40 * 16])
    expected = scaler.transform(by_channel).reshape(60, 4, 4, 2).transpose(0, 3, 1, 2)
    assert np.concatenate([x_train, x_test]) == pytest.approx(expected)


@pytest.mark.parametrize("x", [TABLE, IMAGES], ids=["table", "images"])
def test_components_are_those_of_scikit_learn(x: np.ndarray) -> None:
    preparation = Preparation(standardise=False, pca=3)
    x_train, x_test = prepare(x, TRAIN, TEST, preparation)
    flat = x.reshape(60, -1).astype(float)
    pca = PCA(3, svd_solver="full").fit(flat[TRAIN])
    for found, rows in ((x_train, TRAIN), (x_test, TEST)):
        assert np.abs(found) == pytest.approx(np.abs(pca.transform(flat[rows])), abs=1e-8)


def test_components_are_the_same_on_any_number_of_threads() -> None:
    x = np.random.default_rng(1).normal(size=(5000, 400)).astype(np.float32)
    rows = np.arange(5000)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(prepare(x, rows[:4000], rows[4000:], Preparation(pca=100)))
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("preparation", [Preparation(), Preparation(pca=3)], ids=["scale", "pca"])
def test_the_test_part_decides_nothing(preparation: Preparation) -> None:
    disturbed = TABLE.copy()
    disturbed[TEST] = 1e6
    before, _ = prepare(TABLE, TRAIN, TEST, preparation)
    after, _ = prepare(disturbed, TRAIN, TEST, preparation)
    assert np.array_equal(before, after)


def test_a_constant_feature_becomes_zero() -> None:
    x = np.concatenate([TABLE, np.full((60, 1), 5.0)], axis=1)
    x_train, x_test = prepare(x, TRAIN, TEST, Preparation())
    assert (x_train[:, -1] == 0).all()
    assert (x_test[:, -1] == 0).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-9 / 7, 12345.6789, -0.7, 1e15 / 7])
@pytest.mark.parametrize("rows", [10, 1000, 77])
@pytest.mark.parametrize("images", [False, True])
def test_a_constant_up_to_rounding_is_not_scaled_up(value: float, rows: int, images: bool) -> None:
    """A test row that differs stays as near as it was, as with scikit-learn."""
    x = np.full((rows + 2, 1), value)
    x[-1] = 1.5 * value
    both = np.hstack([x, np.arange(rows + 2)[:, None]])
    both = np.repeat(both[:, :, None, None], 9, axis=2) if images else both
    x_train, x_test = prepare(both, np.arange(rows), np.arange(rows, rows + 2), Preparation())
    assert np.abs(x_train[:, 0]).max() <= 1e-12 * max(1, abs(value))
    assert x_test[1, 0].flat[0] == pytest.approx(0.5 * value, rel=1e-6)
    scaler = StandardScaler().fit(x[:rows])
    assert scaler.scale_ == [1]


def test_a_small_spread_is_a_spread() -> None:
    for scale in (1e-12, 1e-3, 1e9):
        x_train, _ = prepare(TABLE * scale, TRAIN, TEST, Preparation())
        assert x_train.std(axis=0) == pytest.approx(1)
