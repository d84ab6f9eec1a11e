"""What names a set-up in a row, and what several kinds of rows have."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated

from relubench.results import DEFINITIONS
from relubench.table import Row

Number = float | None  # None: not defined
SetupValue = str | int | float | bool | None

# What tells set-ups apart, in which activations are compared.
RECIPE = (
    *("optimizer", "lr", "rates", "schedule", "warmup", "epochs", "steps", "batch_size"),
    *("weight_decay", "clip_norm", "label_smoothing", "augment", "revive", "report"),
)
SETUP = (
    *("dataset", "model", "head", "chosen_init", "match_parameters", *RECIPE),
    *("standardise", "pca", "limit", "perturb", "until", "fresh_weights", "unit_axis"),
    *("validation", "one_holdout", "task", "tasks"),
)
SETUP_VALUES = attrgetter(*SETUP)


@dataclass(frozen=True, kw_only=True)
class SetupRow(Row):
    """What names a set-up and an activation in it."""

    dataset: Annotated[str, "the data"]
    model: Annotated[str, "the network"]
    activation: Annotated[str, "the activation of its hidden layers"]
    head: Annotated[str, "output layer and loss"]
    init: Annotated[str, "scheme of the initial weights"]
    chosen_init: Annotated[str | None, "the same, where it was chosen for all activations"]
    match_parameters: Annotated[bool, "whether widths were chosen to match relu's parameters"]
    optimizer: Annotated[str, "how the weights are found"]
    lr: Annotated[Number, "learning rate; null where each run chooses its own"]
    rates: Annotated[str | None, "the learning rates that a run may choose from"]
    epochs: Annotated[int | None, "passes over the training set; null where steps are counted"]
    batch_size: Annotated[int, "examples in a step"]
    weight_decay: Annotated[float, "strength of weight decay"]
    augment: Annotated[str | None, "augmentations of the training set"]
    standardise: Annotated[bool, "whether inputs are standardised"]
    pca: Annotated[int | None, "principal components that are kept"]
    limit: Annotated[int | None, "examples that the training set is limited to"]
    perturb: Annotated[str | None, "perturbations of the test set that are scored too"]
    until: Annotated[str | None, "target of training, such as train_error=0.25"]
    fresh_weights: Annotated[bool, "whether weights that user code loads are drawn anew"]
    unit_axis: Annotated[int | None, "axis of the hidden units in a user's network"]
    validation: Annotated[
        str | None, "what each epoch is scored on: a fraction of the training set, or test"
    ] = None
    one_holdout: Annotated[bool, "whether one hold-out was drawn for all seeds"] = False
    schedule: Annotated[str | None, "how the rate changes from step to step"] = None
    warmup: Annotated[str | None, "steps in which the rate rises, or a fraction of all"] = None
    clip_norm: Annotated[Number, "largest norm of a network's gradient"] = None
    label_smoothing: Annotated[float, "share of a label that goes to all classes alike"] = 0.0
    steps: Annotated[int | None, "steps of training, where epochs are not counted"] = None
    revive: Annotated[str | None, "what lets hidden units begin anew between epochs"] = None
    report: Annotated[
        str | None, "best: figures are those of the epoch with the lowest held-out loss"
    ] = None
    task: Annotated[str | None, "what one network learns in turn"] = None
    tasks: Annotated[int | None, "how many tasks that are"] = None

    @property
    def setup(self) -> tuple[object, ...]:
        """The values that tell set-ups apart."""
        values: tuple[object, ...] = SETUP_VALUES(self)
        return values


@dataclass(frozen=True, kw_only=True)
class HiddenUnits(Row):
    """Fractions of hidden units, and moments of their outputs."""

    dead: Annotated[Number, DEFINITIONS["dead"]] = None
    inactive: Annotated[Number, DEFINITIONS["inactive"]] = None
    rare: Annotated[Number, DEFINITIONS["rare"]] = None
    dormant: Annotated[Number, DEFINITIONS["dormant"]] = None
    saturated: Annotated[Number, DEFINITIONS["saturated"]] = None
    sparsity: Annotated[Number, DEFINITIONS["sparsity"]] = None
    mean_activation: Annotated[Number, DEFINITIONS["mean_activation"]] = None
    sd_activation: Annotated[Number, DEFINITIONS["sd_activation"]] = None


@dataclass(frozen=True, kw_only=True)
class Surroundings(Row):
    """What else decides a number."""

    relubench: Annotated[str, "version of relubench"]
    torch: Annotated[str, "version of torch"]
    device: Annotated[str, "torch device"]
    threads: Annotated[int, "CPU threads"]
    dtype: Annotated[str, "float type"]
    stack: Annotated[int, "runs that were trained in one pass"]
