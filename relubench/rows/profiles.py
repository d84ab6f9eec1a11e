"""Rows of cost and of show activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from relubench.rows.setups import Number
from relubench.table import Row

Interval = tuple[Number, Number]  # None: without end


@dataclass(frozen=True, kw_only=True)
class CostRow(Row):
    """cost: one activation at one size; `_low` and `_high` are quartiles over rounds."""

    activation: Annotated[str, "the activation"]
    elements: Annotated[int, "outputs"]
    forward_ns: Annotated[float, "nanoseconds per element of evaluation, median"]
    forward_ns_low: Annotated[float, "its lower quartile"]
    forward_ns_high: Annotated[float, "its upper quartile"]
    forward_backward_ns: Annotated[float, "nanoseconds per element of training, median"]
    forward_backward_ns_low: Annotated[float, "its lower quartile"]
    forward_backward_ns_high: Annotated[float, "its upper quartile"]
    saved_bytes: Annotated[float, "bytes per element kept for the backward pass"]
    relative: Annotated[float, "forward and backward beside the reference's, median"]
    relative_low: Annotated[float, "its lower quartile"]
    relative_high: Annotated[float, "its upper quartile"]
    forward_relative: Annotated[float, "forward beside the reference's, median"]
    forward_relative_low: Annotated[float, "its lower quartile"]
    forward_relative_high: Annotated[float, "its upper quartile"]
    reference: Annotated[str, "the activation that others are compared with"]
    copy_ns: Annotated[float, "nanoseconds per element of Tensor.clone"]
    share_of_copy: Annotated[float, "forward beside Tensor.clone"]
    device: Annotated[str, "torch device"]
    threads: Annotated[int, "CPU threads"]
    dtype: Annotated[str, "float type"]
    torch: Annotated[str, "version of torch"]
    rounds: Annotated[int, "interleaved rounds"]
    quick: Annotated[bool, "whether this is a smoke run"]


@dataclass(frozen=True, kw_only=True)
class CostRatioRow(Row):
    """One activation by itself beside another, at one size; means over rounds."""

    activation: Annotated[str, "the activation"]
    beside: Annotated[str, "the activation that it is beside"]
    elements: Annotated[int, "outputs"]
    n: Annotated[int, "interleaved rounds"]
    relative: Annotated[Number, "ratio of the time of forward and backward"]
    relative_sd: Annotated[Number, "its standard deviation over rounds"]
    forward_relative: Annotated[Number, "ratio of the time of forward"]
    forward_relative_sd: Annotated[Number, "its standard deviation over rounds"]
    saved_relative: Annotated[Number, "ratio of the bytes that are kept for the backward pass"]
    saved_relative_sd: Annotated[Number, "0: it is the same in every round"]


@dataclass(frozen=True, kw_only=True)
class ActivationProfileRow(Row):
    """show activation: facts, figures and curve; what is not finite is null."""

    name: Annotated[str, "the activation"]
    family: Annotated[str, "its family"]
    formula: Annotated[str, "its formula"]
    remarks: Annotated[str, "what else is to be known"]
    paper: Annotated[str, "where it was published"]
    year: Annotated[int | None, "when"]
    parameters: Annotated[Mapping[str, object], "its parameters"]
    learned: Annotated[Sequence[str], "those that are learned"]
    kinks: Annotated[Mapping[float, float], "derivative at each kink"]
    noisy: Annotated[bool, "whether it draws noise in training"]
    pieces: Annotated[int, "pre-activations that it takes per hidden unit"]
    outputs: Annotated[int, "outputs that it gives per hidden unit"]
    init: Annotated[str, "scheme of the initial weights before it"]
    init_std: Annotated[str, "their standard deviation"]
    mean: Annotated[float, "mean of f(z), z standard normal"]
    second_moment: Annotated[float, "mean of f(z)², z standard normal"]
    gain: Annotated[Number, "1/√(mean of f(z)²), which keeps the second moment of its layer at 1"]
    growth: Annotated[Number, "growth of a small deviation from that in a layer"]
    steady: Annotated[bool, "whether deviations stay small through several layers"]
    low: Annotated[Number, "least value; null: no bound"]
    high: Annotated[Number, "largest value; null: no bound"]
    can_die: Annotated[bool, "whether its derivative is 0 somewhere"]
    flat: Annotated[Sequence[Interval], "where its derivative is exactly 0"]
    faint: Annotated[Sequence[Interval], "where it is almost 0"]
    x: Annotated[Sequence[float], "points of its curve"]
    value: Annotated[Sequence[Number], "values there, in evaluation mode"]
    slope: Annotated[Sequence[Number], "derivatives there"]
