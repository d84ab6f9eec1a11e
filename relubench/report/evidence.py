"""What the recorded design says of two activations: the statistics behind a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Cell, Margin
from relubench.results import RunResult
from relubench.stats import Chance, Design, Evidence, Interval, Posterior, Verdict

ALPHA = 0.05
Repetition = tuple[int, ...]  # what is repeated: (seed,), or (repeat, fold)


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """How activations are to be compared.

    margin      within which two means are alike; None: the measure's own
    rope        half the region of practical equivalence; None: the margin
    every_pair  all pairs, not only those with the reference
    family      what Holm corrects over: the comparisons of each set-up, or of all together
    published   datasets with a published test set, whose split no seed draws
    respected   by dataset what its splits respect: classes, groups, both, or nothing
    alpha       the error rate over the comparisons of a family, at this look
    look        the look at which a growing comparison stopped; `stopped` says why
    """

    measure: Measure = MEASURES["accuracy"]
    margin: Margin | None = None
    rope: Margin | None = None
    every_pair: bool = False
    family: Literal["setup", "all"] = "setup"
    published: frozenset[str] = frozenset()
    respected: Mapping[str, str] = field(default_factory=dict)
    alpha: float = ALPHA
    look: int | None = None
    stopped: str = ""


@dataclass(frozen=True)
class Scores:
    """One activation's figures by repetition; those that diverged, and how many have no figure.

    shared  seconds of runs that were trained in one pass: one measurement, not several
    """

    defined: Mapping[Repetition, float]
    diverged: frozenset[Repetition]
    undefined: int
    shared: bool

    @property
    def whole(self) -> bool:
        """Whether every repetition has a figure of its own: survivors say nothing of the others."""
        return not (self.diverged or self.undefined or self.shared)

    @property
    def mean(self) -> float | None:
        """The mean over the repetitions that have a figure."""
        return stats.mean_sd(list(self.defined.values()))[0]


@dataclass(frozen=True)
class RecordedDesign:
    """What the runs of a set-up repeat, and the test that this allows."""

    name: Literal["paired seeds", "drawn hold-outs", "folds"]
    design: Design


@dataclass(frozen=True)
class Comparison:
    """One activation against another, before the correction over several.

    difference  mean of first - second, on the measure's scale
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


def repetition(cell: Cell) -> Repetition:
    """What a run repeats: its split where there are folds, else its seed."""
    split = cell.split
    if split.folds is None:
        return (cell.seed,)
    return (split.repeat,) if split.fold is None else (split.repeat, split.fold)


def scores(runs: Sequence[RunResult], measure: Measure) -> Scores:
    """An activation's figures; the seeds of a split are averaged first."""
    defined, diverged, undefined = {}, set(), 0
    for repeated, same in grouped(runs, lambda result: repetition(result.cell)).items():
        # Seeds of one split share their rows, so that each by itself is no repetition.
        figures = [figure for run in same if (figure := measure.of(run)) is not None]
        # One diverged seed spoils its split: the mean of the rest would be that of survivors.
        if any(run.failed for run in same):
            diverged.add(repeated)
        elif len(figures) < len(same):
            undefined += 1
        else:
            defined[repeated] = float(np.mean(figures))
    shared = measure.unit == "s" and any(run.environment.stack > 1 for run in runs)
    if shared and defined:  # one measurement, however many runs it was of
        defined = {min(defined): float(np.mean(list(defined.values())))}
    return Scores(defined, frozenset(diverged), undefined, shared)


def recorded_design(runs: Sequence[RunResult], published: frozenset[str]) -> RecordedDesign:
    """The design of one set-up's runs; what shares rows has the ratio n_test / n_train."""
    cell = runs[0].cell
    if cell.split.folds is None and (cell.dataset in published or cell.split.one_holdout):
        return RecordedDesign("paired seeds", Design())
    # The largest ratio is the most cautious: it widens the interval (Nadeau & Bengio 2003).
    ratio = max((run.n_test / run.n_train for run in runs if run.n_train), default=1.0)
    return RecordedDesign("folds" if cell.split.folds else "drawn hold-outs", Design(ratio))


def pairs(activations: Sequence[str], reference: str, every: bool) -> list[tuple[str, str]]:
    """Who is compared with whom; the reference stands second."""
    others = [activation for activation in activations if activation != reference]
    against = [(other, reference) for other in others]
    return against + list(combinations(others, 2)) if every else against


