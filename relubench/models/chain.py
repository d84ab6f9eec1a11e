"""A network of stages one after the other, built from the shape that leaves the last one."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from relubench.activations import Activation
from relubench.catalog import Choice, Deferred
from relubench.errors import BadValue

if TYPE_CHECKING:
    from torch import nn

    from relubench.models import layers
else:
    nn, layers = Deferred("torch.nn"), Deferred("relubench.models.layers")

CIFAR = 32  # height and width


class Chain:
    """Stages with names, numbered by kind: conv1, pool1, dense1.

    shape  of one example as it leaves the last stage
    hint   what to do where an image is too small
    """

    def __init__(
        self,
        model: str,
        shape: Sequence[int],
        activation: Choice[Activation],
        hint: str = "larger images",
    ) -> None:
        self.model, self.shape, self.activation, self.hint = model, tuple(shape), activation, hint
        self.began = self.shape
        self.stages: OrderedDict[str, nn.Module] = OrderedDict()
        self.numbers: Counter[str] = Counter()

    def image(self, least: int = 0) -> None:
        """Take a flat example as a square, and give a smaller image than `least` a border of 0."""
        taken = image(self.model, self.shape)
        stages: list[nn.Module] = [nn.Unflatten(1, taken)] if len(self.shape) == 1 else []
        above, beside = (max(0, least - length) for length in taken[1:])
        if above or beside:
            # Left, right, above, below: torch counts from the last dimension.
            border = (beside // 2, beside - beside // 2, above // 2, above - above // 2)
            stages.append(nn.ZeroPad2d(border))
        if stages:
            self.stages["image"] = stages[0] if len(stages) == 1 else nn.Sequential(*stages)
        self.began = taken
        self.shape = (taken[0], taken[1] + above, taken[2] + beside)

    def add(self, kind: str, stage: nn.Module, shape: tuple[int, ...]) -> None:
        """A stage, and the shape that leaves it."""
        if min(shape) < 1:
            size = "x".join(map(str, self.began))
            raise BadValue(f"{self.model}: an image of {size} is too small: use {self.hint}")
        self.numbers[kind] += 1
        self.stages[f"{kind}{self.numbers[kind]}"] = stage
        self.shape = shape

    def conv(
        self,
        units: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        batch_norm: bool = False,
        bias: bool = True,
    ) -> None:
        """A convolution with the activation."""
        weights = partial(
            nn.Conv2d, self.shape[0], kernel_size=size, stride=stride, padding=padding, bias=bias
        )
        norm = nn.BatchNorm2d if batch_norm else None
        # What leaves is the activation's outputs, which may be more than the units asked for.
        shape = self._over(units * self.activation.entry.outputs, size, stride, padding)
        self.add("conv", stage(weights, self.activation, units, norm=norm), shape)

    def pool(
        self,
        kind: Callable[..., nn.Module],
        size: int,
        stride: int,
        *,
        partly: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """A pooling, over windows that lie partly outside too where `partly` says so."""
        pooling = kind(size, stride, ceil_mode=partly)
        after = [layers.Dropout(dropout)] if dropout else []
        outside = stride - 1 if partly else 0
        shape = self._over(self.shape[0], size, stride, 0, outside)
        self.add("pool", nn.Sequential(pooling, *after), shape)

    def dense(self, units: int, dropout: float = 0.0) -> None:
        """A dense layer with the activation and then dropout."""
        self.flatten()
        weights = partial(nn.Linear, self.shape[0])
        shape = (units * self.activation.entry.outputs,)
        self.add("dense", stage(weights, self.activation, units, dropout), shape)

    def average(self) -> None:
        """The mean of each channel over all positions."""
        self.stages["average"] = nn.AdaptiveAvgPool2d(1)
        self.shape = (self.shape[0], 1, 1)

    def flatten(self) -> None:
        """One dimension, unless there is but one."""
        # Once: the dense layers that follow find it done.
        if "flatten" not in self.stages:
            self.stages["flatten"] = nn.Flatten()
            self.shape = (math.prod(self.shape),)

    def network(self, outputs: int) -> nn.Sequential:
        """All stages and the output layer."""
        self.flatten()
        self.stages["output"] = nn.Linear(self.shape[0], outputs)
        return nn.Sequential(self.stages)

    def _over(
        self, channels: int, size: int, stride: int, padding: int, outside: int = 0
    ) -> tuple[int, ...]:
        """The shape after windows of `size` have moved over the image."""
        # Rounded down as torch does; `outside` makes it the rounding up of ceil_mode.
        sides = [(length + 2 * padding - size + outside) // stride + 1 for length in self.shape[1:]]
        return channels, *sides


def stage(
    weights: Callable[[int], nn.Module],
    activation: Choice[Activation],
    width: int,
    dropout: float = 0.0,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Weights for as many pre-activations as the activation takes, the activation and dropout."""
    act = layers.Act(activation, width)
    parts: OrderedDict[str, Any] = OrderedDict(weights=weights(act.pieces * width))
    if norm:
        parts["norm"] = norm(act.pieces * width)
    parts["activation"] = act
    if dropout:
        parts["dropout"] = layers.Dropout(dropout)
    return nn.Sequential(parts)


def image(model: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an example; a flat one counts as a square."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    side = math.isqrt(shape[0])
    if len(shape) != 1 or side**2 != shape[0]:
        size = "x".join(map(str, shape))
        raise BadValue(
            f"{model}: {size} features make no square image: use --pca {side**2}, or an ffnn"
        )
    return 1, side, side
