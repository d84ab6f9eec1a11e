"""Counts of dead, inactive, rare, dormant and saturated units, from outputs and derivatives.

A unit is one output, an index of dimension 1: a neuron of a dense layer, or a channel of a
convolution, which is counted over all its positions. Counts are taken over a stream of batches in
evaluation mode, in memory that does not grow with the number of examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from relubench.results import DORMANT, FLAT, RARE, SATURATED, LayerCount


def exact(device: torch.device) -> torch.dtype:
    """The type in which long sums are kept: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def _finite_or_none(figure: float) -> float | None:
    """A figure, or None where outputs are too large for it."""
    return figure if math.isfinite(figure) else None


SIDE = 64  # positions from which on a CPU is quick at summing them


def summed(value: Tensor) -> Tensor:
    """(cells, units) sums over examples and positions of (cells, examples, units, …)."""
    if value.ndim == 3:
        return value.sum(1)
    value = value.flatten(3)
    # What lies side by side first: many positions, or else all that an example has.
    return value.sum(3).sum(1) if value.shape[3] >= SIDE else value.sum(1).sum(2)


def _any(value: Tensor) -> Tensor:
    """(cells, units) bool: whether a number is not exactly 0."""
    return summed((value != 0).to(value.dtype)) > 0


def without_padding(value: Tensor, kept: Tensor) -> Tensor:
    """(cells, examples, units, positions) with 0 where (cells, examples, positions) is False."""
    return torch.where(kept.unsqueeze(2), value, 0)


def _count(marks: Tensor) -> Tensor:
    """(cells, 1): how many of (cells, examples, positions) are True."""
    return marks.sum(dim=(1, 2)).unsqueeze(1)


SUMS = ("active", "flat", "total", "magnitude", "squares")  # of a counter, each (cells, units)


class Room:
    """Memory for what is made of each number: new memory for every figure would take longer."""

    def __init__(self) -> None:
        self.memory = torch.empty(0)

    def of(self, value: Tensor) -> Tensor:
        """A tensor like this one, whatever is in it."""
        memory = self.memory
        known = (memory.dtype, memory.device) == (value.dtype, value.device)
        if not known or memory.numel() < value.numel():
            memory = self.memory = value.new_empty(value.numel())
        return memory[: value.numel()].view(value.shape)


