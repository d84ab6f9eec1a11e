"""One pair of axes: how large, in which style, and how it becomes SVG, PNG or PDF.

A page is 390 to 1280 pixels wide, so that every drawing is as wide as the narrowest screen has room
for; wide screens have several side by side. One unit of length is a CSS pixel.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from relubench.formats.plots import COLOURS, INK, METADATA, MUTED, PAPER, RULE

WIDTH = 400  # of a drawing
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 10, 42  # margins, unless a drawing says otherwise
PER_LETTER = 6.3  # an upper bound of the mean width of a letter at SIZE
SIZE = 11  # of letters
TICKS = 6  # intervals of an axis at the most: a tick takes longer to draw than a line
LONGEST = 20  # letters of a label
TITLE_LETTERS = 54  # in a line of a title
POINTS_PER_INCH = 72  # of matplotlib: an inch is here 72 pixels
SCALE = 2  # of PNG: pixels in a CSS pixel
TIP = "tip:"  # begins the gid of an artist with a tooltip

# What a page's style sheet defines for light and for dark screens.
THEME = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    colour: f"c{number}" for number, colour in enumerate(COLOURS)
}
STYLE: Any = {
    "font.size": SIZE,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": SIZE,
    "axes.grid": False,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": SIZE,
    "svg.hashsalt": "relubench",
    "text.parse_math": False,  # labels are anybody's text
}


@dataclass(frozen=True)
class Drawing:
    """What is drawn on one pair of axes.

    title   with the number of runs
    alt     what is to be seen, for those who cannot see it
    draw    draws on axes that are there
    height  of the whole; left, right, top, bottom  margins of the axes
    """

    title: str
    alt: str
    draw: Callable[[Axes], None]
    height: int = 260
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


@contextmanager
def style(more: Any) -> Iterator[None]:
    """Matplotlib as every drawing has it, with some settings more."""
    with matplotlib.rc_context(STYLE | more):
        yield


def label_width(labels: Sequence[str]) -> int:
    """The margin that these labels need beside the axes."""
    return 14 + round(PER_LETTER * max((len(short(label)) for label in labels), default=0))


def short(label: str, most: int = LONGEST) -> str:
    """The label; of a long one the beginning and the end, where parameters differ."""
    kept = most - 1
    return label if len(label) <= most else f"{label[: kept - kept // 2]}…{label[-(kept // 2) :]}"


def plain_ticks(axis: Any, ticks: Sequence[float] = ()) -> None:
    """Plain numbers on a logarithmic axis, at these ticks or at powers of ten."""
    if ticks:
        axis.set_major_locator(FixedLocator(list(ticks)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def y_label(axes: Axes, text: str) -> None:
    """The label of a vertical axis, where the widest ticks leave it room."""
    axes.set_ylabel(text)
    # bbox is in dots of the canvas: back to pixels of the page.
    across = axes.bbox.width * POINTS_PER_INCH / axes.figure.dpi
    axes.yaxis.set_label_coords((14 - LEFT) / across, 0.5)


def tip(artist: Any, text: str) -> None:
    """Show a text where a pointer rests on what is drawn."""
    artist.set_gid(TIP + text)


def shown(drawing: Drawing, ax: Axes | None = None) -> Axes:
    """Draw on axes; where none are given on new ones of its own size, which a notebook shows."""
    with style({}):
        axes = ax or _new(drawing)
        drawing.draw(axes)
        if ax:
            ax.set_title(drawing.title)
    return axes


def _new(drawing: Drawing) -> Axes:
    """Axes with the drawing's title above them."""
    # Here: pyplot looks for a display, and only a caller's own figure may be kept by it.
    from matplotlib import pyplot

    height = drawing.height + _title_height(drawing)
    inches = (WIDTH / POINTS_PER_INCH, height / POINTS_PER_INCH)
    figure = pyplot.figure(figsize=inches, facecolor=PAPER)
    at = 10 / WIDTH, 1 - 8 / height
    figure.text(*at, _wrapped(drawing.title), va="top", weight="bold")
    return _axes(figure, drawing, (0, 0), (WIDTH, height))


# --- one drawing in a page ------------------------------------------------------------------------


def svg(drawing: Drawing, name: str) -> str:
    """The drawing as an <svg> element for a page; `name` is nobody else's there."""
    with style({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH / POINTS_PER_INCH, drawing.height / POINTS_PER_INCH))
        drawing.draw(_axes(figure, drawing, (0, 0), (WIDTH, drawing.height)))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return _embedded(buffer.getvalue(), drawing, name)


def _axes(
    figure: Figure, drawing: Drawing, corner: tuple[float, float], size: tuple[float, float]
) -> Axes:
    """Axes inside the drawing's margins; `corner` is its lower left one in a figure of `size`."""
    (x, y), (width, height) = corner, size
    across = WIDTH - drawing.left - drawing.right
    up = drawing.height - drawing.top - drawing.bottom
    left, bottom = x + drawing.left, y + drawing.bottom
    axes = figure.add_axes((left / width, bottom / height, across / width, up / height))
    axes.locator_params(nbins=TICKS)
    return axes


