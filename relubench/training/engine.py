"""The engine: a stack of cells in, a result for each out: built, trained, scored, counted."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from relubench import __version__, datasets, seeds
from relubench.activations import ACTIVATIONS
from relubench.datasets import Dataset
from relubench.errors import BadValue, out_of_memory
from relubench.grouping import grouped
from relubench.metrics import METRICS
from relubench.models import MODELS, layers, matching, undrawn, weights
from relubench.neurons.statistics import Counter
from relubench.plan import Cell, Machine, Stack
from relubench.results import ENGINE, Context, Environment, RunResult, lost
from relubench.training import perturbations, rate_search
from relubench.training.checkpoints import Checkpoint, Unfinished
from relubench.training.examples import Examples, Tensors, parts, tensors
from relubench.training.heads import HEADS
from relubench.training.learning import diverged, foreign, steps, train
from relubench.training.networks import CannotStack, Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.parallel import abreast, divided
from relubench.training.prediction import predict
from relubench.user_code import OwnCodeError, brief

# Channels of a convolution. With fewer, gradients of images whose channels lie last write to memory
# that is not theirs and crash (torch 2.14.1 and 2.15.0, oneDNN on an Intel Xeon).
NARROW = 16
Passed = Callable[[Sequence[Cell]], list[RunResult]]


class Unsaved(Exception):
    """Weights that cannot be written: the reason, and the results that were had all the same."""

    def __init__(self, why: str, results: list[RunResult]) -> None:
        super().__init__(why, results)
        self.why, self.results = why, results


def fit(
    stack: Stack,
    machine: Machine,
    save: Path | None = None,
    unfinished: Unfinished | None = None,
) -> list[RunResult]:
    """Train every cell of the stack; a result each, in the same order.

    They train in one pass, or in several where the stack says so, their networks cannot be stacked
    or memory does not hold them all. `save` is where the weights of the last cell go, as a state
    dict that torch.load(weights_only=True) reads; what is kept in `unfinished` is gone on with.
    Raises DataError where the data cannot be had, Unsaved where `save` cannot be written.
    """
    weights = io.BytesIO() if save else None
    results = fitted(stack, machine, weights, unfinished)
    if save and weights is not None:
        try:
            save.write_bytes(weights.getbuffer())
        except OSError as error:
            with suppress(OSError):
                if save.is_file():  # half of it is no use, and a device is not ours
                    save.unlink()
            raise Unsaved(str(error.strerror), results) from error
    return results


def fitted(
    stack: Stack, machine: Machine, weights: io.BytesIO | None, unfinished: Unfinished | None
) -> list[RunResult]:
    """What `fit` returns; the weights of the last cell are put into `weights`."""
    if stack.cells[0].recipe.rates:
        nested = unfinished and unfinished.within(stack)
        fit_at = partial(fitted, machine=machine, weights=weights, unfinished=nested)
        return rate_search.fit_at_best(stack, fit_at)
    threads = stack.threads or machine.threads
    machine = dataclasses.replace(machine, threads=threads)
    torch.set_num_threads(threads)
    tf32 = machine.dtype == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    warm_up(machine.device, stack.cells[0].recipe.optimizer)
    try:
        data = {cell: tensors(cell, machine) for cell in stack.cells}
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return [lost(cell, "out of memory") for cell in stack.cells]
    ordered = sorted(stack.cells, key=lambda cell: -steps(len(data[cell].y_train), cell.recipe))

    def one_pass(cells: Sequence[Cell]) -> list[RunResult]:
        checkpoint = Checkpoint(None)
        if unfinished:
            decides = str(context(cells[0], machine))
            checkpoint = unfinished.checkpoint(stack, Stack(tuple(cells)), decides)
        return _fit(cells, data, machine, weights, checkpoint)

    even = grouped(ordered, lambda cell: cell.split.validation and len(data[cell].y_test))
    together = [part for alike in even.values() for part in divided(alike, stack.abreast)]
    trained = abreast(lambda part: passes(part, one_pass), together, stack.abreast, threads)
    found = {result.cell: result for results in trained for result in results}
    return [found[cell] for cell in stack.cells]


def context(cell: Cell, machine: Machine) -> Context:
    """What else decides the cell's numbers on this machine."""
    return Context(
        engine=ENGINE,
        torch=torch.__version__,
        device=machine.device.split(":")[0],
        threads=machine.threads,
        dtype=machine.dtype,
        data=datasets.fingerprint(cell.dataset, machine.data_dir),
        code=code(cell, machine),
    )


