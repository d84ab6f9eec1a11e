"""Figures as text, and means of what may not be defined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean, median

from relubench.metrics.measures import Measure

UNDEFINED = "–"
LEVELS = "▁▂▃▄▅▆▇█"
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def percent(fraction: float | None, decimals: int = 1, scale: int = 100) -> str:
    """A fraction as a percentage without its sign."""
    return UNDEFINED if fraction is None else f"{scale * fraction:.{decimals}f}"


def plus_minus(
    center: float | None, spread: float | None, decimals: int = 1, scale: int = 100
) -> str:
    """Mean ± standard deviation, of fractions in per cent."""
    if center is None or spread is None:
        return percent(center, decimals, scale)
    return f"{percent(center, decimals, scale)} ± {percent(spread, decimals, scale)}"


def significant(value: float | None, digits: int = 2) -> str:
    """A number with so many significant digits and no exponent."""
    if value is None:
        return UNDEFINED
    if not abs(value) < 1e6:  # or no number, which has no digits
        return f"{value:.{digits - 1}e}"
    # Not :g, which would write 0.00001 as 1e-05 and drop the zeros that are significant.
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return f"{value:.{max(0, places)}f}"


def meaningful_decimals(spreads: Iterable[float | None], scale: int = 100) -> int:
    """How many decimals of a figure × scale these spreads leave meaning to, of per cent at most 2.

    One significant digit of the median spread, two where the first is a 1.
    """
    positive = [spread for spread in spreads if spread]
    if not positive:
        return 1
    most = 2 if scale == 100 else 6
    # Of half the spread: one of 1.9 leaves a first decimal its meaning, one of 2.1 does not.
    magnitude = math.floor(math.log10(scale / 2 * median(positive)))
    return min(most, max(0, -magnitude))


def signed(difference: float | None, measure: Measure, decimals: int) -> str:
    """A difference with its sign, in the unit that people read."""
    return UNDEFINED if difference is None else f"{measure.scale * difference:+z.{decimals}f}"


def p_value(p: float | None) -> str:
    """A p as papers print it."""
    if p is None:
        return UNDEFINED
    return "<0.001" if p < 0.001 else significant(p)


def interval_bar(
    center: float | None, low: float | None, high: float | None, most: float, width: int
) -> str:
    """An interval on a line from -most to +most: ──●──, with │ at 0; "" where there is none."""
    if center is None:
        return ""

    def place(value: float) -> int:
        clipped = max(-most, min(most, value))
        return round((clipped / most + 1) / 2 * (width - 1))

    cells = [" "] * width
    cells[place(0.0)] = "│"
    if low is not None and high is not None:
        for at in range(place(low), place(high) + 1):
            cells[at] = "┼" if cells[at] == "│" else "─"
    cells[place(center)] = "●"
    return "".join(cells)


def bar(fraction: float | None, width: int) -> str:
    """A fraction as a bar of so many columns at most, in eighths of one."""
    if fraction is None:
        return ""
    # In eighths, the finest step that block elements have.
    whole, eighths = divmod(round(fraction * width * 8), 8)
    return "█" * whole + EIGHTHS[eighths]


def sparkline(
    values: Sequence[float | None], width: int, ends: tuple[float, float] | None = None
) -> str:
    """A line of values in so many columns at most.

    ends  what the lowest and the highest level stand for; None: the least and largest value
    """
    seen = [value for value in values if value is not None and math.isfinite(value)]
    if not seen:
        return ""
    count = min(width, len(seen))
    # Evenly spaced, the first and the last among them.
    picked = [seen[round(at * (len(seen) - 1) / max(1, count - 1))] for at in range(count)]
    low, high = ends or (min(picked), max(picked))
    if high == low:
        return LEVELS[0] * count
    levels = [round((value - low) / (high - low) * (len(LEVELS) - 1)) for value in picked]
    return "".join(LEVELS[level] for level in levels)


def count_text(count: int | None) -> str:
    """A count, or – where there is none."""
    return UNDEFINED if count is None else str(count)


def mean_of(figures: Sequence[float | None]) -> float | None:
    """The mean, which is undefined where a figure is."""
    defined = all_or_none(figures)
    return mean(defined) if defined else None


def all_or_none(figures: Sequence[float | None]) -> list[float]:
    """The figures, or nothing where one of them is not defined: a mean of the rest is another."""
    defined = [figure for figure in figures if figure is not None]
    return defined if len(defined) == len(figures) else []
