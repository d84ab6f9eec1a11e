"""Data drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, Dataset
from relubench.errors import BadValue

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

FRIEDMAN = 5  # inputs that Friedman's function looks at
MOST = 2**28  # numbers that a generated table may hold: 2 GB


@DATASETS.add(task="classes", source="drawn from its seed", examples="as asked for")
def synthetic(
    folder: Path,
    *,
    features: int = 20,
    classes: int = 2,
    samples: int = 1000,
    sparsity: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Two normal clouds per class, of variance 1 around centres about 4 apart

    `sparsity` is the fraction of inputs that are set to 0, `noise` that of classes drawn anew.
    """
    for key, value, least in (
        ("features", features, 1),
        ("classes", classes, 2),
        ("samples", samples, 2 * classes),
        ("seed", seed, 0),
    ):
        if value < least:
            raise BadValue(f"synthetic: {key} must be at least {least}, got {value}")
    for key, fraction in (("sparsity", sparsity), ("noise", noise)):
        if not 0 <= fraction <= 1:
            raise BadValue(f"synthetic: {key} must be from 0 to 1, got {fraction:g}")
    if samples * features > MOST or classes * features > MOST:
        raise BadValue(f"synthetic: more than {MOST} inputs are too many")
    rng = np.random.default_rng(seed)
    # Centres differ by normal numbers of variance 16 / features: they lie about 4 apart.
    centres = rng.normal(size=(classes, 2, features)) * np.sqrt(8 / features)
    # Classes of equal size, in drawn order.
    y = rng.permutation(np.arange(samples) % classes)
    x = centres[y, rng.integers(2, size=samples)] + rng.normal(size=(samples, features))
    # Drawn whatever `sparsity` and `noise` are: with another value the rest of the numbers stay.
    x *= rng.random(x.shape) >= sparsity
    y = np.where(rng.random(samples) < noise, rng.integers(classes, size=samples), y)
    return Dataset(x, y, tuple(map(str, range(classes))))


@DATASETS.add(task="regression", source="drawn from its seed", examples="as asked for")
def synthetic_regression(
    folder: Path, *, features: int = 10, samples: int = 1000, noise: float = 1.0, seed: int = 0
) -> Dataset:
    """10 sin(π x₁x₂) + 20 (x₃ - ½)² + 10 x₄ + 5 x₅ + noise, x uniform in [0, 1] (Friedman 1991)

    `noise` is the standard deviation of normal noise; features beyond five say nothing.
    """
    for key, value, least in (("features", features, FRIEDMAN), ("samples", samples, 10)):
        if value < least:
            raise BadValue(f"synthetic_regression: {key} must be at least {least}, got {value}")
    if noise < 0 or seed < 0:
        raise BadValue("synthetic_regression: noise and seed must be at least 0")
    if samples * features > MOST:
        raise BadValue(f"synthetic_regression: more than {MOST} inputs are too many")
    rng = np.random.default_rng(seed)
    x = rng.random((samples, features))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y += 10 * x[:, 3] + 5 * x[:, 4] + noise * rng.normal(size=samples)
    return Dataset(x, y, ())
