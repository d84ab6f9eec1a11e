"""How runs learned: means and spreads over the runs of an activation, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relubench import stats
from relubench.report.figures import mean_of
from relubench.report.naming import by_activation
from relubench.results import RunResult
from relubench.rows import LearningRow, SetupRow

FIGURES = ("loss", "accuracy", "held_out", "held_out_loss")


def learning_rows(results: Sequence[RunResult]) -> list[LearningRow]:
    """A row per set-up, activation and epoch; what diverged or was lost is in none of them."""
    rows: list[LearningRow] = []
    for setup, runs in by_activation(results).items():
        finished = [run for run in runs if not run.failed and run.curve]
        epochs = min((len(run.curve) for run in finished), default=0)
        rows += [_row(setup, finished, epoch) for epoch in range(epochs)]
    return rows


def _row(setup: SetupRow, runs: Sequence[RunResult], epoch: int) -> LearningRow:
    """Epoch number `epoch`, from 0, of these runs; every epoch takes as long as any other."""
    spent = [run.seconds * (epoch + 1) / len(run.curve) for run in runs]
    figures: dict[str, Any] = {}
    for name in FIGURES:
        values = [getattr(run.curve[epoch], name) for run in runs]
        defined = None not in values
        figures[name], figures[f"{name}_sd"] = stats.mean_sd(values if defined else [])
    return LearningRow(
        **vars(setup), epoch=epoch + 1, n=len(runs), seconds=mean_of(spent) or 0.0, **figures
    )
