"""Rows of trained cells: train, cv and what shows one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from relubench.results import DEFINITIONS
from relubench.rows.setups import HiddenUnits, Number, SetupRow, Surroundings
from relubench.table import Row


@dataclass(frozen=True, kw_only=True)
class _RunNames(SetupRow):
    seed: Annotated[int, "seed of split, initial weights and batches"]
    folds: Annotated[int | None, "folds of a partition; null: one hold-out"]
    fold: Annotated[int | None, "the fold that tests"]
    repeat: Annotated[int, "the partition"]
    n_train: Annotated[int, "training examples"]
    n_test: Annotated[int, "test examples"]
    parameters: Annotated[int, "learned numbers of the network"]


@dataclass(frozen=True, kw_only=True)
class _RunScores(Row):
    accuracy: Annotated[Number, "fraction of the test set that is classified rightly"]
    precision: Annotated[Number, "mean precision of the classes, weighted by support"]
    recall: Annotated[Number, "mean recall of the classes, weighted by support"]
    f1: Annotated[Number, "mean F1 of the classes, weighted by support"]
    macro_precision: Annotated[Number, "plain mean precision of the classes"]
    macro_recall: Annotated[Number, "plain mean recall of the classes"]
    macro_f1: Annotated[Number, "plain mean F1 of the classes"]
    rmse: Annotated[Number, "root mean squared error of numbers, in the target's unit"]
    mae: Annotated[Number, "mean absolute error of numbers, in the target's unit"]
    r2: Annotated[Number, "R² of numbers: 1 - squared errors / squared deviations"]
    perplexity: Annotated[Number, "of a text: exp of its mean loss"]
    bits_per_character: Annotated[Number, "of a text: its mean loss in bits, by character"]
    token_accuracy: Annotated[Number, "of a text: fraction of tokens that were the likeliest"]
    tokens_per_second: Annotated[Number, "of a text: tokens that were learned from, by second"]
    loss: Annotated[Number, "mean loss of the test set: in nats, or of standardised numbers"]
    silent: Annotated[Number, "fraction of test examples to which the head gives all classes a 0"]
    train_accuracy: Annotated[Number, "accuracy on the training set"]
    train_r2: Annotated[Number, "R² on the training set"]
    train_loss: Annotated[Number, "loss on the training set"]
    perturbed: Annotated[Mapping[str, Number], "accuracy by perturbation of the test set"]


@dataclass(frozen=True, kw_only=True)
class SequenceScores(Row):
    """How a network learned its tasks; of several runs, means."""

    online_accuracy: Annotated[Number, "mean over tasks of the accuracy as the passes saw it"] = (
        None
    )
    task_accuracy: Annotated[
        Number, "mean over tasks of the training accuracy at each one's end"
    ] = None
    first_task_accuracy: Annotated[Number, "accuracy on the first task at the end of the last"] = (
        None
    )
    online_slope: Annotated[Number, "change of the accuracy as the passes saw it, per task"] = None
    online_loss: Annotated[Number, "mean over tasks of the loss as the passes saw it"] = None
    loss_slope: Annotated[Number, "change of the loss as the passes saw it, per task"] = None
    mean_weight: Annotated[Number, "mean of all weights after the last task"] = None


@dataclass(frozen=True, kw_only=True)
class _RunTime(Row):
    seconds: Annotated[float, "seconds of training"]
    epochs_until: Annotated[int | None, "epochs until the target was reached"]
    seconds_until: Annotated[Number, "seconds until the target was reached"]


@dataclass(frozen=True, kw_only=True)
class HistoryRow(Row):
    """An entry of `history`: the units of one layer after one epoch, on the probe set."""

    epoch: Annotated[int, "epochs that were learned before; 0: as it began"]
    layer: Annotated[str, "the layer"]
    units: Annotated[int, "its hidden units"]
    examples: Annotated[int, "examples of the probe set"]
    dead: Annotated[float, DEFINITIONS["dead"]]
    inactive: Annotated[float, DEFINITIONS["inactive"]]
    rare: Annotated[float, DEFINITIONS["rare"]]
    dormant: Annotated[float, DEFINITIONS["dormant"]]
    saturated: Annotated[float, DEFINITIONS["saturated"]]
    sparsity: Annotated[float, DEFINITIONS["sparsity"]]
    mean_activation: Annotated[Number, DEFINITIONS["mean_activation"]]
    died: Annotated[list[int], "units that are dead and were not at the count before, by number"]
    revived: Annotated[list[int], "units that were dead at the count before and are not"]
    reset: Annotated[int, "units that --revive drew anew after it"]


@dataclass(frozen=True, kw_only=True)
class _RunEnd(Row):
    key: Annotated[str, "name of the trained cell"]
    quick: Annotated[bool, "whether this is a smoke run"]
    failed: Annotated[str | None, "why the run diverged or was lost"]
    confusion: Annotated[list[list[int]] | None, "counts: true classes down, predicted across"]
    classes: Annotated[list[str] | None, "names of the classes, in the confusion matrix's order"]
    curve: Annotated[list[dict[str, Number]], "loss and accuracy by epoch, as the pass saw them"]
    history: Annotated[
        list[HistoryRow] | None, "hidden units by epoch and layer, where they were tracked"
    ] = None
    by_task: Annotated[list[dict[str, Number]] | None, "scores, units and weights by task"] = None


@dataclass(frozen=True, kw_only=True)
class RunRow(
    _RunEnd, Surroundings, _RunTime, HiddenUnits, SequenceScores, _RunScores, _RunNames
):  # fmt: skip
    """train, cv, ledger export: one trained cell."""


@dataclass(frozen=True, kw_only=True)
class LedgerRunRow(RunRow):
    """ledger show KEY: one trained cell whole, in one of its contexts."""

    finished: Annotated[str, "when it was finished, UTC"]
    context: Annotated[dict[str, object], "what else decides its numbers"]
    layers: Annotated[list[dict[str, object]], "counts of hidden units by layer"]


@dataclass(frozen=True, kw_only=True)
class FoldRow(SetupRow):
    """cv's second table: one activation over the folds of a set-up."""

    folds: Annotated[int, "folds that were finished"]
    means: Annotated[Mapping[str, Number], "mean over folds by score"]
    spreads: Annotated[Mapping[str, Number], "standard deviation over folds by score"]


@dataclass(frozen=True, kw_only=True)
class ConfusionRow(Row):
    """train --confusion: how often a class was taken for each."""

    true: Annotated[str, "the class"]
    predicted: Annotated[Mapping[str, int], "counts by predicted class"]


@dataclass(frozen=True, kw_only=True)
class EpochRow(Row):
    """train --curve: one pass over the training set."""

    epoch: Annotated[int, "its number, from 1"]
    loss: Annotated[Number, "mean loss as the pass saw it"]
    accuracy: Annotated[Number, "accuracy as the pass saw it"]
    held_out: Annotated[Number, "accuracy on a validation set or fold"]
    held_out_loss: Annotated[Number, "mean loss there, in nats"]


@dataclass(frozen=True, kw_only=True)
class ProtocolRow(SetupRow):
    """cv --protocol published: fresh weights in every fold beside carried ones."""

    metric: Annotated[str, "cv_accuracy or accuracy"]
    fresh: Annotated[Number, "mean with fresh weights"]
    fresh_sd: Annotated[Number, "its standard deviation"]
    carried: Annotated[Number, "mean with weights carried from fold to fold"]
    carried_sd: Annotated[Number, "its standard deviation"]
    difference: Annotated[Number, "carried - fresh"]
    published: Annotated[Number, "the published figure"]
