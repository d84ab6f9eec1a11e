"""How many cells to train in one pass, on how many threads, and how many passes side by side.

It is measured here, once, and kept. Stacking wins for small networks on a CPU and loses for
convolutions; nothing but a measurement tells where the border lies. The few timed steps of an
architecture are kept in the user's cache.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch

from relubench import __version__, datasets, files
from relubench.errors import out_of_memory
from relubench.plan import Cell, Machine, Split
from relubench.training.engine import build, warm_up
from relubench.training.examples import Examples, Part
from relubench.training.learning import Learner
from relubench.training.networks import CannotStack, Networks
from relubench.training.parallel import abreast
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
    abreast: int = 1

    def __str__(self) -> str:
        threads, cells = counted(self.threads, "thread"), counted(self.stack, "cell")
        measured = f", {1e6 * self.seconds:.0f} µs per step and cell" if self.seconds else ""
        side = f", {self.abreast} passes side by side" if self.abreast > 1 else ""
        return f"{cells} in a pass on {threads}{side}{measured}"


def tune(
    cells: Sequence[Cell], machine: Machine, threads: Sequence[int], stack: int | None
) -> Tuning:
    """How to train cells of one set-up; `stack` fixes the width, one pass at a time.

    threads  the counts to choose from: that which is fastest for a single cell, or more that are
             about as fast, since a stack makes use of them; so the choice, which decides the last
             bits of a result, does not depend on how many cells there are. Threads that a stack
             leaves idle train a part of it, where that pays
    """
    cell = cells[0]
    dataset = datasets.load(cell.dataset, machine.data_dir)

    def seconds(width: int, count: int, side: int = 1) -> float:
        return _seconds(cell, dataset, (width, count, side), machine)

    count = threads[0]
    if len(threads) > 1:
        alone = {count: seconds(1, count) for count in threads}
        count = max(n for n in threads if alone[n] <= ALIKE * min(alone.values()))
    widths = [stack] if stack else _widths(cells, len(dataset.y) * math.prod(dataset.shape))
    if len(widths) > 1 and len(cells) * steps(cell, dataset) < WORTH_MEASURING:
        widths = [1]
    if len(widths) == len(threads) == 1:
        return Tuning(widths[0], count)
    width = min(widths, key=lambda width: seconds(width, count))
    best = seconds(width, count)
    tuned = Tuning(width, count, best)
    most = 0 if stack else min(max(threads) // count, width // 2)
    for side in (2**power for power in range(1, most.bit_length())):
        narrower = min(width, math.ceil(len(cells) / side))
        taken = seconds(narrower, count, side)
        if taken >= best:
            break
        best, tuned = taken, Tuning(narrower, count, taken, side)
    return tuned


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
    cell: Cell, dataset: datasets.Dataset, how: tuple[int, int, int], machine: Machine
) -> float:
    """Seconds per step and cell, from the cache or from a few timed steps.

    how  cells in a pass, its threads, passes side by side
    """
    shape = (cell.preparation.pca,) if cell.preparation.pca else dataset.shape
    batch = min(cell.recipe.batch_size, dataset.n_train)
    key = json.dumps(
        [
            *(__version__, torch.__version__, platform.processor() or platform.machine()),
            *(os.cpu_count(), machine.device, machine.dtype, cell.model, shape),
            *(len(dataset.classes), batch, cell.recipe.optimizer, *how),
        ]
    )
    known = _cache()
    if key in known:
        return known[key]
    try:
        seconds = _measure(cell, shape, batch, how, machine)
    except (MemoryError, RuntimeError) as error:
        if how == (1, how[1], 1) or not out_of_memory(error):
            raise
        return math.inf  # a single cell may still have room
    if math.isfinite(seconds):  # what does not stack is soon found out again
        _keep(known | {key: seconds})
    return seconds


def _keep(known: dict[str, float]) -> None:
    path = _cache_file()
    with suppress(OSError):  # without a cache it is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(known, indent=0).encode())


def _measure(
    cell: Cell, shape: tuple[int, ...], batch: int, how: tuple[int, int, int], machine: Machine
) -> float:
    width, threads, count = how
    recipe = dataclasses.replace(cell.recipe, epochs=1, batch_size=batch)
    plain = dataclasses.replace(cell, activation="relu", split=Split(), recipe=recipe)
    cells = [dataclasses.replace(plain, seed=seed) for seed in range(width)]
    torch.set_num_threads(threads)
    warm_up(machine.device, recipe.optimizer)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(
        STEPS * batch, *shape, generator=generator, dtype=getattr(torch, machine.storage)
    )
    y = torch.zeros(STEPS * batch, dtype=torch.int64)
    examples = Examples.of([x.to(machine.device)] * width, [y.to(machine.device)] * width)

    def ready() -> Networks:
        bf16 = machine.dtype == "bf16"
        networks = Networks([build(each, shape, machine) for each in cells], bf16)
        if networks.stacked:
            networks.probe(examples.x[:2].expand(width, *examples.x[:2].shape))
        return networks

    try:
        passes = [ready() for _ in range(count)]
    except CannotStack:
        return math.inf

    def epoch(networks: Networks) -> float:
        learner = Learner(cells, networks, examples.sizes)
        step = learner.step_on(examples, plain=STEPS // 2)
        taken: list[float] = []
        while len(taken) < TIMED or sum(taken) < ENOUGH:
            start = time.perf_counter()
            learner.learn(Part(examples), step)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[1:])  # the first warms up; the least may have been alone

    return max(abreast(epoch, passes, count, threads)) / STEPS / width / count


def _cache_file() -> Path:
    return Path(platformdirs.user_cache_dir("relubench")) / "tuning.json"


def _cache() -> dict[str, float]:
    """What has been measured; of whatever lies there, what can be seconds."""
    try:
        with files.regular(_cache_file(), LARGEST) as file:
            found = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    known = found.items() if isinstance(found, dict) else ()
    return {key: seconds for key, seconds in known if _measured(seconds)}


def _measured(seconds: object) -> bool:
    return isinstance(seconds, float) and 0 < seconds < math.inf
