"""Drawings of any network's units: by call of an activation, and over the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from relubench.errors import BadValue, UnknownName
from relubench.grouping import grouped
from relubench.page.comparing import ROW, rows_down
from relubench.page.drawing import BOTTOM, Drawing, label_width, tip, y_label
from relubench.page.series import Look, legend, legend_height, looks
from relubench.page.single import cell, percentage
from relubench.page.study import Study
from relubench.results import COUNTS
from relubench.rows import CallRow, WatchRow

COLUMNS = ("dead", "inactive", "rare", "dormant", "saturated", "constant", "always_on", "grama")
MANY, NARROW = 40, 13  # rows from which on each is so many px high, so that a page holds them
OVER_STEPS = (*COUNTS, "sparsity", "newly_dead", "revived")
UPRIGHT = 6  # columns from which on their names stand upright


def calls(study: Study) -> list[Drawing]:
    """Units of a network that is looked at as it is."""
    return [shares(study.calls)] if study.calls else []


# --- a count --------------------------------------------------------------------------------------


def _is_counted(name: str, rows: Sequence[CallRow]) -> bool:
    return any(row.get(name) is not None for row in rows)


def shares(rows: Sequence[CallRow]) -> Drawing:
    """Shares of units by definition: a row per call, the total last."""
    names = [row.layer for row in rows]
    columns = [name for name in COLUMNS if _is_counted(name, rows)]
    total = rows[-1]
    said = ", ".join(f"{name} {percentage(total.get(name))} %" for name in columns)
    upright = len(columns) >= UPRIGHT
    bottom = label_width(columns) if upright else BOTTOM
    return Drawing(
        f"units by call, % · {total.model} · {total.split}, n\u00a0{total.examples} examples",
        f"Units of all calls: {said}",
        lambda axes: _draw_shares(axes, rows, columns, upright),
        height=bottom + 12 + (ROW if len(rows) <= MANY else NARROW) * len(rows),
        left=label_width(names),
        bottom=bottom,
    )


def _draw_shares(
    axes: Axes, rows: Sequence[CallRow], columns: Sequence[str], upright: bool
) -> None:
    for down, row in enumerate(rows):
        for across, name in enumerate(columns):
            share = row.get(name)
            said = f"{row.layer}: {_in_words(row, name)} of {row.units} units"
            cell(axes, across, down, share, percentage(share), said, len(columns))
    heads = [name.replace("_", " ") for name in columns]
    axes.set_xticks(range(len(columns)), heads, rotation=90 if upright else 0)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    rows_down(axes, [row.layer for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["bottom"].set_visible(False)


def _in_words(row: CallRow, name: str) -> str:
    if name == "dead" and row.dead is None and not row.can_die:
        return "none can be dead"
    return f"{percentage(row.get(name))} % {name.replace('_', ' ')}"


# --- over time ------------------------------------------------------------------------------------


def over_steps(rows: Sequence[WatchRow], definition: str = "dead") -> Drawing:
    """The share of units that is so, by step: a line per layer and one of all, the first.

    Raises UnknownName for what is no share, BadValue where no layer has it.
    """
    if definition not in OVER_STEPS:
        raise UnknownName("definition", definition, OVER_STEPS)
    by_layer = grouped(rows, lambda row: row.layer)
    by_layer = {"total": by_layer.pop("total"), **by_layer}
    if all(row.get(definition) is None for row in rows):
        raise BadValue(
            f"no layer has a share of {definition} units: their activations have no flat part, "
            "or they were counted once; draw another, such as 'inactive' or 'dormant'"
        )
    seen = looks([*by_layer])
    height = legend_height([*by_layer], seen)
    what = f"{definition.replace('_', ' ')} units by step"
    said = "; ".join(_at_the_end(layer, definition) for layer in by_layer.values())
    return Drawing(
        f"{what} · n\u00a0{by_layer['total'][0].units} units",
        f"{what}, at the end: {said}",
        lambda axes: _draw_steps(axes, by_layer, definition, seen),
        height=230 + height,
        bottom=BOTTOM + height,
    )


def _at_the_end(rows: Sequence[WatchRow], definition: str) -> str:
    return f"{rows[-1].layer} {percentage(rows[-1].get(definition))} %"


def _draw_steps(
    axes: Axes,
    by_layer: Mapping[str, Sequence[WatchRow]],
    definition: str,
    seen: Mapping[str, Look],
) -> None:
    for name, rows in reversed([*by_layer.items()]):  # the total on top
        found = [row.get(definition) for row in rows]
        percents = [np.nan if share is None else 100 * share for share in found]
        look = seen[name]
        label = name if look.named and not np.isnan(percents).all() else None
        (line,) = axes.plot([row.step for row in rows], percents, label=label, **look.line)
        tip(line, f"{_at_the_end(rows, definition)} at the end")
    axes.set_ylim(0, 104)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("steps of training")
    y_label(axes, f"{definition.replace('_', ' ')} units %")
    legend(axes, [*by_layer])