class Counter:
    """Running figures of one layer; every tensor is (cells, units).

    positions                  of one unit, over all examples: 1 an example in a dense layer; where
                               there is padding (cells, 1), without it
    moved                      whether any derivative was not 0
    active, flat               positions with an output that is not 0, with a derivative under FLAT
    total, magnitude, squares  sums of outputs, of their magnitudes and their squares
    room                       memory that figures share
    """

    def __init__(self, layer: str, cells: int, units: int, device: torch.device) -> None:
        self.layer = layer
        self.units = units
        self.examples = 0
        self.positions: int | Tensor = 0
        self.room = Room()
        self.moved = torch.zeros(cells, units, dtype=torch.bool, device=device)

        def sums() -> Tensor:
            return torch.zeros(cells, units, dtype=exact(device), device=device)

        self.active = sums()
        self.flat = sums()
        self.total = sums()
        self.magnitude = sums()
        self.squares = sums()

    def see(self, value: Tensor, derivative: Tensor, kept: Tensor | None = None) -> None:
        """Count one batch of outputs and derivatives, (cells, examples, units, …).

        kept  (cells, examples, positions) False where there is padding; None: nowhere
        """
        positions = self._add_positions(value, kept)
        if kept is not None:
            value, derivative = (without_padding(each, kept) for each in (value, derivative))
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        room = self.room.of(value)
        derivative = derivative.to(value.dtype)
        steepness = torch.abs(derivative, out=room)
        # marks are numbers, since a CPU is slow at summing bools; they count exactly to 16 million
        flat = summed(torch.lt(steepness, FLAT, out=room))
        if kept is not None:
            flat = flat - _count(~kept)
        self.flat += flat
        self._move(derivative, flat, positions)
        self.active += summed(torch.ne(value, 0, out=room))
        self.total += summed(value)
        self.magnitude += summed(torch.abs(value, out=room))
        self.squares += summed(torch.mul(value, value, out=room))  # the norm takes far longer

    def _add_positions(self, value: Tensor, kept: Tensor | None) -> int | Tensor:
        """Add the examples and positions of a batch; returns the positions of a unit."""
        positions = value[0].numel() // self.units if kept is None else _count(kept)
        self.examples += value.shape[1]
        self.positions = self.positions + positions
        return positions

    def _move(self, derivative: Tensor, flat: Tensor, positions: int | Tensor) -> None:
        """Mark the units that an example moves: their derivative is not exactly 0.

        Not nearly 0: a derivative that underflows is 0 in training, too.
        """
        if derivative.device.type != "cpu":  # which would have to wait for the figures so far
            self.moved |= _any(derivative)
            return
        # What is not flat at some position is moved there; only the others need a further look.
        self.moved |= flat < positions
        still = (~self.moved).any(dim=0).nonzero().flatten()
        if len(still):
            self.moved[:, still] |= _any(derivative.index_select(2, still))

    def see_rectified(self, value: Tensor, kept: Tensor | None = None) -> None:
        """The same where outputs are relu's: not negative, their derivative 1 where not 0."""
        positions = self._add_positions(value, kept)
        if kept is not None:
            value = without_padding(value, kept)
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        room = self.room.of(value)
        active = summed(torch.ne(value, 0, out=room))
        self.active += active
        # Derivative 0 or 1: flat wherever it is not active.
        self.flat += positions - active
        self.moved |= active > 0
        total = summed(value)
        self.total += total
        # Outputs are not negative: their sum is that of their magnitudes.
        self.magnitude += total
        self.squares += summed(torch.mul(value, value, out=room))

    def add(self, other: Counter) -> None:
        """Count what another has seen of this layer, too."""
        self.examples += other.examples
        self.positions = self.positions + other.positions
        self.moved |= other.moved
        for name in SUMS:
            getattr(self, name).add_(getattr(other, name))

    def clear(self) -> None:
        """Begin anew, in the same memory."""
        self.examples = self.positions = 0
        for name in ("moved", *SUMS):
            getattr(self, name).zero_()

    def copied(self) -> Counter:
        """The figures so far, which stay as they are."""
        return self.joined([self])

    @classmethod
    def joined(cls, counters: Sequence[Counter]) -> Counter:
        """Counters of one layer, of as many examples each, as one with the cells of all."""
        joined = copy(counters[0])
        for name in ("moved", *SUMS):
            setattr(joined, name, torch.cat([getattr(counter, name) for counter in counters]))
        if isinstance(joined.positions, Tensor):
            joined.positions = torch.cat([torch.as_tensor(each.positions) for each in counters])
        return joined

    @property
    def dead(self) -> Tensor:
        """(cells, units) bool: no example moved them."""
        return ~self.moved

    def dormant(self, tau: float = DORMANT) -> Tensor:
        """(cells, units) bool: their mean |output| is at most `tau` of their layer's mean."""
        return self.magnitude <= tau * self.magnitude.mean(dim=1, keepdim=True)

    def counts(self) -> list[LayerCount]:
        """The figures so far, one entry per cell."""
        active = self.active / self.positions
        mean = (self.total / self.positions).mean(dim=1)
        # Of all units' outputs together, not the mean of their variances.
        variance = (self.squares / self.positions).mean(dim=1) - mean**2
        figures = {
            "dead": self.dead.sum(dim=1),
            "inactive": (active == 0).sum(dim=1),
            "rare": (active < RARE).sum(dim=1),
            "dormant": self.dormant().sum(dim=1),
            "saturated": (self.flat >= SATURATED * self.positions).sum(dim=1),
            "sparsity": 1 - active.mean(dim=1),
            "mean_activation": mean,
            "sd_activation": variance.clamp(min=0).sqrt(),
        }
        # Once for all cells: on a GPU every .tolist() waits for the device.
        by_name = {name: figure.tolist() for name, figure in figures.items()}
        counts = []
        for cell in range(len(active)):
            of_cell: dict[str, Any] = {}
            for name, values in by_name.items():
                of_cell[name] = _finite_or_none(values[cell])
            counts.append(
                LayerCount(
                    layer=self.layer,
                    units=self.units,
                    examples=self.examples,
                    **of_cell,
                )
            )
        return counts


