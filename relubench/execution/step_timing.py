"""Steps that are timed, to find how a set-up trains fastest on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from relubench.models import MODELS
from relubench.plan import Arrangement, Cell, Machine
from relubench.training.building import build
from relubench.training.compute import compute_settings
from relubench.training.engine import warm_up
from relubench.training.examples import Examples, Part
from relubench.training.heads import HEADS
from relubench.training.learning import Learner, uses_foreign_code
from relubench.training.networks import CannotStack, Networks
from relubench.training.parallel import in_parallel

STEPS = 8  # of a timed epoch
TIMED, ENOUGH = 3, 0.15  # epochs at least, and seconds after which there are no more
BRIEF = 0.01  # seconds of single steps after which no other is timed


def step_seconds(cell: Cell, shape: tuple[int, ...], batch: int, machine: Machine) -> float:
    """Seconds of a step of a single cell, the least of a few: the first does what is done once."""
    timed = _timed(cell, batch)
    with compute_settings(machine):
        warm_up(machine.device, timed.recipe.optimizer)
        examples = _examples(shape, timed, batch, 1, 1, machine)
        learner = Learner([timed], _networks([timed], shape, examples, machine), examples.sizes)
        # An epoch of one step each: the recording, at the eighth, never comes. A plain
        # step is estimate enough.
        step = learner.step_on(examples, warmup_steps=STEPS)
        learner.learn(Part(examples), step)
        taken: list[float] = []
        # The first takes many times as long, often more than BRIEF: it never stands alone.
        while len(taken) < TIMED and sum(taken[1:]) < BRIEF:
            start = time.perf_counter()
            learner.learn(Part(examples), step)
            taken.append(time.perf_counter() - start)
        return min(taken)


def measure(
    cell: Cell,
    shape: tuple[int, ...],
    batch: int,
    arrangement: Arrangement,
    machine: Machine,
) -> float:
    """Time a few steps of such cells; infinite where they do not stack."""
    timed = _timed(cell, batch)
    cells = [replace(timed, seed=seed) for seed in range(arrangement.width)]
    machine = replace(machine, threads=arrangement.threads)
    with compute_settings(machine):
        warm_up(machine.device, timed.recipe.optimizer)
        examples = _examples(shape, timed, batch, len(cells), STEPS, machine)
        try:
            # Each pass has networks of its own, as in training: passes share
            # nothing but the examples.
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
    # The slowest of the passes: side by side, all are over when it is.
    return max(seconds) / STEPS / arrangement.width / arrangement.n_parallel


def _timed(cell: Cell, batch: int) -> Cell:
    """The cell whose steps are timed for it: always with relu, and with its task's first head."""
    task = HEADS.choose(cell.head).entry.task
    head = next(name for name, entry in HEADS.items() if entry.task == task)
    return replace(cell.timed(batch), head=head)


def _examples(
    shape: tuple[int, ...], cell: Cell, batch: int, cells: int, steps: int, machine: Machine
) -> Examples:
    """Noise of one class or number, as much as an epoch of so many steps takes."""
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, machine.storage)
    task = HEADS.choose(cell.head).entry.task
    x = torch.randn(steps * batch, *shape, generator=generator, dtype=dtype).to(machine.device)
    if MODELS.choose(cell.model).entry.takes != "numbers":  # token 0, which takes as long as any
        x = torch.zeros_like(x, dtype=torch.int64)
    if task == "language":
        return Examples.of([x] * cells, [x] * cells)
    kind = torch.int64 if task == "classes" else dtype
    y = torch.zeros(steps * batch, dtype=kind).to(machine.device)
    # The very same tensors, so that cells share them as those of a plan do.
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
        # As the engine does: it decides whether the stack goes layer by layer.
        networks.probe(first.expand(len(cells), *first.shape))
    return networks


def _epoch_seconds(cells: Sequence[Cell], networks: Networks, examples: Examples) -> float:
    """Seconds of an epoch: the median of several."""
    learner = Learner(cells, networks, examples.sizes)
    # Recorded in the first epoch, which is left out below: later ones are replayed, as in training.
    step = learner.step_on(examples, warmup_steps=STEPS // 2)
    taken: list[float] = []
    while len(taken) < TIMED or sum(taken) < ENOUGH:
        start = time.perf_counter()
        learner.learn(Part(examples), step)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first warms up; the least may have been alone