def code(cell: Cell, machine: Machine) -> str:
    """What stands for code and weights of the cell's activation and model that are a user's."""
    activation, model = ACTIVATIONS.choose(cell.activation).entry, MODELS.choose(cell.model)
    parts = [activation.sha256, model.entry.code]
    if model.entry.code and not cell.fresh:
        dataset, pca = datasets.load(cell.dataset, machine.data_dir), cell.preparation.pca
        shape = (pca,) if pca else dataset.shape
        parts.append(model.entry.loaded(shape, len(dataset.classes), model.parameters))
    return " ".join(filter(None, parts))


def passes(cells: Sequence[Cell], one_pass: Passed) -> list[RunResult]:
    """Train the cells in one pass; in smaller ones where they do not stack or memory ends."""
    try:
        return one_pass(cells)
    except CannotStack as error:
        smaller = error.parts or [[cell] for cell in cells]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(cells) == 1:
            return [lost(cells[0], "out of memory")]
        smaller = divided(cells, 2)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return [result for part in smaller for result in passes(part, one_pass)]


def _fit(
    cells: Sequence[Cell],
    data: Mapping[Cell, Tensors],
    machine: Machine,
    weights: io.BytesIO | None,
    checkpoint: Checkpoint,
) -> list[RunResult]:
    shape, bf16 = tuple(data[cells[0]].x_train.shape[1:]), machine.dtype == "bf16"
    networks = Networks([build(cell, shape, machine) for cell in cells], bf16, own_seed(cells[0]))
    examples = Examples.of([data[c].x_train for c in cells], [data[c].y_train for c in cells])
    if networks.stacked:
        if networks.buffers and len(set(examples.sizes)) > 1:
            even = grouped(cells, lambda cell: len(data[cell].y_train)).values()
            why = "padding would count in the statistics of batch normalisation"
            raise CannotStack(why, list(even))
        networks.probe(examples.x[:2].expand(len(cells), *examples.x[:2].shape))
    curves = train(cells, networks, parts({cell: data[cell] for cell in cells}), checkpoint)
    seconds = checkpoint.seconds / len(cells)
    networks.settle()
    last = list(data)[-1]
    if weights is not None and last in cells:
        weights.seek(0)
        weights.truncate()
        torch.save(layers.own_state(networks.modules[cells.index(last)]), weights)
    results = {
        cell: RunResult(
            cell=cell,
            environment=dataclasses.replace(environment(machine), stack=len(cells)),
            n_train=len(data[cell].y_train),
            n_test=len(data[cell].y_test),
            parameters=layers.parameter_count(networks.modules[0]),
            seconds=seconds,
            curve=curve,
            failed=diverged(curve),
        )
        for cell, curve in zip(cells, curves, strict=True)
    }
    modules = dict(zip(cells, networks.modules, strict=True))
    done = [cell for cell in cells if not results[cell].failed]
    for same in grouped(done, lambda cell: (results[cell].n_train, results[cell].n_test)).values():
        evaluated = evaluate(
            [results[cell] for cell in same],
            Networks([modules[cell] for cell in same], bf16, own_seed(same[0])),
            [data[cell] for cell in same],
        )
        results.update({result.cell: result for result in evaluated})
    return [results[cell] for cell in cells]


@lru_cache
def warm_up(device: str, optimizer: str) -> None:
    """One step of the smallest network, so that no cell's seconds hold what torch does but once."""
    layer = nn.Linear(1, 1, device=device)
    layer(torch.ones(1, 1, device=device)).sum().backward()
    OPTIMIZERS.choose(optimizer)(layer.parameters(), 0.001, 0.0).step()


