"""What came out: frozen results, ready for a table or a file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from relubench import __version__
from relubench.plan import Cell

LOST = "lost"  # how `failed` begins where a run was not finished by its worker
ENGINE = 8  # goes up when the same cell would get other numbers


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What else decides a number: versions, device, threads, float type, cells in one pass."""

    relubench: str
    torch: str
    device: str
    threads: int
    dtype: str
    stack: int


RARE = 0.01  # fraction of examples; Dohare's incremental CIFAR study
DORMANT = 0.025  # tau of ReDo, arXiv:2302.12902
FLAT, SATURATED = 0.01, 0.99  # |derivative| under FLAT on at least this fraction of examples

COUNTS = ("dead", "inactive", "rare", "dormant", "saturated")
MOMENTS = ("sparsity", "mean_activation", "sd_activation")
DEFINITIONS = {
    "dead": "derivative exactly 0 on every example",
    "born_dead": "dead before any training",
    "inactive": "output exactly 0 on every example",
    "rare": f"output not 0 on under {RARE:.0%} of the examples (of a channel: and positions)",
    "dormant": f"mean |output| at most {DORMANT} of its layer's mean",
    "saturated": f"|derivative| under {FLAT} on at least {SATURATED:.0%} of them",
    "sparsity": "fraction of outputs that are exactly 0",
    "mean_activation": "mean output",
    "sd_activation": "standard deviation of all outputs of a layer",
}
COUNTED_ON = (
    "counted after the activation, on the whole training set, in evaluation mode; "
    "a unit is a neuron, or a convolution's channel over all positions"
)


@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """Units of one layer that are dead and so on: DEFINITIONS says when, COUNTED_ON on what."""

    layer: str
    units: int
    dead: int
    inactive: int
    rare: int
    dormant: int
    saturated: int
    sparsity: float
    mean_activation: float | None  # None: outputs are too large for it
    examples: int
    sd_activation: float | None = None  # ledgers may hold counts without it


@dataclass(frozen=True, kw_only=True)
class LayerHistory:
    """Units of one layer over a training, counted on a fixed part of the training set.

    There is an entry for each count: of every figure, and of the numbers of units.

    examples  of the probe set
    epochs    after which was counted; 0: as it began
    died      units that are dead and were not at the count before; at the first, all dead ones
    revived   units that were dead at the count before and are not
    reset     how many units an intervention drew anew then
    """

    layer: str
    units: int
    examples: int
    epochs: tuple[int, ...]
    dead: tuple[int, ...]
    inactive: tuple[int, ...]
    rare: tuple[int, ...]
    dormant: tuple[int, ...]
    saturated: tuple[int, ...]
    sparsity: tuple[float, ...]
    mean_activation: tuple[float | None, ...]  # None: outputs are too large for it
    died: tuple[tuple[int, ...], ...]
    revived: tuple[tuple[int, ...], ...]
    reset: tuple[int, ...]

    def dead_units(self) -> frozenset[int]:
        """The units that are dead at the last count."""
        dead: set[int] = set()
        for died, revived in zip(self.died, self.revived, strict=True):
            dead.update(died)
            dead.difference_update(revived)
        return frozenset(dead)


def is_counted(epoch: int, epochs: int, every: int) -> bool:
    """Whether units are counted after this many of all epochs: none, every so many, and all."""
    return epoch % every == 0 or epoch == epochs


def total(layers: Sequence[LayerCount]) -> LayerCount:
    """All hidden units of a network together; sparsity, mean and sd weigh each unit alike."""
    units = sum(layer.units for layer in layers)
    return LayerCount(
        layer="total",
        units=units,
        dead=sum(layer.dead for layer in layers),
        inactive=sum(layer.inactive for layer in layers),
        rare=sum(layer.rare for layer in layers),
        dormant=sum(layer.dormant for layer in layers),
        saturated=sum(layer.saturated for layer in layers),
        # By units, as the other figures: a mean of means would count a small layer's units double.
        sparsity=sum(layer.sparsity * layer.units for layer in layers) / units,
        mean_activation=_weighed(layers, "mean_activation"),
        sd_activation=_weighed(layers, "sd_activation"),
        examples=layers[0].examples,
    )


def _weighed(layers: Sequence[LayerCount], name: str) -> float | None:
    """The mean of a figure over units; None where a layer has none."""
    weighed = 0.0
    for layer in layers:
        value = getattr(layer, name)
        if value is None:  # a mean without this layer would pass for one of the whole network
            return None
        weighed += value * layer.units
    return weighed / sum(layer.units for layer in layers)


@dataclass(frozen=True)
class Target:
    """What a training is to come to: train_error or train_loss, at most `limit`."""

    name: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """From 'train_error=0.25', as cells and rows carry it."""
        name, _, limit = text.partition("=")
        return cls(name, float(limit))


Status = Literal["ok", "diverged", "lost"]


