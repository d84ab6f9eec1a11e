"""The engine: the one training loop.

Everything in the loop carries the stack's cells in its first dimension, and no cell's gradient
depends on another cell, so that it reads the same for one cell and for many.
"""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from relubench import __version__, datasets, folds, layers, neurons, preprocessing, seeds
from relubench.activations import ACTIVATIONS
from relubench.datasets import Dataset
from relubench.errors import BadValue
from relubench.heads import HEADS
from relubench.metrics import METRICS, Prediction
from relubench.models import MODELS
from relubench.optimizers import OPTIMIZERS
from relubench.plan import Cell, Machine, Preparation, Stack
from relubench.results import Environment, Epoch, RunResult

EVALUATION_BATCH = 2048  # examples that a forward pass holds at once when nothing is learned


@dataclasses.dataclass(frozen=True, eq=False)
class Tensors:
    """One split on the device: inputs (examples, …) and classes (examples,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def fit(stack: Stack, machine: Machine, save: Path | None = None) -> list[RunResult]:
    """Train every cell of the stack; a result each, in the same order.

    `save` is where the trained weights go, as a state dict that torch.load(weights_only=True)
    reads. Raises DataError where the data cannot be had.
    """
    torch.set_num_threads(machine.threads)
    warm_up(machine.device, stack.cells[0].recipe.optimizer)
    return [result for cell in stack.cells for result in _fit([cell], machine, save)]


def _fit(cells: Sequence[Cell], machine: Machine, save: Path | None) -> list[RunResult]:
    (cell,) = cells
    data = tensors(cell, machine)
    network = build(cell, tuple(data.x_train.shape[1:]), machine)
    start = time.perf_counter()
    (curve,) = train(cells, network, data)
    seconds = time.perf_counter() - start
    if save:
        state = io.BytesIO()
        torch.save(network.state_dict(), state)
        save.write_bytes(state.getvalue())
    result = RunResult(
        cell=cell,
        environment=environment(machine),
        n_train=len(data.y_train),
        n_test=len(data.y_test),
        parameters=parameters(network),
        seconds=seconds,
        curve=curve,
        failed=diverged(curve),
    )
    return [result if result.failed else evaluate(result, network, data)]


def train(cells: Sequence[Cell], network: nn.Module, data: Tensors) -> list[tuple[Epoch, ...]]:
    """The loop: learns the network's weights and returns each cell's learning curve.

    A cell whose loss is no longer finite has its curve end there; when all have, the loop ends.
    """
    recipe, head = cells[0].recipe, HEADS.choose(cells[0].head)
    device, n = data.x_train.device, len(data.y_train)
    optimizer = OPTIMIZERS.choose(recipe.optimizer)(
        layers.parameter_groups(network, recipe.weight_decay), recipe.lr, recipe.weight_decay
    )
    batches = [seeds.stream(cell, "batches") for cell in cells]
    layers.draw_noise_from(network, seeds.stream(cells[0], "noise", str(device)))
    curves: list[list[Epoch]] = [[] for _ in cells]
    network.train()
    for _ in range(recipe.epochs):
        order = torch.stack([torch.randperm(n, generator=stream) for stream in batches]).to(device)
        losses = torch.zeros(len(cells), dtype=torch.float64, device=device)
        hits = torch.zeros(len(cells), dtype=torch.int64, device=device)
        for rows in order.split(recipe.batch_size, dim=1):
            x, y = data.x_train[rows], data.y_train[rows]  # (cells, batch, …), (cells, batch)
            log_p = head(forward(network, x))  # (cells, batch, classes)
            loss = nn.functional.nll_loss(log_p.mT, y, reduction="none").mean(dim=1)  # (cells,)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            losses += loss.detach() * y.shape[1]
            hits += (log_p.detach().argmax(dim=-1) == y).sum(dim=1)
        for curve, loss_sum, hit_sum in zip(curves, losses.tolist(), hits.tolist(), strict=True):
            if not diverged(curve):
                finite = math.isfinite(loss_sum)
                curve.append(Epoch(loss=loss_sum / n if finite else None, accuracy=hit_sum / n))
        if all(diverged(curve) for curve in curves):
            break
    return [tuple(curve) for curve in curves]


@lru_cache
def warm_up(device: str, optimizer: str) -> None:
    """One step of the smallest network, so that no cell's seconds hold what torch does but once."""
    layer = nn.Linear(1, 1, device=device)
    layer(torch.ones(1, 1, device=device)).sum().backward()
    OPTIMIZERS.choose(optimizer)(layer.parameters(), 0.001, 0.0).step()


