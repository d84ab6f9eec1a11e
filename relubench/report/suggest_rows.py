"""The rows of suggest: an activation over several networks, beside the best of all activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Plan
from relubench.report.evidence import ALPHA, ComparisonOptions, recorded_design
from relubench.report.figures import mean_of
from relubench.report.naming import said_of, setup_row, varying
from relubench.results import RunResult, total
from relubench.rows import SETUP, StopWord, SuggestRow, SuggestWord
from relubench.stats import BesideBest, Design, Floats, Look


@dataclass(frozen=True)
class Ended:
    """How a study came to its end: at which of its declared looks, from 1, and why."""

    looks: Sequence[Look]
    look: int
    why: StopWord

    @property
    def alpha(self) -> float:
        """The error rate at that look."""
        return self.looks[self.look - 1].alpha


@dataclass(frozen=True)
class Candidate:
    """The runs of one activation.

    by_network  its runs by the network's name
    figures     (seeds,) means over the networks, by seed, more being better; None where a run
                diverged or has no figure
    """

    name: str
    by_network: Mapping[str, Sequence[RunResult]]
    figures: Floats | None

    @property
    def runs(self) -> list[RunResult]:
        """Those of all networks."""
        return joined(self.by_network.values())


@dataclass(frozen=True)
class _Claim:
    """What is said of a candidate beside the reference."""

    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


def suggest_rows(
    results: Sequence[RunResult], plan: Plan, options: ComparisonOptions, ended: Ended
) -> list[SuggestRow]:
    """A row per activation, the best mean first.

    results  those of every network, activation and seed up to the look
    """
    measure, alpha = options.measure, ended.alpha
    candidates = _candidates(results, measure)
    design = recorded_design(results, options.published)
    scores = {each.name: each.figures for each in candidates if each.figures is not None}
    margin = _margin(scores, plan.reference, options)
    beside = stats.beside_best(scores, design.design, margin, alpha, len(candidates))
    level = alpha / max(1, len(candidates) - 1)
    claims = _claims(scores, plan.reference, design.design, level, measure.sign)
    chosen = suggested(scores, beside, plan.reference, alpha)
    learned = _learned(candidates, measure, design.design)
    reference = next((c for c in candidates if c.name == plan.reference), None)
    rows = []
    for candidate in candidates:
        found = beside.get(candidate.name)
        claim = claims.get(candidate.name, _Claim())
        rows.append(
            SuggestRow(
                **_names(candidate),
                **_means(candidate, measure),
                p_learned=learned.get(candidate.name),
                verdict=_word(candidate, found, chosen, alpha),
                p_best=None if found is None else found.p,
                gives_away=_gives_away(found, measure),
                p_margin=None if found is None else found.p_margin,
                margin=margin,
                reference=plan.reference,
                **vars(claim),
                **_costs(candidate, reference),
                **_surroundings(candidate),
                design=design.name,
                ratio=design.design.ratio,
                alpha=alpha,
                alpha_in_all=ALPHA,
                look=ended.look,
                looks=[look.seeds for look in ended.looks],
                stopped=ended.why,
                quick=plan.quick,
            )
        )
    return sorted(rows, key=lambda row: (row.mean is None, -measure.sign * (row.mean or 0.0)))


def suggestion_decided(rows: Sequence[SuggestRow]) -> bool:
    """Whether what is suggested is shown to be the best, or within the margin of it."""
    chosen = next((row for row in rows if row.verdict == "suggested"), None)
    if chosen is None:
        return False
    alone = sum(row.best for row in rows) == 1 and len(rows) > 1
    return any(row.learned for row in rows) and (alone or chosen.near)


def suggested(
    scores: Mapping[str, Floats], beside: Mapping[str, BesideBest], reference: str, alpha: float
) -> str | None:
    """The reference, unless it is shown not to be the best; then what has the best mean."""
    if reference in beside and beside[reference].p >= alpha:
        return reference
    return max(scores, key=lambda name: scores[name].mean(), default=None)


# --- candidates -----------------------------------------------------------------------------------


def _candidates(results: Sequence[RunResult], measure: Measure) -> list[Candidate]:
    network = networks(results)
    candidates = []
    for name, runs in grouped(results, lambda run: run.cell.activation).items():
        by_network = grouped(runs, lambda run: network[setup_row(run.cell).setup])
        by_seed = grouped(runs, lambda run: run.cell.seed)
        figures = [_figure(by_seed[seed], measure) for seed in sorted(by_seed)]
        whole = [figure for figure in figures if figure is not None]
        found = np.array(whole) if len(whole) == len(figures) else None
        candidates.append(Candidate(name, by_network, found))
    return candidates


def _gives_away(found: BesideBest | None, measure: Measure) -> float | None:
    """The most that a choice gives away; None where nothing limits it.

    Two shares differ by less than 1: a limit beyond that, as two seeds give, is none.
    """
    widest = 1.0 if measure.scale == 100 else math.inf
    return found.loses if found and found.loses < widest else None


def networks(results: Sequence[RunResult]) -> dict[tuple[object, ...], str]:
    """What tells each set-up from the others, by its values: its network, as a rule."""
    cells = [run.cell for run in results]
    rows = {row.setup: row for row in map(setup_row, cells)}
    keys = varying(list(rows.values()), *SETUP) or ["model"]
    return {setup: " · ".join(said_of(keys)(row)) for setup, row in rows.items()}


def _figure(runs: Sequence[RunResult], measure: Measure) -> float | None:
    """The mean of one seed over all networks, turned so that more is better."""
    mean = mean_of([measure.of(run) for run in runs])
    return None if mean is None else measure.sign * mean


def _margin(scores: Mapping[str, Floats], reference: str, options: ComparisonOptions) -> float:
    """The margin in terms of what is compared; a relative one is that of the reference's mean."""
    margin = options.margin or options.measure.margin
    beside = scores.get(reference, next(iter(scores.values()), np.zeros(1)))
    return margin.of(float(beside.mean()))


