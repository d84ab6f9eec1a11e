"""Survival: how many units have never died, until when; runs are what is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relubench.stats.intervals import t_interval, wilson
from relubench.stats.signs import Floats


@dataclass(frozen=True, eq=False)
class Lives:
    """The units of one run.

    ends  (units,) when each died, or until when it was seen alive
    died  (units,) bool
    """

    ends: Floats
    died: NDArray[np.bool_]


@dataclass(frozen=True)
class Surviving:
    """The share of units that have never died up to a time; None: not defined."""

    share: float | None
    low: float | None
    high: float | None


def kaplan_meier(lives: Lives, times: Sequence[float]) -> Floats:
    """The product-limit estimate at each time (Kaplan & Meier, JASA 53, 1958).

    A unit that dies at a time was at risk there, and so was one that was last seen then. NaN after
    the last unit was seen, where some were still alive.
    """
    share, found = 1.0, []
    for time in times:
        at_risk = int((lives.ends >= time).sum())
        deaths = int((lives.died & (lives.ends == time)).sum())
        share *= 1 - deaths / at_risk if at_risk else (1.0 if share == 0 else np.nan)
        found.append(share)
    return np.array(found)


def surviving(
    runs: Sequence[Lives], times: Sequence[float], confidence: float = 0.95
) -> list[Surviving]:
    """Kaplan and Meier's estimate over the units of all runs, with its interval, at each time.

    Units of one run are not independent, so that the interval is over runs: Student's t of the
    pseudo-values of the delete-one-run jackknife, which are the runs' own shares where all runs
    have as many units and none is seen for a shorter time. Of a single run it is Wilson's, as if
    its units were independent: too narrow.
    """
    whole = kaplan_meier(_joined(runs), times)
    if len(runs) == 1:
        units = len(runs[0].ends)
        return [_limited(share, *wilson(share, units, confidence)) for share in whole.tolist()]
    pseudo = []
    for left_out in range(len(runs)):
        rest = _joined([run for number, run in enumerate(runs) if number != left_out])
        pseudo.append(len(runs) * whole - (len(runs) - 1) * kaplan_meier(rest, times))
    values = np.array(pseudo)  # (runs, times)
    found = []
    for at, share in enumerate(whole.tolist()):
        limits = t_interval(values[:, at], confidence)
        found.append(_limited(share, limits.low, limits.high))
    return found


def _joined(runs: Sequence[Lives]) -> Lives:
    return Lives(
        np.concatenate([run.ends for run in runs]), np.concatenate([run.died for run in runs])
    )


def _limited(share: float, low: float | None, high: float | None) -> Surviving:
    """Between 0 and 1; not defined where there is no number."""
    if np.isnan(share):
        return Surviving(None, None, None)
    if low is None or high is None or np.isnan(low):
        return Surviving(share, None, None)
    return Surviving(share, max(0.0, low), min(1.0, high))
