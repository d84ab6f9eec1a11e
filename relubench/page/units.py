"""Drawings of hidden units over the epochs of a training: dead shares, and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from relubench.formats.plots import MUTED
from relubench.grouping import grouped
from relubench.page.comparing import ROW, row_end, rows_down
from relubench.page.drawing import BOTTOM, Drawing, label_width, tip, y_label
from relubench.page.series import Look, legend, legend_height, looks
from relubench.page.single import MOST_LAYERS, SHADES
from relubench.page.study import Study
from relubench.rows import LifeRow, SurvivalRow

MOST_EPOCHS = 60  # columns of a heat map: more are thinned out


def lives(study: Study) -> list[Drawing]:
    """Dead shares by layer and epoch: a drawing per set-up, a row per layer in which units died."""
    drawings = []
    for rows in grouped(study.lives, lambda row: row.setup).values():
        died = [row for row in rows if row.layer != "total" and max(row.dead_by_epoch) > 0]
        if 0 < len(died) <= MOST_LAYERS:
            drawings.append(_lives(study, died))
    return drawings


def _lives(study: Study, rows: Sequence[LifeRow]) -> Drawing:
    names = [f"{row.activation} {row.layer}" for row in rows]
    said = ", ".join(
        f"{name} {100 * row.dead:.1f} %" for name, row in zip(names, rows, strict=True)
    )
    what = "dead units by epoch, %"
    runs = max(row.n for row in rows)
    ends = [f"{100 * row.dead:.1f}" for row in rows]
    return Drawing(
        " · ".join(part for part in (what, study.where(rows[0]), f"n\u00a0{runs}") if part),
        f"Dead units at the end: {said}",
        lambda axes: _draw_lives(axes, rows, names, ends),
        height=BOTTOM + 12 + ROW * len(rows),
        left=label_width(names),
        right=label_width(ends),
    )


def _draw_lives(
    axes: Axes, rows: Sequence[LifeRow], names: Sequence[str], ends: Sequence[str]
) -> None:
    """Shades by epoch; what each row ends with stands behind it."""
    epochs = max((row.counted_after for row in rows), key=len)
    shown = epochs[:: -(-len(epochs) // MOST_EPOCHS)]
    for down, row in enumerate(rows):
        dead = dict(zip(row.counted_after, row.dead_by_epoch, strict=True))
        for across, epoch in enumerate(shown):
            if epoch in dead:
                said = f"{names[down]}, epoch {epoch}: {100 * dead[epoch]:.1f} % dead, n {row.n}"
                _shade(axes, across, down, dead[epoch], said)
        row_end(axes, down, ends[down], MUTED)
    step = -(-len(shown) // 8)
    axes.set_xticks(range(0, len(shown), step), [str(epoch) for epoch in shown[::step]])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(shown) - 0.5)
    rows_down(axes, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel("epochs learned")


def _shade(axes: Axes, x: int, y: int, share: float, said: str) -> None:
    """One cell, the darker the more units are dead."""
    left, right, top, bottom = x - 0.5, x + 0.5, y - 0.5, y + 0.5
    (box,) = axes.fill([left, right, right, left], [top, top, bottom, bottom])
    box.set(facecolor=SHADES(share), linewidth=0)
    tip(box, said)


def survival(study: Study) -> list[Drawing]:
    """The share of units that has never been dead, by epoch: a drawing per set-up."""
    drawings = []
    for rows in grouped(study.survival, lambda row: row.setup).values():
        if len(rows[0].counted_after) > 1:
            drawings.append(_survival(study, rows))
    return drawings


def _survival(study: Study, rows: Sequence[SurvivalRow]) -> Drawing:
    seen = looks(study.activations)
    names = [row.activation for row in rows]
    said = ", ".join(f"{row.activation} {_percent(row.survived[-1])}" for row in rows)
    what = "units never dead by epoch"
    runs = max(row.n for row in rows)
    height = legend_height(names, seen)
    return Drawing(
        " · ".join(part for part in (what, study.where(rows[0]), f"n\u00a0{runs}") if part),
        f"Units that were never dead up to the end: {said}",
        lambda axes: _draw_survival(axes, rows, seen),
        height=230 + height,
        bottom=BOTTOM + height,
    )


def _percent(share: float | None) -> str:
    return "undefined" if share is None else f"{100 * share:.1f} %"


def _percents(shares: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if share is None else 100 * share for share in shares])


def _draw_survival(axes: Axes, rows: Sequence[SurvivalRow], seen: Mapping[str, Look]) -> None:
    for row in reversed(rows):  # the reference on top
        look = seen[row.activation]
        epochs = row.counted_after
        curves = (row.survived, row.survived_low, row.survived_high)
        survived, low, high = map(_percents, curves)
        if look.named:
            axes.fill_between(
                epochs, low, high, color=look.colour, alpha=0.12, linewidth=0, step="post"
            )
        (line,) = axes.step(
            epochs,
            survived,
            where="post",
            label=row.activation if look.named else None,
            **look.line,
        )
        limits = f"{_percent(row.survived_low[-1])} to {_percent(row.survived_high[-1])}"
        tip(
            line, f"{row.activation}: {_percent(row.survived[-1])} at the end ({limits}), n {row.n}"
        )
    axes.set_ylim(0, 104)
    axes.set_xlabel("epochs learned")
    y_label(axes, "units never dead %")
    legend(axes, [row.activation for row in rows])
