"""Checks before training: data and split of a set-up fit each other; known without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from relubench import datasets
from relubench.datasets import Dataset, folds
from relubench.errors import BadValue
from relubench.models import MODELS
from relubench.plan import Cell
from relubench.training.heads import HEADS
from relubench.training.splits import VALIDATION, split
from relubench.wording import counted

NAMED = 5  # classes that a note names

Rows = tuple[folds.Rows, folds.Rows]  # of the training set and the test set


@dataclass(frozen=True, eq=False)
class CheckedData:
    """A cell's data that can be split and prepared as it asks for.

    sizes  of the training set of the cell, and of the same cell on other folds
    shape  of a prepared example
    notes  for the user, a line each
    """

    dataset: Dataset
    sizes: set[int]
    shape: tuple[int, ...]
    notes: tuple[str, ...]


def check_data(cell: Cell, data_dir: str) -> CheckedData:
    """Load a cell's data; refuses (BadValue, DataError) what cannot be had, split or prepared."""
    dataset = datasets.load(cell.dataset, data_dir)
    _check_head(cell, dataset)
    _check_model(cell, dataset)
    _check_folds(cell, dataset)
    rows = split(cell, dataset)
    sizes = _sizes(cell, dataset, rows)
    shape = _checked_shape(cell, dataset, sizes)
    return CheckedData(dataset, sizes, shape, tuple(_data_notes(cell, dataset, rows)))


def _check_head(cell: Cell, dataset: Dataset) -> None:
    """Refuse an output layer that says something else than the targets are."""
    if HEADS.choose(cell.head).entry.task == dataset.task:
        return
    fitting = [name for name, head in HEADS.items() if head.task == dataset.task]
    raise BadValue(
        f"--head {cell.head}: {cell.dataset} has {TARGETS[dataset.task]}: known for these: "
        f"{', '.join(fitting)}"
    )


TARGETS = {
    "classes": "classes",
    "regression": "numbers, not classes",
    "language": "a text, not classes",
}


def _check_model(cell: Cell, dataset: Dataset) -> None:
    """Refuse a model of tokens for numbers, one of numbers for a text, and what a text has not."""
    takes = MODELS.choose(cell.model).entry.takes
    wanted = "numbers"
    if dataset.tokens:
        wanted = "tokens" if dataset.task == "language" else "sentences"
    if takes != wanted:
        fitting = [name for name, model in MODELS.items() if model.takes == wanted]
        raise BadValue(
            f"--model {cell.model}: takes {takes}, and examples of {cell.dataset} are {wanted}: "
            f"known for these: {', '.join(fitting)}"
        )
    known = MODELS.choose(cell.model).parameters.get("tokens", dataset.tokens)
    if known < dataset.tokens:
        raise BadValue(
            f"--model {cell.model}: knows {known} tokens, and {cell.dataset} has {dataset.tokens}: "
            f"say tokens={dataset.tokens}"
        )
    if dataset.tokens and cell.preparation.pca:
        raise BadValue(f"--pca {cell.preparation.pca}: tokens have no components")
    if dataset.task != "language":
        return
    for flag, given in (
        ("--folds", cell.split.folds),
        ("--limit", cell.preparation.limit),
        ("--pca", cell.preparation.pca),
        ("--best-lr", cell.recipe.rates),
        (f"--validation {cell.validation}", cell.validation not in (None, "test")),
    ):
        if given:
            raise BadValue(f"{flag}: {cell.dataset} is one text, whose end is held out")


def _check_folds(cell: Cell, dataset: Dataset) -> None:
    """Refuse more folds than the rarest class has examples, or than there are groups."""
    # Of the training set alone: a published test set takes no part in folds.
    counts = np.bincount(dataset.strata[: dataset.n_train])
    fewest = int(counts.min())
    if cell.split.folds and cell.split.folds > fewest and dataset.task == "regression":
        raise BadValue(
            f"--folds {cell.split.folds}: {cell.dataset} has only {counted(fewest, 'example')}"
        )
    if cell.split.folds and cell.split.folds > fewest:
        rarest = dataset.classes[int(counts.argmin())]
        so = f"at most {fewest} folds" if fewest > 1 else "it cannot be divided into folds"
        raise BadValue(
            f"--folds {cell.split.folds}: class {rarest!r} of {cell.dataset} has only "
            f"{counted(fewest, 'example')}, so {so}"
        )
    if dataset.groups is not None:
        _check_groups(cell, len(np.unique(dataset.groups)))


