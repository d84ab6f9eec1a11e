"""Models: networks built from an activation.

A model is a function (shape, outputs, activation) -> nn.Module. `shape` is that of one example,
`outputs` the number of classes; every non-linearity is an Act. Weights are left undrawn: the
engine draws them (relubench.layers.initialise).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from relubench.activations import Activation
from relubench.catalog import Catalog, Choice, Deferred, Entry
from relubench.errors import BadValue

if TYPE_CHECKING:
    from torch import nn

    from relubench import layers
else:
    nn, layers = Deferred("torch.nn"), Deferred("relubench.layers")


@dataclass(frozen=True)
class Model(Entry):
    """One architecture.

    paper   where it was published
    year    when
    widths  its parameters that say how wide hidden layers are
    """

    paper: str = ""
    year: int | None = None
    widths: tuple[str, ...] = ()


MODELS: Catalog[Model] = Catalog("model", Model)

DLRELU = "arXiv:1803.08375 (Agarap)"


@MODELS.add(paper=DLRELU, year=2018, widths=("hidden",))
def ffnn(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    hidden: tuple[int, ...] = (128, 64, 32),
    dropout: float = 0.0,
) -> nn.Module:
    """Dense layers as wide as `hidden` says, each with the activation and then dropout"""
    if min(hidden) < 1:
        raise BadValue(f"ffnn: every width in hidden must be at least 1, got {min(hidden)}")
    _check_dropout("ffnn", dropout)
    stages: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(shape)
    for number, units in enumerate(hidden, start=1):
        stages[f"dense{number}"] = _stage(partial(nn.Linear, width), activation, units, dropout)
        width = units * activation.entry.outputs
    stages["output"] = nn.Linear(width, outputs)
    return nn.Sequential(stages)


@MODELS.add(paper=DLRELU, year=2018, widths=("filters", "dense"))
def cnn(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (32, 64),
    dense: int = 256,
    padding: int = 0,
    dropout: float = 0.25,
    dense_dropout: float = 0.5,
) -> nn.Module:
    """Per entry of `filters` two 3x3 convolutions, a 2x2 maximum and dropout; then a dense layer

    A flat input, such as principal components, is taken as a square image of one channel.
    """
    if min(*filters, dense) < 1:
        raise BadValue(f"cnn: filters and dense must be at least 1, got {min(*filters, dense)}")
    if padding not in (0, 1):
        raise BadValue(f"cnn: padding must be 0 or 1, got {padding}")
    _check_dropout("cnn", dropout)
    _check_dropout("cnn", dense_dropout)
    channels, side, width = _image(shape)
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        image=nn.Unflatten(1, (channels, side, width)) if len(shape) == 1 else nn.Identity()
    )
    for block, units in enumerate(filters):
        for number in (1, 2):
            convolution = partial(nn.Conv2d, channels, kernel_size=3, padding=padding)
            stages[f"conv{2 * block + number}"] = _stage(convolution, activation, units, 0)
            channels = units * activation.entry.outputs
        side, width = ((length - 4 + 4 * padding) // 2 for length in (side, width))
        stages[f"pool{block + 1}"] = nn.Sequential(nn.MaxPool2d(2), layers.Dropout(dropout))
    if min(side, width) < 1:
        size = "x".join(map(str, _image(shape)))
        raise BadValue(
            f"cnn: an image of {size} is too small for {len(filters)} blocks of convolutions: "
            "use cnn:padding=1, fewer filters, larger images, or an ffnn"
        )
    stages["flatten"] = nn.Flatten()
    first = partial(nn.Linear, channels * side * width)
    stages["dense1"] = _stage(first, activation, dense, dense_dropout)
    stages["output"] = nn.Linear(dense * activation.entry.outputs, outputs)
    return nn.Sequential(stages)


def _stage(
    weights: Callable[[int], nn.Module], activation: Choice[Activation], width: int, dropout: float
) -> nn.Module:
    """Weights for as many pre-activations as the activation takes, the activation and dropout."""
    act = layers.Act(activation, width)
    stage = OrderedDict(weights=weights(act.pieces * width), activation=act)
    if dropout:
        stage["dropout"] = layers.Dropout(dropout)
    return nn.Sequential(stage)


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an example; a flat one counts as a square."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    side = math.isqrt(shape[0])
    if side**2 != shape[0]:
        raise BadValue(
            f"cnn: {shape[0]} features make no square image: use --pca {side**2}, or an ffnn"
        )
    return 1, side, side


def _check_dropout(model: str, share: float) -> None:
    if not 0 <= share < 1:
        raise BadValue(f"{model}: dropout must be at least 0 and below 1, got {share:g}")
