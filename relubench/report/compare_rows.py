"""The rows of compare: one activation of one set-up, and what can be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.claims import test_name
from relubench.report.evidence import (
    Comparison,
    ComparisonOptions,
    RecordedDesign,
    Scores,
    comparison,
    judge,
    pairs,
    recorded_design,
    scores,
    standings,
)
from relubench.report.figures import mean_of
from relubench.report.naming import by_setup, setup_row
from relubench.report.run_table import SCORES, run_row
from relubench.results import COUNTS, MOMENTS, RunResult
from relubench.rows import AgainstRow, Claim, CompareRow, Correction, Procedure, RunRow, Test
from relubench.stats import Verdict

TURNED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class _SetUp:
    """The runs of one set-up by activation, their figures, and what is compared."""

    runs: Mapping[str, Sequence[RunResult]]
    scores: Mapping[str, Scores]
    recorded: RecordedDesign
    compared: Sequence[Comparison]


def _set_up(results: Sequence[RunResult], plan: Plan, options: ComparisonOptions) -> _SetUp:
    runs = grouped(results, lambda result: result.cell.activation)
    by_activation = {name: scores(same, options.measure) for name, same in runs.items()}
    recorded = recorded_design(results, options.published)
    compared = [
        comparison(first, second, by_activation, recorded, options)
        for first, second in pairs(list(runs), plan.reference, options.every_pair)
    ]
    return _SetUp(runs, by_activation, recorded, compared)


def compare_rows(
    results: Sequence[RunResult], plan: Plan, options: ComparisonOptions
) -> list[CompareRow]:
    """The rows of all set-ups, the p-values of each family of comparisons corrected together."""
    setups = [_set_up(members, plan, options) for members in by_setup(results)]
    families = [setups] if options.family == "all" else [[setup] for setup in setups]
    rows = []
    for family in families:
        compared = joined(setup.compared for setup in family)
        # Judged together and handed out again in order: Holm needs the p-values of all of them.
        verdicts = iter(judge(compared, options.alpha))
        best = standings([(setup.scores, setup.recorded) for setup in family], options)
        correction = Correction(len(compared), len(setups), options.family == "all")
        for setup, standing in zip(family, best, strict=True):
            judged = [(comparison, next(verdicts)) for comparison in setup.compared]
            procedure = _procedure(setup, correction, options)
            rows += _setup_rows(setup, judged, standing, procedure, plan, options)
    return rows


def _setup_rows(
    setup: _SetUp,
    judged: Sequence[tuple[Comparison, Verdict]],
    standing: Mapping[str, str],
    procedure: Procedure,
    plan: Plan,
    options: ComparisonOptions,
) -> list[CompareRow]:
    """The rows of one set-up, the best mean first."""
    # The reference stands second in its pairs: `pairs` puts it there.
    with_reference = {c.first: (c, v) for c, v in judged if c.second == plan.reference}
    reference = setup.runs.get(plan.reference, ())
    rows = []
    for name, runs in setup.runs.items():
        own = setup.scores[name]
        claim = _claim(with_reference.get(name), own, runs[0].cell.split.folds)
        rows.append(
            CompareRow(
                **_summary(runs, own, options.measure),
                **vars(convergence.time_to_target(runs, reference)),
                reference=plan.reference,
                quick=plan.quick,
                **vars(claim),
                **vars(procedure),
                standing=standing.get(name),
                against=_against(name, judged) if options.every_pair else None,
            )
        )
    sign = options.measure.sign
    # Without a mean last, whichever way is better.
    return sorted(rows, key=lambda row: math.inf if row.mean is None else -sign * row.mean)


def _procedure(setup: _SetUp, correction: Correction, options: ComparisonOptions) -> Procedure:
    """How a set-up's activations were compared, as some of so many comparisons."""
    repetitions = max((comparison.evidence.n for comparison in setup.compared), default=0)
    return Procedure(
        comparisons=correction.comparisons,
        family=options.family,
        design=setup.recorded.name,
        respected=options.respected.get(_dataset(setup)) or None,
        ratio=setup.recorded.design.ratio,
        test=Test(test_name(setup.recorded.design, repetitions), correction),
        alpha=options.alpha,
        look=options.look,
    )


def _dataset(setup: _SetUp) -> str:
    return next(iter(setup.runs.values()))[0].cell.dataset


