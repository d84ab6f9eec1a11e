"""Command lines that train a run again, and where it was trained."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields

from relubench.grouping import grouped
from relubench.plan import Recipe
from relubench.report.columns import text_of
from relubench.rows import EnvironmentRow, RunRow, Surroundings
from relubench.table import Column, Table


def command(row: RunRow) -> str:
    """What trains this run again, on the same kind of device: a line for a shell.

    A fold is one of those that the command trains.
    """
    return shlex.join(["relubench", *_words(row)])


def _words(row: RunRow) -> Iterator[str]:
    folded = row.folds is not None
    yield "cv" if folded else "train"
    for flag, value in (("-d", row.dataset), ("-m", row.model), ("-a", row.activation)):
        yield from (flag, value)
    if row.head != "softmax":
        yield from ("--head", row.head)
    if row.chosen_init:
        yield from ("--init", row.chosen_init)
    yield from _switches(row)
    yield from _recipe(row)
    yield from _preparation(row)
    if folded:
        # Repeats are drawn one after the other: the last of so many is the one that is meant.
        yield from ("--folds", str(row.folds), "--repeats", str(row.repeat + 1))
        if row.fold is None:
            yield from ("--protocol", "published")
    yield from ("--seed", str(row.seed), "--device", row.device)
    if row.dtype != "float32":
        yield from ("--precision", row.dtype)


def _switches(row: RunRow) -> Iterator[str]:
    if row.match_parameters:
        yield "--match-parameters"
    if row.fresh_weights:
        yield "--fresh"
    if not row.standardise:
        yield "--no-standardise"


def _recipe(row: RunRow) -> Iterator[str]:
    """The recipe: its numbers always, since a default may change, the rest where it is there."""
    yield from ("--optimizer", row.optimizer, "--lr", row.rates or f"{row.lr!r}")
    if row.steps:
        yield from ("--steps", str(row.steps))
    else:
        yield from ("--epochs", str(row.epochs))
    yield from ("--batch-size", str(row.batch_size))
    if row.rates:
        yield "--best-lr"
    if row.weight_decay != Recipe.weight_decay:
        yield from ("--weight-decay", repr(row.weight_decay))
    for key in (
        "schedule",
        "warmup",
        "clip_norm",
        "label_smoothing",
        "augment",
        "until",
        "perturb",
    ):
        if row.get(key):
            yield from (f"--{key.replace('_', '-')}", str(row.get(key)))


def _preparation(row: RunRow) -> Iterator[str]:
    for key, value in (("pca", row.pca), ("limit", row.limit), ("unit-axis", row.unit_axis)):
        if value is not None:
            yield from (f"--{key}", str(value))


def environments(rows: Sequence[RunRow]) -> Table[EnvironmentRow]:
    """A row for each kind of surroundings in which runs were trained, with how many those are."""
    found = [
        EnvironmentRow(**vars(surroundings), runs=len(same))
        for surroundings, same in grouped(rows, _surroundings).items()
    ]
    keys = [field.name for field in fields(EnvironmentRow)]
    words = ("relubench", "torch", "device", "dtype")
    columns: list[Column[EnvironmentRow]] = [
        Column(key, text_of(key), left=key in words) for key in keys
    ]
    return Table(found, columns, "where the runs were trained")


def _surroundings(row: RunRow) -> Surroundings:
    return Surroundings(**{field.name: row.get(field.name) for field in fields(Surroundings)})
