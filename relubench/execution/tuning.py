"""Tuning: cells in one pass, threads for it, and passes side by side.

It is measured here, once, and kept. Stacking wins for small networks on a CPU and loses for
convolutions; nothing but a measurement tells where the border lies. The few timed steps of an
architecture are kept in the user's cache.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs
import torch

from relubench import __version__, datasets, files
from relubench.errors import out_of_memory
from relubench.plan import Cell, Machine, Split
from relubench.training.building import build
from relubench.training.compute import compute_settings
from relubench.training.engine import warm_up
from relubench.training.examples import Examples, Part
from relubench.training.learning import Learner, uses_foreign_code
from relubench.training.networks import CannotStack, Networks
from relubench.training.parallel import in_parallel
from relubench.wording import counted

WIDTHS = (1, 8, 32, 128)
STEPS = 8  # of a timed epoch
TIMED, ENOUGH = 3, 0.15  # epochs at least, and seconds after which there are no more
ALIKE = 1.1  # times the least seconds of a single cell
WORTH_MEASURING = 500  # steps of a set-up: fewer are trained before stacks are measured
BYTES = 2**31  # of training inputs that a stack may copy
LARGEST = 10**6  # bytes of a cache that is read


@dataclass(frozen=True)
class Tuning:
    """Cells in one pass, its CPU threads, and how many passes train side by side.

    seconds  per step and cell; None: not measured
    """

    stack: int
    threads: int
    seconds: float | None = None
    n_parallel: int = 1

    def __str__(self) -> str:
        words = f"{counted(self.stack, 'cell')} in a pass on {counted(self.threads, 'thread')}"
        if self.n_parallel > 1:
            words += f", {self.n_parallel} passes side by side"
        if self.seconds:
            words += f", {1e6 * self.seconds:.0f} µs per step and cell"
        return words


def tune(
    cells: Sequence[Cell], machine: Machine, threads: Sequence[int], stack: int | None
) -> Tuning:
    """Choose how to train cells of one set-up; `stack` fixes the width, one pass at a time.

    threads  the counts to choose from: the fastest for a single cell, or more that are about as
             fast, since a stack makes use of them. So the choice, which decides the last bits of
             a result, does not depend on the number of cells. Threads that a stack leaves idle
             train a part of it, where that pays

    What is measured is always relu: a costly activation gets the width that is best for relu, and
    activations that are compared train alike.
    """
    cell = cells[0]
    dataset = datasets.load(cell.dataset, machine.data_dir)

    def seconds(width: int, threads: int, n_parallel: int = 1) -> float:
        return _seconds(cell, dataset, Arrangement(width, threads, n_parallel), machine)

    n_threads = threads[0]
    if len(threads) > 1:
        # By a single cell: a choice by stacks would change with the number of cells, and with it
        # the ledger's context, which has the threads.
        alone = {count: seconds(1, count) for count in threads}
        fastest = min(alone.values())
        n_threads = max(count for count in threads if alone[count] <= ALIKE * fastest)
    widths = [stack] if stack else _widths(cells, len(dataset.y) * math.prod(dataset.shape))
    if len(widths) > 1 and len(cells) * steps(cell, dataset) < WORTH_MEASURING:
        widths = [1]
    if len(widths) == len(threads) == 1:
        return Tuning(widths[0], n_threads)
    width = min(widths, key=lambda width: seconds(width, n_threads))
    tuned = Tuning(width, n_threads, seconds(width, n_threads))
    if stack:
        return tuned
    most = min(max(threads) // n_threads, width // 2)
    n_parallel = 2
    # Doubled until that no longer pays: every arrangement that is tried costs a measurement.
    while n_parallel <= most:
        narrower = min(width, math.ceil(len(cells) / n_parallel))
        taken = seconds(narrower, n_threads, n_parallel)
        if tuned.seconds is not None and taken >= tuned.seconds:
            break
        tuned = Tuning(narrower, n_threads, taken, n_parallel)
        n_parallel *= 2
    return tuned


def steps(cell: Cell, dataset: datasets.Dataset) -> int:
    """About how many steps the cell's training takes."""
    folds = cell.split.folds
    train_fraction = 1 if dataset.n_test else 0.7  # the hold-out's
    if folds is not None:
        train_fraction = 1 - 1 / folds
    examples = min(dataset.n_train * train_fraction, cell.preparation.limit or math.inf)
    trainings = 1 + len(cell.recipe.candidates)
    if cell.split.carried:
        trainings = folds or 1
    return trainings * cell.recipe.epochs * math.ceil(examples / cell.recipe.batch_size)


