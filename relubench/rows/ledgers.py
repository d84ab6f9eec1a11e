"""Rows of a ledger, and of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from relubench.results import DEFINITIONS
from relubench.rows.setups import Number, SetupRow
from relubench.table import Row


@dataclass(frozen=True, kw_only=True)
class LedgerRow(SetupRow):
    """ledger show: the finished runs of one activation in one set-up."""

    accuracy: Annotated[Number, "mean accuracy of the runs that did not fail"]
    accuracy_sd: Annotated[Number, "its standard deviation"]
    r2: Annotated[Number, "of numbers: mean R² of the runs that did not fail"]
    r2_sd: Annotated[Number, "its standard deviation"]
    runs: Annotated[int, "finished runs"]
    failed: Annotated[int, "those that diverged"]
    finished: Annotated[str, "when the last was finished, UTC"]

    @classmethod
    def declared_keys(cls) -> list[str]:
        """The activation first; without the scheme of initial weights that follows from it."""
        keys = super().declared_keys()
        return ["activation", *(key for key in keys if key not in ("activation", "init"))]


@dataclass(frozen=True, kw_only=True)
class FormsRow(Row):
    """ledger small-predicts-large: activations in the quick and in the full form of a benchmark."""

    benchmark: Annotated[str, "the benchmark"]
    metric: Annotated[str, "what is compared"]
    activations: Annotated[int, "activations that both forms have"]
    quick_order: Annotated[list[str], "they in the quick form, the best mean rank first"]
    full_order: Annotated[list[str], "they in the full form"]
    quick_runs: Annotated[int, "finished runs of the quick form"]
    full_runs: Annotated[int, "finished runs of the full form"]
    missing: Annotated[int, "runs of both forms that are not finished"]
    correlation: Annotated[Number, "Spearman's rank correlation of the two orders"]
    correlation_low: Annotated[Number, "lower end of its 95 % interval"]
    correlation_high: Annotated[Number, "upper end of its 95 % interval"]


@dataclass(frozen=True, kw_only=True)
class UnreadRow(Row):
    """ledger check: a row of the file that cannot be read."""

    row: Annotated[str, "its name"]
    why: Annotated[str, "why it cannot be read"]


@dataclass(frozen=True, kw_only=True)
class LayerCountRow(Row):
    """ledger show KEY: counts of one layer."""

    layer: Annotated[str, "the layer"]
    units: Annotated[int, "its hidden units"]
    dead: Annotated[int, DEFINITIONS["dead"]]
    inactive: Annotated[int, DEFINITIONS["inactive"]]
    rare: Annotated[int, DEFINITIONS["rare"]]
    dormant: Annotated[int, DEFINITIONS["dormant"]]
    saturated: Annotated[int, DEFINITIONS["saturated"]]


@dataclass(frozen=True, kw_only=True)
class PlanRow(SetupRow):
    """--dry-run: what is to be trained of one set-up and activation."""

    weights: Annotated[str, "fresh, or carried from fold to fold"]
    runs: Annotated[int, "runs in all"]
    finished: Annotated[int, "those in the ledger"]
    stacks: Annotated[int, "passes that are left"]
    stack: Annotated[int, "runs in one pass"]
    threads: Annotated[int, "CPU threads"]
    seconds_left: Annotated[Number, "estimated seconds"]