def comparison(
    first: str,
    second: str,
    by_activation: Mapping[str, Scores],
    over: RecordedDesign,
    options: ComparisonOptions,
) -> Comparison:
    """What the repetitions that both activations have say of their difference."""
    a, b, measure = by_activation[first], by_activation[second], options.measure
    # Sorted, since a set has no order, and the order of a sum decides its last bits.
    common = sorted(a.defined.keys() & b.defined.keys())
    differences = [a.defined[key] - b.defined[key] for key in common]
    difference = np.array(differences, dtype=float)
    ratio = over.design.ratio
    # Independent pairs may be resampled; overlapping splits may not, and have Student's interval.
    if ratio is None:
        limits = stats.interval(difference)
    else:
        limits = stats.t_interval(difference, ratio=ratio)
    margin = _size(options.margin or measure.margin, b.mean)
    rope = _size(options.rope, b.mean) if options.rope else margin
    # Without overlap there is no model for it: the correlated t assumes ratio / (1 + ratio).
    posterior = None
    if ratio is not None and rope is not None:
        posterior = stats.correlated_t(difference, ratio, rope)
    return Comparison(
        first=first,
        second=second,
        difference=float(difference.mean()) if common else None,
        interval=limits,
        # Turned here, so that `stats` knows only that more is better.
        evidence=stats.evidence(measure.sign * difference, over.design, margin),
        chance=None if over.name == "folds" else stats.chance(_with_losses(a, b, measure)),
        posterior=posterior,
        rope=rope,
        decidable=a.whole and b.whole,
        tested=not (a.shared or b.shared),
    )


def _size(margin: Margin, mean: float | None) -> float | None:
    """The margin on the measure's scale; None where it is relative and there is no mean."""
    if mean is None:
        return None if margin.relative else margin.size
    return margin.of(mean)


def _with_losses(a: Scores, b: Scores, measure: Measure) -> stats.Floats:
    """Differences by pair, more being better; a run that diverged loses its pair."""
    # Undefined figures are no losses: their pairs are left out.
    ended_a = a.defined.keys() | a.diverged
    ended_b = b.defined.keys() | b.diverged
    paired = sorted(ended_a & ended_b)
    return stats.differences(_turned(a, paired, measure), _turned(b, paired, measure))


def _turned(own: Scores, paired: Sequence[Repetition], measure: Measure) -> list[float | None]:
    """The figures so that more is better; None for a run that diverged."""
    return [None if key in own.diverged else measure.sign * own.defined[key] for key in paired]


def judge(compared: Sequence[Comparison], alpha: float) -> list[Verdict]:
    """Holm-corrected verdicts; undecidable comparisons count towards the correction."""
    judged = stats.verdicts([comparison.evidence for comparison in compared], alpha)
    return [
        verdict if comparison.decidable else Verdict("undecided", verdict.p, verdict.p_inside)
        for comparison, verdict in zip(compared, judged, strict=True)
    ]


def standings(
    family: Sequence[tuple[Mapping[str, Scores], RecordedDesign]], options: ComparisonOptions
) -> list[dict[str, str]]:
    """'best' for the best mean of each set-up, 'not worse' for those that no test tells from it.

    Corrected (Holm) over these set-ups.
    """
    rivals = [_beside_best(scores, over, options) for scores, over in family]
    compared = joined(others for _, others in rivals)
    # One correction over all set-ups of the family, handed out again in the same order.
    adjusted = iter(stats.holm([rival.evidence.p for rival in compared]))
    standings = []
    for best, others in rivals:
        standing = dict(best)
        for rival in others:
            if next(adjusted) >= options.alpha:
                standing[rival.first] = "not worse"
        standings.append(standing)
    return standings


def _beside_best(
    scores: Mapping[str, Scores], over: RecordedDesign, options: ComparisonOptions
) -> tuple[dict[str, str], list[Comparison]]:
    """A set-up's best mean, and each other beside it; nothing where no mean is whole."""
    sign = options.measure.sign
    means = {}
    for name, own in scores.items():
        if own.mean is not None:
            means[name] = sign * own.mean
    # Best can only be who has every repetition: the mean of survivors flatters.
    steady = [name for name in means if scores[name].whole]
    if not steady:
        return {}, []
    best = max(steady, key=lambda name: means[name])
    others = [comparison(name, best, scores, over, options) for name in steady if name != best]
    return {best: "best"}, others
