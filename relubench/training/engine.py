"""The engine: a stack of cells in, a result for each out: built, trained, scored, counted."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import nn

from relubench import __version__, seeds
from relubench.errors import out_of_memory
from relubench.grouping import grouped
from relubench.metrics import METRICS, Continuation, Estimate, Prediction
from relubench.models import layers
from relubench.neurons.statistics import Counter
from relubench.plan import Cell, Machine, Stack
from relubench.results import Environment, RunResult, lost_run
from relubench.training import perturbations, rate_search, task_scores
from relubench.training.between import Between
from relubench.training.building import build
from relubench.training.checkpoints import Checkpoint, CheckpointStore
from relubench.training.compute import compute_settings
from relubench.training.context import context
from relubench.training.examples import Examples, Tensors, of_task, parts, task_sizes, tensors
from relubench.training.heads import HEADS
from relubench.training.learning import diverged, learned, steps, uses_foreign_code
from relubench.training.networks import CannotStack, Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.parallel import divided, in_parallel
from relubench.training.prediction import predict

TRAINED = ("accuracy", "r2", "loss")  # scores on the training set, too
Data = Mapping[Cell, Tensors]
OnePass = Callable[[Sequence[Cell]], list[RunResult]]


class Unsaved(Exception):
    """Weights that cannot be written: the reason, and the results that were had all the same."""

    def __init__(self, why: str, results: list[RunResult]) -> None:
        super().__init__(why, results)
        self.why, self.results = why, results


def fit(
    stack: Stack,
    machine: Machine,
    save: Path | None = None,
    checkpoints: CheckpointStore | None = None,
) -> list[RunResult]:
    """Train every cell of the stack; a result each, in the same order.

    They train in one pass, or in several where the stack says so, their networks cannot be stacked
    or memory does not hold them all.

    save         file for the weights of the last cell: a state dict that torch.load reads with
                 weights_only=True
    checkpoints  unfinished trainings to go on with

    Raises DataError where the data cannot be had, Unsaved where `save` cannot be written.
    """
    # Into memory first: a disk that is full is met when the results are there, not before.
    weights = io.BytesIO() if save else None
    # A tuned stack names its own number of threads, which may be fewer than the machine's.
    machine = dataclasses.replace(machine, threads=stack.threads or machine.threads)
    with compute_settings(machine):
        results = fitted(stack, machine, weights, checkpoints)
    if save and weights is not None:
        _write(save, weights, results)
    return results


def _write(save: Path, weights: io.BytesIO, results: list[RunResult]) -> None:
    try:
        save.write_bytes(weights.getbuffer())
    except OSError as error:
        with suppress(OSError):
            if save.is_file():  # half of it is no use, and a device is not ours
                save.unlink()
        raise Unsaved(str(error.strerror), results) from error


def fitted(
    stack: Stack,
    machine: Machine,
    weights: io.BytesIO | None,
    checkpoints: CheckpointStore | None,
) -> list[RunResult]:
    """Train under the settings that `fit` has made; the last cell's weights go into `weights`."""
    if stack.cells[0].recipe.rates:
        # Trials go on from states of their own, in the folder of the search that they belong to.
        nested = checkpoints and checkpoints.within(stack)
        fit_at = partial(fitted, machine=machine, weights=weights, checkpoints=nested)
        return rate_search.fit_at_best(stack, fit_at)
    # Before the clock of any cell starts: the first step of a process compiles and allocates.
    warm_up(machine.device, stack.cells[0].recipe.optimizer)
    try:
        data = {cell: tensors(cell, machine) for cell in stack.cells}
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return [lost_run(cell, "out of memory") for cell in stack.cells]

    # A checkpoint belongs to a pass, not to the stack: a pass that is halved
    # begins states of its own.
    def one_pass(cells: Sequence[Cell]) -> list[RunResult]:
        checkpoint = Checkpoint(None)
        if checkpoints:
            decides = str(context(cells[0], machine))
            checkpoint = checkpoints.checkpoint(stack, Stack(tuple(cells)), decides)
        return _fit(cells, data, machine, weights, checkpoint, stack.track)

    trained = in_parallel(
        lambda part: fit_splitting_on_failure(part, one_pass),
        _passes(stack, data),
        stack.n_parallel,
        machine.threads,
    )
    # Passes were sorted and split: back to the order in which the stack has its cells.
    by_cell: dict[Cell, RunResult] = {}
    for results in trained:
        by_cell.update({result.cell: result for result in results})
    return [by_cell[cell] for cell in stack.cells]


