"""What can be drawn of a study, by name; and pictures as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relubench.errors import BadValue
from relubench.page import calls, comparing, drawing, single, units
from relubench.page.drawing import Drawing
from relubench.page.study import Study

PICTURES: dict[str, Callable[[Study], list[Drawing]]] = {
    each.__name__: each
    for each in (
        comparing.forest,
        single.curves,
        single.tasks,
        comparing.pareto,
        comparing.rates,
        single.dead,
        units.lives,
        units.survival,
        comparing.ranks,
        comparing.wins,
        single.confusion,
        single.activations,
        single.cost,
        comparing.suggestion,
        calls.calls,
    )
}
MOST = 12  # drawings in one file


def draw(study: Study, kind: str | None, fitting: str) -> Sequence[Drawing]:
    """The drawings of one kind, MOST at the most; where none is asked for, of what fits.

    fitting  the kind that is tried first where none is asked for
    Raises BadValue where there is nothing to draw.
    """
    tried = [kind] if kind else list(dict.fromkeys([fitting, *PICTURES]))
    for name in tried:
        if drawings := PICTURES[name](study):
            return drawings[:MOST]
    # Only now that nothing was found: to make every kind takes its time.
    others = [name for name, make in PICTURES.items() if name not in tried and make(study)]
    instead = f": there are pictures of {', '.join(others)}" if others else ""
    what = f"--picture {kind}: " if kind else ""
    raise BadValue(f"{what}these rows have nothing to draw{instead}")


def plot(study: Study, kind: str = "forest", ax: Axes | None = None) -> Axes:
    """Draw the first picture of a kind on axes, which are made where there are none.

    Raises BadValue where there is nothing to draw.
    """
    first, *_ = draw(study, kind, kind)
    axes = ax or Figure().add_subplot()
    first.draw(axes)
    axes.set_title(first.title)
    return axes


def save(study: Study, kind: str | None, fitting: str, path: Path, suffix: str) -> None:
    """Write one kind of picture as "svg", "png" or "pdf"."""
    drawing.save(draw(study, kind, fitting), path, suffix)
