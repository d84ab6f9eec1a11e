"""Columns of figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from relubench.grouping import joined
from relubench.metrics import METRICS
from relubench.metrics.measures import MEASURES, Measure
from relubench.report.figures import interval_bar, percent, plus_minus, significant
from relubench.rows import CompareRow, RunRow, SuggestRow
from relubench.table import Column, Row

Differing = TypeVar("Differing", CompareRow, SuggestRow)

ARROWS = {"higher": "↑", "lower": "↓"}
GRAVE = 0.1  # share of dead units from which on it is red
BAR_WIDTH = 25  # columns of a drawn interval
UNITS = {"fraction": "%", "parameters": "", "epochs": ""}


def text_of(key: str) -> Callable[[Row], str]:
    """How a row's value reads as it is."""
    return lambda row: str(row.get(key))


def percent_of(key: str, decimals: int = 1) -> Callable[[Row], str]:
    """How a row's fraction reads in per cent."""
    return lambda row: percent(row.get(key), decimals)


def figure_of(key: str, digits: int = 2) -> Callable[[Row], str]:
    """How a row's number reads with so many significant digits."""
    return lambda row: significant(row.get(key), digits)


def head(name: str) -> str:
    """A column head with the unit, and the arrow of a metric's better way."""
    arrow = ARROWS[METRICS[name].better] if name in METRICS else ""
    unit = MEASURES[name].unit if name in MEASURES else "fraction"
    # "until s" and not "seconds until s".
    name = name.removeprefix("seconds_") if unit == "s" else name
    parts = (name.replace("_", " "), UNITS.get(unit, unit), arrow)
    return " ".join(filter(None, parts))


def percent_column(name: str, decimals: int = 1, rank: int = 0) -> Column[Row]:
    """A column of fractions, in per cent; a dead share is coloured."""
    tone = share_tone(name) if name in ("dead", "born_dead") else _no_tone
    return Column(head(name), percent_of(name, decimals), key=name, rank=rank, tone=tone)


def _no_tone(row: Row) -> str:
    return ""


def share_tone(name: str) -> Callable[[Row], str]:
    """The colour of a share of units that learn no more."""

    def tone(row: Row) -> str:
        share = row.get(name) or 0.0
        if share >= GRAVE:
            return "bad"
        return "warning" if share else ""

    return tone


def perturbations(rows: Sequence[RunRow | CompareRow]) -> list[str]:
    """Every perturbation of some row, in order of appearance."""
    return list(dict.fromkeys(joined(row.perturbed for row in rows)))


def perturbed_accuracy(name: str, decimals: int) -> Callable[[RunRow | CompareRow], str]:
    """The accuracy under a perturbation, ± its spread where the row is a mean."""

    def show(row: RunRow | CompareRow) -> str:
        spread = row.perturbed_sd.get(name) if isinstance(row, CompareRow) else None
        return plus_minus(row.perturbed.get(name), spread, decimals)

    return show


def spread_column(name: str, decimals: int, measure: Measure | None = None) -> Column[Row]:
    """A column of means ± their `_sd`; fractions in per cent."""
    scale = measure.scale if measure else 100

    def show(row: Row) -> str:
        return plus_minus(row.get(name), row.get(f"{name}_sd"), decimals, scale)

    return Column(head(measure.name if measure else name), show, key=name)


def difference_bars(
    rows: Sequence[Differing], measure: Measure, tone: Callable[[Differing], str]
) -> list[Column[Differing]]:
    """Each difference with its interval, drawn on one scale that has 0 in its middle."""
    # The farthest end of all is the end of the scale, so that all bars can be compared.
    ends = joined((row.difference_low, row.difference_high) for row in rows)
    known = [abs(end) for end in ends if end is not None and math.isfinite(end)]
    most = max(known, default=0.0)
    if not most:
        return []
    scale = significant(most * measure.scale)
    above = f"−{scale}{'0':^{BAR_WIDTH - 2 * len(scale) - 2}}+{scale}"

    def show(row: Differing) -> str:
        low, high = row.difference_low, row.difference_high
        return interval_bar(row.difference, low, high, most, BAR_WIDTH)

    return [Column(above, show, left=True, tone=tone)]