def _passes(stack: Stack, data: Data) -> list[Sequence[Cell]]:
    """The cells of each pass: the most steps first, validation parts of one size together.

    Where steps are counted, all cells of a pass have as many in an epoch: they end together. In a
    sequence of tasks they have as many examples of each, since all are scored at its end.
    """

    def n_steps(cell: Cell) -> int:
        return steps(len(data[cell].y_train), cell.recipe)

    def together(cell: Cell) -> tuple[object, ...]:
        scored = data[cell].y_test if cell.split.validation else data[cell].y_held
        n_counted = n_steps(cell) if cell.recipe.steps else 0
        return len(scored), n_counted, *task_sizes(cell, data[cell])

    # A short cell leaves the pass at its end, so that the first cells of a stack are what goes on.
    ordered = sorted(stack.cells, key=n_steps, reverse=True)
    passes: list[Sequence[Cell]] = []
    # `predict` scores equally many examples of every cell: no padding would be left out there.
    for cells in grouped(ordered, together).values():
        passes += divided(cells, stack.n_parallel)
    return passes


def fit_splitting_on_failure(cells: Sequence[Cell], one_pass: OnePass) -> list[RunResult]:
    """Train the cells in one pass; in smaller ones where they do not stack or memory ends."""
    try:
        return one_pass(cells)
    except CannotStack as error:
        # Parts that may stack are tried as stacks again; without a hint each cell trains alone.
        smaller = error.parts or [[cell] for cell in cells]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(cells) == 1:
            return [lost_run(cells[0], "out of memory")]
        smaller = divided(cells, 2)
    # Outside of the handlers, whose exception still holds the tensors of the pass that failed.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    results: list[RunResult] = []
    for part in smaller:
        results += fit_splitting_on_failure(part, one_pass)
    return results


# --- one pass -------------------------------------------------------------------------------------


def _fit(
    cells: Sequence[Cell],
    data: Data,
    machine: Machine,
    weights: io.BytesIO | None,
    checkpoint: Checkpoint,
    track: int | None,
) -> list[RunResult]:
    """Train the cells in one pass; raises CannotStack where they have none."""
    bf16 = machine.dtype == "bf16"
    networks = _built(cells, data, machine)
    between = Between(cells, networks, [data[cell].x_train for cell in cells], track)
    own = {cell: data[cell] for cell in cells}
    # Train. Cells of one pass cannot be timed apart: each is given the same share of its seconds.
    learner = learned(cells, networks, parts(own), checkpoint, between)
    seconds = checkpoint.seconds / len(cells)
    # The single networks again, for the weights that are saved and for scores and counts.
    networks.write_back()
    # `data` has the stack's order, so that this is the cell whose weights --save promises.
    last = list(data)[-1]
    if weights is not None and last in cells:
        weights.seek(0)  # a trial of another rate may have written, too
        weights.truncate()
        torch.save(layers.own_state(networks.modules[cells.index(last)]), weights)
    here = dataclasses.replace(environment(machine), stack=len(cells))
    # One architecture in a pass: the first network speaks for all.
    n_parameters = layers.parameter_count(networks.modules[0])
    results: dict[Cell, RunResult] = {}
    histories = between.histories()
    for number, cell in enumerate(cells):
        curve, tasks = learner.curves[number], learner.tasks[number]
        first = learner.first_tasks[number]
        results[cell] = RunResult(
            cell=cell,
            environment=here,
            n_train=len(data[cell].y_train),
            n_test=len(data[cell].y_test),
            parameters=n_parameters,
            seconds=seconds,
            curve=tuple(curve),
            scores=task_scores.of_sequence(tasks, first) if tasks else {},
            failed=diverged(curve),
            tasks=tuple(tasks),
            history=histories[number],
        )
    # Without those that diverged, whose counts would be of no use, and never padded: scores are of
    # examples, each counted once.
    modules = dict(zip(cells, networks.modules, strict=True))
    for same in _same_sizes(results.values()):
        together = [result.cell for result in same]
        evaluated = evaluate(
            same,
            Networks([modules[cell] for cell in together], bf16, own_seed(together[0])),
            [_last(cell, data[cell]) for cell in together],
        )
        results.update({result.cell: result for result in evaluated})
    return [results[cell] for cell in cells]


