"""Curves as text: what a terminal shows, at any width."""

from __future__ import annotations

import math
from operator import methodcaller

import pytest
from fabricated import facts_rows

from relubench.formats import render
from relubench.formats.pictures import MARKS, ROWS, WIDE, draw, ticks
from relubench.formats.plots import _broken
from relubench.table import Column, Curve, Panel, Picture, Table

X = [number / 64 for number in range(-320, 321)]


def picture(*names: str) -> Picture:
    curves = [Curve(name, X, [x * (i + 1) / 4 for x in X]) for i, name in enumerate(names)]
    return Picture([Panel("value", curves), Panel("derivative", curves)])


def rows(width: int, *names: str) -> list[str]:
    return lines_of(picture(*names), width)


def lines_of(picture: Picture, width: int) -> list[str]:
    """The characters of each line, without their styles."""
    return ["".join(character for character, _ in line) for line in draw(picture, width)]


@pytest.mark.parametrize("width", [40, 63, 64, 80, 119, 300])
def test_lines_fit_and_narrow_panels_stand_one_below_the_other(width: int) -> None:
    lines = rows(width, "a")
    assert max(map(len, lines)) <= min(width, WIDE)
    assert len(lines) == (ROWS + 2) * (2 if width < 64 else 1)


def test_a_rising_line_rises() -> None:
    lines = rows(40, "a")[1 : ROWS + 1]
    left = [min(i for i, c in enumerate(line) if c > "\u2800") for line in lines]
    assert left == sorted(left, reverse=True)


def test_dots_stand_where_the_points_are() -> None:
    """A single point in the lower right corner sets the last dot of the last cell."""
    panel = Panel("p", [Curve("c", [-1.0, 1.0], [None, -1.0])], low=-1.0)
    low, high = panel.y_range
    assert (low, high) == pytest.approx((-1.04, 0.04))
    line = lines_of(Picture([panel]), 40)[ROWS]
    assert ord(line.rstrip()[-1]) - 0x2800 in (0x08, 0x10, 0x20, 0x80)


def test_curves_are_told_apart_by_marks_and_a_legend() -> None:
    lines = rows(80, "first", "second", "third")
    for mark, name, line in zip(MARKS, ("first", "second", "third"), lines[-3:], strict=False):
        assert line.split() == [mark, name]
        assert sum(row.count(mark) for row in lines[1 : ROWS + 1]) >= 4
    assert not any(mark in "".join(rows(80, "alone")[1:]) for mark in MARKS)


def test_what_lies_beyond_the_bounds_is_not_drawn() -> None:
    steep = Panel("p", [Curve("c", X, [100 * x for x in X])], low=-5, high=5)
    assert steep.y_range == pytest.approx((-5.4, 5.4))


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (-5, 5, 5, [-4, -2, 0, 2, 4]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.3, 5.2, 3, [0, 2, 4]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, expected: list[float]) -> None:
    assert ticks(low, high, most) == pytest.approx(expected)


def test_a_table_shows_its_picture_between_rows_and_notes() -> None:
    table = Table(facts_rows({"n": "u"}), [Column("n", lambda row: row.get("n"))], "t", ["a note"])
    plain = render([table], "text")
    shown = render(
        [Table(table.rows, table.columns, "t", ["a note"], picture=picture("a"))], "text"
    )
    before, after = plain.split("a note")
    assert shown.startswith(before)
    assert shown.endswith("a note" + after)
    assert "\x1b" not in shown
    assert "value" in shown


@pytest.mark.parametrize(("width", "tables"), [(40, 3), (80, 2), (1000, 1)])
def test_a_turned_table_is_read_downwards(width: int, tables: int) -> None:
    columns = [Column(key, methodcaller("get", key)) for key in ("name", "fact", "empty")]
    facts = facts_rows(*({"name": f"unit{i}", "fact": f"says {i}", "empty": ""} for i in range(3)))
    lines = render([Table(facts, columns, turned=True)], "text", width).splitlines()
    assert sum(line.split()[:1] == ["fact"] for line in lines) == tables
    assert not any("empty" in line for line in lines)
    assert [word for line in lines for word in line.split() if "unit" in word] == [
        row.get("name") for row in facts
    ]


def test_a_jump_is_a_gap_and_a_steep_line_is_none() -> None:
    step = Curve("step", X, [float(x > 0) for x in X])
    kink = Curve("kink", X, [math.copysign(1, x) if x else 0.0 for x in X])
    steep = Curve("steep", X, [math.tanh(8 * x) for x in X])
    gaps = [int(sum(y != y for y in _broken(curve, (-1, 1))[1])) for curve in (step, kink, steep)]
    assert gaps == [1, 2, 0]
