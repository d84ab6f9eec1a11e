"""Rows of deadcount, for networks that relubench trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from relubench.results import DEFINITIONS
from relubench.rows.setups import HiddenUnits, Number, SetupRow, Surroundings
from relubench.table import Row


@dataclass(frozen=True, kw_only=True)
class _LayerNames(SetupRow):
    seed: Annotated[int, "seed of split, initial weights and batches"]
    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int | None, "its hidden units"]
    born_dead: Annotated[Number, DEFINITIONS["born_dead"]]


@dataclass(frozen=True, kw_only=True)
class _LayerRun(Row):
    examples: Annotated[int | None, "examples on which was counted"]
    definition: Annotated[str, "what each count means"]
    accuracy: Annotated[Number, "fraction of the test set that is classified rightly"]
    parameters: Annotated[int, "learned numbers of the network"]
    seconds: Annotated[float, "seconds of training"]


@dataclass(frozen=True, kw_only=True)
class _LayerEnd(Row):
    key: Annotated[str, "name of the trained cell"]
    quick: Annotated[bool, "whether this is a smoke run"]
    failed: Annotated[str | None, "why the run diverged or was lost"]


@dataclass(frozen=True, kw_only=True)
class LayerRow(_LayerEnd, Surroundings, _LayerRun, HiddenUnits, _LayerNames):
    """deadcount: one layer of a run, or all of its hidden layers."""


@dataclass(frozen=True, kw_only=True)
class DeadByRateRow(SetupRow):
    """deadcount, second table: dead units of one activation by learning rate."""

    born_dead: Annotated[Number, "mean fraction that is dead before any training"]
    dead: Annotated[Mapping[float, Number], "mean fraction by learning rate"]


@dataclass(frozen=True, kw_only=True)
class LifeRow(SetupRow):
    """deadcount --history: what became of a layer's units, a mean over the runs that finished."""

    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int, "its hidden units"]
    n: Annotated[int, "runs that finished and were tracked"]
    born_dead: Annotated[float, "fraction that is dead before any training"]
    died: Annotated[float, "fraction that was alive then and dead at some later count"]
    revived: Annotated[float, "fraction that was dead at some count and is alive at the last"]
    ever_revived: Annotated[
        Number, "of the units that were ever dead, the fraction that was alive at a later count"
    ]
    reset: Annotated[float, "times that --revive drew a unit anew"]
    dead: Annotated[float, "fraction that is dead at the last count"]
    counted_after: Annotated[list[int], "the epochs after which was counted"]
    dead_by_epoch: Annotated[list[float], "fraction that is dead at each"]
    examples: Annotated[int, "examples of the probe set"]


@dataclass(frozen=True, kw_only=True)
class SurvivalRow(SetupRow):
    """deadcount --history, second table: how many hidden units have never been dead so far."""

    n: Annotated[int, "runs that were tracked; one that diverged counts until then"]
    units: Annotated[int, "hidden units of a run"]
    counted_after: Annotated[list[int], "the epochs after which was counted"]
    survived: Annotated[list[Number], "fraction of units that was dead at no count up to each"]
    survived_low: Annotated[list[Number], "lower end of its 95 % interval"]
    survived_high: Annotated[list[Number], "upper end of its 95 % interval"]
    interval: Annotated[str, "over runs, or over the units of a single run"]