ATTRIBUTES = re.compile(r'style="([^"]*)"')
FONT = re.compile(r"(?:^|\s)([\d.]+)px")
NUMBER = re.compile(r"-?\d+\.\d{2,}")
PLACES = re.compile(r' (?:d|x|y|width|height|transform|points)="[^"]*"')
REFERENCES = re.compile(r'(\bid="|href="#|url\(#)(?!tip:)')
TIPS = re.compile(rf'<g id="{TIP}([^"]*)">')
NAMELESS = re.compile(r'<g id="[a-z]+(?:_[a-z]+)*_\d+">')
HEX = re.compile(r"#[0-9a-f]{6}\b")
PROLOGUE = re.compile(r"\A.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
SIZES = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")


def _embedded(text: str, drawing: Drawing, name: str) -> str:
    """A whole SVG file as an element: no inline style, which a page's policy forbids, no own ids.

    Colours are variables of the page's style sheet, so that they suit its background.
    """
    # In this order: what is taken out first need not be rewritten.
    text = PROLOGUE.sub("", text)
    text = NAMELESS.sub("<g>", text)
    text = ATTRIBUTES.sub(_attributes, text)
    text = HEX.sub(_colour, text)
    text = PLACES.sub(_rounded, text)
    text = REFERENCES.sub(rf"\g<1>{name}-", text)
    opening = rf'<svg viewBox="\1" role="img" aria-labelledby="{name}-alt">'
    text = SIZES.sub(f'{opening}<title id="{name}-alt">{_escaped(drawing.alt)}</title>', text)
    return re.sub(r"\n\s*", "\n", _with_tips(text)).strip()


def _attributes(style: re.Match[str]) -> str:
    """Style as attributes that mean the same."""
    parts = []
    for declaration in html.unescape(style[1]).split(";"):
        key, _, value = (piece.strip() for piece in declaration.partition(":"))
        if key in ("font", "font-size"):
            size = FONT.search(value)
            parts.append(f'font-size="{size[1] if size else SIZE}"')
        elif key and key not in ("font-family", "image-rendering"):
            parts.append(f'{key}="{value}"')
    return " ".join(parts)


def _colour(colour: re.Match[str]) -> str:
    name = THEME.get(colour[0])
    return f"var(--{name})" if name else colour[0]


def _rounded(place: re.Match[str]) -> str:
    """Coordinates to a tenth of a pixel."""
    return NUMBER.sub(lambda number: f"{float(number[0]):.1f}", place[0])


def _with_tips(text: str) -> str:
    """Tooltips as <title> elements, which screen readers read, too."""
    return TIPS.sub(r'<g class="tip"><title>\1</title>', text)


def _escaped(text: str) -> str:
    """For an element, and for the replacement of a regular expression."""
    return html.escape(text).replace("\\", r"\\")


# --- several in a file ----------------------------------------------------------------------------


def save(drawings: Sequence[Drawing], path: Path, kind: str) -> None:
    """Write the drawings, each below its title, as `kind`: "svg", "png" or "pdf"."""
    # Two beside each other, three where there are many.
    columns = min(3, len(drawings)) if len(drawings) > 4 else min(2, len(drawings))
    rows = [drawings[at : at + columns] for at in range(0, len(drawings), columns)]
    titles = [max(map(_title_height, row)) for row in rows]
    heights = []
    for title, row in zip(titles, rows, strict=True):
        heights.append(title + max(drawing.height for drawing in row))
    width, height = WIDTH * columns, sum(heights)
    with style({"figure.facecolor": PAPER}):
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        FigureCanvasAgg(figure)
        top = height
        for row, title, tall in zip(rows, titles, heights, strict=True):
            for column, drawing in enumerate(row):
                corner = (WIDTH * column, top - title - drawing.height)
                drawing.draw(_axes(figure, drawing, corner, (width, height)))
                at = (corner[0] + 10) / width, (top - 8) / height
                figure.text(*at, _wrapped(drawing.title), va="top", weight="bold")
            top -= tall
        dots = POINTS_PER_INCH * SCALE
        figure.savefig(path, format=kind, dpi=dots, metadata=METADATA[kind])
    # A file on its own has no style sheet: colours and fonts stay as matplotlib wrote them.
    if kind == "svg":
        path.write_text(_with_tips(path.read_text(encoding="utf-8")), encoding="utf-8")


def _wrapped(title: str) -> str:
    lines = [""]
    for word in title.split(" "):
        if len(lines[-1]) + len(word) > TITLE_LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _title_height(drawing: Drawing) -> int:
    return 14 + 15 * (1 + _wrapped(drawing.title).count("\n"))
