"""Standardisation and principal components, always fitted on the training rows alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relubench.folds import Rows
from relubench.plan import Preparation

Inputs = NDArray[np.float64]


def prepare(
    x: NDArray[np.generic], train: Rows, test: Rows, preparation: Preparation
) -> tuple[Inputs, Inputs]:
    """The training and the test inputs, in float64.

    x  (examples, features) or (examples, channels, height, width); with `pca` images become rows
    """
    x_train, x_test = x[train].astype(np.float64), x[test].astype(np.float64)
    if preparation.standardise:
        x_train, x_test = _standardise(x_train, x_test)
    if preparation.pca:
        x_train, x_test = _principal_components(x_train, x_test, preparation.pca)
    return x_train, x_test


def _standardise(x_train: Inputs, x_test: Inputs) -> tuple[Inputs, Inputs]:
    """Mean 0 and variance 1 per feature of a table, per channel of an image."""
    axes = (0, 2, 3) if x_train.ndim == 4 else (0,)
    mean = x_train.mean(axis=axes, keepdims=True)
    std = x_train.std(axis=axes, keepdims=True)
    std[std == 0] = 1  # a constant feature says nothing, but must not say NaN
    return (x_train - mean) / std, (x_test - mean) / std


def _principal_components(x_train: Inputs, x_test: Inputs, count: int) -> tuple[Inputs, Inputs]:
    from sklearn.decomposition import PCA

    flat_train, flat_test = (x.reshape(len(x), -1) for x in (x_train, x_test))
    tall = flat_train.shape[0] >= flat_train.shape[1]
    pca = PCA(count, svd_solver="covariance_eigh" if tall else "full").fit(flat_train)
    return pca.transform(flat_train), pca.transform(flat_test)
