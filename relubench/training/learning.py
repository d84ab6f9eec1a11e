"""The one training loop.

Everything in it carries the pass's cells in its first dimension, and no cell's gradient depends on
another cell, so that it reads the same for one cell and for many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from relubench import noise, seeds
from relubench.activations import ACTIVATIONS
from relubench.metrics import METRICS
from relubench.models import MODELS, layers
from relubench.neurons.statistics import exact
from relubench.plan import Cell, Recipe
from relubench.results import Epoch
from relubench.training.augmentations import Augment
from relubench.training.checkpoints import Checkpoint
from relubench.training.cuda_graph import Captured
from relubench.training.examples import Examples, Part
from relubench.training.heads import HEADS
from relubench.training.networks import Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.prediction import predict
from relubench.training.recorded_step import PLAIN, Recorded, Step
from relubench.training.states import State
from relubench.training.step_groups import Paces


def train(
    cells: Sequence[Cell],
    networks: Networks,
    parts: Iterable[Part],
    checkpoint: Checkpoint | None = None,
) -> list[tuple[Epoch, ...]]:
    """Learn the networks' weights; returns each cell's learning curve.

    Cells with more steps per epoch come before those with fewer. Every part is learned from for as
    many epochs as the recipe has. A cell whose loss is no longer finite has its curve end there;
    when all have, the loop ends.
    """
    parts = iter(parts)
    first = next(parts)
    learner = Learner(cells, networks, first.examples.sizes)
    checkpoint = checkpoint or Checkpoint(None)
    checkpoint.resume(learner.state)
    learner.paces.restored()
    for number, part in enumerate(chain([first], parts), 1):
        take = learner.step_on(part.examples)
        while learner.epochs < number * cells[0].recipe.epochs and not learner.lost:
            learner.learn(part, take)
            if checkpoint.due and learner.state.sound:
                checkpoint.save(learner.state.save())
    return [tuple(curve) for curve in learner.curves]


class Learner:
    """Networks that learn, with all that changes as they do.

    sizes         how many examples each cell begins to learn from
    most          epochs in all
    foreign       whether code that is not relubench's takes part, whose steps may differ
    losses, hits  (cells,): sums over the examples of an epoch
    """

    def __init__(self, cells: Sequence[Cell], networks: Networks, sizes: Sequence[int]) -> None:
        self.recipe, self.networks = cells[0].recipe, networks
        carried = cells[0].split.folds if cells[0].split.carried else None
        self.most = self.recipe.epochs * (carried or 1)
        self.head = HEADS.choose(cells[0].head)
        self.foreign = foreign(cells[0])
        self.device: torch.device = next(iter(networks.parameters.values())).device
        self.paces = Paces(networks, [steps(n, self.recipe) for n in sizes])
        self.optimizer = self._optimizer()
        self.orders = [seeds.stream(cell, "batches") for cell in cells]
        self.drawn = [seeds.stream(cell, "global noise") for cell in cells]
        self.augment, self.noise = Augment(cells), Keys(cells, networks.noisy)
        networks.train(True)
        self.losses = torch.zeros(len(cells), dtype=exact(self.device), device=self.device)
        self.hits = torch.zeros_like(self.losses)
        self.curves: list[list[Epoch]] = [[] for _ in cells]

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = layers.parameter_groups(self.paces.parameters, self.recipe.weight_decay)
        make = OPTIMIZERS.choose(self.recipe.optimizer)
        optimizer: torch.optim.Optimizer = make(groups, self.recipe.lr, self.recipe.weight_decay)
        for group in optimizer.param_groups if self.device.type == "cuda" else ():
            group.update({"capturable": True} if "capturable" in group else {})
        return optimizer

    @property
    def state(self) -> State:
        """What an unfinished training goes on from."""
        streams = [*self.orders, *self.drawn, *self.augment.streams, *self.noise.streams]
        return State(self.networks, self.optimizer, streams, self.curves, self.most)

    @property
    def epochs(self) -> int:
        """How many are over."""
        return max(map(len, self.curves))

    @property
    def lost(self) -> bool:
        """Whether every cell has diverged."""
        return all(diverged(curve) for curve in self.curves)

    def step_on(self, examples: Examples, plain: int = PLAIN) -> Step:
        """The step for batches of these examples, replayed where that is possible.

        On a CPU that is after `plain` of them, and not with a user's own code or a library's model,
        which may change from step to step.
        """
        step: Step = partial(self.step, examples)
        if self.device.type == "cuda":
            step = Captured(step)
        elif self.device.type == "cpu" and not self.foreign:
            step = Recorded(step, plain)
        return partial(self._seeded, step) if self.foreign and not self.networks.stacked else step

    def _seeded(self, step: Step, *inputs: Tensor) -> None:
        """A step of code that may draw from torch's global generator: what it draws is the cell's.

        It has no vectorised pass where it does.
        """
        number = int(torch.randint(2**62, (), generator=self.drawn[0]))
        with layers.drawing_after(number, self.device):
            step(*inputs)

    def learn(self, part: Part, take: Step) -> None:
        """An epoch: `take` a step for every batch, then add to the curves."""
        examples, weights = part.examples, part.examples.weights()
        orders = [
            torch.randperm(n, generator=stream)
            for n, stream in zip(examples.sizes, self.orders, strict=True)
        ]
        rows = examples.rows(orders).to(self.device)
        draws = self.augment.draw(examples.sizes).to(self.device)
        keys = self.noise.draw([steps(n, self.recipe) for n in examples.sizes]).to(self.device)
        self.losses.zero_(), self.hits.zero_()
        for begin in range(0, rows.shape[1], self.recipe.batch_size):
            learning = [n for n in examples.sizes if n > begin]
            end = begin + self.recipe.batch_size
            batch = slice(len(learning)), slice(begin, end)
            padded = [] if weights is None or end <= min(learning) else [weights[batch]]
            step = begin // self.recipe.batch_size
            take(rows[batch], draws[batch], keys[: len(learning), step], *padded)
        self._extend(examples.sizes, self._accuracies(part.held_out))

    def step(
        self, examples: Examples, rows: Tensor, draws: Tensor, keys: Tensor, *weights: Tensor
    ) -> None:
        """Learn from one batch: rows of `examples`, what is drawn for it, weights if padded.

        rows, weights  (cells, batch), of the first cells
        draws          (cells, batch, augmentations, 2)
        keys           (cells, noisy layers, 2)
        """
        x, y = examples.at(rows)  # (cells, batch, …)
        leading = self.paces.leading[len(rows)]
        log_p = self.head(leading(self.augment(x, draws), keys))  # (cells, batch, classes)
        each = nn.functional.nll_loss(log_p.flatten(0, 1), y.flatten(), reduction="none")
        loss = each.view_as(y)  # (cells, batch)
        hit = log_p.detach().argmax(dim=-1) == y
        count: Any = y.shape[1]
        for weight in weights:
            loss, hit, count = loss * weight, hit * weight, weight.sum(dim=1)
        sums = loss.sum(dim=1)
        for parameter in leading.parameters.values():
            parameter.grad = None  # optimizer.zero_grad costs 30 µs more
        sums.backward(torch.ones_like(sums) / count)  # that is, of every cell's mean
        self.paces.graded(len(rows))
        self.optimizer.step()
        self.paces.stepped(len(rows))
        self.losses[: len(rows)].add_(sums.detach())
        self.hits[: len(rows)].add_(hit.sum(dim=1))

    def _accuracies(self, examples: Examples | None) -> Sequence[float | None]:
        """Every cell's accuracy on examples that it is not learning from; it goes on learning."""
        if examples is None:
            return [None] * len(self.curves)
        prediction = predict(self.networks, self.head, examples, [])
        self.networks.train(True)
        found: list[float] = METRICS["accuracy"].function(prediction).tolist()
        return found

    def _extend(self, sizes: Sequence[int], held_out: Sequence[float | None]) -> None:
        """Add an epoch to the curve of every cell that has not diverged."""
        figures = zip(self.losses.tolist(), self.hits.tolist(), sizes, held_out, strict=True)
        for curve, (loss, hit, n, held) in zip(self.curves, figures, strict=True):
            if not diverged(curve):
                epoch = Epoch(loss=loss / n, accuracy=hit / n, held_out=held)
                curve.append(epoch if math.isfinite(loss) else Epoch())


