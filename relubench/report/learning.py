"""How runs learned: means and spreads over the runs of an activation, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relubench.report.naming import by_activation
from relubench.results import RunResult
from relubench.rows import LearningRow, SetupRow

FIGURES = ("loss", "accuracy", "held_out", "held_out_loss")


def learning_rows(results: Sequence[RunResult]) -> list[LearningRow]:
    """A row per set-up, activation and epoch; what diverged or was lost is in none of them."""
    rows: list[LearningRow] = []
    for setup, runs in by_activation(results).items():
        finished = [run for run in runs if not run.failed and run.curve]
        if finished:
            rows += _rows(setup, finished)
    return rows


def _rows(setup: SetupRow, runs: Sequence[RunResult]) -> list[LearningRow]:
    """A row per epoch that all of these runs have; every epoch takes as long as any other."""
    epochs = min(len(run.curve) for run in runs)
    spent = float(np.mean([run.seconds / len(run.curve) for run in runs]))
    figures: dict[str, list[float | None]] = {}
    for name in FIGURES:
        figures[name], figures[f"{name}_sd"] = _over_runs(runs, name, epochs)
    names = vars(setup)
    rows = []
    for epoch in range(epochs):
        of_epoch: dict[str, Any] = {name: values[epoch] for name, values in figures.items()}
        number = epoch + 1
        rows.append(
            LearningRow(**names, epoch=number, n=len(runs), seconds=number * spent, **of_epoch)
        )
    return rows


def _over_runs(
    runs: Sequence[RunResult], name: str, epochs: int
) -> tuple[list[float | None], list[float | None]]:
    """Mean and standard deviation of a figure, epoch by epoch; None where a run has no figure."""
    curves = [_figures(run, name, epochs) for run in runs]
    figures = np.array(curves, dtype=float)  # (runs, epochs), NaN for None
    nothing = np.full(epochs, np.nan)
    spreads = figures.std(axis=0, ddof=1) if len(runs) > 1 else nothing
    return _defined(figures.mean(axis=0)), _defined(spreads)


def _figures(run: RunResult, name: str, epochs: int) -> list[float | None]:
    return [getattr(epoch, name) for epoch in run.curve[:epochs]]


def _defined(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
