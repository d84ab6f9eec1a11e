"""Which of several candidates is the best, although it was picked by the figures that judge it.

Multiple comparisons with the best (Hsu, Annals of Statistics 9, 1981; Edwards & Hsu, JASA 78,
1983), with Bonferroni's inequality in the place of a joint distribution. All of it stands on one
event: of the candidate that is truly the best, no other is estimated to be better by more than the
one-sided limits, each at alpha / (candidates - 1), allow. On it the best is among those that may be
the best, and all limits hold together, for the candidate with the best mean as for any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import scipy

from relubench.stats.signs import Floats
from relubench.stats.verdicts import Design, clearance


@dataclass(frozen=True)
class BesideBest:
    """What can be said of one candidate beside the best of all.

    p         of being the best, over all the others: below alpha it is not
    loses     it is worse than the best by at most so much, at 1 - alpha; ∞: no limit
    p_margin  of being worse than the best by the margin or more
    """

    p: float
    loses: float
    p_margin: float


def beside_best(
    scores: Mapping[str, Floats], design: Design, margin: float, alpha: float, candidates: int
) -> dict[str, BesideBest]:
    """Every candidate beside the best of all.

    scores      (n,) figures each, paired by position, more being better
    alpha       the error rate over all that is said here
    candidates  how many there were, with those that have no scores
    """
    rivals = max(1, candidates - 1)
    p_best = {name: _p_best(name, scores, design, rivals) for name in scores}
    possible = [name for name, p in p_best.items() if p >= alpha]
    found = {}
    for name, own in scores.items():
        behind = [scores[other] - own for other in possible if other != name]
        most = max((limit(gap, design, alpha / rivals) for gap in behind), default=0.0)
        inside = max((design.above(clearance(-gap, margin)) for gap in behind), default=0.0)
        found[name] = BesideBest(p_best[name], max(0.0, most), min(1.0, rivals * inside))
    return found


def _p_best(name: str, scores: Mapping[str, Floats], design: Design, rivals: int) -> float:
    """That no other is better: the smallest p of one that is, corrected for their number."""
    others = [design.above(own - scores[name]) for other, own in scores.items() if other != name]
    return min(1.0, rivals * min(others, default=1.0))


def limit(difference: Floats, design: Design, alpha: float) -> float:
    """The upper limit of the mean of (n,) differences, one-sided: Student's, at 1 - alpha."""
    n = len(difference)
    if n < 2:
        return math.inf
    error = float(difference.std(ddof=1)) * math.sqrt(1 / n + (design.ratio or 0.0))
    return float(difference.mean()) + float(scipy.special.stdtrit(n - 1, 1 - alpha)) * error
