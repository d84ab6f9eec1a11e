"""Rows of pages and pictures: means over the runs of an activation in a set-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from relubench.results import DEFINITIONS
from relubench.rows.setups import Number, SetupRow, Surroundings


@dataclass(frozen=True, kw_only=True)
class LearningRow(SetupRow):
    """A learning curve: one epoch of one activation in one set-up, over its runs that finished."""

    epoch: Annotated[int, "its number, from 1"]
    n: Annotated[int, "runs that finished"]
    seconds: Annotated[float, "mean seconds of training until its end"]
    loss: Annotated[Number, "mean loss as the passes saw it"]
    loss_sd: Annotated[Number, "its standard deviation over runs"]
    accuracy: Annotated[Number, "mean accuracy as the passes saw it"]
    accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    held_out: Annotated[Number, "mean accuracy on a validation set or fold"]
    held_out_sd: Annotated[Number, "its standard deviation over runs"]
    held_out_loss: Annotated[Number, "mean loss there"]
    held_out_loss_sd: Annotated[Number, "its standard deviation over runs"]


@dataclass(frozen=True, kw_only=True)
class MemoryRow(SetupRow):
    """What training keeps in memory with one activation in one set-up."""

    kept_bytes: Annotated[
        float, "bytes of an example that the backward pass needs, without the weights"
    ]


@dataclass(frozen=True, kw_only=True)
class TaskRow(SetupRow):
    """One task of a sequence: means over the runs of one activation in one set-up."""

    number: Annotated[int, "the task, from 1"]
    n: Annotated[int, "runs that finished"]
    online_accuracy: Annotated[Number, "mean over its epochs, as the passes saw it"]
    online_accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    online_loss: Annotated[Number, "mean loss over its epochs, as the passes saw it"]
    online_loss_sd: Annotated[Number, "its standard deviation over runs"]
    accuracy: Annotated[Number, "on its training set, at its end"]
    accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    held_out: Annotated[Number, "accuracy on its test set, at its end"]
    dead: Annotated[Number, DEFINITIONS["dead"]]
    dead_sd: Annotated[Number, "its standard deviation over runs"]
    dormant: Annotated[Number, DEFINITIONS["dormant"]]
    effective_rank: Annotated[
        Number, "exp of the entropy of the last hidden layer's singular values"
    ]
    weight_norm: Annotated[Number, "root of the sum of all squared weights"]
    mean_weight: Annotated[Number, "mean of all weights"]


@dataclass(frozen=True, kw_only=True)
class LayerMeanRow(SetupRow):
    """Hidden units of one layer: means over the runs of one activation in one set-up."""

    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int, "its hidden units"]
    n: Annotated[int, "runs that finished"]
    dead: Annotated[float, DEFINITIONS["dead"]]
    inactive: Annotated[float, DEFINITIONS["inactive"]]
    rare: Annotated[float, DEFINITIONS["rare"]]
    dormant: Annotated[float, DEFINITIONS["dormant"]]
    saturated: Annotated[float, DEFINITIONS["saturated"]]
    sparsity: Annotated[float, DEFINITIONS["sparsity"]]
    dead_sd: Annotated[Number, "standard deviation over runs of the dead fraction"]
    inactive_sd: Annotated[Number, "the same of the inactive fraction"]
    rare_sd: Annotated[Number, "the same of the rare fraction"]
    dormant_sd: Annotated[Number, "the same of the dormant fraction"]
    saturated_sd: Annotated[Number, "the same of the saturated fraction"]
    sparsity_sd: Annotated[Number, "the same of the sparsity"]


@dataclass(frozen=True, kw_only=True)
class ClassifiedRow(SetupRow):
    """Confusion of one activation in one set-up, summed over its runs."""

    n: Annotated[int, "runs that finished"]
    confusion: Annotated[list[list[int]], "counts: true classes down, predicted across"]


@dataclass(frozen=True, kw_only=True)
class EnvironmentRow(Surroundings):
    """Runs with the same surroundings."""

    runs: Annotated[int, "runs"]
