"""Command lines that train a run again, and where it was trained."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache

from relubench.config.options import Option, declared
from relubench.grouping import grouped
from relubench.report.cell_keys import CELL_KEYS, KEYS
from relubench.report.columns import text_of
from relubench.rows import EnvironmentRow, RunRow, Surroundings
from relubench.table import Column, Table

# Said always: a default may be another in a later version.
SAID = ("dataset", "model", "activation", "optimizer", "epochs", "batch_size", "seed", "device")


def command(row: RunRow) -> str:
    """What trains this run again, on the same kind of device: a line for a shell.

    A fold is one of those that the command trains.
    """
    return shlex.join(["relubench", *_words(row)])


def _words(row: RunRow) -> Iterator[str]:
    yield "cv" if row.folds is not None else "train"
    keys = _options()
    for key, option in keys.items():
        if key in _OWN:
            yield from _OWN[key](row)
        elif key in CELL_KEYS:
            yield from _flag(option, row.get(key))
    yield from _flag(keys["device"], row.device)
    if row.dtype != "float32":
        yield from ("--precision", row.dtype)


@cache
def _options() -> dict[str, Option]:
    """Every option by the key of a row."""
    return {KEYS.get(option.key, option.key): option for option in declared()}


def _flag(option: Option, value: object) -> Iterator[str]:
    """An option as it is typed, where something is to be said."""
    if option.switch:
        if value != option.default:
            yield option.flag if value else f"--no-{option.flag[2:]}"
    elif value is not None and (option.key in SAID or value not in _default(option)):
        short = (name for name in option.names if not name.startswith("--"))
        yield from (next(short, option.flag), value if isinstance(value, str) else repr(value))


def _default(option: Option) -> tuple[object, ...]:
    return option.default if isinstance(option.default, tuple) else (option.default,)


def _rates(row: RunRow) -> Iterator[str]:
    yield from ("--lr", row.rates or repr(row.lr))
    if row.rates:
        yield "--best-lr"


def _folds(row: RunRow) -> Iterator[str]:
    if row.folds is None:
        return
    # Repeats are drawn one after the other: the last of so many is the one that is meant.
    yield from ("--folds", str(row.folds), "--repeats", str(row.repeat + 1))
    if row.fold is None:
        yield from ("--protocol", "published")


# By the option that they begin with.
_OWN = {"lr": _rates, "folds": _folds}


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
