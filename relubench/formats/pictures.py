"""Curves in panels, and how a terminal shows them: braille dots, a colour and a mark per curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from relubench.grouping import joined
from relubench.table import Curve, Panel, Picture

SUFFIXES = (".svg", ".png", ".pdf")  # of the files that a picture can be written to
MARKS = "ox+*#%@&"
COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue", "white", "bright_black")
MOST = len(MARKS)  # curves of one panel
UNFOLDED = 1000  # columns: wider than any table
PIPED = 80  # columns, where no terminal says how wide it is
NARROW, WIDE = 64, 120  # columns: panels stand one below the other, and grow no further
ROWS = 12  # of cells
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, by y and x
AXES = "·"

Cell = tuple[str, str]  # a character and its style


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many round numbers between two, 0 among them where it lies there."""
    # The smallest step of 1, 2 or 5 times a power of ten that gives few enough.
    for exponent in range(-12, 13):
        for factor in (1, 2, 5):
            step = factor * 10.0**exponent
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < most:
                return [number * step for number in range(first, last + 1)]
    return []


def draw(picture: Picture, width: int) -> list[list[Cell]]:
    """The picture as lines of at most `width` columns, with a legend where curves are several."""
    width = min(width, WIDE)
    beside = len(picture.panels) if width >= NARROW else 1
    panel_width = (width - 2 * beside) // beside
    lines: list[list[Cell]] = []
    for start in range(0, len(picture.panels), beside):
        panels = picture.panels[start : start + beside]
        lines += _side_by_side([list(_panel(panel, panel_width)) for panel in panels])
    curves = picture.panels[0].curves
    return [*lines, *_legend(curves)] if len(curves) > 1 else lines


def _side_by_side(panels: list[list[list[Cell]]]) -> list[list[Cell]]:
    """The lines of panels of one height, with a gap before each panel."""
    gap: list[Cell] = [(" ", "")] * 2
    lines: list[list[Cell]] = []
    for parts in zip(*panels, strict=True):
        lines.append(joined(gap + part for part in parts))
    return lines


def _legend(curves: Sequence[Curve]) -> list[list[Cell]]:
    """A line per curve: its mark in its colour, and its name."""
    looks = zip(MARKS, COLOURS, curves, strict=False)
    return [[(f"  {mark} ", colour), (curve.name, "")] for mark, colour, curve in looks]


def _panel(panel: Panel, width: int) -> Iterator[list[Cell]]:
    """Its lines, each `width` cells: title, rows with ticks at their left, ticks below."""
    (left, right), (bottom, top) = panel.x_range, panel.y_range
    y_ticks = {
        _index(tick, top, bottom, ROWS): f"{tick:g}" for tick in ticks(bottom, top, ROWS // 2)
    }
    margin = 1 + max(map(len, y_ticks.values()))
    columns = width - margin
    yield _padded([(" " * margin, ""), (panel.title[:columns], "bold")], width)
    for number, row in enumerate(_grid(panel, columns)):
        yield [*((c, "") for c in f"{y_ticks.get(number, ''):>{margin - 1}} "), *row]
    below = [" "] * width
    for tick in ticks(left, right, columns // 6):
        label = f"{tick:g}"
        at = margin + _index(tick, left, right, columns) - len(label) // 2
        # Centred under its tick, as far as the margins allow.
        at = max(0, min(at, width - len(label)))
        below[at : at + len(label)] = label
    yield [(character, "") for character in below]


def _padded(cells: list[Cell], width: int) -> list[Cell]:
    taken = sum(len(text) for text, _ in cells)
    return [*cells, (" " * (width - taken), "")]


def _index(at: float, first: float, last: float, count: int) -> int:
    """Which of `count` equal parts from first to last holds a point."""
    fraction = (at - first) / (last - first)
    return min(count - 1, max(0, math.floor(fraction * count)))


def _grid(panel: Panel, columns: int) -> list[list[Cell]]:
    """ROWS rows of cells: the axes, braille dots over them, the curves' marks on top."""
    (left, right), (bottom, top) = panel.x_range, panel.y_range
    across, down = _index(0, top, bottom, ROWS), _index(0, left, right, columns)
    grid: list[list[Cell]] = []
    for row in range(ROWS):
        cell = (AXES, "dim") if row == across else (" ", "")
        grid.append([cell] * columns)
        grid[row][down] = (AXES, "dim")
    bits: dict[tuple[int, int], int] = {}
    marks: dict[tuple[int, int], Cell] = {}
    several = len(panel.curves) > 1
    stride = max(8, 2 * len(panel.curves))  # cells from mark to mark; each curve has its own offset
    for number, (curve, style) in enumerate(zip(panel.curves, COLOURS, strict=False)):
        for x, y in zip(curve.x, curve.y, strict=True):
            if y is None or not bottom <= y <= top:
                continue
            # A braille cell has four rows of two dots.
            i, j = _index(y, top, bottom, 4 * ROWS), _index(x, left, right, 2 * columns)
            at = row, column = i // 4, j // 2
            bits[at] = bits.get(at, 0) | DOTS[i % 4][j % 2]
            # Unicode's braille patterns: a bit for each dot, in the order of DOTS.
            grid[row][column] = chr(0x2800 + bits[at]), style
            if several and column % stride == number * stride // len(panel.curves):
                marks[at] = MARKS[number], style
    # Last: a mark must not vanish under the dots of a curve that is drawn after it.
    for (row, column), mark in marks.items():
        grid[row][column] = mark
    return grid
