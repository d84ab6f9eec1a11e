"""A cell under the keys of a row, and back: every field of a cell has one key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from relubench.grouping import joined
from relubench.plan import LATER, Cell, Preparation, Recipe, Split

Part = Recipe | Preparation | Split
PARTS: dict[str, type[Part]] = {"recipe": Recipe, "preparation": Preparation, "split": Split}
# Where a row's key is not the field's name; rows have other meanings for these words.
KEYS = {"fresh": "fresh_weights", "init": "chosen_init"}
# Of a trial, which is in no row; there `validation` is the cell's own.
OF_TRIALS = {(Split, "validation")}


def facts(cell: Cell) -> dict[str, Any]:
    """What decides a cell, by the keys of a row."""
    # The cell last: its own `validation`, not the split's.
    found = vars(cell.split) | vars(cell.preparation) | vars(cell.recipe) | vars(cell)
    for name in (*PARTS, "key"):  # no field of its own, and no field
        found.pop(name, None)
    for name, key in KEYS.items():
        found[key] = found.pop(name)
    if cell.recipe.rates:  # each run chooses its own: `lr` is only the first of them
        found["lr"] = None
    if cell.recipe.steps:
        found["epochs"] = None
    return found


def cell_of(record: Mapping[str, Any]) -> Cell:
    """The cell of a row; what rows did not have in earlier versions may be missing.

    Raises KeyError where anything else is.
    """
    own, values = _values(Cell, record), {kind: _values(kind, record) for kind in PARTS.values()}
    recipe = values[Recipe]
    if recipe.get("rates"):  # in `lr` stands the one that the run chose
        recipe["lr"] = float(recipe["rates"].split(",")[0])
    recipe["epochs"] = recipe["epochs"] or 0
    parts: dict[str, Any] = {name: kind(**values[kind]) for name, kind in PARTS.items()}
    return Cell(**own, **parts)


def _values(kind: type[Cell | Part], record: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name in _own(kind):
        key = KEYS.get(name, name)
        if key in record or name not in LATER:
            values[name] = record[key]
    return values


def _own(kind: type[Cell | Part]) -> list[str]:
    own = (part.name for part in fields(kind) if part.name not in PARTS)
    return [name for name in own if (kind, name) not in OF_TRIALS]


CELL_KEYS = frozenset(KEYS.get(name, name) for name in joined(map(_own, (Cell, *PARTS.values()))))