def _claim(judged: tuple[Comparison, Verdict] | None, own: Scores, folds: int | None) -> Claim:
    """What is said of one activation beside the reference; nothing of the reference itself."""
    if judged is None:
        return Claim(pairs=len(own.defined), verdict="reference")
    compared, verdict = judged
    claim = Claim(
        pairs=compared.evidence.n,
        difference=compared.difference,
        difference_low=compared.interval.low,
        difference_high=compared.interval.high,
        interval=compared.interval.method,
        margin=compared.evidence.margin,
        verdict="diverged" if own.diverged else verdict.word,
    )
    return _tested(claim, compared, verdict, own, folds) if compared.tested else claim


def _tested(
    claim: Claim, compared: Comparison, verdict: Verdict, own: Scores, folds: int | None
) -> Claim:
    """The claim with what a test says of it: of one measurement each there is none."""
    # Without a pair there is no p; 1 would look like a test that found nothing.
    if compared.evidence.n:
        claim = replace(
            claim,
            p=verdict.p,
            p_unadjusted=compared.evidence.p,
            p_equivalent=verdict.p_inside,
        )
    if chance := compared.chance:
        claim = replace(
            claim,
            probability=chance.probability,
            probability_low=chance.low,
            probability_high=chance.high,
        )
    if posterior := compared.posterior:
        claim = replace(
            claim, rope_left=posterior.left, rope=posterior.rope, rope_right=posterior.right
        )
    if verdict.more and not own.diverged:
        claim = (
            replace(claim, more_repeats=math.ceil(verdict.more / folds))
            if folds
            else replace(claim, more_seeds=verdict.more)
        )
    return replace(claim, rope_limit=compared.rope)


def _against(name: str, judged: Sequence[tuple[Comparison, Verdict]]) -> list[AgainstRow]:
    """One activation beside each other one, seen from its side."""
    return [
        _beside_second(compared, verdict)
        if name == compared.first
        else _beside_first(compared, verdict)
        for compared, verdict in judged
        if name in (compared.first, compared.second)
    ]


def _beside_second(compared: Comparison, verdict: Verdict) -> AgainstRow:
    return AgainstRow(
        activation=compared.second,
        difference=compared.difference,
        difference_low=compared.interval.low,
        difference_high=compared.interval.high,
        p=verdict.p if compared.tested else None,
        verdict=verdict.word,
    )


def _beside_first(compared: Comparison, verdict: Verdict) -> AgainstRow:
    row = _beside_second(compared, verdict)
    return AgainstRow(
        activation=compared.first,
        difference=_negated(row.difference),
        # Seen from the other side the ends of the interval change places.
        difference_low=_negated(row.difference_high),
        difference_high=_negated(row.difference_low),
        p=row.p,
        verdict=TURNED.get(row.verdict, row.verdict),
    )


def _negated(figure: float | None) -> float | None:
    return None if figure is None else -figure


def _average(rows: Sequence[RunRow], key: str) -> float | None:
    return mean_of([row.get(key) for row in rows])


def _perturbed(rows: Sequence[RunRow], name: str) -> list[float]:
    return [row.perturbed[name] or 0.0 for row in rows]  # a finished run has an accuracy


def _summary(runs: Sequence[RunResult], own: Scores, measure: Measure) -> dict[str, Any]:
    """Means over the finished runs of one activation; a mean of undefined figures is undefined."""
    finished = [run_row(result) for result in runs if not result.failed]
    averaged = [*SCORES, *COUNTS, *MOMENTS]
    means = {name: _average(finished, name) for name in averaged}
    # Over repetitions, the seeds of a fold averaged first: a plain sd would be that of runs.
    accuracies = scores(runs, MEASURES["accuracy"]).defined.values()
    means["accuracy"], means["accuracy_sd"] = stats.mean_sd(list(accuracies))
    means["mean"], means["mean_sd"] = stats.mean_sd(
        [] if own.undefined else list(own.defined.values())
    )
    perturbed = {
        name: stats.mean_sd(_perturbed(finished, name)) for name in runs[0].cell.perturbations
    }
    split = runs[0].cell.split
    return {
        **vars(setup_row(runs[0].cell)),
        "seeds": list(dict.fromkeys(result.cell.seed for result in runs)),
        "folds": split.folds,
        "repeats": max(result.cell.split.repeat for result in runs) + 1 if split.folds else None,
        "n": len(finished),
        **means,
        "perturbed": {name: center for name, (center, _) in perturbed.items()},
        "perturbed_sd": {name: spread for name, (_, spread) in perturbed.items()},
        # The median: one run that had to share the machine must not count for more.
        "seconds": median(row.seconds for row in finished) if finished else None,
        "parameters": runs[0].parameters,
        "diverged": len(runs) - len(finished),
        **vars(runs[0].environment),
        "metric": measure.name,
    }
