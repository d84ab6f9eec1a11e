"""Which rows of a dataset a cell trains on, and which it is tested on."""

from __future__ import annotations

import numpy as np

from relubench import seeds
from relubench.datasets import Dataset, folds
from relubench.plan import Cell

VALIDATION = 0.1  # fraction of the training set


def split(cell: Cell, dataset: Dataset) -> tuple[folds.Rows, folds.Rows]:
    """The cell's training and test rows.

    Folds partition the training set of a dataset with a published test set, which they leave
    alone; without folds that test set is the test part, and a drawn 30 % where there is none.
    A validation part is drawn from what would train, and what would test is in neither. Where a
    dataset has groups, none is in two parts.
    """
    y = dataset.y[: dataset.n_train]
    groups = dataset.groups
    fold = cell.split.fold
    if cell.split.folds and fold is not None:
        train, test = folds.stratified(y, cell.split.folds, fold, seeds.folds(cell), groups)
    elif dataset.n_test:
        train, test = np.arange(len(y)), np.arange(len(y), len(dataset.y))
    else:
        train, test = folds.holdout(y, seeds.holdout(cell), groups=groups)
    limit = cell.preparation.limit
    if limit and limit < len(train):
        train = train[folds.sample(y[train], limit, seeds.limit(cell))]
    if cell.split.validation:
        own_groups = None if groups is None else groups[train]
        draws = seeds.validation(cell)
        learned, held_out = folds.holdout(y[train], draws, VALIDATION, own_groups)
        return train[learned], train[held_out]
    return train, test
