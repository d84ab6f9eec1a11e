"""What can be compared: a figure of each run, its better way, and how near counts as alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from relubench.errors import BadValue, suggestion
from relubench.metrics import METRICS
from relubench.results import COUNTS, RunResult, total


@dataclass(frozen=True)
class Margin:
    """How far two means may lie apart and still be alike.

    relative  `size` is a share of the reference's mean, not an amount in the measure's unit
    """

    size: float
    relative: bool = False

    def beside(self, reference: float | None) -> float | None:
        """The margin in the measure's unit; None where it is relative and there is no mean."""
        if not self.relative:
            return self.size
        return None if reference is None else self.size * abs(reference)


@dataclass(frozen=True)
class Measure:
    """One figure of a run: which way is better ("higher" or "lower"), its unit, its margin."""

    name: str
    better: str
    unit: str
    margin: Margin

    @property
    def sign(self) -> int:
        """What turns it so that more is better."""
        return 1 if self.better == "higher" else -1

    @property
    def scale(self) -> int:
        """What people read is this times the figure: fractions in per cent."""
        return 100 if self.unit == "fraction" else 1

    @property
    def noun(self) -> str:
        """The unit of a difference as people read it."""
        return "points" if self.unit == "fraction" else self.unit

    def of(self, result: RunResult) -> float | None:
        """The figure of one run; None where it has none."""
        if result.failed:
            return None
        if self.name in COUNTS:
            if not result.layers:
                return None
            count = total(result.layers)
            share: float = getattr(count, self.name) / count.units
            return share
        if self.name in ("seconds", "parameters"):
            return float(getattr(result, self.name))
        return result.scores.get(self.name)


POINT = Margin(0.01)
TENTH = Margin(0.1, relative=True)
MEASURES = {
    measure.name: measure
    for measure in (
        *(
            Measure(name, metric.better, metric.unit, POINT if metric.unit == "fraction" else TENTH)
            for name, metric in METRICS.items()
        ),
        Measure("train_accuracy", "higher", "fraction", POINT),
        Measure("train_loss", "lower", "nats", TENTH),
        *(Measure(name, "lower", "fraction", POINT) for name in COUNTS),
        Measure("seconds", "lower", "s", TENTH),
        Measure("parameters", "lower", "parameters", TENTH),
    )
}


def measure(name: str) -> Measure:
    """The measure of that name."""
    if name not in MEASURES:
        hint = suggestion(name, MEASURES) or f"known: {', '.join(MEASURES)}"
        raise BadValue(f"unknown measure {name!r}: {hint}")
    return MEASURES[name]


def margin(text: str, of: Measure) -> Margin:
    """'0.5%' or '0.005': points of a fraction; of other measures % is of the reference's mean."""
    try:
        size = float(text.removesuffix("%"))
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size > 0):
        raise BadValue(f"got {text}, must be a number above 0, such as 0.5% or 0.005")
    percent = text.endswith("%")
    return Margin(size / 100 if percent else size, percent and of.unit != "fraction")


def margins(text: str) -> Mapping[str, Margin]:
    """'accuracy=0.5%,dead=2%' → a margin for each measure named."""
    found = {}
    for part in text.split(","):
        name, separator, size = part.strip().partition("=")
        if not separator:
            raise BadValue(f"got {part}, must be like accuracy=0.5%")
        found[name] = margin(size, measure(name))
    return found
