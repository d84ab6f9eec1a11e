"""One activation's seconds beside another's, repetition by repetition."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from relubench import stats
from relubench.grouping import grouped
from relubench.report.convergence import by_repetition, ratio
from relubench.report.figures import all_or_none
from relubench.report.naming import by_setup, setup_row
from relubench.results import RunResult
from relubench.rows import RatioRow


def ratio_rows(results: Sequence[RunResult], beside: Collection[str]) -> list[RatioRow]:
    """A row per set-up, activation and one of the activations `beside` that has runs there."""
    rows = []
    for members in by_setup(results):
        runs = grouped(members, lambda run: run.cell.activation)
        there = [other for other in runs if other in beside]
        rows += [_row(own, runs[other], other) for own in runs.values() for other in there]
    return rows


def _row(own: Sequence[RunResult], theirs: Sequence[RunResult], beside: str) -> RatioRow:
    first = by_repetition([run for run in own if not run.failed], _seconds)
    second = by_repetition([run for run in theirs if not run.failed], _seconds)
    ratios = [ratio(first[key], second[key]) for key in first.keys() & second.keys()]
    mean, sd = stats.mean_sd(all_or_none(ratios))
    # Runs of one pass share its seconds: that is one measurement, whose spread is not known.
    shared = any(run.environment.stack > 1 for run in (*own, *theirs))
    names = vars(setup_row(own[0].cell))
    return RatioRow(
        **names,
        beside=beside,
        n=len(ratios),
        seconds_ratio=mean,
        seconds_ratio_sd=None if shared else sd,
    )


def _seconds(run: RunResult) -> float:
    return run.seconds
