"""The rows of compare: one activation of one set-up, and what can be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from relubench import stats
from relubench.grouping import grouped
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.claims import corrected_over, tested_by
from relubench.report.evidence import (
    Comparison,
    Recorded,
    Scores,
    Terms,
    comparison,
    judge,
    pairs,
    recorded,
    scores,
    standings,
)
from relubench.report.figures import mean_of
from relubench.report.naming import (
    SETUP,
    by_setup,
    setup_row,
)
from relubench.report.run_table import SCORES, run_row
from relubench.results import COUNTS, MOMENTS, RunResult
from relubench.stats import Verdict

CLAIM = (
    *("pairs", "difference", "difference_low", "difference_high", "interval"),
    *("p", "p_unadjusted", "p_equivalent", "margin"),
    *("probability", "probability_low", "probability_high"),
    *("rope_limit", "rope_left", "rope", "rope_right"),
    *("verdict", "more_seeds", "more_repeats"),
)


UNTESTED = (
    *("p", "p_unadjusted", "p_equivalent"),
    *("probability", "probability_low", "probability_high"),
    *("rope_limit", "rope_left", "rope", "rope_right", "more_seeds", "more_repeats"),
)
TURNED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class _SetUp:
    """The runs of one set-up by activation, their figures, and what is compared."""

    runs: Mapping[str, Sequence[RunResult]]
    found: Mapping[str, Scores]
    over: Recorded
    compared: Sequence[Comparison]


def _set_up(members: Sequence[RunResult], plan: Plan, terms: Terms) -> _SetUp:
    runs = grouped(members, lambda result: result.cell.activation)
    found = {name: scores(same, terms.measure) for name, same in runs.items()}
    over = recorded(members, terms.published)
    compared = [
        comparison(first, second, found, over, terms)
        for first, second in pairs(list(runs), plan.reference, terms.every_pair)
    ]
    return _SetUp(runs, found, over, compared)


def _rows(results: Sequence[RunResult], plan: Plan, terms: Terms) -> list[dict[str, Any]]:
    """The rows of all set-ups, the p-values of each family of comparisons corrected together."""
    groups = by_setup(results, *SETUP).values()
    setups = [_set_up(members, plan, terms) for members in groups]
    rows = []
    for family in [setups] if terms.family == "all" else [[each] for each in setups]:
        compared = [each for setup in family for each in setup.compared]
        verdicts = iter(judge(compared, terms.alpha))
        best = standings([(setup.found, setup.over) for setup in family], terms)
        correction = corrected_over(len(compared), len(setups), terms)
        for setup, standing in zip(family, best, strict=True):
            judged = [(each, next(verdicts)) for each in setup.compared]
            tested = _tested(setup, len(compared), correction, terms)
            rows += _setup_rows(setup, judged, standing, tested, plan, terms)
    return rows


def _setup_rows(
    setup: _SetUp,
    judged: Sequence[tuple[Comparison, Verdict]],
    standing: Mapping[str, str],
    tested: Mapping[str, Any],
    plan: Plan,
    terms: Terms,
) -> list[dict[str, Any]]:
    """The rows of one set-up, the best mean first."""
    runs, found = setup.runs, setup.found
    with_reference = {c.first: (c, v) for c, v in judged if c.second == plan.reference}
    rows = [
        {
            **_summary(same, found[name], terms.measure),
            **convergence.arrival(same, runs.get(plan.reference, ())),
            "reference": plan.reference,
            "quick": plan.quick,
            **_claim(with_reference.get(name), found[name], same[0].cell.split.folds),
            **tested,
            "standing": standing.get(name),
            "against": _against(name, judged) if terms.every_pair else None,
        }
        for name, same in runs.items()
    ]
    sign = terms.measure.sign
    return sorted(rows, key=lambda row: math.inf if row["mean"] is None else -sign * row["mean"])


def _tested(setup: _SetUp, comparisons: int, correction: str, terms: Terms) -> dict[str, Any]:
    """How a set-up's activations were compared, as some of so many comparisons."""
    units = max((each.evidence.n for each in setup.compared), default=0)
    return {
        "comparisons": comparisons,
        "family": terms.family,
        "design": setup.over.name,
        "ratio": setup.over.design.ratio,
        "test": tested_by(setup.over.design, units, correction),
        "alpha": terms.alpha,
        "look": terms.look,
    }


