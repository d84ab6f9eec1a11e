"""What is refused before anything is trained."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from relubench import datasets, layers, perturbations
from relubench.activations import ACTIVATIONS
from relubench.augmentations import Augment
from relubench.engine import skeleton
from relubench.errors import BadValue
from relubench.examples import split
from relubench.optimizers import OPTIMIZERS
from relubench.plan import Cell, Machine


def check(cell: Cell, machine: Machine) -> None:
    """Refuse a cell that cannot be trained: BadValue or DataError, before any training."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    counts = np.bincount(dataset.y[: dataset.n_train])
    if cell.split.folds and cell.split.folds > counts.min():
        rarest = dataset.classes[int(counts.argmin())]
        raise BadValue(
            f"--folds {cell.split.folds}: class {rarest!r} of {cell.dataset} has only "
            f"{counts.min()} examples, so at most {counts.min()} folds"
        )
    train, _ = split(cell, dataset)
    limit, pca = cell.preparation.limit, cell.preparation.pca
    if limit and limit < len(dataset.classes):
        raise BadValue(
            f"--limit {limit}: {cell.dataset} has {len(dataset.classes)} classes, so at least that"
        )
    most = min(len(train), math.prod(dataset.shape))
    if pca and pca > most:
        raise BadValue(f"--pca {pca}: {cell.dataset} has at most {most} components here")
    _check_choices(cell)
    shape = (pca,) if pca else dataset.shape
    _check_views(cell, shape)
    skeleton(cell, shape, dataset)


def _check_views(cell: Cell, shape: tuple[int, ...]) -> None:
    """Refuse augmentations and perturbations that these inputs or parameters do not allow."""
    augment, x = Augment([cell]), torch.zeros(1, 1, *shape)
    if augment.steps and len(shape) != 3:
        raise BadValue(
            f"--augment {cell.recipe.augment}: needs images, and examples of {cell.dataset} "
            f"{'after --pca ' if cell.preparation.pca else ''}are rows of {shape[0]} numbers"
        )
    augment.draw([1], x.device)
    augment(x, slice(1))
    for name in cell.perturbations:
        perturbations.perturbed(cell, name, x[0], x[0])


def _check_choices(cell: Cell) -> None:
    """Refuse parameters with which an optimizer or an activation cannot work."""
    optimizer, act = cell.recipe.optimizer, layers.Act(ACTIVATIONS.choose(cell.activation), 1)
    try:
        OPTIMIZERS.choose(optimizer)([nn.Parameter(torch.zeros(1))], 1e-3, cell.recipe.weight_decay)
    except ValueError as error:
        raise BadValue(f"--optimizer {optimizer}: {error}") from None
    x = torch.tensor([[-3.0], [-0.1], [0.0], [0.1], [3.0]])
    try:
        act.reset_parameters()
        act.noise = torch.Generator().manual_seed(0)
        finite = bool(act(x).isfinite().all() and act.eval()(x).isfinite().all())
    except BadValue as error:
        raise BadValue(f"--activation {cell.activation}: {error}") from None
    except (RuntimeError, ZeroDivisionError, OverflowError):
        finite = False
    if not finite:
        raise BadValue(f"--activation {cell.activation}: not a finite number for x from -3 to 3")