def _widths(cells: Sequence[Cell], size: int) -> list[int]:
    """1, and the wider stacks that these cells fill and this memory holds."""
    most = len(cells)
    if size:
        most = min(most, max(1, BYTES // (4 * size)))
    return sorted({min(width, most) for width in WIDTHS})


@dataclass(frozen=True)
class Arrangement:
    """Cells in a pass, CPU threads of each pass, passes side by side."""

    width: int
    threads: int
    n_parallel: int = 1


def _seconds(
    cell: Cell,
    dataset: datasets.Dataset,
    arrangement: Arrangement,
    machine: Machine,
) -> float:
    """Seconds per step and cell, from the cache or from a few timed steps."""
    shape = (cell.preparation.pca,) if cell.preparation.pca else dataset.shape
    batch = min(cell.recipe.batch_size, dataset.n_train)
    key = json.dumps(
        [
            __version__,
            torch.__version__,
            platform.processor() or platform.machine(),
            os.cpu_count(),
            machine.device,
            machine.dtype,
            cell.model,
            shape,
            len(dataset.classes),
            batch,
            cell.recipe.optimizer,
            arrangement.width,
            arrangement.threads,
            arrangement.n_parallel,
        ]
    )
    cached = _cache()
    if key in cached:
        return cached[key]
    try:
        seconds = _measure(cell, shape, batch, arrangement, machine)
    except (MemoryError, RuntimeError) as error:
        single = arrangement.width == arrangement.n_parallel == 1
        if single or not out_of_memory(error):
            raise
        return math.inf  # a single cell may still have room
    if math.isfinite(seconds):  # what does not stack is soon found out again
        _keep(cached | {key: seconds})
    return seconds


def _keep(seconds: dict[str, float]) -> None:
    path = _cache_file()
    with suppress(OSError):  # without a cache it is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(seconds, indent=0).encode())


def _measure(
    cell: Cell,
    shape: tuple[int, ...],
    batch: int,
    arrangement: Arrangement,
    machine: Machine,
) -> float:
    """Time a few steps of such cells; infinite where they do not stack."""
    recipe = replace(cell.recipe, epochs=1, batch_size=batch)
    timed = replace(cell, activation="relu", split=Split(), recipe=recipe)
    cells = [replace(timed, seed=seed) for seed in range(arrangement.width)]
    machine = replace(machine, threads=arrangement.threads)
    with compute_settings(machine):
        warm_up(machine.device, recipe.optimizer)
        examples = _examples(shape, batch, len(cells), machine)
        try:
            passes = []
            for _ in range(arrangement.n_parallel):
                passes.append(_networks(cells, shape, examples, machine))
        except CannotStack:
            return math.inf
        seconds = in_parallel(
            lambda networks: _epoch_seconds(cells, networks, examples),
            passes,
            arrangement.n_parallel,
            arrangement.threads,
        )
    return max(seconds) / STEPS / arrangement.width / arrangement.n_parallel


def _examples(shape: tuple[int, ...], batch: int, cells: int, machine: Machine) -> Examples:
    """Noise of one class, as much as an epoch of STEPS takes."""
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, machine.storage)
    x = torch.randn(STEPS * batch, *shape, generator=generator, dtype=dtype).to(machine.device)
    y = torch.zeros(STEPS * batch, dtype=torch.int64).to(machine.device)
    return Examples.of([x] * cells, [y] * cells)


def _networks(
    cells: Sequence[Cell],
    shape: tuple[int, ...],
    examples: Examples,
    machine: Machine,
) -> Networks:
    networks = Networks(
        [build(cell, shape, machine) for cell in cells],
        bf16=machine.dtype == "bf16",
        foreign=uses_foreign_code(cells[0]),
    )
    if networks.stacked:
        first = examples.x[:2]
        networks.probe(first.expand(len(cells), *first.shape))
    return networks


def _epoch_seconds(cells: Sequence[Cell], networks: Networks, examples: Examples) -> float:
    """Seconds of an epoch: the median of several."""
    learner = Learner(cells, networks, examples.sizes)
    step = learner.step_on(examples, warmup_steps=STEPS // 2)
    taken: list[float] = []
    while len(taken) < TIMED or sum(taken) < ENOUGH:
        start = time.perf_counter()
        learner.learn(Part(examples), step)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first warms up; the least may have been alone


def _cache_file() -> Path:
    return Path(platformdirs.user_cache_dir("relubench")) / "tuning.json"


def _cache() -> dict[str, float]:
    """Read what has been measured; entries that cannot be seconds are left out."""
    try:
        with files.regular(_cache_file(), LARGEST) as file:
            cached = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(cached, dict):
        return {}
    return {key: seconds for key, seconds in cached.items() if _is_seconds(seconds)}


def _is_seconds(value: object) -> bool:
    return isinstance(value, float) and 0 < value < math.inf
