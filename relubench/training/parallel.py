"""Passes in parallel: threads of one process, which wait for each other in Python alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_parallel(
    run: Callable[[Part], Result],
    parts: Sequence[Part],
    n_parallel: int,
    threads: int,
) -> list[Result]:
    """Call `run` on every part, `n_parallel` at a time; the results, in order.

    threads  torch's threads for each call

    Raises what a call raises. An interrupt is heard at once; calls that still run then end with
    their part, or with the process.
    """
    if min(n_parallel, len(parts)) == 1:
        return [run(part) for part in parts]
    # Taken out while it works: another call, from a thread of its own, then makes another pool.
    pool = _POOLS.pop((n_parallel, threads), None) or _pool(n_parallel, threads)
    try:
        results = list(pool.map(run, parts))
    except BaseException:
        # Waiting would keep Ctrl-C from ending a command until the longest part is through.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    _POOLS[n_parallel, threads] = pool
    return results


def divided(items: Sequence[Part], count: int) -> list[Sequence[Part]]:
    """Cut into at most `count` runs of neighbours whose lengths differ by at most 1; none empty."""
    # Rounded down one by one: no length is off by more than 1, whatever the remainder is.
    ends = [len(items) * number // count for number in range(count + 1)]
    return [items[begin:end] for begin, end in pairwise(ends) if end > begin]


# Kept from call to call: a new thread makes its libraries' memory anew.
_POOLS: dict[tuple[int, int], ThreadPoolExecutor] = {}
# A copy of the process has none of its threads: it would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOLS.clear)


def _pool(n_parallel: int, threads: int) -> ThreadPoolExecutor:
    # torch's thread count belongs to the thread that sets it: each worker sets its own.
    return ThreadPoolExecutor(n_parallel, initializer=torch.set_num_threads, initargs=(threads,))
