"""Tuning: cells in one pass, threads for it, and passes side by side.

It is measured here, once, and kept. Stacking wins for small networks on a CPU and loses for
convolutions; nothing but a measurement tells where the border lies. The few timed steps of an
architecture are kept in the user's cache. A measurement costs a small share of the training that
it is for: where it would cost more, a rule chooses.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from relubench import __version__, libraries
from relubench.catalog import Deferred
from relubench.datasets import Facts, facts
from relubench.errors import out_of_memory
from relubench.models import MODELS
from relubench.plan import Arrangement, Cell, Machine
from relubench.user_cache import UserCache
from relubench.wording import counted

if TYPE_CHECKING:
    from relubench.execution import step_timing
else:
    step_timing = Deferred("relubench.execution.step_timing")

WIDTHS = (1, 8, 32, 128)
ALIKE = 1.1  # times the least seconds of a single cell
WORTH_MEASURING = 500  # steps of a set-up: fewer are trained before stacks are measured
SHARE = 0.02  # of a training's seconds that measuring for it may take
LEAST = 0.2  # seconds that a measurement takes
SHORT = 0.02  # seconds of a step that is worth timing on one thread too
HELP = 1.25  # times as fast on the most threads: less is noise
STEPS_TIMED = 32  # about as many steps of each cell as a measurement takes
BY_RULE, SMALL = 32, 256  # cells in a pass where nothing is measured, of inputs up to this size
BYTES = 2**31  # of training inputs that a stack may copy
CACHE = UserCache("tuning.json", most=10**6)


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
        if self.seconds is None:
            return f"{words}, by rule"
        return f"{words}, {1e6 * self.seconds:.0f} µs per step and cell"


def tune(
    cells: Sequence[Cell],
    machine: Machine,
    threads: Sequence[int],
    stack: int | None,
    most: float = math.inf,
) -> Tuning:
    """Choose how to train cells of one set-up; `stack` fixes the width, one pass at a time.

    threads  the counts to choose from: the fastest for a single cell, or fewer that are about as
             fast, since other stacks make use of the rest. So the choice, which decides the last
             bits of a result, does not depend on the number of cells. Threads that a stack leaves
             idle train a part of it, where that pays
    most     seconds that measuring may take, if it is not to take less; 0: nothing is measured

    What is measured is always relu: a costly activation gets the width that is best for relu, and
    activations that are compared train alike.
    """
    watch = Stopwatch(cells, machine, max(threads), most)
    n_threads = _threads(watch, threads)
    widths = [stack] if stack else _widths(cells, watch.facts)
    # First: is there anything to choose, and would a measurement be worth its seconds?
    if len(widths) > 1 and len(cells) * steps(cells[0], watch.facts) < WORTH_MEASURING:
        widths = [1]
    if len(widths) == 1:
        measured = watch.seconds(widths[0], n_threads) if len(threads) > 1 else None
        return Tuning(widths[0], n_threads, measured)
    # Then: all widths, or none. Some that were timed say nothing about one that was not.
    timed = {width: watch.seconds(width, n_threads) for width in widths}
    finished = {width: seconds for width, seconds in timed.items() if seconds is not None}
    if len(finished) < len(timed):
        return Tuning(_width_by_rule(cells[0], watch.facts, widths, machine), n_threads)
    # Of equally fast ones the narrowest, which comes first.
    width = min(widths, key=lambda width: finished[width])
    fastest = Tuning(width, n_threads, finished[width])
    return _side_by_side(watch, fastest, len(cells), max(threads) // n_threads)


def _side_by_side(watch: Stopwatch, tuned: Tuning, n_cells: int, most: int) -> Tuning:
    """The same cells in several passes at once, up to `most`, as long as that gets faster."""
    width, n_parallel = tuned.stack, 2
    # Doubled until that no longer pays: every arrangement that is tried costs a measurement.
    while n_parallel <= min(most, width // 2):
        # No wider than its share of the cells: a pass that is half empty would be timed as full.
        narrower = min(width, math.ceil(n_cells / n_parallel))
        seconds = watch.seconds(narrower, tuned.threads, n_parallel)
        if seconds is None or (tuned.seconds is not None and seconds >= tuned.seconds):
            break
        tuned = Tuning(narrower, tuned.threads, seconds, n_parallel)
        n_parallel *= 2
    return tuned


def _threads(watch: Stopwatch, counts: Sequence[int]) -> int:
    """The CPU threads of a set-up; what a rule has once chosen, stays.

    By a single cell: a choice by stacks would change with the number of cells, and with it the
    ledger's context, which has the threads.
    """
    chosen = _known_threads(watch, counts)
    if chosen is not None:
        return chosen
    alone = {count: watch.seconds(1, count) for count in counts}
    finished = {count: seconds for count, seconds in alone.items() if seconds is not None}
    if len(finished) == len(alone):
        return _about_fastest(finished)
    # A choice that is made because nothing may be measured is not to stay.
    if not watch.most:
        return max(counts)
    chosen = watch.threads_by_rule(counts)
    watch.keep_threads(chosen)
    return chosen


def known_threads(cells: Sequence[Cell], machine: Machine, counts: Sequence[int]) -> int | None:
    """The threads that `tune` chooses, where it need measure nothing for them; else None."""
    return _known_threads(Stopwatch(cells, machine, max(counts), 0.0), counts)


def _known_threads(watch: Stopwatch, counts: Sequence[int]) -> int | None:
    if len(counts) == 1:
        return counts[0]
    alone = {count: watch.cached(1, count) for count in counts}
    finished = {count: seconds for count, seconds in alone.items() if seconds is not None}
    if len(finished) == len(alone):
        return _about_fastest(finished)
    return watch.kept_threads(counts)


def _about_fastest(alone: Mapping[int, float]) -> int:
    """The fewest threads that a single cell is about as fast on as on any."""
    fastest = min(alone.values())
    return min(count for count, seconds in alone.items() if seconds <= ALIKE * fastest)


def _widths(cells: Sequence[Cell], facts: Facts) -> list[int]:
    """1, and the wider stacks that these cells fill and this memory holds."""
    size = (facts.n_train + facts.n_test) * math.prod(facts.shape)
    most = len(cells)
    if size:
        # 4 bytes a float32; as if no two cells shared their rows, which is the
        # most that they can take.
        most = min(most, max(1, BYTES // (4 * size)))
    return sorted({min(width, most) for width in WIDTHS})


def _width_by_rule(cell: Cell, facts: Facts, widths: Sequence[int], machine: Machine) -> int:
    """The width for cells that nothing is measured for: small dense networks share a pass.

    On a CPU stacked convolutions are slower than one network after the other.
    """
    if machine.device == "cpu" and not MODELS.choose(cell.model).entry.dense:
        return 1
    most = BY_RULE if math.prod(facts.shape) <= SMALL else WIDTHS[1]
    # There is one: `_widths` begins at 1.
    return max(width for width in widths if width <= most)


def step_seconds(cells: Sequence[Cell], machine: Machine, tuned: Tuning, most: float) -> float:
    """Seconds per step and cell of these cells, trained as tuned; nothing of it is kept.

    most  seconds that a measurement may take; where it would take more, those of a narrower stack
    """
    width = min(tuned.stack, math.ceil(len(cells) / tuned.n_parallel))
    watch = Stopwatch(cells, machine, tuned.threads, most)
    known = watch.cached(width, tuned.threads, tuned.n_parallel)
    if known is not None:
        return known
    # A narrower stack takes more seconds per cell, if anything: too much is said, not too little.
    while width > 1 and watch.cost(width * tuned.n_parallel) > most:
        width //= 2
    if watch.cost(width * tuned.n_parallel) > most:
        return watch.step
    found = watch.measured(Arrangement(width, tuned.threads, tuned.n_parallel))
    return found if math.isfinite(found) else watch.step


def steps(cell: Cell, facts: Facts) -> int:
    """About how many steps the cell's training takes."""
    folds = cell.split.folds
    share = 1 if facts.n_test else 0.7  # the hold-out's
    if folds is not None:
        share = 1 - 1 / folds
    examples = min(facts.n_train * share, cell.preparation.limit or math.inf)
    # A trial at each rate, and the training at the best.
    trainings = 1 + len(cell.recipe.candidates)
    if cell.parts > 1:
        trainings = cell.parts
    per_epoch = math.ceil(examples / cell.recipe.batch_size)
    return trainings * cell.recipe.total_steps(per_epoch)


