"""Cells that differ from the usual one in one field each: every field of a cell and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from relubench.plan import Cell, Preparation, Recipe, Split

PARTS: dict[str, type[Recipe | Preparation | Split]] = {
    "recipe": Recipe,
    "preparation": Preparation,
    "split": Split,
}
# A value that is not the default. A new field needs one, and then stands in every test that walks
# the fields: rows, reading, command lines, keys.
VALUES: dict[str, Any] = {
    "dataset": "wine",
    "model": "ffnn:hidden=4",
    "activation": "gelu",
    "head": "relu",
    "match_parameters": True,
    "seed": 3,
    "perturb": "gaussian:0.1,dropout:0.2",
    "until": "train_error=0.25",
    "fresh": True,
    "unit_axis": 1,
    "init": "he",
    "validation": "0.2",
    "task": "permuted_inputs",
    "tasks": 3,
    "recipe.optimizer": "sgd:momentum=0.9",
    "recipe.lr": 0.02,
    "recipe.rates": "0.001,0.01",
    "recipe.epochs": 7,
    "recipe.batch_size": 5,
    "recipe.weight_decay": 1e-05,
    "recipe.augment": "flip,crop",
    "recipe.schedule": "cosine",
    "recipe.warmup": "0.05",
    "recipe.clip_norm": 0.5,
    "recipe.label_smoothing": 0.1,
    "recipe.steps": 100,
    "recipe.revive": "reset_dead",
    "recipe.report": "best",
    "preparation.standardise": False,
    "preparation.pca": 3,
    "preparation.limit": 50,
    "split.folds": 4,
    "split.fold": 2,
    "split.repeat": 1,
    "split.validation": True,
    "split.one_holdout": True,
}
OF_TRIALS = {"split.validation"}  # no run that is shown has it
# A fold is one of some folds, a task one of a kind; steps take the place of epochs.
NEEDED: dict[str, dict[str, Any]] = {
    "task": {"tasks": 3},
    "tasks": {"task": "permuted_inputs"},
    "split.folds": {"fold": 0},
    "split.fold": {"folds": 4},
    "split.repeat": {"folds": 4, "fold": 1},
    "recipe.steps": {"epochs": 0},
}
# What the cell itself must have beside a field of its recipe.
BESIDE: dict[str, dict[str, Any]] = {"recipe.report": {"validation": "0.2"}}
PLAIN = Cell(dataset="iris", model="ffnn:hidden=8", activation="relu")


def names() -> Iterator[str]:
    """Every field, as `seed` or `recipe.lr`."""
    yield from (part.name for part in fields(Cell) if part.name not in PARTS)
    for part, kind in PARTS.items():
        yield from (f"{part}.{each.name}" for each in fields(kind))


def changed(name: str) -> Cell:
    """The plain cell with another value of this field."""
    part, _, field = name.rpartition(".")
    needed = NEEDED.get(name, {})
    if not part:
        return replace(PLAIN, **needed, **{field: VALUES[name]})
    own = replace(getattr(PLAIN, part), **needed, **{field: VALUES[name]})
    return replace(PLAIN, **BESIDE.get(name, {}), **{part: own})


FIELDS = list(names())
SHOWN = [name for name in FIELDS if name not in OF_TRIALS]
