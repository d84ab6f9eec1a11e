"""From differences to a word: better, worse, equivalent, undecided; pass or fail.

All of it is one one-sided test, `Design.above`, asked in several directions. Differences are
oriented by the caller so that more is better.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from relubench.stats.corrections import holm
from relubench.stats.ranks import mann_whitney_above
from relubench.stats.signs import (
    Floats,
    attainable,
    pairs_needed,
    sign_flip_above,
    smallest_p,
    smallest_p_unpaired,
)
from relubench.stats.splits import corrected_t_above

Word = Literal["better", "worse", "equivalent", "undecided"]
Towards = Literal["difference", "equivalence"]
Outcome = Literal["pass", "fail", "undecided"]

POWER = 0.8  # with which the seeds asked for would decide, if what was seen is the truth
NEAR = 1e-9  # relative: a loss so near the margin is the margin, and the rest the float's last bits
CAP = 1000  # more seeds than that are no advice
GRID = 200  # spreads over which a power is a mean


@dataclass(frozen=True)
class Design:
    """What is repeated, and so which test there is.

    ratio  n_test / n_train of splits that share rows: the corrected t test; None: paired seeds,
           independent given the rows: the exact sign-flip test
    """

    ratio: float | None = None

    def above(self, difference: Floats) -> float:
        """One-sided p that the mean of (n,) differences is above 0."""
        if self.ratio is None:
            return sign_flip_above(difference)
        return corrected_t_above(difference, self.ratio)

    def smallest_p(self, n: int, sides: int = 2) -> float | None:
        """The smallest p that n repeats can show; None: the t test has no such bound."""
        return smallest_p(n, sides) if self.ratio is None else None


@dataclass(frozen=True)
class Evidence:
    """One comparison before any correction: n differences under a design, and a margin or none.

    p         two-sided, of no difference
    p_inside  of a difference of the margin or more: the larger of the two one-sided tests (TOST;
              Schuirmann, J. Pharmacokin. Biopharm. 15, 1987); None: there is no margin
    """

    design: Design
    margin: float | None
    n: int
    difference: float | None
    spread: float | None
    p: float
    p_inside: float | None


@dataclass(frozen=True)
class Verdict:
    """The word for one comparison, its p-values over all comparisons, and what would decide it.

    p, p_inside  Holm-adjusted, each over the comparisons
    more         about so many further seeds or splits; None: decided, or more than 1000
    towards      what those would show if what was seen is the truth
    """

    word: Word
    p: float
    p_inside: float | None
    more: int | None = None
    towards: Towards | None = None


@dataclass(frozen=True)
class Gated:
    """One row of a gate: one-sided p of having lost less than the margin, and of more than it.

    identical  the new values are those of the baseline, bit for bit
    smallest   the smallest p that the design can show; None: no bound
    """

    n: int
    difference: float | None
    p_pass: float
    p_fail: float
    identical: bool
    smallest: float | None


def evidence(difference: Floats, design: Design, margin: float | None = None) -> Evidence:
    """What (n,) finite differences say under this design, and whether they stay inside ±margin."""
    n = len(difference)
    if not n:
        return Evidence(
            design=design,
            margin=margin,
            n=0,
            difference=None,
            spread=None,
            p=1.0,
            p_inside=None if margin is None else 1.0,
        )
    # Twice the smaller side; where both sides are above 1/2, as with ties, that is more than 1.
    p = min(1.0, 2 * min(design.above(difference), design.above(-difference)))
    p_inside = None
    if margin is not None:
        # Inside if above the lower end and below the upper one, each at alpha
        # (TOST needs no correction).
        above_lower_end = design.above(clearance(difference, margin))
        below_upper_end = design.above(clearance(-difference, margin))
        p_inside = max(above_lower_end, below_upper_end)
    return Evidence(
        design=design,
        margin=margin,
        n=n,
        difference=float(difference.mean()),
        spread=float(difference.std(ddof=1)) if n > 1 else None,
        p=p,
        p_inside=p_inside,
    )


def verdicts(comparisons: Sequence[Evidence], alpha: float = 0.05) -> list[Verdict]:
    """A word for each of several comparisons, in order.

    Two questions, each with the error rate alpha over all comparisons (Holm): is there a
    difference, and does it stay inside the margin? Where both are shown the word is the first's.
    What would decide is reckoned at the level that Holm leaves to those not shown yet.
    """
    p_values = holm([one.p for one in comparisons])
    inside = holm([1.0 if one.p_inside is None else one.p_inside for one in comparisons])
    # The next that Holm looks at is tested at alpha over the number of those not shown yet.
    levels: dict[Towards, float] = {
        "difference": alpha / max(1, sum(p >= alpha for p in p_values)),
        "equivalence": alpha / max(1, sum(p >= alpha for p in inside)),
    }
    words = []
    for one, p, p_inside in zip(comparisons, p_values, inside, strict=True):
        adjusted = None if one.p_inside is None else p_inside
        words.append(verdict(one, p, adjusted, alpha, levels))
    return words


def verdict(
    comparison: Evidence,
    p: float,
    p_inside: float | None,
    alpha: float,
    levels: Mapping[Towards, float],
) -> Verdict:
    """The word for one comparison whose p-values are adjusted for all of them."""
    if p < alpha and comparison.difference is not None:
        return Verdict("better" if comparison.difference > 0 else "worse", p, p_inside)
    if p_inside is not None and p_inside < alpha:
        return Verdict("equivalent", p, p_inside)
    more, towards = seeds_missing(comparison, levels)
    return Verdict("undecided", p, p_inside, more, towards)


def seeds_missing(
    comparison: Evidence, levels: Mapping[Towards, float]
) -> tuple[int | None, Towards | None]:
    """About how many more repeats would decide, and which way, with power 0.8 at these levels.

    For a difference as large as the one seen, or for one that stays inside the margin at its
    distance from it, whichever takes fewer. As rough as the spread and the difference it takes for
    the truth; (None, None) where neither would do with 1000.
    """
    if comparison.difference is None or comparison.spread is None:
        return None, None
    # Two ways out of "undecided": a difference that is shown, or one shown to stay inside.
    size, spread = abs(comparison.difference), comparison.spread
    design, most = comparison.design, comparison.n + CAP
    ways: dict[Towards, float] = {
        "difference": repeats_needed(size, spread, design, levels["difference"], most=most)
    }
    if comparison.margin is not None:
        near, far = comparison.margin - size, comparison.margin + size
        level = levels["equivalence"]
        ways["equivalence"] = repeats_needed(near, spread, design, level, far, most)
    way = min(ways, key=lambda name: ways[name])
    if math.isinf(ways[way]):
        return None, None
    return max(1, int(ways[way]) - comparison.n), way


def repeats_needed(
    distance: float,
    spread: float,
    design: Design,
    alpha: float,
    farther: float | None = None,
    most: int = CAP,
) -> float:
    """The fewest repeats that show with power 0.8 that the mean lies off a bound at this distance.

    Without `farther` the bound is 0, tested on two sides; with it the mean lies between two bounds,
    at these distances, each tested on one side. At least what the design needs; ∞: over `most`.
    """
    sides = 2 if farther is None else 1
    # A t test needs two splits for a spread; a sign-flip test as many pairs
    # as let p get below alpha.
    least = 2 if design.ratio is not None else pairs_needed(1, alpha, sides)
    if distance <= 0:
        return math.inf
    if spread == 0:
        return least
    # Power rises with the number of repeats, so that the fewest is found by bisection.
    counts = range(least, most + 1)
    # In standard deviations, as `power` takes them.
    ends = (distance / spread, math.inf if farther is None else farther / spread)
    place = bisect_left(counts, POWER, key=lambda n: power(n, *ends, design, alpha / sides))
    return counts[place] if place < len(counts) else math.inf


def power(n: int, near: float, far: float, design: Design, level: float) -> float:
    """How often n normal differences show that their mean lies off bounds at near and far spreads.

    The mean over the χ distribution of the spread found, which with far = ∞ is noncentral t. The
    sign-flip test has Student's power at the nearest level below that its 2^n patterns can have.
    """
    if design.ratio is None:
        level = attainable(n, level)
    # Quantiles in the middle of GRID equal parts: a mean over them is one over the distribution.
    tails = (np.arange(GRID) + 0.5) / GRID
    deviations = np.sqrt(scipy.special.chdtri(n - 1, tails) / (n - 1))
    # How far off a bound a mean must lie to be shown, in standard errors, at each deviation found.
    reach = scipy.special.stdtrit(n - 1, 1 - level) * deviations
    error = math.sqrt(1 / n + (design.ratio or 0.0))
    shown = scipy.special.ndtr(near / error - reach) - scipy.special.ndtr(reach - far / error)
    return float(np.maximum(shown, 0.0).mean())


def clearance(difference: Floats, margin: float) -> Floats:
    """How far each difference lies above -margin: 0 where only a float's last bits part them."""
    at = np.isclose(difference, -margin, rtol=NEAR, atol=0)
    return np.where(at, 0.0, difference + margin)


