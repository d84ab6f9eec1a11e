"""The best of several learning rates for each run, chosen without its test part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

from relubench.grouping import grouped
from relubench.plan import Cell, Stack
from relubench.results import RunResult

Fit = Callable[[Stack], list[RunResult]]


def fit_at_best(stack: Stack, fit: Fit) -> list[RunResult]:
    """Train every cell at the best of its recipe's rates; a result each, in the same order.

    Each run chooses for itself, whatever its activation, seed and fold: no example that tests one
    run takes part in its choice. Of equal rates the smallest is taken.
    """
    rates = sorted(stack.cells[0].recipe.candidates)
    tried = [
        fit(replace(stack, cells=tuple(_trial(c, rate) for c in stack.cells))) for rate in rates
    ]
    best = {
        cell: max(zip(rates, results, strict=True), key=lambda tried: merit(tried[1]))[0]
        for cell, *results in zip(stack.cells, *tried, strict=True)
    }
    found: dict[Cell, RunResult] = {}
    for rate, cells in grouped(stack.cells, best.__getitem__).items():
        results = fit(replace(stack, cells=tuple(_at(cell, rate) for cell in cells)))
        for cell, result in zip(cells, results, strict=True):
            found[cell] = replace(result, cell=cell, chosen=rate)
    return [found[cell] for cell in stack.cells]


def merit(result: RunResult) -> float:
    """Accuracy on the validation part, averaged over epochs, so that learning sooner counts.

    Below any accuracy where the loss was not finite, or nothing was learned.
    """
    learned = result.curve and not result.failed
    return fmean(epoch.held_out or 0.0 for epoch in result.curve) if learned else -1.0


def _at(cell: Cell, rate: float) -> Cell:
    return replace(cell, recipe=replace(cell.recipe, lr=rate, rates=None))


def _trial(cell: Cell, rate: float) -> Cell:
    """A run at this rate that learns from the training part without its validation part."""
    alone = replace(_at(cell, rate), perturb=None, until=None)
    return replace(alone, split=replace(cell.split, validation=True))
