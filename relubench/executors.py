"""Executors: which stacks run where.

An executor is a function (stacks, fit) that yields each finished RunResult; `fit` trains one stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from relubench.catalog import Catalog, Entry
from relubench.plan import Stack
from relubench.results import RunResult

Fit = Callable[[Stack], list[RunResult]]

EXECUTORS: Catalog[Entry] = Catalog("executor", Entry)


@EXECUTORS.add()
def serial(stacks: Iterable[Stack], fit: Fit) -> Iterator[RunResult]:
    """One stack after the other, in this process"""
    for stack in stacks:
        yield from fit(stack)