def evaluate(
    results: Sequence[RunResult], networks: Networks, data: Sequence[Tensors]
) -> list[RunResult]:
    """Add scores, confusion matrices and neuron counts; every cell has as many examples."""
    head = HEADS.choose(results[0].cell.head)
    counters = [
        Counter(layer, len(results), act.units, data[0].x_train.device)
        for layer, act in layers.activations(networks.modules[0])
        if act.counted
    ]
    tested = Examples.of([d.x_test for d in data], [d.y_test for d in data])
    trained = Examples.of([d.x_train for d in data], [d.y_train for d in data])
    test = predict(networks, head, tested, [])
    training = predict(networks, head, trained, counters)
    figures = {name: metric.function(test).tolist() for name, metric in METRICS.items()}
    figures |= {
        f"train_{name}": METRICS[name].function(training).tolist() for name in ("accuracy", "loss")
    }
    for name in results[0].cell.perturbations:
        figures[f"accuracy {name}"] = [
            withstood(result.cell, name, module, part)
            for result, module, part in zip(results, networks.modules, data, strict=True)
        ]
    if not head.entry.silent:
        figures["silent"] = [math.nan] * len(results)
    by_layer = [counter.counts() for counter in counters]
    evaluated = []
    for number, result in enumerate(results):
        scores = {name: defined(figure[number]) for name, figure in figures.items()}
        if scores["loss"] is None or scores["train_loss"] is None:
            failed = "diverged: the loss is not finite after training"
            evaluated.append(dataclasses.replace(result, failed=failed))
            continue
        evaluated.append(
            dataclasses.replace(
                result,
                scores=scores,
                confusion=tuple(tuple(map(int, row)) for row in test.confusion[number].tolist()),
                layers=tuple(counts[number] for counts in by_layer),
            )
        )
    return evaluated


def withstood(cell: Cell, name: str, network: nn.Module, data: Tensors) -> float:
    """The accuracy of a trained cell on perturbed test inputs."""
    x = perturbations.perturbed(cell, name, data.x_train, data.x_test)
    examples = Examples.of([x], [data.y_test])
    networks = Networks([network], seed=own_seed(cell))
    prediction = predict(networks, HEADS.choose(cell.head), examples, [])
    return float(METRICS["accuracy"].function(prediction))


def defined(figure: float) -> float | None:
    """A figure, or None where it is not defined."""
    return figure if math.isfinite(figure) else None


def own_seed(cell: Cell) -> int | None:
    """What a user's own code draws in evaluation follows from; None where there is no such code."""
    return seeds.stream(cell, "evaluation").initial_seed() if foreign(cell) else None


def build(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
    """The cell's network with its initial weights, for examples of `shape`."""
    network = skeleton(cell, shape, datasets.load(cell.dataset, machine.data_dir))
    network = network.to(getattr(torch, machine.storage))
    if not MODELS.choose(cell.model).entry.code:
        try:
            network = network.to_empty(device="cpu")
        except RuntimeError as error:
            count = layers.parameter_count(network)
            raise BadValue(f"--model {cell.model}: no memory for {count} parameters") from error
        weights.reset_norms(network)
    if cell.fresh:
        weights.redraw(network, seeds.stream(cell, "network"))
    bias = HEADS.choose(cell.head).entry.bias
    weights.initialise(network, seeds.stream(cell, "weights"), output_bias=bias, init=cell.init)
    dtype = getattr(torch, machine.storage)  # a user's own module comes in its own
    layout: Any = {}
    if MODELS.choose(cell.model).entry.any_layout and layers.narrowest(network) >= NARROW:
        layout = {"memory_format": torch.channels_last}  # faster convolutions
    return network.to(machine.device, dtype, **layout)


def skeleton(cell: Cell, shape: tuple[int, ...], dataset: Dataset) -> nn.Module:
    """The cell's network, its weights without memory; raises BadValue where none can be built.

    That of code which is not relubench's begins as that code says, drawn from the cell's stream.
    """
    activation, classes = ACTIVATIONS.choose(cell.activation), len(dataset.classes)
    try:
        model = MODELS.choose(cell.model)
        if cell.match_parameters:
            model = matching.narrowed(cell.model, cell.activation, tuple(shape), classes)
        where = torch.device("cpu") if model.entry.code else undrawn.weightless()
        with layers.drawing_from(seeds.stream(cell, "network")), where:
            axis = {} if cell.unit_axis is None else {"unit_axis": cell.unit_axis}
            network: nn.Module = model(shape, classes, activation, **axis)
    except (RuntimeError, TypeError, MemoryError) as error:
        if MODELS.choose(cell.model).entry.code:
            raise OwnCodeError(f"{cell.model} cannot be built: {brief(error)}") from error
        # what torch says of sizes beyond its integers
        raise BadValue(f"--model {cell.model} is too large to be built") from error
    return network


def environment(machine: Machine) -> Environment:
    """What else decides a number here."""
    return Environment(
        relubench=__version__,
        torch=torch.__version__,
        device=machine.device,
        threads=machine.threads,
        dtype=machine.dtype,
        stack=1,
    )
