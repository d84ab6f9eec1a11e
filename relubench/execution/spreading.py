"""Stacks spread over copies of this process, which use every core for small networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from relubench import isolation
from relubench.datasets import facts
from relubench.execution import machines, tuning
from relubench.execution.executors import forked
from relubench.execution.tuning import Tuning
from relubench.execution.work import Work
from relubench.plan import Cell

Tuned = Sequence[tuple[Sequence[Cell], Tuning]]

NARROWEST = 8  # cells of a stack that is cut for it: a step of fewer takes about as long
WORTH_COPYING = 200  # steps of all stacks: fewer are through before a copy has begun
BALANCED = 3  # stacks per copy, from which it does not matter whether they come out even


def spread(work: Work) -> Work:
    """The work for as many copies of this process as there are cores, where that pays.

    It does where one thread is the best for every set-up: a second core is idle then, and threads
    of one process would wait for each other's Python. A copy has imported torch already. Where this
    process must not be copied, or there is one stack only, the work stays as it is.
    """
    cores = work.machine.threads
    if not _may_copy(work) or _steps(work) < WORTH_COPYING:
        return work
    tuned = cut(work.tuned, cores)
    jobs = min(cores, _count(tuned))
    return replace(work, tuned=tuned, executor=forked(jobs)) if jobs > 1 else work


def _may_copy(work: Work) -> bool:
    """Whether a copy works as this process does: no device, no threads, no user's code."""
    # Still armed: no user's code has been run in this process.
    single = all(how.threads == 1 for _, how in work.tuned)
    return single and isolation.GUARD.armed and not machines.may_have_accelerator()


def cut(tuned: Tuned, cores: int) -> list[tuple[Sequence[Cell], Tuning]]:
    """The same set-ups in stacks of about one size, that come out even on so many cores."""
    # As few stacks as there would be; each is cut further where their number leaves a core idle.
    whole = [(cells, _cut(how, len(cells), 1)) for cells, how in tuned]
    count = _count(whole)
    if count % cores == 0 or count >= BALANCED * cores:
        return whole
    return [(cells, _cut(how, len(cells), cores)) for cells, how in whole]


def _cut(how: Tuning, n_cells: int, parts: int) -> Tuning:
    """Stacks of one size, of which `parts` take the place of one, as far as they stay wide."""
    # Copies take the place of passes side by side: one pass for each.
    width = min(how.stack * how.n_parallel, n_cells)
    count = math.ceil(n_cells / width)
    wide = max(1, width // NARROWEST)
    return replace(how, stack=math.ceil(n_cells / (count * min(parts, wide))), n_parallel=1)


def _count(tuned: Tuned) -> int:
    return sum(math.ceil(len(cells) / how.stack) for cells, how in tuned)


def _steps(work: Work) -> int:
    """About how many steps all stacks take."""
    total = 0
    for cells, how in work.tuned:
        stacks = math.ceil(len(cells) / (how.stack * how.n_parallel))
        total += stacks * tuning.steps(cells[0], facts(cells[0].dataset, work.machine.data_dir))
    return total
