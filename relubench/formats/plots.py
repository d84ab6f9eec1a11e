"""Pictures as files, by matplotlib; the colours of everything that is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relubench.table import Curve, Panel, Picture

# Colours that the colour-blind tell apart (Wong, Nature Methods 8, 2011); dashes where lines meet.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5539")
INK, MUTED, RULE, PAPER = "#1b1f24", "#6a727b", "#d9dee3", "#fefefe"
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
INCHES = 4.2, 3.2  # of a panel
DOTS_PER_INCH = 160
JUMP = 0.01  # of the range: less is no jump
# Nothing in a file says when or by which version it was drawn: the same rows, the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save(picture: Picture, path: Path, kind: str) -> None:
    """Write the picture as `kind`, "svg", "png" or "pdf"."""
    with matplotlib.rc_context({"svg.hashsalt": "relubench", "text.parse_math": False}):
        drawn = figure(picture)
        drawn.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=METADATA[kind])


def figure(picture: Picture) -> Figure:
    """The picture as a figure of matplotlib's: panels side by side, one legend above."""
    width, height = INCHES
    count = len(picture.panels)
    drawn = Figure(figsize=(width * count, height), layout="constrained")
    # Not pyplot: it keeps every figure for the process, and may look for a display.
    FigureCanvasAgg(drawn)
    for panel, axes in zip(picture.panels, drawn.subplots(1, count, squeeze=False)[0], strict=True):
        axes.set_title(panel.title, fontsize="medium")
        draw(panel, axes)
    handles, names = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    return drawn


def axes(panel: Panel, ax: Axes | None = None, legend: bool = True) -> Axes:
    """Draw a panel on axes; where none are given on new ones, which a notebook shows."""
    if ax is None:
        # Here: pyplot looks for a display, and only a caller's own figure may be kept by it.
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=INCHES, layout="constrained")[1]
    ax.set_title(panel.title, fontsize="medium")
    draw(panel, ax)
    if legend:
        ax.legend(frameon=False, fontsize="small")
    return ax


def draw(panel: Panel, axes: Axes, lines: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Draw the curves of a panel; `lines` are the looks of curves by name, where they have any."""
    axes.set_xlim(*panel.x_range)
    axes.set_ylim(*panel.y_range)
    for at in (axes.axhline, axes.axvline):
        at(0, color=RULE, linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    for number, curve in enumerate(panel.curves):
        look = lines[curve.name] if lines else _line(number)
        axes.plot(*_broken(curve, panel.y_range), label=curve.name, **look)


def _line(number: int) -> dict[str, Any]:
    colours = (*COLOURS, INK)
    dash = DASHES[number % len(DASHES)]
    return {"color": colours[number % len(colours)], "linestyle": dash, "linewidth": 1.8}


def _broken(curve: Curve, y_range: tuple[float, float]) -> tuple[NDArray[np.float64], ...]:
    """The curve's points, with a gap at each jump instead of a steep line.

    A jump is a step ten times as high as the steps two places before and behind it: at a kink the
    slope may take a value of its own, which is a step to it and one from it.
    """
    x, y = np.array(curve.x, dtype=float), np.array(curve.y, dtype=float)
    steps = np.abs(np.diff(y))
    around = np.maximum(np.roll(steps, 2), np.roll(steps, -2))
    jumps = (steps > 10 * around) & (steps > JUMP * (y_range[1] - y_range[0]))
    after = np.flatnonzero(jumps) + 1
    # matplotlib leaves a gap where a point is NaN.
    return np.insert(x, after, np.nan), np.insert(y, after, np.nan)
