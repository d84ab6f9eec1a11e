"""Passes side by side: threads of one process, which wait for each other in Python alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch

Part = TypeVar("Part")
Found = TypeVar("Found")


def abreast(
    run: Callable[[Part], Found], parts: Sequence[Part], count: int, threads: int
) -> list[Found]:
    """`run` of every part, in order, `count` at a time, each on `threads` threads of torch's.

    What one raises is raised here. An interrupt is heard at once; what still runs then ends with
    its part, or with the process.
    """
    if min(count, len(parts)) == 1:
        return [run(part) for part in parts]
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        return list(pool.map(run, parts))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def divided(items: Sequence[Part], count: int) -> list[Sequence[Part]]:
    """At most `count` parts of neighbours, as long as each other or one longer; none is empty."""
    ends = [len(items) * number // count for number in range(count + 1)]
    return [items[a:b] for a, b in pairwise(ends) if b > a]