class Stopwatch:
    """Seconds per step and cell of one set-up: from the cache, or timed where that is worth it.

    A measurement is worth it as long as all of them take a small share of the training that they
    are for, as the first step of a single cell lets one estimate.

    threads  what the first step is timed on
    most     seconds that all measurements may take, if that share is more; 0: nothing is timed
    """

    def __init__(self, cells: Sequence[Cell], machine: Machine, threads: int, most: float) -> None:
        self.cell, self.n_cells, self.machine = cells[0], len(cells), machine
        self.n_threads, self.most = threads, most
        self.facts = facts(self.cell.dataset, machine.data_dir)
        pca = self.cell.preparation.pca
        self.shape = (pca,) if pca else self.facts.shape
        # Small data fill no batch: what is timed is what will be trained.
        most = min(self.facts.n_train, self.cell.preparation.limit or self.facts.n_train)
        self.batch = min(self.cell.recipe.batch_size, most)
        self.spent = 0.0

    def cached(self, width: int, threads: int, n_parallel: int = 1) -> float | None:
        """What has been measured before."""
        return _measured().get(self._key(width, threads, n_parallel))

    def seconds(self, width: int, threads: int, n_parallel: int = 1) -> float | None:
        """Seconds of that many cells in a pass, per step and cell; None: not worth measuring."""
        cached = self.cached(width, threads, n_parallel)
        if cached is not None:
            return cached
        cells = width * n_parallel
        # The first question times a step: its seconds count from the next question on.
        if not self.most or self.spent + self.cost(cells) > min(self.most, self._allowed):
            return None
        start = time.perf_counter()
        seconds = self.measured(Arrangement(width, threads, n_parallel))
        self.spent += time.perf_counter() - start
        if math.isfinite(seconds):  # what does not stack is soon found out again
            CACHE.keep(self._key(width, threads, n_parallel), seconds)
        return seconds

    def measured(self, arrangement: Arrangement) -> float:
        """The same, measured now; infinite where such cells do not stack."""
        try:
            return step_timing.measure(self.cell, self.shape, self.batch, arrangement, self.machine)
        except (MemoryError, RuntimeError) as error:
            single = arrangement.width == arrangement.n_parallel == 1
            if single or not out_of_memory(error):
                raise
            return math.inf  # a single cell may still have room

    def cost(self, cells: int) -> float:
        """Seconds that measuring so many cells takes, at most about."""
        return max(LEAST, cells * STEPS_TIMED * self.step)

    def threads_by_rule(self, counts: Sequence[int]) -> int:
        """One thread where the most are no great help in a short step; else the most."""
        most = max(counts)
        if 1 not in counts or self.step > SHORT:
            return most
        return 1 if self._timed_step(1) <= HELP * self.step else most

    @cached_property
    def step(self) -> float:
        """Seconds of a step of a single cell on the most threads."""
        return self._timed_step(self.n_threads)

    def _timed_step(self, threads: int) -> float:
        """Seconds of a step of a single cell; timing it is a measurement too."""
        start = time.perf_counter()
        machine = replace(self.machine, threads=threads)
        step = step_timing.step_seconds(self.cell, self.shape, self.batch, machine)
        self.spent += time.perf_counter() - start
        return step

    @property
    def _allowed(self) -> float:
        # As if each cell trained alone.
        return SHARE * self.step * steps(self.cell, self.facts) * self.n_cells

    def kept_threads(self, counts: Sequence[int]) -> int | None:
        """What a rule has chosen of these before."""
        kept = _measured().get(self._key("threads"))
        return int(kept) if kept is not None and kept in counts else None

    def keep_threads(self, count: int) -> None:
        """Let a rule's choice stay, whatever a longer training would measure."""
        CACHE.keep(self._key("threads"), float(count))

    def _key(self, *how: object) -> str:
        # All that is timed apart; the activation is not in it, since what is timed is always relu.
        # Options last, and only where there are any: what was measured without them stays known.
        options = self.cell.step_options
        return json.dumps(
            [
                __version__,
                libraries.torch_build().version,
                platform.processor() or platform.machine(),
                os.cpu_count(),
                self.machine.device,
                self.machine.dtype,
                self.cell.model,
                self.shape,
                self.facts.outputs,
                self.batch,
                self.cell.recipe.optimizer,
                *how,
                *([options] if options else ()),
            ],
            sort_keys=True,
        )


def _measured() -> dict[str, float]:
    """What has been measured; entries that cannot be seconds are left out."""
    entries = CACHE.entries()
    return {key: seconds for key, seconds in entries.items() if _is_seconds(seconds)}


def _is_seconds(value: object) -> bool:
    return isinstance(value, float) and 0 < value < math.inf
