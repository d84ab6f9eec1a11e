"""A cell's examples: which rows train and test, as tensors on the device, of one cell or many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from relubench import datasets, folds, preprocessing, seeds
from relubench.datasets import Dataset
from relubench.plan import Cell, Machine, Preparation


@dataclass(frozen=True, eq=False)
class Tensors:
    """One split on the device: inputs (examples, …) and classes (examples,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of several cells end to end, each distinct part once.

    x, y   (examples, …) and (examples,)
    first  where each cell's examples begin
    sizes  how many each cell has
    """

    x: Tensor
    y: Tensor
    first: list[int]
    sizes: list[int]

    @classmethod
    def of(cls, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Examples:
        """The cells' inputs and classes as one; cells with the very same tensors share them."""
        parts = {id(x): (x, y) for x, y in zip(xs, ys, strict=True)}
        lengths = [len(x) for x, _ in parts.values()]
        first = dict(zip(parts, itertools.accumulate(lengths, initial=0), strict=False))
        x, y = map(_joined, zip(*parts.values(), strict=True))
        return cls(x, y, [first[id(x)] for x in xs], [len(x) for x in xs])

    def rows(self, orders: Sequence[Tensor]) -> Tensor:
        """(cells, most examples): the rows of `x` for each cell's order; a short one is padded."""
        most = max(self.sizes)
        padded = [nn.functional.pad(order, (0, most - len(order))) for order in orders]
        return torch.stack([order + first for order, first in zip(padded, self.first, strict=True)])

    def weights(self) -> Tensor | None:
        """(cells, most examples): 1 for an example, 0 for padding; None where nothing is padded."""
        if len(set(self.sizes)) == 1:
            return None
        sizes = torch.tensor(self.sizes, device=self.x.device).unsqueeze(1)
        columns = torch.arange(max(self.sizes), device=self.x.device)
        return (columns < sizes).to(self.x.dtype)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def split(cell: Cell, dataset: Dataset) -> tuple[folds.Rows, folds.Rows]:
    """The cell's training and test rows.

    Folds partition the training part of a dataset with a published test set, which they leave
    alone; without folds that test set is the test part, and a drawn 30 % where there is none.
    """
    y = dataset.y[: dataset.n_train]
    if cell.split.folds and cell.split.fold is not None:
        train, test = folds.stratified(y, cell.split.folds, cell.split.fold, seeds.folds(cell))
    elif dataset.n_test:
        train, test = np.arange(len(y)), np.arange(len(y), len(dataset.y))
    else:
        train, test = folds.holdout(y, seeds.holdout(cell))
    limit = cell.preparation.limit
    if limit and limit < len(train):
        train = train[folds.subset(y[train], limit, seeds.limit(cell))]
    return train, test


def tensors(cell: Cell, machine: Machine) -> Tensors:
    """The cell's prepared data on the machine's device."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    train, test = split(cell, dataset)
    rows = train.tobytes(), test.tobytes()
    return _tensors(cell.dataset, rows, cell.preparation, machine)


@lru_cache(maxsize=2)
def _tensors(
    name: str, rows: tuple[bytes, bytes], preparation: Preparation, machine: Machine
) -> Tensors:
    dataset = datasets.load(name, machine.data_dir)
    train, test = (np.frombuffer(part, dtype=np.int64) for part in rows)
    x_train, x_test = preprocessing.prepare(dataset.x, train, test, preparation)

    def inputs(x: preprocessing.Inputs) -> Tensor:
        return torch.as_tensor(x, dtype=getattr(torch, machine.storage), device=machine.device)

    def classes(part: folds.Rows) -> Tensor:
        return torch.as_tensor(dataset.y[part], device=machine.device)

    return Tensors(inputs(x_train), classes(train), inputs(x_test), classes(test))