# --- what is said of them -------------------------------------------------------------------------


def _word(
    candidate: Candidate, found: BesideBest | None, chosen: str | None, alpha: float
) -> SuggestWord:
    if found is None:
        return "diverged" if any(run.failed for run in candidate.runs) else "undefined"
    if candidate.name == chosen:
        return "suggested"
    return "may be best" if found.p >= alpha else "not best"


def _claims(
    scores: Mapping[str, Floats], reference: str, design: Design, level: float, sign: int
) -> dict[str, _Claim]:
    """Each candidate's difference to the reference as measured; the intervals hold together."""
    if reference not in scores:
        return {}
    gaps = {name: own - scores[reference] for name, own in scores.items() if name != reference}
    p_values = stats.holm([stats.evidence(gap, design).p for gap in gaps.values()])
    claims = {}
    for (name, gap), p in zip(gaps.items(), p_values, strict=True):
        limits = stats.t_interval(sign * gap, 1 - level, design.ratio or 0.0)
        claims[name] = _Claim(float(sign * gap.mean()), limits.low, limits.high, p)
    return claims


def _learned(candidates: Sequence[Candidate], measure: Measure, design: Design) -> dict[str, float]:
    """p of doing no better than always to say the same, times the activations."""
    found = {}
    for candidate in candidates:
        gains = _gains(candidate, measure)
        if candidate.figures is not None and gains is not None:
            found[candidate.name] = min(1.0, len(candidates) * design.above(gains))
    return found


def _gains(candidate: Candidate, measure: Measure) -> Floats | None:
    """(seeds,) by how much it does better than to name the largest class, or the mean target.

    Above the share of the largest class in accuracy, above 0 in R²; None of other measures.
    """
    if measure.name == "accuracy":
        largest = _largest_classes(candidate)
        if largest is None or candidate.figures is None:
            return None
        return candidate.figures - largest
    if measure.task != "regression":
        return None
    by_seed = grouped(candidate.runs, lambda run: run.cell.seed)
    found = [_figure(by_seed[seed], MEASURES["r2"]) for seed in sorted(by_seed)]
    known = [figure for figure in found if figure is not None]
    return np.array(known) if len(known) == len(found) else None


def _largest_classes(candidate: Candidate) -> Floats | None:
    """(seeds,) shares of the largest class of each test part; None where one is not known."""
    by_seed = grouped(candidate.runs, lambda run: run.cell.seed)
    shares = [_share(by_seed[seed][0]) for seed in sorted(by_seed)]
    known = [share for share in shares if share is not None]
    return np.array(known) if len(known) == len(shares) else None


def _share(run: RunResult) -> float | None:
    if not run.confusion:
        return None
    classes = list(map(sum, run.confusion))
    return max(classes) / sum(classes)


# --- figures --------------------------------------------------------------------------------------


def _names(candidate: Candidate) -> dict[str, Any]:
    runs = candidate.runs
    return {
        "dataset": runs[0].cell.dataset,
        "activation": candidate.name,
        "networks": list(candidate.by_network),
        "seeds": sorted({run.cell.seed for run in runs}),
        "runs": len(runs),
        "diverged": sum(run.failed is not None for run in runs),
    }


def _means(candidate: Candidate, measure: Measure) -> dict[str, Any]:
    figures = [] if candidate.figures is None else list(measure.sign * candidate.figures)
    mean, spread = stats.mean_sd(figures)
    by_network = {}
    for name, runs in candidate.by_network.items():
        by_network[name] = mean_of([measure.of(run) for run in runs])
    largest = _largest_classes(candidate)
    return {
        "metric": measure.name,
        "mean": mean,
        "mean_sd": spread,
        "by_network": by_network,
        "largest_class": None if largest is None else float(largest.mean()),
    }


def _costs(candidate: Candidate, reference: Candidate | None) -> dict[str, Any]:
    own = _seconds(candidate)
    theirs = None if reference is None else _seconds(reference)
    dead = [_dead(run) for run in candidate.runs if not run.failed]
    chosen = {}
    for name, runs in candidate.by_network.items():
        chosen[name] = sorted({run.lr for run in runs})
    return {
        "seconds": own,
        "seconds_ratio": own / theirs if own is not None and theirs else None,
        "dead": mean_of(dead),
        "chosen_lr": chosen,
    }


def _seconds(candidate: Candidate) -> float | None:
    """The mean over the networks of what a finished run takes."""
    medians: list[float | None] = []
    for runs in candidate.by_network.values():
        spent = [run.seconds for run in runs if not run.failed]
        medians.append(median(spent) if spent else None)
    return mean_of(medians)


def _dead(run: RunResult) -> float | None:
    if not run.layers:
        return None
    count = total(run.layers)
    return count.dead / count.units


def _surroundings(candidate: Candidate) -> dict[str, Any]:
    first = candidate.runs[0]
    return {"n_train": first.n_train, "n_test": first.n_test, **vars(first.environment)}