def forward(network: nn.Module, x: Tensor) -> Tensor:
    """(cells, batch, …) to (cells, batch, classes), for the one cell that `network` holds."""
    outputs: Tensor = network(x.squeeze(0))
    return outputs.unsqueeze(0)


def diverged(curve: Sequence[Epoch]) -> str | None:
    """Why a cell with this learning curve failed, or None."""
    if curve and curve[-1].loss is None:
        return f"diverged: the loss is not finite in epoch {len(curve)}"
    return None


def evaluate(result: RunResult, network: nn.Module, data: Tensors) -> RunResult:
    """Add scores, confusion matrix and neuron counts of the trained network."""
    head = HEADS.choose(result.cell.head)
    test = predict(network, head, data.x_test, data.y_test)
    with neurons.watch(network) as counters:
        training = predict(network, head, data.x_train, data.y_train)
    scores = {name: score(metric, test) for name, metric in METRICS.items()}
    scores |= {f"train_{name}": score(METRICS[name], training) for name in ("accuracy", "loss")}
    if scores["loss"] is None or scores["train_loss"] is None:
        return dataclasses.replace(result, failed="diverged: the loss is not finite after training")
    if not head.entry.silent:
        scores["silent"] = None
    return dataclasses.replace(
        result,
        scores=scores,
        confusion=tuple(tuple(int(count) for count in row) for row in test.confusion[0]),
        layers=tuple(counter.count() for counter in counters),
    )


def predict(
    network: nn.Module, head: Callable[[Tensor], Tensor], x: Tensor, y: Tensor
) -> Prediction:
    """What one trained network says of all examples, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        log_p = torch.cat([head(network(batch)) for batch in x.split(EVALUATION_BATCH)])
    return Prediction(log_p.unsqueeze(0), y.unsqueeze(0))


def score(metric: Callable[[Prediction], Tensor], prediction: Prediction) -> float | None:
    """One cell's figure, None where it is not defined."""
    value = float(metric(prediction))
    return value if math.isfinite(value) else None


