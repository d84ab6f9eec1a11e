"""Pictures as files, by matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relubench.table import Curve, Panel, Picture

# Colours that the colour-blind tell apart (Wong, Nature Methods 8, 2011); dashes where lines meet.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F5539")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
INCHES = 4.2, 3.2  # of a panel
DOTS_PER_INCH = 160
JUMP = 0.01  # of the range: less is no jump


def save(picture: Picture, path: Path, kind: str) -> None:
    """Write the picture as `kind`, "svg" or "png": panels side by side, one legend above."""
    width, height = INCHES
    count = len(picture.panels)
    figure = Figure(figsize=(width * count, height), layout="constrained")
    # Not pyplot: it keeps every figure for the process, and may look for a display.
    FigureCanvasAgg(figure)
    for panel, axes in zip(
        picture.panels, figure.subplots(1, count, squeeze=False)[0], strict=True
    ):
        _draw(panel, axes)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    # matplotlib dates an SVG, so that the same picture would differ in every commit.
    undated = {"Date": None} if kind == "svg" else {}
    figure.savefig(path, format=kind, dpi=DOTS_PER_INCH, metadata=undated)


def axes(panel: Panel, ax: Axes | None = None, legend: bool = True) -> Axes:
    """Draw a panel on axes; where none are given on new ones, which a notebook shows."""
    if ax is None:
        # Here: pyplot looks for a display, and only a caller's own figure may be kept by it.
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=INCHES, layout="constrained")[1]
    _draw(panel, ax)
    if legend:
        ax.legend(frameon=False, fontsize="small")
    return ax


def _draw(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title, fontsize="medium")
    axes.set_xlim(*panel.x_range)
    axes.set_ylim(*panel.y_range)
    for at in (axes.axhline, axes.axvline):
        at(0, color="0.75", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    for number, curve in enumerate(panel.curves):
        axes.plot(
            *_broken(curve, panel.y_range),
            label=curve.name,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.8,
        )


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
    return np.insert(x, after, np.nan), np.insert(y, after, np.nan)