def status(failed: str | None) -> Status:
    """What a reason of failure, as ledgers and baselines keep it, says of its run."""
    if failed is None:
        return "ok"
    return "lost" if failed.startswith(LOST) else "diverged"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training set: mean loss and accuracy as the pass itself saw them.

    Both are None where the loss is not finite: the cell has diverged. Numbers have no accuracy.

    held_out, held_out_loss  accuracy and mean loss afterwards on a validation set or fold, where
                             there is one
    """

    loss: float | None = None
    accuracy: float | None = None
    held_out: float | None = None
    held_out_loss: float | None = None

    def of(self, name: str) -> float:
        """train_error or train_loss as the pass saw it; infinite where it is not finite."""
        if self.loss is None:
            return math.inf
        if name == "train_loss":
            return self.loss
        return math.inf if self.accuracy is None else 1 - self.accuracy


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task of a sequence, when the network had learned it; a figure may be undefined.

    online_accuracy, online_loss  means over its epochs, as the passes saw them
    accuracy         on its training set; None of numbers
    held_out         on its test set; None where it has none
    dead, dormant    fractions of the hidden units, on its training set
    effective_rank   of the outputs of the last hidden layer there
    weight_norm      root of the sum of all squared weights
    mean_weight      of all weights
    """

    online_accuracy: float | None
    online_loss: float | None
    accuracy: float | None
    held_out: float | None
    dead: float | None
    dormant: float | None
    effective_rank: float | None
    weight_norm: float | None
    mean_weight: float | None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One trained cell. A diverged one has a reason in `failed` and no scores.

    seconds  of its training, without the search for its rate
    tasks    of its sequence, where it has one
    chosen   the rate that it took, where its recipe names several
    history  its hidden units over the epochs, layer by layer, where that was asked for
    """

    cell: Cell
    environment: Environment
    n_train: int
    n_test: int
    parameters: int
    seconds: float
    curve: tuple[Epoch, ...]
    scores: dict[str, float | None] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] | None = None
    layers: tuple[LayerCount, ...] = ()
    failed: str | None = None
    chosen: float | None = None
    tasks: tuple[TaskResult, ...] = ()
    history: tuple[LayerHistory, ...] = ()

    @property
    def lr(self) -> float:
        """The rate that it learned at."""
        return self.cell.recipe.lr if self.chosen is None else self.chosen

    @property
    def epochs_until(self) -> int | None:
        """Epochs until its cell's `until` was reached; None where it was not."""
        if self.cell.until is None or self.failed:
            return None
        target = Target.parse(self.cell.until)
        for number, epoch in enumerate(self.curve, start=1):
            if epoch.of(target.name) <= target.limit:
                return number
        return None

    @property
    def seconds_until(self) -> float | None:
        """Seconds until its cell's `until` was reached, as if every epoch took as long."""
        epochs = self.epochs_until
        return None if epochs is None else self.seconds * epochs / len(self.curve)

    @property
    def folds(self) -> tuple[float | None, ...]:
        """Accuracy on each fold when it had its turn, where weights are carried through them."""
        epochs = self.cell.recipe.epochs
        if not epochs or not self.cell.split.carried or self.failed:
            return ()
        # The curve runs through all folds: every `epochs` epochs one of them ends.
        last_of_fold = self.curve[epochs - 1 :: epochs]
        return tuple(epoch.held_out for epoch in last_of_fold)

    def tracked(self, every: int | None) -> bool:
        """Whether its units were counted after every so many epochs, or nobody asks for that."""
        if every is None:
            return True
        if not self.history:
            return False
        counted = set(self.history[0].epochs)
        # After the epoch in which a run diverged nobody counts.
        sound = sum(epoch.loss is not None for epoch in self.curve)
        epochs = len(self.curve)
        asked = {epoch for epoch in range(sound + 1) if is_counted(epoch, epochs, every)}
        return counted >= asked

    @property
    def finished(self) -> bool:
        """Whether it was trained to an end, be it divergence."""
        return self.status != "lost"

    @property
    def status(self) -> Status:
        """How it ended."""
        return status(self.failed)


def lost_run(cell: Cell, reason: str) -> RunResult:
    """What stands for a cell that nobody could train to an end."""
    nowhere = Environment(relubench=__version__, torch="", device="", threads=0, dtype="", stack=0)
    return RunResult(
        cell=cell,
        environment=nowhere,
        n_train=0,
        n_test=0,
        parameters=0,
        seconds=0.0,
        curve=(),
        failed=f"{LOST}: {reason}",
    )


@dataclass(frozen=True, kw_only=True)
class Context:
    """What decides a number besides the cell.

    engine  relubench's engine version, which changes when its numbers do
    data    digest of the dataset
    code    digests of a user's own activation and model, the version of torchvision's
    """

    engine: int
    torch: str
    device: str
    threads: int
    dtype: str
    data: str
    code: str = ""

    def __str__(self) -> str:
        return json.dumps(vars(self), sort_keys=True)