def _last(cell: Cell, data: Tensors) -> Tensors:
    """What a cell is scored and counted on: of a sequence its last task."""
    return of_task(cell, data, cell.tasks - 1) if cell.tasks else data


def _built(cells: Sequence[Cell], data: Data, machine: Machine) -> Networks:
    """The cells' networks; raises CannotStack where they have no vectorised pass."""
    shape = tuple(data[cells[0]].x_train.shape[1:])
    modules = [build(cell, shape, machine) for cell in cells]
    networks = Networks(
        modules,
        bf16=machine.dtype == "bf16",
        seed=own_seed(cells[0]),
        foreign=uses_foreign_code(cells[0]),
    )
    # From here on: can they share a pass, and do its batches fit them all?
    if not networks.stacked:
        return networks
    by_size = grouped(cells, lambda cell: len(data[cell].y_train))
    if networks.buffers and len(by_size) > 1:
        why = "padding would count in the statistics of batch normalisation"
        raise CannotStack(why, list(by_size.values()))
    trained = [data[cell] for cell in cells]
    examples = Examples.of([part.x_train for part in trained], [part.y_train for part in trained])
    # Two examples: with one, batch normalisation of a dense layer raises.
    first = examples.x[:2]
    networks.probe(first.expand(len(cells), *first.shape))
    return networks


def _same_sizes(results: Iterable[RunResult]) -> list[list[RunResult]]:
    """The results that did not fail, those with as many examples together."""
    succeeded = [result for result in results if not result.failed]
    by_size = grouped(succeeded, lambda result: (result.n_train, result.n_test))
    return list(by_size.values())


# Once for each device and optimizer.
@lru_cache
def warm_up(device: str, optimizer: str) -> None:
    """Take a step of the smallest network: what torch does but once is in no cell's seconds."""
    layer = nn.Linear(1, 1, device=device)
    layer(torch.ones(1, 1, device=device)).sum().backward()
    OPTIMIZERS.choose(optimizer)(layer.parameters(), 0.001, 0.0).step()


# --- scores and counts ----------------------------------------------------------------------------


def evaluate(
    results: Sequence[RunResult],
    networks: Networks,
    data: Sequence[Tensors],
) -> list[RunResult]:
    """Add scores, confusion matrices and neuron counts; every cell has as many examples.

    A task may have no test set, and so no scores on one.
    """
    # Predict. Units are counted on the training set alone, in the pass that scores it.
    head = HEADS.choose(results[0].cell.head)
    counters = _counters(networks, len(results), data[0].x_train.device)
    tested = Examples.of([part.x_test for part in data], [part.y_test for part in data])
    trained = Examples.of([part.x_train for part in data], [part.y_train for part in data])
    test = predict(networks, head, tested, []) if len(tested.x) else None
    training = predict(networks, head, trained, counters)
    if isinstance(test, Estimate) and isinstance(training, Estimate):
        test, training = _in_units(test, data), _in_units(training, data)
    # Score: for every figure a list with an entry per cell.
    if isinstance(test, Continuation) and isinstance(training, Continuation):
        test, training = (part.of(data[0].letters) for part in (test, training))
    own = {name for name, metric in METRICS.items() if metric.task in ("any", head.entry.task)}
    figures = {name: [math.nan] * len(results) for name in METRICS if name in own}
    if test:
        figures = {name: METRICS[name].function(test).tolist() for name in figures}
    for name in TRAINED:
        if name in own:
            figures[f"train_{name}"] = METRICS[name].function(training).tolist()
    if data[0].drawn:
        figures["tokens_per_second"] = [_pace(*pair) for pair in zip(results, data, strict=True)]
    for name in results[0].cell.perturbations:
        figures[f"accuracy {name}"] = _perturbed_accuracies(results, networks, data, name)
    # A softmax cannot give every class a 0: the figure is not defined, which is not the same as 0.
    if "silent" in own and not head.entry.silent:
        figures["silent"] = [math.nan] * len(results)
    by_layer = [counter.counts() for counter in counters]
    evaluated = []
    for number, result in enumerate(results):
        scores = {name: defined(figure[number]) for name, figure in figures.items()}
        # The curve has the loss before each step: the very last step may have spoilt the weights.
        if scores["train_loss"] is None or (test and scores["loss"] is None):
            failed = "diverged: the loss is not finite after training"
            evaluated.append(dataclasses.replace(result, failed=failed))
            continue
        evaluated.append(
            dataclasses.replace(
                result,
                scores=result.scores | scores,
                confusion=_confusion(test, number),
                layers=tuple(counts[number] for counts in by_layer),
            )
        )
    return evaluated


