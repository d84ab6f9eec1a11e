"""Activations as lines and points: each has one colour, dash and mark in all drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from relubench.formats.plots import COLOURS, DASHES, INK, MUTED
from relubench.grouping import joined
from relubench.page.drawing import POINTS_PER_INCH, SIZE, short

MARKS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "<", ">", "*")
MOST = 12  # series that are told apart; more are drawn without a colour and a name
LEGEND_ROW = 16  # px
LEGEND_GAP = 8
COLUMNS = 3  # of a legend


@dataclass(frozen=True)
class Look:
    """How an activation is drawn."""

    colour: str
    dash: Any
    mark: str
    named: bool = True

    @property
    def line(self) -> Mapping[str, Any]:
        """The arguments of a line."""
        width = 1.8 if self.named else 0.8
        return {"color": self.colour, "linestyle": self.dash, "linewidth": width}


UNNAMED = Look(MUTED, "-", ".", named=False)


def looks(activations: Sequence[str]) -> dict[str, Look]:
    """The look of each activation; the first, a reference, has the colour of the text."""
    found = {}
    for number, name in enumerate(activations):
        colour = INK if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        # Another dash once all colours, and that of the text, are used up.
        dash = DASHES[(number // (len(COLOURS) + 1)) % len(DASHES)]
        look = Look(colour, dash, MARKS[number % len(MARKS)])
        found[name] = look if number < MOST else UNNAMED
    return found


def legend_height(names: Sequence[str], looks: Mapping[str, Look]) -> int:
    """The room below the axes that a legend of these takes."""
    count = sum(looks[name].named for name in dict.fromkeys(names))
    columns = columns_for(names)
    return LEGEND_GAP + LEGEND_ROW * -(-count // columns)


def columns_for(names: Sequence[str]) -> int:
    """How many columns a legend of these names has room for."""
    longest = max((len(short(name)) for name in names), default=0)
    return COLUMNS if longest <= 11 else 2


def legend(axes: Axes, names: Sequence[str], below: int = 40) -> None:
    """A legend of these names, in this order, under the axes.

    below  px between: ticks and the axis' label
    """
    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [name for name in dict.fromkeys(names) if name in found]
    if not labels:
        return
    columns = columns_for(names)
    # matplotlib goes down the columns: handed over so, they are read along the rows.
    labels = joined(labels[at::columns] for at in range(columns))
    handles = [found[name] for name in labels]
    figure: Any = axes.get_figure(root=True)
    height = axes.bbox.height * POINTS_PER_INCH / figure.dpi
    axes.legend(
        handles,
        [short(label) for label in labels],
        loc="upper center",
        bbox_to_anchor=(0.5, -below / height),
        ncols=columns,
        fontsize=SIZE,
        handlelength=2.2,
        columnspacing=1.2,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.35,
    )
