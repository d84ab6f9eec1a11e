"""How many cells to train in one pass and on how many threads: measured here, once, and kept.

Stacking wins for small networks on a CPU and loses for convolutions; nothing but a measurement
tells where the border lies. The few timed steps of an architecture are kept in the user's cache.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch

from relubench import datasets, files
from relubench.engine import build, train, warm_up
from relubench.errors import BadValue
from relubench.examples import Examples, Part
from relubench.formats import counted
from relubench.networks import CannotStack, Networks
from relubench.plan import Cell, Machine, Split

WIDTHS = (1, 8, 32, 128)
STEPS = 8  # of a timed epoch
TIMED, ENOUGH = 3, 0.15  # epochs at least, and seconds after which there are no more
WORTH_MEASURING = 500  # steps of a set-up: fewer are trained before stacks are measured
BYTES = 2**31  # of training inputs that a stack may copy


@dataclass(frozen=True)
class Tuning:
    """Cells in one pass, CPU threads, and seconds per step of one cell (None: not measured)."""

    stack: int
    threads: int
    seconds: float | None = None

    def __str__(self) -> str:
        threads, cells = counted(self.threads, "thread"), counted(self.stack, "cell")
        measured = f", {1e6 * self.seconds:.0f} µs per step and cell" if self.seconds else ""
        return f"{cells} in a pass on {threads}{measured}"


def tune(
    cells: Sequence[Cell], machine: Machine, threads: Sequence[int], stack: int | None
) -> Tuning:
    """How to train cells of one set-up; `stack` fixes the width.

    threads  the counts to choose from: the fastest for a single cell, so that the choice, which
             decides the last bits of a result, does not depend on how many cells there are
    """
    cell = cells[0]
    dataset = datasets.load(cell.dataset, machine.data_dir)

    def seconds(width: int, count: int) -> float:
        return _seconds(cell, dataset, width, count, machine)

    count = threads[0]
    if len(threads) > 1:
        count = min(threads, key=lambda count: seconds(1, count))
    widths = [stack] if stack else _widths(cells, len(dataset.y) * math.prod(dataset.shape))
    if len(widths) > 1 and len(cells) * steps(cell, dataset) < WORTH_MEASURING:
        widths = [1]
    if len(widths) == len(threads) == 1:
        return Tuning(widths[0], count)
    width = min(widths, key=lambda width: seconds(width, count))
    return Tuning(width, count, seconds(width, count))


def steps(cell: Cell, dataset: datasets.Dataset) -> int:
    """About how many steps the cell's training takes."""
    folds, whole = cell.split.folds, 1 if dataset.n_test else 0.7
    share = whole if folds is None else 1 - 1 / folds
    examples = min(dataset.n_train * share, cell.preparation.limit or math.inf)
    passes = (cell.split.folds or 1) if cell.split.carried else 1 + len(cell.recipe.candidates)
    return passes * cell.recipe.epochs * math.ceil(examples / cell.recipe.batch_size)


def _widths(cells: Sequence[Cell], size: int) -> list[int]:
    """1, and the wider stacks that these cells fill and this memory holds."""
    most = len(cells) if size == 0 else min(len(cells), max(1, BYTES // (4 * size)))
    return sorted({min(width, most) for width in WIDTHS})


def _seconds(
    cell: Cell, dataset: datasets.Dataset, width: int, threads: int, machine: Machine
) -> float:
    """Seconds per step and cell, from the cache or from a few timed steps."""
    shape = (cell.preparation.pca,) if cell.preparation.pca else dataset.shape
    batch = min(cell.recipe.batch_size, dataset.n_train)
    key = json.dumps(
        [
            *(platform.processor() or platform.machine(), os.cpu_count(), torch.__version__),
            *(machine.device, machine.dtype, cell.model, shape, len(dataset.classes)),
            *(batch, cell.recipe.optimizer, width, threads),
        ]
    )
    known = _cache()
    if key not in known:
        known[key] = _measure(cell, shape, batch, width, threads, machine)
        path = _cache_file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path, "cache") as part:
                part.write_text(json.dumps(known, indent=0), encoding="utf-8")
        except (OSError, BadValue):
            pass  # without a cache it is measured again
    seconds: float = known[key]
    return seconds


def _measure(
    cell: Cell, shape: tuple[int, ...], batch: int, width: int, threads: int, machine: Machine
) -> float:
    recipe = dataclasses.replace(cell.recipe, epochs=1, batch_size=batch)
    plain = dataclasses.replace(cell, activation="relu", split=Split(), recipe=recipe)
    cells = [dataclasses.replace(plain, seed=seed) for seed in range(width)]
    torch.set_num_threads(threads)
    warm_up(machine.device, recipe.optimizer)
    networks = Networks([build(each, shape, machine) for each in cells], machine.dtype == "bf16")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(
        STEPS * batch, *shape, generator=generator, dtype=getattr(torch, machine.storage)
    )
    y = torch.zeros(STEPS * batch, dtype=torch.int64)
    examples = Examples.of([x.to(machine.device)] * width, [y.to(machine.device)] * width)
    try:
        if networks.stacked:
            networks.probe(examples.x[:2].expand(width, *examples.x[:2].shape))
    except CannotStack:
        return math.inf
    taken: list[float] = []
    while len(taken) < TIMED or sum(taken) < ENOUGH:  # the first warms up
        start = time.perf_counter()
        train(cells, networks, [Part(examples)])
        taken.append(time.perf_counter() - start)
    return min(taken[1:]) / STEPS / width


def _cache_file() -> Path:
    return Path(platformdirs.user_cache_dir("relubench")) / "tuning.json"


def _cache() -> dict[str, Any]:
    try:
        found = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