class Keys:
    """What noise follows from, step by step; each cell draws from streams of its own.

    They are two, so that a noisy activation gets the same dropout as another.
    """

    def __init__(self, cells: Sequence[Cell], noisy: Sequence[nn.Module]) -> None:
        self.dropouts = [isinstance(layer, layers.Dropout) for layer in noisy]
        units = [number for number, dropout in enumerate(self.dropouts) if not dropout]
        dropouts = [number for number, dropout in enumerate(self.dropouts) if dropout]
        order = torch.tensor([*units, *dropouts], dtype=torch.int64)
        self.place = order.argsort()  # of a layer, among all units and then all dropouts
        self.counts = len(units), len(dropouts)
        self.streams = [
            seeds.stream(cell, purpose) for cell in cells for purpose in ("noise", "dropout")
        ]

    def draw(self, steps: Sequence[int]) -> Tensor:
        """(cells, steps, noisy layers, 2) for an epoch of so many steps; a short cell is padded."""
        if not self.dropouts:
            return torch.empty(len(steps), max(steps), 0, 2)
        found = []
        for which, number in enumerate(self.counts):
            if not number:
                continue
            streams = self.streams[which::2]
            drawn = [
                noise.drawn((count, number, 2), stream)
                for count, stream in zip(steps, streams, strict=True)
            ]
            found.append(torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True))
        return noise.keys(torch.cat(found, dim=2)[:, :, self.place])


def foreign(cell: Cell) -> bool:
    """Whether code that is not relubench's takes part in a cell: its unit, or its model."""
    unit, model = ACTIVATIONS.choose(cell.activation), MODELS.choose(cell.model)
    return bool(unit.entry.sha256 or model.entry.code)


def steps(examples: int, recipe: Recipe) -> int:
    """How many steps an epoch takes."""
    return math.ceil(examples / recipe.batch_size)


def diverged(curve: Sequence[Epoch]) -> str | None:
    """Why a cell with this learning curve failed, or None."""
    if curve and curve[-1].loss is None:
        return f"diverged: the loss is not finite in epoch {len(curve)}"
    return None
