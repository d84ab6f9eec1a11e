"""Learning rates that change from step to step, where an optimizer reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from relubench.plan import Recipe
from relubench.training.schedules import RateFactors


class Rates:
    """The rate of each step group of a pass.

    The rates are tensors, written before every step: a recorded or captured step reads their
    memory, where a number would be a constant of it.

    per_epoch  steps of an epoch, of each group
    tensors    (), one for each group; empty: the rate stays, and is the recipe's
    """

    def __init__(self, recipe: Recipe, per_epoch: Sequence[int], device: torch.device) -> None:
        self.recipe = recipe
        self.per_epoch = per_epoch
        self.factors = RateFactors.of(recipe)
        self.tensors: list[Tensor] = []
        self.of_epoch: list[list[float]] = []
        if self.factors:
            # As exact as a number where torch allows it: its kernels on a GPU read float32.
            dtype = torch.float64 if device.type == "cpu" else torch.float32
            self.tensors = [torch.tensor(recipe.lr, dtype=dtype, device=device) for _ in per_epoch]

    def begin(self, epoch: int) -> None:
        """Look up the rates of an epoch, from 0."""
        self.of_epoch = [self.at(epoch, count) for count in self.per_epoch if self.factors]

    def at(self, epoch: int, per_epoch: int) -> list[float]:
        """The rates of an epoch's steps."""
        assert self.factors
        total = self.recipe.total_steps(per_epoch)
        rates = []
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            rates.append(self.recipe.lr * self.factors.at(step, total, per_epoch))
        return rates

    def set(self, number: int) -> None:
        """Let the next step be that of this number in its epoch."""
        for tensor, rates in zip(self.tensors, self.of_epoch, strict=True):
            if number < len(rates):  # a group with fewer takes no step
                tensor.fill_(rates[number])
