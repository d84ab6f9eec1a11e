"""The one training loop.

For one cell it is equivalent to these twelve lines, and tests/test_engine.py holds it to them:

    stream = seeds.stream(cell, "batches")
    for epoch in range(recipe.epochs):
        losses = 0.0
        for rows in torch.randperm(len(y), generator=stream).split(recipe.batch_size):
            x_batch, y_batch = augment(x[rows]), y[rows]
            loss = cross_entropy(network(x_batch), y_batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(rows)
        curve.append(losses / len(y))
    return curve

It is faster in five ways, none of which any number may show:

    vectorised stack   cells share one pass, the cells in the first dimension (networks, vmap)
    layered pass       plain layers of a stack are one batched product each, without vmap (networks)
    step groups        cells with fewer steps per epoch stop earlier in one optimizer (step_groups)
    parallel passes    parts of a stack train side by side in threads (parallel, engine)
    replayed steps     the step's kernels alone: recorded on a CPU (recorded_step), a CUDA graph on
                       a GPU (cuda_graph)

No cell's gradient depends on another cell, so that the loop reads the same for one and for many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from relubench import events, noise, seeds
from relubench.activations import ACTIVATIONS
from relubench.metrics import METRICS
from relubench.models import MODELS, layers
from relubench.neurons.statistics import exact
from relubench.plan import Cell, Recipe
from relubench.results import Epoch, TaskResult
from relubench.training import task_scores
from relubench.training.augmentations import Augment
from relubench.training.best_epoch import BestEpoch
from relubench.training.between import Between
from relubench.training.checkpoints import Checkpoint
from relubench.training.clipping import clip
from relubench.training.cuda_graph import GraphedStep
from relubench.training.examples import Examples, Part
from relubench.training.heads import HEADS, lesson_of
from relubench.training.networks import Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.parameter_groups import parameter_groups, taken_whole
from relubench.training.prediction import predict
from relubench.training.rates import Rates
from relubench.training.recorded_step import (
    LONG,
    WARMUP_STEPS,
    WARMUP_STEPS_OF_LONG,
    RecordedStep,
    Step,
)
from relubench.training.states import State
from relubench.training.step_groups import StepGroups


def train(
    cells: Sequence[Cell],
    networks: Networks,
    parts: Iterable[Part],
    checkpoint: Checkpoint | None = None,
    between: Between | None = None,
) -> list[tuple[Epoch, ...]]:
    """Learn the networks' weights; returns each cell's learning curve."""
    return [tuple(curve) for curve in learned(cells, networks, parts, checkpoint, between).curves]


def learned(
    cells: Sequence[Cell],
    networks: Networks,
    parts: Iterable[Part],
    checkpoint: Checkpoint | None = None,
    between: Between | None = None,
) -> Learner:
    """Learn the networks' weights; returns what has learned them, with curves and tasks.

    Cells with more steps per epoch come before those with fewer. Every part is learned from for as
    many epochs as the recipe has. A cell whose loss is no longer finite has its curve end there;
    when all have, the loop ends.
    """
    parts = iter(parts)
    first = next(parts)
    learner = Learner(cells, networks, first.examples.sizes, between)
    checkpoint = checkpoint or Checkpoint(None)
    checkpoint.resume(learner.state)
    events.resumed(cells, learner.epochs, learner.total_epochs)
    # The optimizer's padded copies were made before the checkpoint's weights came.
    learner.step_groups.refresh_copies()
    learner.look_at(first)
    if not learner.epochs:
        learner.tend()
    for number, part in enumerate(chain([first], parts), 1):
        step = learner.step_on(part.examples)
        learner.look_at(part)
        end = number * learner.epochs_of_part
        while learner.epochs < end and not learner.all_diverged:
            learner.learn(part, step)
            learner.tend()
            events.epoch_ended(cells, learner.curves, learner.total_epochs)
            # Weights that are no longer finite would diverge again: the state before is worth more.
            sound = checkpoint.due and learner.state.sound
            if sound and checkpoint.save(learner.state.save()):
                events.kept(cells, learner.epochs, learner.total_epochs)
        learner.end_task(number, part)
    learner.look_back(first)
    if learner.best:
        learner.best.give_back()
    return learner


class Learner:
    """Networks that learn, with all that changes as they do.

    sizes         how many examples each cell begins to learn from
    epochs_of_part, total_epochs  of one part, and of the whole training, over all its parts
    foreign       whether code that is not relubench's takes part, whose steps may differ
    between       what is done between epochs
    best          the weights of each cell's best epoch; None: the last ones count
    losses, hits  (cells,): sums over the examples of an epoch
    tasks         of each cell's sequence, those that it has learned
    first_tasks   accuracy of each on its first task, at the end of the last
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        networks: Networks,
        sizes: Sequence[int],
        between: Between | None = None,
    ) -> None:
        self.recipe = cells[0].recipe
        self.networks = networks
        per_epoch = [steps(size, self.recipe) for size in sizes]
        self.epochs_of_part = self.recipe.passes(per_epoch[0])
        self.total_epochs = self.epochs_of_part * cells[0].parts
        self.head = HEADS.choose(cells[0].head)
        self.foreign = uses_foreign_code(cells[0])
        self.device: torch.device = next(iter(networks.parameters.values())).device
        whole = taken_whole(networks.modules[0], self.recipe)
        self.step_groups = StepGroups(networks, per_epoch, whole)
        of_groups = [per_epoch[first] for first, _ in self.step_groups.groups]
        self.rates = Rates(self.recipe, of_groups, self.device)
        self.optimizer = self._optimizer()
        self.order_streams = [seeds.stream(cell, "batches") for cell in cells]
        self.global_streams = [seeds.stream(cell, "global noise") for cell in cells]
        self.augment = Augment(cells)
        self.between = between
        self.best = BestEpoch(networks) if self.recipe.report == "best" else None
        self.noise = NoiseKeys(cells, networks.noisy)
        networks.train(True)
        # On the device and summed there: to read a loss after every step would wait for it.
        self.losses = torch.zeros(len(cells), dtype=exact(self.device), device=self.device)
        self.hits = torch.zeros_like(self.losses)
        self.curves: list[list[Epoch]] = [[] for _ in cells]
        self.in_sequence = bool(cells[0].tasks)
        self.tasks: list[list[TaskResult]] = [[] for _ in cells]
        self.first_tasks: list[float | None] = [None for _ in cells]

    def _optimizer(self) -> torch.optim.Optimizer:
        decay = self.recipe.weight_decay
        make = OPTIMIZERS.choose(self.recipe.optimizer)
        groups = parameter_groups(self.step_groups, self.networks, self.recipe, self.rates.tensors)
        optimizer = make(groups, self.recipe.lr, decay)
        if self.device.type == "cuda":
            for group in optimizer.param_groups:
                if "capturable" in group:
                    group["capturable"] = True  # its step count stays on the GPU
        return optimizer

    @property
    def state(self) -> State:
        """Everything that an unfinished training goes on from."""
        return State(
            networks=self.networks,
            optimizer=self.optimizer,
            # The order is part of the file's format: states are given back by
            # their place in this list.
            streams=[
                *self.order_streams,
                *self.global_streams,
                *self.augment.streams,
                *self.noise.streams,
            ],
            curves=self.curves,
            epochs=self.total_epochs,
            tasks=self.tasks if self.in_sequence else None,
            tracker=self.between.tracker if self.between else None,
            best=self.best,
        )

    @property
    def epochs(self) -> int:
        """Epochs finished so far."""
        return max(map(len, self.curves))

    @property
    def all_diverged(self) -> bool:
        """Whether every cell has diverged."""
        return all(diverged(curve) for curve in self.curves)

    def tend(self) -> None:
        """Between two epochs: count hidden units, let some begin anew, where that is asked for."""
        if self.between:
            going = [not diverged(curve) for curve in self.curves]
            self.between.after(
                self.epochs, self.total_epochs, going, self.step_groups, self.optimizer
            )

    def step_on(self, examples: Examples, warmup_steps: int | None = None) -> Step:
        """The step for batches of these examples, replayed where that is possible.

        On a CPU that is after `warmup_steps` of them; None: as suits the training's length. A
        user's own code and a library's model may change from step to step, and are never recorded.
        """
        if warmup_steps is None:
            # The steps of the longest cell, whose batches are those of the whole pass.
            n_steps = self.recipe.total_steps(steps(max(examples.sizes), self.recipe))
            warmup_steps = WARMUP_STEPS_OF_LONG if n_steps >= LONG else WARMUP_STEPS
        step: Step = partial(self.step, examples)
        if self.device.type == "cuda":
            step = GraphedStep(step)
        elif self.device.type == "cpu" and not self.foreign:
            step = RecordedStep(step, warmup_steps)
        if self.foreign and not self.networks.stacked:
            return partial(self._seeded, step)
        return step

    def _seeded(self, step: Step, *inputs: Tensor) -> None:
        """Take a step of code that may draw from torch's global generator, by the cell's stream.

        Code that draws there has no vectorised pass.
        """
        number = torch.randint(2**62, (), generator=self.global_streams[0])
        with layers.drawing_after(int(number), self.device):
            step(*inputs)

    def learn(self, part: Part, take: Step) -> None:
        """Learn for an epoch: `take` a step for every batch, then add to the curves."""
        examples = part.examples
        weights = examples.weights()
        epoch = self.epochs % self.epochs_of_part
        self.rates.begin(epoch)
        # Drawn for the epoch at once: steps that draw could be neither recorded nor captured.
        rows, draws, keys = self._draws(examples)
        self.losses.zero_()
        self.hits.zero_()
        last = self.recipe.steps_in(epoch, steps(rows.shape[1], self.recipe))
        seen = last * self.recipe.batch_size
        for number, begin in enumerate(range(0, min(seen, rows.shape[1]), self.recipe.batch_size)):
            self.rates.set(number)
            end = begin + self.recipe.batch_size
            # Sizes fall from cell to cell: whoever still has examples at `begin` stands first.
            learning = [size for size in examples.sizes if size > begin]  # the first cells
            batch = slice(len(learning)), slice(begin, end)
            # Whole batches go without weights: a product with ones costs time in every step.
            padded = weights is not None and end > min(learning)
            batch_weights = [weights[batch]] if weights is not None and padded else []
            take(rows[batch], draws[batch], keys[: len(learning), number], *batch_weights)
        sizes = [min(size, seen) for size in examples.sizes]
        self._extend(sizes, self._scores(part.held_out))
        if self.best:
            self.best.see(self.curves)

    def _draws(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """Everything random of an epoch, on the device: rows, augmentations, keys of noise."""
        # On the CPU, each from its cell's stream: the same order on every device, in any company.
        orders = []
        for size, stream in zip(examples.sizes, self.order_streams, strict=True):
            orders.append(examples.order(size, stream))
        n_steps = [steps(size, self.recipe) for size in examples.sizes]
        return (
            examples.rows(orders).to(self.device),
            self.augment.draw(examples.sizes).to(self.device),
            self.noise.draw(n_steps).to(self.device),
        )

    def step(
        self,
        examples: Examples,
        rows: Tensor,
        draws: Tensor,
        keys: Tensor,
        *weights: Tensor,
    ) -> None:
        """Learn from one batch: rows of `examples`, what is drawn for it, weights if padded.

        rows, weights  (cells, batch), of the first cells
        draws          (cells, batch, augmentations, 2)
        keys           (cells, noisy layers, 2)
        """
        cells = len(rows)
        networks = self.step_groups.leading[cells]
        x, y = examples.at(rows)  # (cells, batch, …)
        outputs = networks(self.augment(x, draws), keys)  # (cells, batch, classes)
        # Forwards: losses, and their gradients at the outputs by formula where the head has one.
        lesson = lesson_of(self.head, outputs, y, self.recipe.label_smoothing)
        losses, hits = lesson.losses, lesson.hits
        # A cell's loss is the mean over its own examples of this batch; padding weighs nothing.
        share: float | Tensor = 1 / y.shape[1]
        for weight in weights:
            losses = losses * weight
            hits = None if hits is None else hits * weight
            share = (weight / weight.sum(dim=1, keepdim=True)).unsqueeze(-1)
            share = share.view(*share.shape, *(1,) * (lesson.gradients.ndim - share.ndim))
        for parameter in networks.parameters.values():
            parameter.grad = None  # optimizer.zero_grad costs 30 µs more
        # That is, of every cell's mean; no loss depends on another cell's weights.
        outputs.backward(lesson.gradients * share)
        if self.recipe.clip_norm is not None:
            gradients = [p.grad for p in networks.parameters.values() if p.grad is not None]
            clip(gradients, self.recipe.clip_norm, networks.stacked)
        self.step_groups.assign_gradients(cells)
        self.optimizer.step()
        self.step_groups.copy_back(cells)
        self.losses[:cells].add_(losses.sum(dim=1))
        if hits is not None:
            self.hits[:cells].add_(hits.sum(dim=1))

    def look_at(self, part: Part) -> None:
        """Let units be counted on the inputs of a task, where there are tasks."""
        if self.between and self.in_sequence:
            self.between.look_at(part.examples.inputs)

    def end_task(self, number: int, part: Part) -> None:
        """Add what each network has of the task of this number, from 1, unless it was added."""
        finished = max(map(len, self.tasks))
        if not self.in_sequence or number <= finished or self.all_diverged:
            return
        of_task = [curve[(number - 1) * self.epochs_of_part :] for curve in self.curves]
        for tasks, task, curve in zip(
            self.tasks,
            task_scores.ended(self.networks, self.head, part, of_task),
            self.curves,
            strict=True,
        ):
            if not diverged(curve):
                tasks.append(task)
        self.networks.train(True)

    def look_back(self, first: Part) -> None:
        """See what is left of the first task."""
        if self.in_sequence and not self.all_diverged:
            found = task_scores.accuracy(self.networks, self.head, first.examples)
            self.first_tasks = [*found]

    def _scores(self, examples: Examples | None) -> Sequence[Sequence[float | None]]:
        """Accuracy and loss on examples that each cell does not learn from; it goes on learning.

        Numbers have no accuracy.
        """
        if examples is None:
            return [(None, None)] * len(self.curves)
        # No unit is counted here: that is done once, when training is over.
        prediction = predict(self.networks, self.head, examples, [])
        self.networks.train(True)
        losses = METRICS["loss"].function(prediction).tolist()
        if self.head.entry.task != "classes":
            return [(None, loss) for loss in losses]
        return list(zip(METRICS["accuracy"].function(prediction).tolist(), losses, strict=True))

    @property
    def classifies(self) -> bool:
        """Whether there are decisions that may be right: classes, or tokens."""
        return self.head.entry.task != "regression"

    def _extend(self, sizes: Sequence[int], held_out: Sequence[Sequence[float | None]]) -> None:
        """Add an epoch to the curve of every cell that has not diverged."""
        figures = zip(
            self.curves,
            self.losses.tolist(),
            self.hits.tolist(),
            sizes,
            held_out,
            strict=True,
        )
        for curve, loss, hits, size, (accuracy, held_loss) in figures:
            # Its network stays in the pass until the last one has diverged; its curve has ended.
            if diverged(curve):
                continue
            if math.isfinite(loss):
                known = held_loss is not None and math.isfinite(held_loss)
                own = hits / size if self.classifies else None
                epoch = Epoch(loss=loss / size, accuracy=own, held_out=accuracy)
                curve.append(replace(epoch, held_out_loss=held_loss if known else None))
            else:
                # Without figures: the mark by which `diverged` knows a curve that has ended.
                curve.append(Epoch())


class NoiseKeys:
    """Keys of the noise of every step; each cell draws them from streams of its own.

    The streams are two, so that a noisy activation gets the same dropout as another.

    counts  noisy activations, and dropouts
    place   of a layer, among all activations and then all dropouts
    """

    def __init__(self, cells: Sequence[Cell], noisy: Sequence[nn.Module]) -> None:
        acts: list[int] = []
        dropouts: list[int] = []
        for number, layer in enumerate(noisy):
            kind = dropouts if isinstance(layer, layers.Dropout) else acts
            kind.append(number)
        self.counts = len(acts), len(dropouts)
        # The argsort of a permutation is its inverse: it puts acts and
        # dropouts back where they stand.
        self.place = torch.tensor([*acts, *dropouts], dtype=torch.int64).argsort()
        self.streams: list[torch.Generator] = []
        for cell in cells:
            self.streams += [seeds.stream(cell, "noise"), seeds.stream(cell, "dropout")]

    def draw(self, n_steps: Sequence[int]) -> Tensor:
        """(cells, steps, noisy layers, 2): the keys of an epoch; a short cell is padded."""
        if not any(self.counts):
            return torch.empty(len(n_steps), max(n_steps), 0, 2)
        drawn = []
        for kind, count in enumerate(self.counts):
            if count:
                # Every second stream: they alternate, noise and dropout, from cell to cell.
                drawn.append(self._drawn(n_steps, count, self.streams[kind::2]))
        return noise.keys(torch.cat(drawn, dim=2)[:, :, self.place])

    @staticmethod
    def _drawn(n_steps: Sequence[int], count: int, streams: Sequence[torch.Generator]) -> Tensor:
        by_cell = []
        for steps_of_cell, stream in zip(n_steps, streams, strict=True):
            by_cell.append(noise.drawn((steps_of_cell, count, 2), stream))
        return nn.utils.rnn.pad_sequence(by_cell, batch_first=True)


def uses_foreign_code(cell: Cell) -> bool:
    """Whether code that is not relubench's takes part in a cell: its activation, or its model."""
    activation = ACTIVATIONS.choose(cell.activation).entry
    model = MODELS.choose(cell.model).entry
    return bool(activation.sha256 or model.code)


def steps(examples: int, recipe: Recipe) -> int:
    """Steps per epoch."""
    return math.ceil(examples / recipe.batch_size)


def diverged(curve: Sequence[Epoch]) -> str | None:
    """The reason why a cell with this learning curve failed, or None."""
    if curve and curve[-1].loss is None:
        return f"diverged: the loss is not finite in epoch {len(curve)}"
    return None