def build(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
    """The cell's network with its initial weights, for examples of `shape`."""
    network = skeleton(cell, shape, datasets.load(cell.dataset, machine.data_dir))
    network = network.to(getattr(torch, machine.dtype))
    try:
        network = network.to_empty(device="cpu")
    except RuntimeError as error:
        count = parameters(network)
        raise BadValue(f"--model {cell.model}: no memory for {count} parameters") from error
    bias = HEADS.choose(cell.head).entry.bias
    layers.initialise(network, seeds.stream(cell, "weights"), output_bias=bias)
    return network.to(machine.device)


def skeleton(cell: Cell, shape: tuple[int, ...], dataset: Dataset) -> nn.Module:
    """The cell's network, its weights without memory; raises BadValue where none can be built."""
    activation = ACTIVATIONS.choose(cell.activation)
    try:
        with torch.device("meta"):
            network: nn.Module = MODELS.choose(cell.model)(shape, len(dataset.classes), activation)
    except (RuntimeError, TypeError) as error:  # what torch says of sizes beyond its integers
        raise BadValue(f"--model {cell.model} is too large to be built") from error
    return network


def parameters(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def split(cell: Cell, dataset: Dataset) -> tuple[folds.Rows, folds.Rows]:
    """The cell's training and test rows.

    Folds partition the training part of a dataset with a published test set, which they leave
    alone; without folds that test set is the test part, and a drawn 30 % where there is none.
    """
    y = dataset.y[: dataset.n_train]
    if cell.split.folds and cell.split.fold is not None:
        train, test = folds.stratified(y, cell.split.folds, cell.split.fold, seeds.folds(cell))
    elif dataset.n_test:
        train, test = np.arange(len(y)), np.arange(len(y), len(dataset.y))
    else:
        train, test = folds.holdout(y, seeds.holdout(cell))
    limit = cell.preparation.limit
    if limit and limit < len(train):
        train = train[folds.subset(y[train], limit, seeds.limit(cell))]
    return train, test


def tensors(cell: Cell, machine: Machine) -> Tensors:
    """The cell's prepared data on the machine's device."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    train, test = split(cell, dataset)
    rows = train.tobytes(), test.tobytes()
    return _tensors(cell.dataset, rows, cell.preparation, machine)


@lru_cache(maxsize=2)
def _tensors(
    name: str, rows: tuple[bytes, bytes], preparation: Preparation, machine: Machine
) -> Tensors:
    dataset = datasets.load(name, machine.data_dir)
    train, test = (np.frombuffer(part, dtype=np.int64) for part in rows)
    x_train, x_test = preprocessing.prepare(dataset.x, train, test, preparation)

    def inputs(x: preprocessing.Inputs) -> Tensor:
        return torch.as_tensor(x, dtype=getattr(torch, machine.dtype), device=machine.device)

    def classes(part: folds.Rows) -> Tensor:
        return torch.as_tensor(dataset.y[part], device=machine.device)

    return Tensors(inputs(x_train), classes(train), inputs(x_test), classes(test))


def environment(machine: Machine) -> Environment:
    """What else decides a number here."""
    return Environment(
        relubench=__version__,
        torch=torch.__version__,
        device=machine.device,
        threads=machine.threads,
        dtype=machine.dtype,
    )


def check(cell: Cell, machine: Machine) -> None:
    """Refuse a cell that cannot be trained: BadValue or DataError, before any training."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    counts = np.bincount(dataset.y[: dataset.n_train])
    if cell.split.folds and cell.split.folds > counts.min():
        rarest = dataset.classes[int(counts.argmin())]
        raise BadValue(
            f"--folds {cell.split.folds}: class {rarest!r} of {cell.dataset} has only "
            f"{counts.min()} examples, so at most {counts.min()} folds"
        )
    train, _ = split(cell, dataset)
    limit, pca = cell.preparation.limit, cell.preparation.pca
    if limit and limit < len(dataset.classes):
        raise BadValue(
            f"--limit {limit}: {cell.dataset} has {len(dataset.classes)} classes, so at least that"
        )
    most = min(len(train), math.prod(dataset.shape))
    if pca and pca > most:
        raise BadValue(f"--pca {pca}: {cell.dataset} has at most {most} components here")
    _check_choices(cell)
    skeleton(cell, (pca,) if pca else dataset.shape, dataset)


def _check_choices(cell: Cell) -> None:
    """Refuse parameters with which an optimizer or an activation cannot work."""
    optimizer, act = cell.recipe.optimizer, layers.Act(ACTIVATIONS.choose(cell.activation), 1)
    try:
        OPTIMIZERS.choose(optimizer)([nn.Parameter(torch.zeros(1))], 1e-3, cell.recipe.weight_decay)
    except ValueError as error:
        raise BadValue(f"--optimizer {optimizer}: {error}") from None
    x = torch.tensor([[-3.0], [-0.1], [0.0], [0.1], [3.0]])
    try:
        act.reset_parameters()
        finite = bool(act.eval()(x).isfinite().all())
    except (RuntimeError, ZeroDivisionError, OverflowError):
        finite = False
    if not finite:
        raise BadValue(f"--activation {cell.activation}: not a finite number for x from -3 to 3")
