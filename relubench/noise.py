"""Noise that belongs to its cell: numbers that follow from a layer's two keys and from a place.

No number depends on those drawn before it, so that a cell gets the same ones alone and in a stack,
recorded, captured or stepped through, and on every device: integers of 32 bits wrap everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FIRST, BEYOND = -(2**31), 2**31  # of the integers that are drawn
STEP = 2.0**-24  # between numbers: what float32 resolves below 1
HALF = torch.tensor(15, dtype=torch.int32)  # a number would be made a tensor in every call
# Twice 2³² over the golden ratio, modulo 2³²: multiples of it lie far apart.
ANOTHER = 0x3C6EF372  # even, for an odd key has to stay odd


def drawn(shape: tuple[int, ...], stream: torch.Generator | None) -> Tensor:
    """int64 of `shape`, what keys are made of; from torch's global generator without a stream."""
    return torch.randint(FIRST, BEYOND, shape, generator=stream)


def keys(drawn: Tensor) -> Tensor:
    """Keys, odd int32, from numbers that were drawn."""
    return drawn.to(torch.int32) | 1


def scattered(shape: Sequence[int], device: torch.device) -> Tensor:
    """int32: a number of its own for every place of `shape`, as if drawn; further rows change none.

    They begin at 1, since 0 would stay 0 under every key.
    """
    # uint32: a shift to the right has to bring in zeros, whatever the highest bit is.
    x = np.arange(1, 1 + math.prod(shape), dtype=np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):  # Wellons' lowbias32
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return torch.from_numpy(x.view(np.int32).reshape(tuple(shape))).to(device)


class Noise:
    """The source of a layer's noise in one step; every draw is another.

    first, second  its keys: odd int32, of one number each
    places         by shape: what `scattered` gave, which whoever draws may keep
    drawn          how often numbers were drawn
    """

    def __init__(
        self,
        first: Tensor,
        second: Tensor,
        places: dict[tuple[int, ...], Tensor] | None = None,
    ) -> None:
        self.first = first
        self.second = second
        self.drawn = 0
        self.places = {} if places is None else places

    @classmethod
    def of(cls, stream: torch.Generator | None) -> Noise:
        """Noise with keys from a stream; from torch's global generator where it is None."""
        first, second = keys(drawn((2,), stream))
        return cls(first, second)

    def integers(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """int32 of `shape`, evenly from FIRST to BEYOND - 1."""
        shape = tuple(shape)
        if shape not in self.places:
            self.places[shape] = scattered(shape, device)
        first = self.first
        if self.drawn:
            first = first + ANOTHER * self.drawn
        self.drawn += 1
        # Keys are odd: modulo 2³² such a product keeps different places different.
        x = self.places[shape] * first.to(device)
        # A product's low bits follow from low bits alone: the high ones are mixed into them.
        x ^= torch.bitwise_right_shift(x, HALF)
        x *= self.second.to(device)
        return x

    def uniform(self, x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """Evenly from [0, 1), of the shape of `x` or another, in its type."""
        integers = self.integers(shape or x.shape, x.device)
        # The shift keeps the sign: 24 bits from -2²³ on, which STEP and 0.5 take to [0, 1).
        steps = torch.bitwise_right_shift(integers, 8)
        return steps.to(_type(x)).mul(STEP).add(0.5).to(x.dtype)

    def normal(self, x: Tensor) -> Tensor:
        """Standard normal, of the shape of `x` and in its type; none is beyond 5.3."""
        integers = self.integers(x.shape, x.device)
        odd = torch.bitwise_right_shift(integers, 7) | 1  # never 0 nor an end: both are finite
        uniform = odd.to(_type(x)).mul(STEP)  # evenly from -1 to 1
        # The normal quantile of (1 + u) / 2 is √2 · erfinv(u).
        return uniform.erfinv().mul(math.sqrt(2)).to(x.dtype)


def _type(x: Tensor) -> torch.dtype:
    """The type to compute in: 24 bits at least."""
    # In bfloat16, of 8 bits, a uniform number would take 256 values, and 0 among them.
    return torch.promote_types(x.dtype, torch.float32)
