"""Counts of dead, inactive, rare, dormant and saturated units, from outputs and derivatives.

A unit is one output, an index of dimension 1: a neuron of a dense layer, or a channel of a
convolution, which is counted over all its positions. Counts are taken over a stream of batches in
evaluation mode, in memory that does not grow with the number of examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


def _together(value: Tensor) -> Tensor:
    """(cells,) sums of all that a cell has."""
    return value.sum(tuple(range(1, value.ndim)))


def _squares(value: Tensor, room: Tensor) -> Tensor:
    """(cells,) sums of squares."""
    if len(value) == 1 and value.device.type == "cpu":
        numbers = _as_they_lie(value)
        return torch.dot(numbers, numbers).view(1)  # in one pass
    return _together(torch.mul(value, value, out=room))


def _least(value: Tensor) -> float:
    """The least number; NaN on a device that would have to be waited for."""
    return float(value.amin()) if value.device.type == "cpu" else math.nan


def _order(value: Tensor) -> list[int]:
    """The axes as they lie in memory, the innermost last."""
    return sorted(range(value.ndim), key=value.stride, reverse=True)


def _as_they_lie(value: Tensor) -> Tensor:
    """(numbers,): not copied, whichever axis is the innermost."""
    return value.permute(_order(value)).reshape(-1)


VIEWS = 64  # of one memory that are kept


class Room:
    """Memory for what is made of each number: new memory for every figure would take longer.

    filled  what is in it; None: anything
    """

    def __init__(self, filled: float | None = None) -> None:
        self.filled = filled
        self.memory = torch.empty(0)
        self.views: dict[tuple[torch.Size, tuple[int, ...]], Tensor] = {}

    def of(self, value: Tensor) -> Tensor:
        """A tensor like this one, its axes in the same order in memory."""
        memory = self.memory
        known = memory.dtype == value.dtype and memory.device == value.device
        if not known or memory.numel() < value.numel():
            memory = self.memory = value.new_empty(value.numel())
            if self.filled is not None:
                memory.fill_(self.filled)
            self.views.clear()
        key = value.shape, value.stride()
        view = self.views.get(key)
        if view is None:
            # Batches may be of ever other shapes.
            if len(self.views) == VIEWS:
                self.views.clear()
            view = self.views[key] = _like(value, memory)
        return view


def _like(value: Tensor, memory: Tensor) -> Tensor:
    order = _order(value)
    lying = memory[: value.numel()].view([value.shape[axis] for axis in order])
    return lying.permute(sorted(range(value.ndim), key=order.__getitem__))


# Of a counter: what is kept of each unit, (cells, units), and of a cell's units together, (cells,).
OF_UNITS = ("active", "flat", "magnitude")
TOGETHER = ("total", "squares")
SUMS = (*OF_UNITS, *TOGETHER)


class Counter:
    """Running figures of one layer.

    positions       of one unit, over all examples: 1 an example in a dense layer; where there is
                    padding (cells, 1), without it
    moved           (cells, units) whether any derivative was not 0
    active, flat    (cells, units) positions with an output that is not 0, a derivative under FLAT
    magnitude       (cells, units) sums of magnitudes of outputs
    total, squares  (cells,) sums of outputs and of their squares, over all units
    room            memory that figures share
    settled         whether every unit is known to move, where that was looked at
    signed          whether there were outputs below 0
    """

    def __init__(self, layer: str, cells: int, units: int, device: torch.device) -> None:
        self.layer = layer
        self.units = units
        self.examples = 0
        self.positions: int | Tensor = 0
        self.room = Room()
        self.settled = self.signed = False
        self.moved = torch.zeros(cells, units, dtype=torch.bool, device=device)

        def sums(*shape: int) -> Tensor:
            return torch.zeros(cells, *shape, dtype=exact(device), device=device)

        self.active = sums(units)
        self.flat = sums(units)
        self.magnitude = sums(units)
        self.total = sums()
        self.squares = sums()

    def see(self, value: Tensor, derivative: Tensor | None, kept: Tensor | None = None) -> None:
        """Count one batch of outputs and derivatives, (cells, examples, units, …).

        derivative  None: they are relu's, 1 where an output is not 0
        kept        (cells, examples, positions) False where there is padding; None: nowhere
        """
        positions = self._add_positions(value, kept)
        if kept is not None:
            value = without_padding(value, kept)
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        active = self._see_outputs(value, positions, negative=derivative is not None)
        if derivative is None:
            self.flat += positions - active
            self.moved |= active > 0
            return
        padding = None
        if kept is not None:
            derivative, padding = without_padding(derivative, kept), _count(~kept)
        self._see_slopes(derivative.to(value.dtype), positions, padding)

    def _see_outputs(self, value: Tensor, positions: int | Tensor, negative: bool) -> int | Tensor:
        """Count outputs; the positions of each unit where they are not 0.

        negative  whether they may be below 0
        """
        room = self.room.of(value)
        self.squares += _squares(value, room)
        least = self._see_magnitudes(value, room, negative)
        # marks are numbers, since a CPU is slow at summing bools; they count exactly to 16 million
        active = positions if least > 0 else summed(torch.ne(value, 0, out=room))
        self.active += active
        return active

    def _see_magnitudes(self, value: Tensor, room: Tensor, negative: bool) -> float:
        """Sum outputs and their magnitudes; the least magnitude, where that is known."""
        # Once there was one below 0 there will be others: to look for them takes a pass.
        least = -1.0 if self.signed else _least(value) if negative else 0.0
        if least >= 0:
            sums = summed(value)
            self.magnitude += sums
            self.total += sums.sum(1, dtype=self.total.dtype)
            return least
        self.signed = True
        self.total += _together(value)
        magnitude = torch.abs(value, out=room)
        self.magnitude += summed(magnitude)
        return _least(magnitude)

    def _see_slopes(
        self,
        derivative: Tensor,
        positions: int | Tensor,
        padding: Tensor | None = None,
        lent: bool = False,
    ) -> None:
        """Count derivatives.

        padding  (cells, 1) positions of it, whose derivatives are 0; None: there is none
        lent     whether their memory may be written to
        """
        room = derivative if lent and self.settled else self.room.of(derivative)
        steepness = torch.abs(derivative, out=room)
        flat = summed(torch.lt(steepness, FLAT, out=room))
        if padding is not None:
            flat = flat - padding
        self.flat += flat
        self._move(derivative, flat, positions)

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
        if self.settled:
            return
        self.moved |= flat < positions
        still = (~self.moved).any(dim=0).nonzero().flatten()
        if len(still):
            self.moved[:, still] |= _any(derivative.index_select(2, still))
        else:
            self.settled = True

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
        self.settled = False
        for name in ("moved", *SUMS):
            getattr(self, name).zero_()

    def copied(self) -> Counter:
        """The figures so far, which stay as they are."""
        return self.joined([self])

    @classmethod
    def joined(cls, counters: Sequence[Counter]) -> Counter:
        """Counters of one layer, of as many examples each, as one with the cells of all."""
        joined = copy(counters[0])
        joined.settled = False
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
        numbers = self.positions * self.units
        if isinstance(numbers, Tensor):
            numbers = numbers.flatten()
        mean = self.total / numbers
        # Of all units' outputs together, not the mean of their variances.
        variance = self.squares / numbers - mean**2
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

    def see(self, value: Tensor, derivative: Tensor | None, kept: Tensor | None = None) -> None:
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


# What a definition may need of a site besides the number of positions.
OUTPUTS, SLOPES, FLATNESS = "outputs", "slopes", "flatness"
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

    What no definition needs is not kept: its figures mean nothing.
    """

    def __init__(self, layer: str, units: int, device: torch.device, needs: frozenset[str]) -> None:
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

    def take(self, value: Tensor, slopes: Callable[[], Tensor] | None) -> None:
        """Count outputs and derivatives, (rows, units, …); None: those of relu.

        slopes  makes the derivatives, where they are needed

        How many examples they are of is for the caller to add: a row may be a token.
        """
        value = value.to(torch.promote_types(value.dtype, torch.float32)).unsqueeze(0)
        positions = value.numel() // self.units
        self.positions += positions
        sloping = self._needs_slopes()
        if OUTPUTS in self.needs or (slopes is None and sloping):
            self._see_outputs(value, positions, negative=slopes is not None)
        derivative = None
        if slopes is None:
            # Their derivative is 1 where they are not 0: flat wherever a unit is not active.
            self.moved = self.active > 0
            self.flat = self.positions - self.active
            self.settled = value.device.type == "cpu" and bool(self.moved.all())
        elif sloping or EXTREMES in self.needs:
            derivative = slopes().unsqueeze(0).to(value.dtype)
            self._see_slopes(derivative, positions, lent=EXTREMES not in self.needs)
        self._see_more(value, derivative)

    def _needs_slopes(self) -> bool:
        """Whether derivatives may still change a figure: not once every unit is known to move."""
        if FLATNESS in self.needs:
            return True
        return SLOPES in self.needs and not self.settled

    def _see_more(self, value: Tensor, derivative: Tensor | None) -> None:
        over = (1, *range(3, value.ndim))
        if EXTREMES in self.needs:
            steep = (value != 0).to(value.dtype) if derivative is None else derivative.abs()
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
