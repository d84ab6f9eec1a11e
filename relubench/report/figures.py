"""Figures as text, and means of what may not be defined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean, median

UNDEFINED = "–"


def percent(share: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage without its sign."""
    return UNDEFINED if share is None else f"{100 * share:.{decimals}f}"


def plus_minus(center: float | None, spread: float | None, decimals: int = 1) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    if center is None or spread is None:
        return percent(center, decimals)
    return f"{percent(center, decimals)} ± {percent(spread, decimals)}"


def significant(value: float | None, digits: int = 2) -> str:
    """A number with so many significant digits and no exponent."""
    if value is None:
        return UNDEFINED
    if abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    places = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return f"{value:.{max(0, places)}f}"


def deserved(spreads: Iterable[float | None]) -> int:
    """How many decimals of a percentage these spreads (fractions) leave meaning to: 0, 1 or 2.

    One significant digit of the median spread, two where the first is a 1.
    """
    known = [spread for spread in spreads if spread]
    return min(2, max(0, -math.floor(math.log10(50 * median(known))))) if known else 1


def p_value(p: float | None) -> str:
    """A p as papers print it."""
    if p is None:
        return UNDEFINED
    return "<0.001" if p < 0.001 else significant(p)


def count_text(count: int | None) -> str:
    """A count, or – where there is none."""
    return UNDEFINED if count is None else str(count)


def mean_of(figures: Sequence[float | None]) -> float | None:
    """The mean, which is undefined where a figure is."""
    known = [figure for figure in figures if figure is not None]
    return mean(known) if known and len(known) == len(figures) else None