def _pace(result: RunResult, data: Tensors) -> float:
    """Tokens that a run learned from, each time that it did, by second."""
    recipe = result.cell.recipe
    per_epoch = steps(data.drawn, recipe)
    windows = 0
    for epoch in range(recipe.passes(per_epoch)):
        windows += min(data.drawn, recipe.steps_in(epoch, per_epoch) * recipe.batch_size)
    return data.x_train.shape[1] * windows / (result.seconds or math.nan)


def _in_units(estimate: Estimate, data: Sequence[Tensors]) -> Estimate:
    """Numbers as they were measured, no longer standardised."""
    means = torch.tensor([part.scale.mean for part in data], dtype=torch.float64)
    deviations = torch.tensor([part.scale.deviation for part in data], dtype=torch.float64)
    return estimate.in_units(means, deviations)


def _confusion(
    said: Prediction | Estimate | Continuation | None, number: int
) -> tuple[tuple[int, ...], ...] | None:
    """The confusion matrix of one cell; None for numbers, texts, and where nothing was said."""
    if not isinstance(said, Prediction):
        return None
    return tuple(_integers(row) for row in said.confusion[number].tolist())


def _integers(row: Sequence[float]) -> tuple[int, ...]:
    return tuple(map(int, row))


def _counters(networks: Networks, cells: int, device: torch.device) -> list[Counter]:
    """A neuron counter for every activation that is called in evaluation."""
    counters = []
    for layer, act in layers.activations(networks.modules[0]):
        if act.counted:
            counters.append(Counter(layer, cells, act.units, device))
    return counters


def _perturbed_accuracies(
    results: Sequence[RunResult],
    networks: Networks,
    data: Sequence[Tensors],
    name: str,
) -> list[float]:
    """The accuracy of each cell on perturbed test inputs, by the pass that scores plain ones."""
    inputs = []
    for result, part in zip(results, data, strict=True):
        inputs.append(perturbations.perturbed(result.cell, name, part.x_train, part.x_test))
    examples = Examples.of(inputs, [part.y_test for part in data])
    prediction = predict(networks, HEADS.choose(results[0].cell.head), examples, [])
    accuracies: list[float] = METRICS["accuracy"].function(prediction).tolist()
    return accuracies


def defined(figure: float) -> float | None:
    """A figure, or None where it is not defined."""
    return figure if math.isfinite(figure) else None


def own_seed(cell: Cell) -> int | None:
    """The seed of what a user's own code draws in evaluation; None where there is no such code."""
    if not uses_foreign_code(cell):
        return None
    return seeds.stream(cell, "evaluation").initial_seed()


# --- where it was trained -------------------------------------------------------------------------


def environment(machine: Machine) -> Environment:
    """The record in a result of where it was trained, in a pass of its own."""
    return Environment(
        relubench=__version__,
        torch=torch.__version__,
        device=machine.device,
        threads=machine.threads,
        dtype=machine.dtype,
        stack=1,
    )