class RankedCounter(Counter):
    """A counter that also keeps what the effective rank of a layer's outputs follows from.

    gram  (cells, units, units): sums of products of outputs; None: not kept
    """

    def __init__(
        self, layer: str, cells: int, units: int, device: torch.device, ranked: bool = True
    ) -> None:
        super().__init__(layer, cells, units, device)
        self.gram: Tensor | None = None
        if ranked and units <= WIDEST:
            self.gram = torch.zeros(cells, units, units, dtype=exact(device), device=device)

    def see(self, value: Tensor, derivative: Tensor, kept: Tensor | None = None) -> None:
        """Count one batch of outputs and derivatives, (cells, examples, units, …)."""
        super().see(value, derivative, kept)
        if self.gram is not None:
            value = value if kept is None else without_padding(value, kept)
            rows = value.movedim(2, -1).flatten(1, -2).to(self.gram.dtype)
            self.gram += rows.mT @ rows

    def add(self, other: Counter) -> None:
        """Count what another has seen of this layer, too."""
        super().add(other)
        if self.gram is not None and isinstance(other, RankedCounter) and other.gram is not None:
            self.gram += other.gram

    def effective_ranks(self) -> list[float | None]:
        """exp of the entropy of the singular values of each cell's outputs, each over the sum."""
        if self.gram is None:
            return [None] * len(self.active)
        return [effective_rank(gram) for gram in self.gram]


def effective_rank(gram: Tensor) -> float | None:
    """Of outputs with this matrix of products, (units, units); None where all of them are 0."""
    if not gram.isfinite().all():
        return None
    squares = torch.linalg.eigvalsh(gram.double().cpu())
    # What rounding leaves of 0 has a root that is no rounding any more.
    rounding = len(squares) * torch.finfo(squares.dtype).eps * squares.max()
    singular = torch.where(squares > rounding, squares, 0).clamp(min=0).sqrt()
    if not singular.sum():
        return None
    return float(torch.special.entr(singular / singular.sum()).sum().exp())


EXTREMES, NEAR_ZERO, GRAM, GRADIENTS = "extremes", "near zero", "gram", "gradients"
SMALL = 0.05  # an output up to here is near zero, as fastai's ActivationStats has it
WIDEST = 4096  # units up to which a matrix of their products is kept


class Seen(Counter):
    """Running figures of one call site of one network, and what else its definitions need.

    low, high              of the outputs
    least, greatest        of the derivatives
    small                  positions with an output of at most SMALL
    gram                   (units, units) sums of products of outputs, for the effective rank
    gradient, graded       sums of |dL/d pre-activation|, and the positions of which they are
    """

    def __init__(
        self, layer: str, units: int, device: torch.device, needs: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(layer, 1, units, device)
        self.needs = needs
        self.low = self._filled(math.inf)
        self.high = self._filled(-math.inf)
        self.least = self._filled(math.inf)
        self.greatest = self._filled(-math.inf)
        self.small = torch.zeros_like(self.active)
        self.gradient = torch.zeros_like(self.active)
        self.graded = 0
        kept = GRAM in needs and units <= WIDEST
        self.gram = torch.zeros(units, units, dtype=exact(device), device=device) if kept else None

    def _filled(self, number: float) -> Tensor:
        return torch.full_like(self.active, number)

    def take(self, value: Tensor, derivative: Tensor | None) -> None:
        """Count outputs and derivatives, (rows, units, …); None: those of relu.

        How many examples they are of is for the caller to add: a row may be a token.
        """
        before = self.examples
        value = value.unsqueeze(0)
        if derivative is None:
            self.see_rectified(value)
        else:
            self.see(value, derivative.unsqueeze(0))
        self.examples = before
        self._see_more(value, derivative)

    def _see_more(self, value: Tensor, derivative: Tensor | None) -> None:
        if not self.needs - {""}:
            return
        over = (1, *range(3, value.ndim))
        if EXTREMES in self.needs:
            steep = (value != 0).to(value.dtype)
            if derivative is not None:
                steep = derivative.abs().unsqueeze(0)
            self.low = torch.minimum(self.low, value.amin(over))
            self.high = torch.maximum(self.high, value.amax(over))
            self.least = torch.minimum(self.least, steep.amin(over))
            self.greatest = torch.maximum(self.greatest, steep.amax(over))
        if NEAR_ZERO in self.needs:
            self.small += (value <= SMALL).sum(over)
        if self.gram is not None:
            # Every position is a row of its own, as for the other figures.
            rows = value[0].movedim(1, -1).reshape(-1, self.units).to(self.gram.dtype)
            self.gram += rows.T @ rows

    def take_gradient(self, gradient: Tensor) -> None:
        """Count dL/d pre-activation, (rows, units, …)."""
        over = (0, *range(2, gradient.ndim))
        self.gradient += gradient.abs().sum(over, dtype=self.gradient.dtype)
        self.graded += gradient.numel() // self.units
