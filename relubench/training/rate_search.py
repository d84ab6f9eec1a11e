"""The best of several learning rates for each run, chosen without its test part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from relubench.grouping import grouped
from relubench.plan import Cell, Stack
from relubench.results import RunResult

Fit = Callable[[Stack], list[RunResult]]


def fit_at_best(stack: Stack, fit: Fit) -> list[RunResult]:
    """Train every cell at the best of its recipe's rates; a result each, in the same order.

    Each run chooses for itself, whatever its activation, seed and fold: no example that tests one
    run takes part in its choice. Of equally good rates the smallest is taken.
    """
    best = _best_rates(stack, fit)
    by_cell: dict[Cell, RunResult] = {}
    for rate, cells in grouped(stack.cells, best.__getitem__).items():
        # Cells that chose the same rate still share a pass.
        results = fit(_with_cells(stack, [_at(cell, rate) for cell in cells]))
        for cell, result in zip(cells, results, strict=True):
            by_cell[cell] = replace(result, cell=cell, chosen=rate)
    return [by_cell[cell] for cell in stack.cells]


def _best_rates(stack: Stack, fit: Fit) -> dict[Cell, float]:
    """The best rate of every cell, after a trial at each."""
    best: dict[Cell, float] = {}
    highest: dict[Cell, float] = {}
    for rate in sorted(stack.cells[0].recipe.candidates):  # ascending: the first of equals stays
        trials = fit(_untracked(_with_cells(stack, [_trial(cell, rate) for cell in stack.cells])))
        for cell, trial in zip(stack.cells, trials, strict=True):
            score = validation_score(trial)
            if cell not in best or score > highest[cell]:
                best[cell] = rate
                highest[cell] = score
    return best


def validation_score(result: RunResult) -> float:
    """Accuracy on the validation part, averaged over epochs, so that learning sooner counts.

    Of numbers it is the loss, negated. -∞ where a loss was not finite or nothing was learned.
    """
    if result.failed or not result.curve:
        return -math.inf
    if all(epoch.accuracy is None for epoch in result.curve):
        losses = [epoch.held_out_loss for epoch in result.curve]
        return -fmean(math.inf if loss is None else loss for loss in losses)
    return fmean(epoch.held_out or 0.0 for epoch in result.curve)


def _with_cells(stack: Stack, cells: Sequence[Cell]) -> Stack:
    return replace(stack, cells=tuple(cells))


def _untracked(stack: Stack) -> Stack:
    return replace(stack, track=None)


def _at(cell: Cell, rate: float) -> Cell:
    """The run at this rate."""
    return replace(cell, recipe=replace(cell.recipe, lr=rate, rates=None))


def _trial(cell: Cell, rate: float) -> Cell:
    """The run at this rate, learning from the training set without its validation part."""
    # Neither takes part in the choice: with and without them a trial is the same, and so its state.
    unperturbed = replace(_at(cell, rate), perturb=None, until=None)
    return replace(unperturbed, split=replace(cell.split, validation=True))