def _checked_shape(cell: Cell, dataset: Dataset, sizes: set[int]) -> tuple[int, ...]:
    """The shape of a prepared example; refuses what these data cannot be prepared to."""
    limit = cell.preparation.limit
    pca = cell.preparation.pca
    if limit and limit < len(dataset.classes):
        raise BadValue(
            f"--limit {limit}: {cell.dataset} has {len(dataset.classes)} classes, so at least that"
        )
    if not min(sizes):
        raise BadValue(f"--best-lr: {cell.dataset} has too few examples to hold some of them out")
    # A rotation gives no more components than there are rows to fit it to, nor than inputs.
    most = min(*sizes, math.prod(dataset.shape))
    if pca and pca > most:
        raise BadValue(f"--pca {pca}: {cell.dataset} has at most {most} components here")
    return (pca,) if pca else dataset.shape


def _data_notes(cell: Cell, dataset: Dataset, rows: Rows) -> list[str]:
    """Notes on how the data were read, and on classes that one part of the split lacks."""
    notes = [f"{cell.dataset}: {note}" for note in dataset.notes]
    train, test = (set(dataset.strata[part].tolist()) for part in rows)
    for part, classes in (("training", train - test), ("test", test - train)):
        if classes:
            shown = [dataset.classes[number] for number in sorted(classes)[:NAMED]]
            names = ", ".join(map(repr, shown))
            more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
            said = f"class {names} is" if len(classes) == 1 else f"classes {names}{more} are"
            notes.append(f"{cell.dataset}: {said} only in the {part} set (seed {cell.seed})")
    return notes


def _sizes(cell: Cell, dataset: Dataset, rows: Rows) -> set[int]:
    """Sizes of the training set of the cell, and of the same cell on other folds."""
    train, _ = rows
    sizes = {len(train)}
    folds = cell.split.folds
    if dataset.groups is not None:
        return _sizes_of_groups(cell, dataset)
    if folds:
        whole = len(train) if cell.split.carried else dataset.n_train
        # Rows are dealt like cards, so that folds have two sizes at most.
        sizes = {whole - whole // folds, whole - math.ceil(whole / folds)}
        sizes = {min(size, cell.preparation.limit or size) for size in sizes}
    if cell.recipe.rates:
        # A trial of a rate learns from fewer rows, and may be the one with a last batch of 1.
        sizes |= {size - math.ceil(size * VALIDATION) for size in sizes}
    return sizes


def _sizes_of_groups(cell: Cell, dataset: Dataset) -> set[int]:
    """_sizes for data in groups, where groups decide how large a fold is."""
    folds = range(cell.split.folds or 0)
    splits = [replace(cell.split, fold=fold) for fold in folds] or [cell.split]
    if cell.recipe.rates:
        splits += [replace(part, validation=True) for part in splits]
    sizes = set()
    for part in splits:
        train, _ = split(replace(cell, split=part), dataset)
        sizes.add(len(train))
    return sizes


def _check_groups(cell: Cell, count: int) -> None:
    """Refuse more parts than there are groups, and weights that are carried from fold to fold."""
    parts = cell.split.folds or 2
    if cell.split.carried:
        raise BadValue(
            f"{cell.dataset}: its groups cannot be kept apart where weights are carried from fold "
            "to fold"
        )
    needed = parts
    if cell.recipe.rates:
        needed += 1  # the validation set's
    if count < needed:
        raise BadValue(
            f"{cell.dataset}: {count} groups are too few for {parts} parts, each with its own"
        )
