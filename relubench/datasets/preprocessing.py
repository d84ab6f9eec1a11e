"""Encoding, standardisation and principal components, always fitted on the training rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relubench.datasets.folds import Rows
from relubench.plan import Preparation

if TYPE_CHECKING:
    from relubench.datasets.dataset import Array, Encode

Inputs = NDArray[np.float64]
EPSILON = np.finfo(np.float64).eps


def prepare(
    x: Array,
    train: Rows,
    test: Rows,
    preparation: Preparation,
    encode: Encode | None = None,
) -> tuple[Inputs, Inputs]:
    """The training and the test inputs, in float64.

    x       (examples, features) or (examples, channels, height, width); with `pca` images become
            rows
    encode  the dataset's, where `x` is to be encoded first
    """
    x_train, x_test = (encode or _numbers)(x[train], x[test])
    # In this order: otherwise the components would follow the units of the inputs.
    if preparation.standardise:
        x_train, x_test = _standardise(x_train, x_test)
    if preparation.pca:
        x_train, x_test = _principal_components(x_train, x_test, preparation.pca)
    return x_train, x_test


def _numbers(x_train: Array, x_test: Array) -> tuple[Inputs, Inputs]:
    return x_train.astype(np.float64), x_test.astype(np.float64)


def _standardise(x_train: Inputs, x_test: Inputs) -> tuple[Inputs, Inputs]:
    """Mean 0 and variance 1 per feature of a table, per channel of an image."""
    mean, std = moments(x_train)
    for x in (x_train, x_test):  # in place: images of float64 are large
        x -= mean
        x /= std
    return x_train, x_test


def moments(x: Inputs) -> tuple[Inputs, Inputs]:
    """Mean and standard deviation per feature of a table, per channel of an image.

    The deviation of a constant is said to be 1: it is divided by.
    x  (examples, features) or (examples, channels, height, width)
    """
    axes = (0, 2, 3) if x.ndim == 4 else (0,)
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    count = x.size / mean.size
    # 0.1 repeated has a mean that is not 0.1: what rounding makes is no spread (as scikit-learn)
    rounding = count * EPSILON * variance + (count * mean * EPSILON) ** 2
    return mean, np.where(variance <= rounding, 1.0, np.sqrt(variance))


def _principal_components(x_train: Inputs, x_test: Inputs, count: int) -> tuple[Inputs, Inputs]:
    # Here, since scikit-learn takes a second to import and few cells need it.
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    flat_train = x_train.reshape(len(x_train), -1)
    flat_test = x_test.reshape(len(x_test), -1)
    # Not "auto", which takes a randomised solver for large inputs: other components in every run.
    tall = flat_train.shape[0] >= flat_train.shape[1]
    # Eigenvectors of the features' covariance where examples are many, else an SVD of the examples.
    solver = "covariance_eigh" if tall else "full"
    with threadpool_limits(1, user_api="blas"):  # its last bits would follow from its threads
        pca = PCA(count, svd_solver=solver).fit(flat_train)
        return pca.transform(flat_train), pca.transform(flat_test)
