"""Metrics of numbers: a cell's estimates in, one number per cell out, in the target's units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.metrics.classification import METRICS

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


@dataclass(frozen=True, eq=False)
class Estimate:
    """What stacked cells say of the numbers of some examples.

    values  (cells, examples), estimated
    y       (cells, examples), measured
    losses  (cells, examples), the head's, of standardised numbers
    """

    values: Tensor
    y: Tensor
    losses: Tensor

    def in_units(self, means: Tensor, deviations: Tensor) -> Estimate:
        """The same in the target's units, in float64.

        means, deviations  (cells,): of the training sets' numbers, by which they were standardised
        """
        mean, deviation = means.double().unsqueeze(1), deviations.double().unsqueeze(1)
        values, y = (deviation * part.double() + mean for part in (self.values, self.y))
        return replace(self, values=values, y=y, losses=self.losses.double())

    @property
    def errors(self) -> Tensor:
        """(cells, examples): estimated less measured, in float64."""
        return self.values.double() - self.y.double()


@METRICS.add(better="lower", unit="", task="regression")
def rmse(estimate: Estimate) -> Tensor:
    """Root of the mean squared error, in the target's unit"""
    return estimate.errors.square().mean(dim=1).sqrt()


@METRICS.add(better="lower", unit="", task="regression")
def mae(estimate: Estimate) -> Tensor:
    """Mean absolute error, in the target's unit"""
    return estimate.errors.abs().mean(dim=1)


@METRICS.add(better="higher", unit="", task="regression")
def r2(estimate: Estimate) -> Tensor:
    """R²: 1 - squared errors / squared deviations from the mean of the same examples

    1 is perfect, 0 what their mean alone would have, and there is no end below. Undefined where all
    examples have one number.
    """
    y = estimate.y.double()
    deviations = (y - y.mean(dim=1, keepdim=True)).square().sum(dim=1)
    unexplained = estimate.errors.square().sum(dim=1)
    return torch.where(deviations > 0, 1 - unexplained / deviations, torch.nan)