def non_inferior(difference: Floats, margin: float, design: Design) -> Gated:
    """Has the new run lost the margin or more? Two one-sided tests of (n,) new - baseline, paired.

    Pairs share a seed, so a split, initial weights and batches. The differences are taken to be
    symmetric about their mean (sign-flip), or near normal (splits).
    """
    n = len(difference)
    if not n:
        return _nothing_measured(design.smallest_p(0, 1))
    beyond = clearance(difference, margin)
    return Gated(
        n=n,
        difference=float(difference.mean()),
        p_pass=design.above(beyond),
        p_fail=design.above(-beyond),
        identical=not difference.any(),
        smallest=design.smallest_p(n, 1),
    )


def _nothing_measured(smallest: float | None) -> Gated:
    return Gated(
        n=0,
        difference=None,
        p_pass=1.0,
        p_fail=1.0,
        identical=False,
        smallest=smallest,
    )


def non_inferior_unpaired(new: Sequence[float], base: Sequence[float], margin: float) -> Gated:
    """The same for seeds that are not the baseline's: Mann-Whitney on values shifted by the margin.

    Assumes that a change moves the values without altering their spread.
    """
    n, m = len(new), len(base)
    if not n or not m:
        return _nothing_measured(1.0)
    raised = [value + margin for value in new]
    return Gated(
        n=min(n, m),
        # fsum rounds once, at the end: the order of the seeds is in no last bit.
        difference=math.fsum(new) / n - math.fsum(base) / m,
        p_pass=mann_whitney_above(raised, base),
        p_fail=mann_whitney_above(base, raised),
        identical=False,  # other seeds: equal values would be chance, and no proof of no change
        smallest=smallest_p_unpaired(n, m, 1),
    )


def outcomes(rows: Sequence[Gated], alpha: float = 0.05) -> list[Outcome]:
    """What a gate says of its rows.

    pass: less than the margin is lost, at alpha for each row, or the row repeats its baseline bit
    for bit, which needs no test. fail: more than the margin is lost, at alpha over all rows (Holm),
    so that a gate with many rows raises no more false alarms than one. Else undecided; a row that
    measured nothing is always that.
    With ten paired seeds a loss of twice the margin in one row is a fail in nine runs of ten if the
    margin is at least the spread of the paired differences (of four rows: 1.5 spreads; of nine:
    1.9), and a row without a change passes as often as that if it is at least one spread.
    """
    failures = holm([row.p_fail for row in rows])
    return [outcome(row, p_fail, alpha) for row, p_fail in zip(rows, failures, strict=True)]


def outcome(row: Gated, p_fail: float, alpha: float) -> Outcome:
    """The outcome of one row whose p_fail is adjusted for all of them."""
    # Pass first: each row at alpha. Only failures are corrected for the number of rows.
    if row.identical or row.p_pass < alpha:
        return "pass"
    return "fail" if p_fail < alpha else "undecided"
