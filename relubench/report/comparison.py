"""compare: a row per activation, its difference to the reference, what that allows to be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from relubench import stats
from relubench.formats import Column, Row, Table, counted
from relubench.measures import MEASURES, Measure
from relubench.plan import Plan, grouped
from relubench.report import beginnings, convergence
from relubench.report.claims import corrected_over, said, tested_by
from relubench.report.columns import (
    percent_column,
    perturbations,
    spread_column,
    withstood,
)
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
from relubench.report.figures import UNDEFINED, deserved, mean_of, p_value, signed, significant
from relubench.report.naming import (
    SETUP,
    by_setup,
    name_column,
    run_count,
    setup_row,
    sizes,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, quick, withstanding
from relubench.report.ranking import over_datasets, rankings
from relubench.report.runs import SCORES, run_row
from relubench.results import COUNTS, MOMENTS, RunResult
from relubench.stats import Verdict

MARKS = {"best": "bold", "not worse": "underline"}
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


def compare(results: Sequence[RunResult], plan: Plan, terms: Terms | None = None) -> Table:
    """A row per set-up and activation: mean ± sd, difference to the reference, verdict."""
    return comparisons(results, plan, terms or Terms())[0]


def comparisons(results: Sequence[RunResult], plan: Plan, terms: Terms) -> list[Table]:
    """`compare`'s table; then every pair where that was asked, and the ranks over datasets."""
    rows = over_datasets(_rows(results, plan, terms), terms)
    others = varying(rows, *SETUP)
    names = varying(rows, *SETUP, "activation") or ["activation"]
    silent = ["silent"] if any(row["silent"] is not None for row in rows) else []
    table = Table(
        rows,
        [*map(name_column, names), *_columns(rows, plan, terms, silent)],
        title(rows, names),
        [
            *said(rows, others, terms),
            *beginnings.decided(rows),
            *beginnings.starts(rows),
            *failures(results),
            *definitions(["dead", *silent]),
            *convergence.notes(rows),
            *([] if plan.quick else convergence.unconverged(results)),
            *withstanding(perturbations(rows)),
            *quick(plan),
        ],
        group=lambda row: tuple(row[key] for key in SETUP),
    )
    every = [_pairs(rows, others, terms)] if terms.every_pair else []
    return [table, *every, *rankings(rows, terms)]


def decided(results: Sequence[RunResult], plan: Plan, terms: Terms) -> bool:
    """Whether no comparison is undecided; what diverged will not be decided by more seeds."""
    rows = _rows(results, plan, terms)
    pairs = [each for row in rows for each in row["against"] or ()]
    return all(each["verdict"] != "undecided" for each in (*rows, *pairs))


# --- rows -----------------------------------------------------------------------------------------


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


# --- what people see ------------------------------------------------------------------------------


def _columns(rows: Sequence[Row], plan: Plan, terms: Terms, silent: Sequence[str]) -> list[Column]:
    """The measure compared, then what it costs."""
    measure = terms.measure
    decimals = deserved(map(_half_width, rows), measure.scale)
    if not any(map(_half_width, rows)):
        decimals = _decimals(rows, measure)
    spreads = deserved(row["accuracy_sd"] for row in rows)
    short = any(row["until"] for row in rows)  # its own columns take the room of these
    others = ["accuracy"] if short else ["accuracy", "dead", *silent]
    chance = Column("P(better)", _chance, key="probability")
    rope = Column("P(below, in, above rope)", _posterior, key="rope")
    seconds = Column("s/run", lambda row: significant(row["seconds"]), key="seconds")
    difference = Column(
        f"vs {plan.reference} (95 % CI)",
        lambda row: _difference(row, measure, decimals),
        key="difference",
    )
    p = Column("p", lambda row: p_value(row["p"]))
    verdict = Column("verdict", _verdict_text, left=True)
    compared = any(row["verdict"] != "reference" or row["diverged"] for row in rows)
    return [
        _mean_column(rows, measure),
        *([difference, p] if compared else []),
        *([chance] if any(row["probability"] is not None for row in rows) else []),
        *([rope] if terms.rope and any(row["rope"] is not None for row in rows) else []),
        *convergence.columns(rows, plan.reference, measure.name),
        *(Column(f"{name} %", withstood(name, spreads)) for name in perturbations(rows)),
        *(percent_column(name) for name in others if name != measure.name),
        *(sizes(rows) if measure.name != "parameters" else []),
        *([] if short or measure.name == "seconds" else [seconds]),
        *([verdict] if compared else []),
    ]


def _mean_column(rows: Sequence[Row], measure: Measure) -> Column:
    """Mean ± sd of what is compared, the best marked."""
    decimals = _decimals(rows, measure)
    column = spread_column("mean", decimals, measure)
    return replace(column, key=measure.name, mark=lambda row: MARKS.get(row["standing"], ""))


def _decimals(rows: Sequence[Row], measure: Measure) -> int:
    """How many decimals a mean has; single measurements of seconds are shown to about 1 %."""
    spreads = [row["mean_sd"] for row in rows]
    if measure.unit == "s" and not any(spreads):
        spreads = [row["mean"] and row["mean"] / 50 for row in rows]
    return deserved(spreads, measure.scale)


def _half_width(row: Row) -> float | None:
    low, high = row["difference_low"], row["difference_high"]
    return None if low is None or high is None else (high - low) / 2


def _difference(row: Row, measure: Measure, decimals: int) -> str:
    if row["verdict"] == "reference":
        return "reference"
    if row["difference"] is None:
        return UNDEFINED
    center, low, high = (
        signed(row[key], measure, decimals)
        for key in ("difference", "difference_low", "difference_high")
    )
    return center if row["difference_low"] is None else f"{center} [{low}, {high}]"


def _chance(row: Row) -> str:
    return UNDEFINED if row["probability"] is None else f"{row['probability']:.2f}"


def _posterior(row: Row) -> str:
    if row["rope"] is None:
        return UNDEFINED
    return ", ".join(f"{row[key]:.2f}" for key in ("rope_left", "rope", "rope_right"))


def _verdict_text(row: Row) -> str:
    lost = f"{row['diverged']} of {run_count(row)} diverged"
    if row["verdict"] == "diverged":
        return lost
    text: str = row["verdict"]
    for noun in ("seed", "repeat"):
        if more := row[f"more_{noun}s"]:
            text += f": about {counted(more, f'more {noun}')}"
    return f"{text}, {lost}" if row["diverged"] else text


def _pairs(rows: Sequence[Row], names: Sequence[str], terms: Terms) -> Table:
    """Every pair of activations once, set-up after set-up."""
    found: list[dict[str, Any]] = []
    for members in grouped(rows, lambda row: tuple(row[key] for key in SETUP)).values():
        order = {row["activation"]: place for place, row in enumerate(members)}
        found += [
            {**{key: row[key] for key in SETUP}, **each, "first": row["activation"]}
            for row in members
            for each in row["against"]
            if order[row["activation"]] < order[each["activation"]]
        ]
    decimals = deserved(map(_half_width, found), terms.measure.scale)
    columns = [
        *map(name_column, names),
        Column("activation", lambda row: row["first"], left=True),
        Column("beside", lambda row: row["activation"], left=True),
        Column("difference (95 % CI)", lambda row: _difference(row, terms.measure, decimals)),
        Column("p", lambda row: p_value(row["p"])),
        Column("verdict", lambda row: row["verdict"], left=True),
    ]
    return Table(found, columns, "every pair", group=lambda row: tuple(row[key] for key in SETUP))
