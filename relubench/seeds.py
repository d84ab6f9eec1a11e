"""Named random streams, each a function of a cell and a purpose and of nothing else.

A stream depends on the cell's seed and split but not on its activation, head or recipe: the same
seed gives every activation the same split, the same draw of weights and the same batch order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.plan import Cell

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = Deferred("numpy"), Deferred("torch")


def number(*parts: object) -> int:
    """63 bits that depend on every part and on their order."""
    # A hash, not hash(): that of a text differs from process to process.
    text = "/".join(map(str, parts))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # never negative in 64 signed bits


def holdout(cell: Cell) -> np.random.Generator:
    """The generator of the 70/30 split: one per seed, or one for all."""
    # Of the seed alone: activations and recipes that are compared have the same rows.
    return np.random.default_rng(number("holdout", _drawn_by(cell)))


def folds(cell: Cell) -> np.random.Generator:
    """The generator of the K-fold partition: one per repeat, the same for every seed.

    Seeds of one fold can therefore be averaged.
    """
    return np.random.default_rng(number("folds", cell.split.repeat))


def limit(cell: Cell) -> np.random.Generator:
    """The generator of the subset of the training set that `limit` keeps."""
    split = cell.split
    return np.random.default_rng(number("limit", _drawn_by(cell), split.repeat, split.fold))


def _drawn_by(cell: Cell) -> int:
    """The seed that draws which rows train."""
    # Seed 0's hold-out is everybody's: it is the same as without one_holdout.
    return 0 if cell.split.one_holdout else cell.seed


def validation(cell: Cell) -> np.random.Generator:
    """The generator of the tenth of the training set on which a learning rate is chosen."""
    split = cell.split
    return np.random.default_rng(number("validation", cell.seed, split.repeat, split.fold))


def held_out(cell: Cell) -> np.random.Generator:
    """The generator of what --validation holds back of the training set."""
    split = cell.split
    return np.random.default_rng(number("held out", _drawn_by(cell), split.repeat, split.fold))


def stream(cell: Cell, purpose: str, device: str = "cpu") -> torch.Generator:
    """A torch generator for one purpose: "weights", "network", "batches", "augment", "noise" …

    Apart from what layers draw, it is on the CPU, so that every device gets the same.
    """
    split = cell.split
    # The purpose is in it: what one purpose draws never shifts what another gets.
    entropy = number(purpose, cell.seed, split.repeat, split.fold)
    return torch.Generator(device).manual_seed(entropy)