def _claim(
    judged: tuple[Comparison, Verdict] | None, own: Scores, folds: int | None
) -> dict[str, Any]:
    """What is said of one activation beside the reference; nothing of the reference itself."""
    if judged is None:
        return dict.fromkeys(CLAIM) | {"pairs": len(own.known), "verdict": "reference"}
    found, verdict = judged
    chance, posterior, more = found.chance, found.posterior, verdict.more
    said = {
        "pairs": found.evidence.n,
        "difference": found.difference,
        "difference_low": found.interval.low,
        "difference_high": found.interval.high,
        "interval": found.interval.method,
        "p": verdict.p if found.evidence.n else None,
        "p_unadjusted": found.evidence.p if found.evidence.n else None,
        "p_equivalent": verdict.p_inside if found.evidence.n else None,
        "margin": found.evidence.margin,
        "probability": chance and chance.probability,
        "probability_low": chance and chance.low,
        "probability_high": chance and chance.high,
        "rope_limit": found.rope,
        "rope_left": posterior and posterior.left,
        "rope": posterior and posterior.rope,
        "rope_right": posterior and posterior.right,
        "verdict": "diverged" if own.diverged else verdict.word,
        "more_seeds": None if folds or own.diverged else more,
        "more_repeats": math.ceil(more / folds) if folds and more and not own.diverged else None,
    }
    untested = () if found.tested else UNTESTED
    return {key: None if key in untested else said[key] for key in CLAIM}


def _against(name: str, judged: Sequence[tuple[Comparison, Verdict]]) -> list[dict[str, Any]]:
    """One activation beside each other one, seen from its side."""
    rows = []
    for found, verdict in judged:
        if name not in (found.first, found.second):
            continue
        own, limits = name == found.first, [found.interval.low, found.interval.high]
        sides = limits if own else [None if x is None else -x for x in reversed(limits)]
        difference = found.difference
        rows.append(
            {
                "activation": found.second if own else found.first,
                "difference": difference if own or difference is None else -difference,
                "difference_low": sides[0],
                "difference_high": sides[1],
                "p": verdict.p if found.tested else None,
                "verdict": verdict.word if own else TURNED.get(verdict.word, verdict.word),
            }
        )
    return rows


def _summary(runs: Sequence[RunResult], found: Scores, measure: Measure) -> dict[str, Any]:
    """Means over the finished runs of one activation; a mean of undefined figures is undefined."""
    done = [run_row(result) for result in runs if not result.failed]

    def average(name: str) -> float | None:
        return mean_of([row[name] for row in done])

    split = runs[0].cell.split
    accuracy, accuracy_sd = stats.mean_sd(list(scores(runs, MEASURES["accuracy"]).known.values()))
    perturbed = {
        name: stats.mean_sd([row["perturbed"][name] for row in done])
        for name in runs[0].cell.perturbations
    }
    mean, mean_sd = stats.mean_sd([] if found.undefined else list(found.known.values()))
    return {
        **setup_row(runs[0].cell),
        "seeds": list(dict.fromkeys(result.cell.seed for result in runs)),
        "folds": split.folds,
        "repeats": max(result.cell.split.repeat for result in runs) + 1 if split.folds else None,
        "n": len(done),
        "accuracy": accuracy,
        "accuracy_sd": accuracy_sd,
        **{name: average(name) for name in SCORES if name != "accuracy"},
        "perturbed": {name: center for name, (center, _) in perturbed.items()},
        "perturbed_sd": {name: spread for name, (_, spread) in perturbed.items()},
        **{name: average(name) for name in (*COUNTS, *MOMENTS)},
        "seconds": median(row["seconds"] for row in done) if done else None,
        "parameters": runs[0].parameters,
        "diverged": len(runs) - len(done),
        **asdict(runs[0].environment),
        "metric": measure.name,
        "mean": mean,
        "mean_sd": mean_sd,
    }
