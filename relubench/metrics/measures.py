"""What can be compared: a figure of each run, its better way, and how near counts as alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from relubench.errors import BadValue, UnknownName
from relubench.metrics import METRICS
from relubench.metrics.classification import Metric
from relubench.plan import Margin
from relubench.results import COUNTS, RunResult, total


@dataclass(frozen=True)
class Measure:
    """One figure of a run: which way is better ("higher" or "lower"), its unit, its margin.

    task  of which datasets it is: of "classes", of "regression", or of "any"
    """

    name: str
    better: str
    unit: str
    margin: Margin
    task: str = "any"

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
        # A target's own unit is not known: its errors are spoken of by their name.
        return "points" if self.unit == "fraction" else self.unit or self.name

    @property
    def worst(self) -> float | None:
        """The figure of a run that diverged, in a gate; None: there is no end to what is bad."""
        if self.unit != "fraction":
            return None
        return 0.0 if self.better == "higher" else 1.0

    def of(self, result: RunResult) -> float | None:
        """The figure of one run; None where it has none."""
        if result.failed:
            return None
        if self.name in (*COUNTS, SPARSITY):
            if not result.layers:
                return None
            count = total(result.layers)
            if self.name == SPARSITY:
                return count.sparsity
            fraction: float = getattr(count, self.name) / count.units
            return fraction
        if self.name in ("seconds", "parameters"):
            return float(getattr(result, self.name))
        if self.name in UNTIL:
            reached: float | None = getattr(result, self.name)
            return reached
        return result.scores.get(self.name)


SPARSITY = "sparsity"  # of outputs, not of units
# Of a sequence of tasks: mean accuracy while each is learned, when it is, of the first at the end,
# and by how much the first of these changes from task to task; the mean loss, and its change; the
# mean weight after the last.
SEQUENCE = ("online_accuracy", "task_accuracy", "first_task_accuracy", "online_slope")
SEQUENCE_LOSSES = ("online_loss", "loss_slope")
UNTIL = {"epochs_until": "epochs", "seconds_until": "s"}  # units of what a run took to a target
# What counts as alike where a user names no margin: a point of a fraction, a tenth of a mean.
POINT = Margin(0.01)
TENTH = Margin(0.1, relative=True)
# Of numbers: 2 % of an error, about 4 % of a mean squared one; R² has no unit to be a share of.
FIFTIETH = Margin(0.02, relative=True)
OWN_MARGINS = {"rmse": FIFTIETH, "mae": FIFTIETH, "perplexity": FIFTIETH, "r2": Margin(0.02)}
DEFAULT = {
    "classes": "accuracy",
    "regression": "rmse",
    "language": "perplexity",
}  # what is compared where nobody says


def _of_metric(metric: Metric) -> Measure:
    margin = POINT if metric.unit == "fraction" else TENTH
    margin = OWN_MARGINS.get(metric.name, margin)
    return Measure(metric.name, metric.better, metric.unit, margin, metric.task)


_ALL = [
    *map(_of_metric, METRICS.values()),
    Measure("train_accuracy", "higher", "fraction", POINT, "classes"),
    Measure("train_r2", "higher", "", Margin(0.02), "regression"),
    Measure("train_loss", "lower", "nats", TENTH),
    *(Measure(name, "higher", "fraction", POINT, "classes") for name in SEQUENCE),
    *(Measure(name, "lower", "nats", TENTH) for name in SEQUENCE_LOSSES),
    Measure("mean_weight", "higher", "", TENTH),
    *(Measure(name, "lower", "fraction", POINT) for name in COUNTS),
    Measure(SPARSITY, "higher", "fraction", POINT),
    Measure("seconds", "lower", "s", TENTH),
    Measure("parameters", "lower", "parameters", TENTH),
    *(Measure(name, "lower", unit, TENTH) for name, unit in UNTIL.items()),
]
MEASURES = {measure.name: measure for measure in _ALL}


def measure(name: str) -> Measure:
    """The measure of that name."""
    if name not in MEASURES:
        raise UnknownName("metric", name, known=MEASURES)
    return MEASURES[name]


def margins(value: object) -> dict[str, Margin]:
    """Margins from 'accuracy=0.5%,dead=1%', from a list of such texts, or from a table.

    Raises BadValue or UnknownName.
    """
    pairs = value.items() if isinstance(value, Mapping) else map(_pair, _items(value))
    margins: dict[str, Margin] = {}
    for name, size in pairs:
        if name in margins:
            raise BadValue(f"{name} is given twice")
        of = measure(name)
        margins[name] = size if isinstance(size, Margin) else margin(str(size), of)
    return margins


def _items(value: object) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    parts: list[str] = []
    for item in items:
        parts += str(item).split(",")
    return [part.strip() for part in parts]


def _pair(text: str) -> tuple[str, str]:
    name, equals, size = text.partition("=")
    if not equals:
        raise BadValue(f"got {text!r}: write METRIC=SIZE, such as accuracy=0.5%")
    return name.strip(), size


def margin(text: str, of: Measure) -> Margin:
    """'0.5%' are points of a fraction, per cent of any other mean; '0.1' is in the measure's unit.

    A fraction takes points only: 0.5 could be either. Raises BadValue.
    """
    # A pattern of its own: float() would also take "nan", "1_0" and a sign.
    number = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if not number or not math.isfinite(float(number[1])):
        raise BadValue(f"got {text}: must be a number from 0, such as 1%")
    size, is_fraction = float(number[1]), of.unit == "fraction"
    if is_fraction and not number[2]:
        raise BadValue(f"got {text}: {of.name} is a fraction, say how many points: 1%")
    if is_fraction and size > 100:
        raise BadValue(f"got {text}: {of.name} has 100 points in all")
    return Margin(size / 100, relative=not is_fraction) if number[2] else Margin(size)
