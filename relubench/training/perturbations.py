"""Perturbations: changed test inputs, to see what a trained network withstands.

A perturbation is a function (x, spread, stream) -> x: prepared inputs of any shape, the training
inputs' standard deviation per feature, channel or component (1 for a constant, as where inputs are
standardised), a generator of the cell's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench import seeds
from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue
from relubench.plan import Cell

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from relubench.datasets import preprocessing
else:
    torch = Deferred("torch")
    preprocessing = Deferred("relubench.datasets.preprocessing")  # numpy, too, takes its time

PERTURBATIONS: Catalog[Entry[Tensor]] = Catalog("perturbation", Entry)


@PERTURBATIONS.add()
def gaussian(x: Tensor, spread: Tensor, stream: torch.Generator, *, sd: float) -> Tensor:
    """Normal noise of `sd` training standard deviations on every input"""
    if sd < 0:
        raise BadValue(f"gaussian: sd must be at least 0, got {sd:g}")
    # Drawn on the CPU in float32, then moved: the same noise on every device.
    return x + sd * spread * torch.randn(x.shape, generator=stream).to(x)


@PERTURBATIONS.add()
def dropout(x: Tensor, spread: Tensor, stream: torch.Generator, *, share: float) -> Tensor:
    """A fraction of the inputs set to 0, nothing scaled up"""
    if not 0 <= share <= 1:
        raise BadValue(f"dropout: share must be from 0 to 1, got {share:g}")
    return x * (torch.rand(x.shape, generator=stream) >= share).to(x)


@PERTURBATIONS.add()
def shift(x: Tensor, spread: Tensor, stream: torch.Generator, *, sd: float) -> Tensor:
    """Every input moved by `sd` training standard deviations"""
    return x + sd * spread


def perturbed(cell: Cell, name: str, x_train: Tensor, x_test: Tensor) -> Tensor:
    """The cell's test inputs under one of its perturbations, the same for every activation."""
    prepared = cell.preparation
    # Components are not standardised after the rotation: theirs differ.
    standardised = prepared.standardise and not prepared.pca
    spread = torch.ones(()) if standardised else _spread(x_train)
    # By name: another perturbation beside it changes none of this one's numbers.
    stream = seeds.stream(cell, f"perturb {name}")
    return PERTURBATIONS.choose(name)(x_test, spread.to(x_test), stream)


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of each feature of rows, each channel of images."""
    _, spread = preprocessing.moments(x.double().cpu().numpy())
    return torch.as_tensor(spread)
