"""How much may be lost: a margin for each metric, as `accuracy=0.5%` or as a table's key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relubench.errors import BadValue, UnknownName
from relubench.metrics import METRICS
from relubench.plan import Margin


@dataclass(frozen=True)
class Measure:
    """What a gate may look at: which way is better, and the unit ("fraction": a share)."""

    better: str
    unit: str

    @property
    def worst(self) -> float | None:
        """The figure that a diverged run gets; None: there is no end to what is bad."""
        if self.unit != "fraction":
            return None
        return 0.0 if self.better == "higher" else 1.0


COUNTS = ("dead", "inactive", "rare", "dormant", "saturated")
MEASURES = {
    **{name: Measure(metric.better, metric.unit) for name, metric in METRICS.items()},
    **dict.fromkeys(COUNTS, Measure("lower", "fraction")),
    "seconds": Measure("lower", "s"),
}
DEFAULT = {"accuracy": Margin(0.01)}


def read(value: Any) -> dict[str, Margin]:
    """Margins from 'accuracy=0.5%,dead=1%', from a list of such texts, or from a table.

    `%` means points of a share (accuracy, dead …), and of loss and seconds per cent of the
    baseline's mean. Raises BadValue or UnknownName.
    """
    pairs = value.items() if isinstance(value, Mapping) else map(_pair, _items(value))
    found: dict[str, Margin] = {}
    for name, size in pairs:
        if name in found:
            raise BadValue(f"{name} is given twice")
        if name not in MEASURES:
            raise UnknownName("metric", name, known=MEASURES)
        found[name] = size if isinstance(size, Margin) else _margin(name, str(size))
    return found


def _items(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [part.strip() for item in items for part in str(item).split(",")]


def _pair(text: str) -> tuple[str, str]:
    name, equals, size = text.partition("=")
    if not equals:
        raise BadValue(f"got {text!r}: write METRIC=SIZE, such as accuracy=0.5%")
    return name.strip(), size


def _margin(name: str, text: str) -> Margin:
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if not found or not math.isfinite(float(found[1])):
        raise BadValue(f"got {name}={text}: a margin is a number from 0, such as {name}=1%")
    size, share = float(found[1]), MEASURES[name].unit == "fraction"
    if share and not found[2]:
        raise BadValue(f"got {name}={text}: {name} is a share, say how many points: {name}=1%")
    if share and size > 100:
        raise BadValue(f"got {name}={text}: {name} has 100 points in all")
    return Margin(size / 100, relative=not share) if found[2] else Margin(size)
