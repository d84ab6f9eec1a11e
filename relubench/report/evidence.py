"""What the recorded design says of two activations: the statistics behind a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from relubench import stats
from relubench.grouping import grouped
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Cell, Margin
from relubench.results import RunResult
from relubench.stats import Chance, Design, Evidence, Interval, Posterior, Verdict

ALPHA = 0.05
Unit = Any  # what is repeated: a seed, or (repeat, fold)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a comparison is asked.

    margin      within which two means are alike; None: the measure's own
    rope        half the region of practical equivalence; None: the margin
    every_pair  all pairs, not only those with the reference
    family      what Holm corrects over: the comparisons of each set-up, or of all together
    published   datasets with a published test set, whose split no seed draws
    alpha       the error rate over the comparisons of a family, at this look
    look        the look at which a growing comparison stopped; `stopped` says why
    """

    measure: Measure = MEASURES["accuracy"]
    margin: Margin | None = None
    rope: Margin | None = None
    every_pair: bool = False
    family: Literal["setup", "all"] = "setup"
    published: frozenset[str] = frozenset()
    alpha: float = ALPHA
    look: int | None = None
    stopped: str = ""
    explain: bool = False


@dataclass(frozen=True)
class Scores:
    """One activation's figures by unit; those that diverged, and how many units have no figure.

    shared  seconds of runs that were trained in one pass: one measurement, not several
    """

    known: Mapping[Unit, float]
    diverged: frozenset[Unit]
    undefined: int
    shared: bool

    @property
    def whole(self) -> bool:
        """Whether every unit has a figure of its own: survivors say nothing of the others."""
        return not (self.diverged or self.undefined or self.shared)

    @property
    def mean(self) -> float | None:
        """The mean over the units that have a figure."""
        return stats.mean_sd(list(self.known.values()))[0]


@dataclass(frozen=True)
class Recorded:
    """What the runs of a set-up repeat, and the test that this allows."""

    name: Literal["paired seeds", "drawn hold-outs", "folds"]
    design: Design


@dataclass(frozen=True)
class Comparison:
    """One activation against another, before the correction over several.

    difference  mean of first - second, in the measure's unit
    evidence    on differences turned so that more is better
    chance      that the first is better in a pair, a diverged run losing; None over folds
    posterior   below, inside and above ±rope; None where nothing overlaps
    decidable   whether what was found may be called anything but undecided
    tested      whether there is a test at all: of one measurement each there is none
    """

    first: str
    second: str
    difference: float | None
    interval: Interval
    evidence: Evidence
    chance: Chance | None
    posterior: Posterior | None
    rope: float | None
    decidable: bool
    tested: bool


def unit(cell: Cell) -> Unit:
    """What a run repeats: its split where there are folds, else its seed."""
    split = cell.split
    return cell.seed if split.folds is None else (split.repeat, split.fold)


def scores(runs: Sequence[RunResult], measure: Measure) -> Scores:
    """An activation's figures; the seeds of a split are averaged first."""
    known, diverged, undefined = {}, set(), 0
    for repeated, same in grouped(runs, lambda result: unit(result.cell)).items():
        figures = [figure for run in same if (figure := measure.of(run)) is not None]
        if any(run.failed for run in same):
            diverged.add(repeated)
        elif len(figures) < len(same):
            undefined += 1
        else:
            known[repeated] = float(np.mean(figures))
    shared = measure.unit == "s" and any(run.environment.stack > 1 for run in runs)
    if shared and known:  # one measurement, however many runs it was of
        known = {min(known): float(np.mean(list(known.values())))}
    return Scores(known, frozenset(diverged), undefined, shared)


def recorded(runs: Sequence[RunResult], published: frozenset[str]) -> Recorded:
    """The design of one set-up's runs; what shares rows has the ratio n_test / n_train."""
    cell = runs[0].cell
    if cell.split.folds is None and cell.dataset in published:
        return Recorded("paired seeds", Design())
    ratio = max((run.n_test / run.n_train for run in runs if run.n_train), default=1.0)
    return Recorded("folds" if cell.split.folds else "drawn hold-outs", Design(ratio))


