"""Which rows of a dataset a cell trains on, and which it is tested on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from relubench import seeds
from relubench.datasets import Dataset, folds
from relubench.plan import Cell

VALIDATION = 0.1  # fraction of the training set


def fraction(cell: Cell) -> float:
    """The fraction of the training set that --validation holds back; 0 where it holds nothing."""
    return float(cell.validation) if cell.validation not in (None, "test") else 0.0


def held_out(cell: Cell, dataset: Dataset) -> folds.Rows:
    """The rows that every epoch is scored on; none where nobody asked."""
    if cell.validation == "test":
        return split(cell, dataset)[1]
    if not fraction(cell):
        return np.arange(0)
    # Drawn from the rows that would train if nothing were held back, just as `split` draws it.
    whole = replace(cell, validation=None, split=replace(cell.split, validation=False))
    train, _ = split(whole, dataset)
    return _validation(cell, dataset, train, fraction(cell))[1]


def _validation(
    cell: Cell, dataset: Dataset, train: folds.Rows, size: float
) -> tuple[folds.Rows, folds.Rows]:
    """The training rows that are learned from, and those that are held back."""
    groups = None if dataset.groups is None else dataset.groups[train]
    draws = seeds.held_out(cell)
    learned, held = folds.holdout(dataset.strata[train], draws, size, groups)
    return train[learned], train[held]


def split(cell: Cell, dataset: Dataset) -> tuple[folds.Rows, folds.Rows]:
    """The cell's training and test rows.

    What `held_out` gives of a cell's training set is in neither.

    Folds partition the training set of a dataset with a published test set, which they leave
    alone; without folds that test set is the test part, and a drawn 30 % where there is none.
    A validation part is drawn from what would train, and what would test is in neither. Where a
    dataset has groups, none is in two parts. Proportions of classes are kept; numbers have none.
    """
    y = dataset.strata[: dataset.n_train]
    groups = dataset.groups
    fold = cell.split.fold
    if cell.split.folds and fold is not None:
        train, test = folds.stratified(y, cell.split.folds, fold, seeds.folds(cell), groups)
    elif dataset.n_test:
        train, test = np.arange(len(y)), np.arange(len(y), len(dataset.y))
    else:
        train, test = folds.holdout(y, seeds.holdout(cell), groups=groups)
    # In this order: the limit, then what --validation holds back, then the
    # part that chooses a rate.
    limit = cell.preparation.limit
    if limit and limit < len(train):
        train = train[folds.sample(y[train], limit, seeds.limit(cell))]
    if held := fraction(cell):
        train, _ = _validation(cell, dataset, train, held)
    if cell.split.validation:
        # A trial of a rate: the validation part stands where the test part
        # would, which nobody sees.
        own_groups = None if groups is None else groups[train]
        draws = seeds.validation(cell)
        learned, held_out = folds.holdout(y[train], draws, VALIDATION, own_groups)
        return train[learned], train[held_out]
    return train, test
