"""A small network with batch normalisation, for tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn


def net(
    input_shape: Sequence[int], classes: int, activation: Callable[[int], nn.Module]
) -> nn.Module:
    """A dense layer of eight units, normalised."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 8),
        nn.BatchNorm1d(8),
        activation(8),
        nn.Linear(8, classes),
    )