def pairs(activations: Sequence[str], reference: str, every: bool) -> list[tuple[str, str]]:
    """Who is compared with whom; the reference stands second."""
    others = [activation for activation in activations if activation != reference]
    against = [(other, reference) for other in others]
    return against + list(combinations(others, 2)) if every else against


def comparison(
    first: str, second: str, found: Mapping[str, Scores], over: Recorded, terms: Terms
) -> Comparison:
    """What the units that both activations have say of their difference."""
    a, b, measure = found[first], found[second], terms.measure
    common = sorted(a.known.keys() & b.known.keys())
    difference = np.array([a.known[u] - b.known[u] for u in common], dtype=float)
    ratio = over.design.ratio
    limits = (
        stats.interval(difference) if ratio is None else stats.t_interval(difference, ratio=ratio)
    )
    margin = _size(terms.margin or measure.margin, b.mean)
    rope = _size(terms.rope, b.mean) if terms.rope else margin
    posterior = None
    if ratio is not None and rope is not None:
        posterior = stats.correlated_t(difference, ratio, rope)
    return Comparison(
        first=first,
        second=second,
        difference=float(difference.mean()) if common else None,
        interval=limits,
        evidence=stats.evidence(measure.sign * difference, over.design, margin),
        chance=None if over.name == "folds" else stats.chance(_with_losses(a, b, measure)),
        posterior=posterior,
        rope=rope,
        decidable=a.whole and b.whole,
        tested=not (a.shared or b.shared),
    )


def _size(margin: Margin, mean: float | None) -> float | None:
    """The margin in the measure's unit; None where it is relative and there is no mean."""
    if mean is None:
        return None if margin.relative else margin.size
    return margin.of(mean)


def _with_losses(a: Scores, b: Scores, measure: Measure) -> stats.Floats:
    """Differences by pair, more being better; a run that diverged loses its pair."""
    held = sorted((a.known.keys() | a.diverged) & (b.known.keys() | b.diverged))
    first, second = (
        [None if u in s.diverged else measure.sign * s.known[u] for u in held] for s in (a, b)
    )
    return stats.differences(first, second)


def judge(found: Sequence[Comparison], alpha: float) -> list[Verdict]:
    """Their verdicts, corrected over all of them; one that is not decidable still counts."""
    judged = stats.verdicts([each.evidence for each in found], alpha)
    return [
        verdict if each.decidable else Verdict("undecided", verdict.p, verdict.p_inside)
        for each, verdict in zip(found, judged, strict=True)
    ]


def standings(
    family: Sequence[tuple[Mapping[str, Scores], Recorded]], terms: Terms
) -> list[dict[str, str]]:
    """'best' for the best mean of each set-up, 'not worse' for those that no test tells from it.

    Corrected (Holm) over these set-ups.
    """
    rivals = [_beside_best(found, over, terms) for found, over in family]
    adjusted = iter(stats.holm([each.evidence.p for _, others in rivals for each in others]))
    return [
        best | {each.first: "not worse" for each in others if next(adjusted) >= terms.alpha}
        for best, others in rivals
    ]


def _beside_best(
    found: Mapping[str, Scores], over: Recorded, terms: Terms
) -> tuple[dict[str, str], list[Comparison]]:
    """A set-up's best mean, and each other beside it; nothing where no mean is whole."""
    sign = terms.measure.sign
    means = {name: sign * each.mean for name, each in found.items() if each.mean is not None}
    steady = [name for name in means if found[name].whole]
    if not steady:
        return {}, []
    best = max(steady, key=lambda name: means[name])
    others = [comparison(name, best, found, over, terms) for name in steady if name != best]
    return {best: "best"}, others
