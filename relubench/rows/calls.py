"""Rows of deadcount and watch, for any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from relubench.rows.setups import HiddenUnits, Number
from relubench.table import Row


@dataclass(frozen=True, kw_only=True)
class _CallNames(Row):
    model: Annotated[str, "the network"]
    weights: Annotated[
        str | None, "the file of its weights; null: as it begins, or as it was given"
    ]
    data: Annotated[str, "what was counted on"]
    split: Annotated[str, "the part of it: train or test"]
    layer: Annotated[str, "where an activation is called; total: all calls"]
    function: Annotated[str | None, "the activation that is called there"]
    unit: Annotated[str | None, "what a unit is: neuron, channel, feature or position"]
    units: Annotated[int, "its units"]
    can_die: Annotated[bool, "whether its derivative is 0 over some stretch"]


@dataclass(frozen=True, kw_only=True)
class _CallFigures(HiddenUnits):
    constant: Annotated[Number, "the same output on every example"] = None
    always_on: Annotated[Number, "the same derivative, not 0, on every example"] = None
    grama: Annotated[Number, "mean |dL/d pre-activation| at most 0.025 of its layer's mean"] = None
    near_zero: Annotated[Number, "fraction of outputs of at most 0.05"] = None
    effective_rank: Annotated[Number, "exp of the entropy of the outputs' singular values"] = None


@dataclass(frozen=True, kw_only=True)
class _CallCertainty(Row):
    examples: Annotated[int, "examples on which was counted"]
    active_below: Annotated[
        Number, "fraction of examples that a unit which was never active stays below, at 95 %"
    ] = None
    proven_dead: Annotated[
        Number, "fraction that interval bounds prove dead for every input in the data's box"
    ] = None
    dead_test: Annotated[Number, "fraction that is dead on the test set"] = None
    inactive_test: Annotated[Number, "fraction that is inactive on the test set"] = None
    dead_in_training_only: Annotated[
        Number, "fraction that is dead on the training set and alive on the test set"
    ] = None
    examples_test: Annotated[int | None, "examples of the test set"] = None
    dead_before: Annotated[Number, "fraction that is dead with the baseline's weights"] = None
    newly_dead: Annotated[Number, "fraction that is dead and was not with the baseline's"] = None
    revived: Annotated[Number, "fraction that was dead with the baseline's and is not"] = None


@dataclass(frozen=True, kw_only=True)
class _CallEnd(Row):
    gate: Annotated[Literal["pass", "fail"] | None, "what --fail-above and --margin say"] = None
    definition: Annotated[str, "what each count means"]


@dataclass(frozen=True, kw_only=True)
class CallRow(_CallEnd, _CallCertainty, _CallFigures, _CallNames):
    """deadcount of any network: one call of an activation, or all of them."""


@dataclass(frozen=True, kw_only=True)
class _WatchedCall(Row):
    step: Annotated[int, "steps of training that were taken before"]
    layer: Annotated[str, "where an activation is called; total: all calls"]
    function: Annotated[str | None, "the activation that is called there"]
    units: Annotated[int, "its units"]


@dataclass(frozen=True, kw_only=True)
class WatchRow(HiddenUnits, _WatchedCall):
    """relubench.watch: one call of an activation at one step of a training."""

    newly_dead: Annotated[Number, "fraction that is dead and was not at the probe before"] = None
    revived: Annotated[Number, "fraction that was dead at the probe before and is not"] = None


def weighed(rows: Sequence[CallRow] | Sequence[WatchRow], key: str) -> Number:
    """The mean of a figure over the units of the calls that define it."""
    defined = [(row.get(key), row.units) for row in rows if row.get(key) is not None]
    units = sum(count for _, count in defined)
    return sum(value * count for value, count in defined) / units if units else None


@dataclass(frozen=True, kw_only=True)
class AblationRow(Row):
    """deadcount --ablate: what the network does without some of its units."""

    removed: Annotated[str, "the units that give 0: dead, inactive or rare"]
    units: Annotated[int, "how many"]
    metric: Annotated[str, "what is measured: accuracy or loss"]
    before: Annotated[Number, "the metric of the whole network"]
    after: Annotated[Number, "the metric without those units"]
    difference: Annotated[Number, "after - before"]
    identical: Annotated[bool, "whether all outputs stay the same to the bit"]
    examples: Annotated[int, "examples on which was measured"]


@dataclass(frozen=True, kw_only=True)
class PruningRow(Row):
    """deadcount --prune: one layer that became narrower."""

    layer: Annotated[str, "the layer whose outputs are fewer; total: the network"]
    width: Annotated[int | None, "its outputs before"]
    new_width: Annotated[int | None, "its outputs now"]
    parameters: Annotated[int, "learned numbers before"]
    new_parameters: Annotated[int, "learned numbers now"]
    milliseconds: Annotated[Number, "a forward pass of a batch before, median"] = None
    new_milliseconds: Annotated[Number, "the same now"] = None
