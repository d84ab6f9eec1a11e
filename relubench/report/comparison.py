"""compare: differences to the reference, and what they allow to be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from relubench import stats
from relubench.formats import Column, Row, Table, counted
from relubench.plan import Plan, grouped
from relubench.report.columns import percent_column, spread_column
from relubench.report.figures import UNDEFINED, deserved, mean_of, p_value, significant
from relubench.report.naming import (
    SETUP,
    by_setup,
    name_column,
    run_count,
    setup_row,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, quick
from relubench.report.runs import COUNTS, SCORES, run_row
from relubench.results import RunResult

ALPHA = 0.05


def compare(results: Sequence[RunResult], plan: Plan) -> Table:
    """A row per set-up and activation: mean ± sd, difference to the reference, verdict."""
    groups = by_setup(results, *SETUP).values()
    rows = [row for members in groups for row in _compare_group(members, plan)]
    names = [*varying(rows, *SETUP), "activation"]
    silent = ["silent"] if any(row["silent"] is not None for row in rows) else []
    decimals = deserved(map(_half_width, rows))
    columns = [
        *map(name_column, names),
        spread_column("accuracy", deserved(row["accuracy_sd"] for row in rows)),
        Column(f"vs {plan.reference} (95 % CI)", lambda row: _difference(row, decimals)),
        Column("p", lambda row: p_value(row["p"])),
        percent_column("dead"),
        *map(percent_column, silent),
        Column("s/run", lambda row: significant(row["seconds"])),
        Column("verdict", _verdict_text, left=True),
    ]
    notes = [*_sentences(rows, names[:-1], decimals), *_method(rows), *failures(results)]
    return Table(
        rows,
        columns,
        title(rows, names),
        [*notes, *definitions(["dead", *silent]), *quick(plan)],
        group=lambda row: tuple(row[key] for key in SETUP),
    )


def _compare_group(members: Sequence[RunResult], plan: Plan) -> list[dict[str, Any]]:
    """The rows of one set-up, the best accuracy first."""
    runs = grouped(members, lambda result: result.cell.activation)
    scores = {
        activation: {run.cell.seed: run.scores["accuracy"] or 0 for run in done if not run.failed}
        for activation, done in runs.items()
    }
    base = scores[plan.reference]
    found = {}
    for activation in runs:
        common = sorted(base.keys() & scores[activation].keys())
        own = [scores[activation][seed] for seed in common]
        found[activation] = stats.paired(own, [base[seed] for seed in common])
    others = [activation for activation in runs if activation != plan.reference]
    corrected = stats.holm([1.0 if (p := found[a].p) is None else p for a in others])
    adjusted = dict(zip(others, corrected, strict=True))
    unsteady = len(base) < len(runs[plan.reference])
    rows = []
    for activation in runs:
        row, paired = _summary(runs[activation]), found[activation]
        itself = activation == plan.reference
        p = None if itself or paired.p is None else adjusted[activation]
        figures = {
            "reference": plan.reference,
            "quick": plan.quick,
            "pairs": paired.pairs,
            "difference": None if itself else paired.difference,
            "difference_low": None if itself else paired.low,
            "difference_high": None if itself else paired.high,
            "p": p,
            "p_unadjusted": None if itself else paired.p,
            "comparisons": len(others),
            "test": f"{_test(paired.pairs)}, Holm over {counted(len(others), 'comparison')}",
            "verdict": "reference" if itself else _verdict(p, paired.difference, row, unsteady),
        }
        rows.append(row | figures)
    return sorted(rows, key=lambda row: math.inf if row["accuracy"] is None else -row["accuracy"])


def _test(pairs: int) -> str:
    drawn = "" if pairs <= stats.EXACT_LIMIT else f", {stats.DRAWN} drawn patterns"
    return f"{'' if drawn else 'exact '}sign-flip{drawn}"


def _verdict(p: float | None, difference: float | None, row: Row, unsteady: bool) -> str:
    """Runs that survive say nothing of those that diverged, on either side (`unsteady`: there)."""
    if row["diverged"]:
        return "diverged"
    if unsteady or p is None or difference is None or p >= ALPHA:
        return "undecided"
    return "better" if difference > 0 else "worse"


def _verdict_text(row: Row) -> str:
    if row["verdict"] != "diverged" and row["diverged"]:
        return f"{row['verdict']}, {row['diverged']} of {run_count(row)} diverged"
    if row["diverged"]:
        return f"{row['diverged']} of {run_count(row)} diverged"
    text: str = row["verdict"]
    return text


def _summary(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Means over the finished runs of one activation; a mean of undefined figures is undefined."""
    done = [run_row(result) for result in runs if not result.failed]

    def average(name: str) -> float | None:
        return mean_of([row[name] for row in done])

    accuracy, accuracy_sd = stats.mean_sd([row["accuracy"] for row in done])
    return {
        **setup_row(runs[0].cell),
        "seeds": [result.cell.seed for result in runs],
        "n": len(done),
        "accuracy": accuracy,
        "accuracy_sd": accuracy_sd,
        **{name: average(name) for name in SCORES if name != "accuracy"},
        **{name: average(name) for name in (*COUNTS, "sparsity", "mean_activation")},
        "seconds": median(row["seconds"] for row in done) if done else None,
        "parameters": runs[0].parameters,
        "diverged": len(runs) - len(done),
        **asdict(runs[0].environment),
    }


def _half_width(row: Row) -> float | None:
    low, high = row["difference_low"], row["difference_high"]
    return None if low is None or high is None else (high - low) / 2


def _difference(row: Row, decimals: int) -> str:
    if row["verdict"] == "reference":
        return "reference"
    if row["difference"] is None:
        return UNDEFINED
    number = f"{{:+z.{decimals}f}}"
    texts = [
        number.format(100 * row[key]) if row[key] is not None else UNDEFINED
        for key in ("difference", "difference_low", "difference_high")
    ]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _sentences(rows: Sequence[Row], names: Sequence[str], decimals: int) -> list[str]:
    """What the figures allow to say, a sentence per set-up."""
    said = []
    for setup, members in grouped(rows, lambda row: tuple(str(row[n]) for n in names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        reference = members[0]["reference"]
        for verdict in ("better", "worse"):
            found = [
                f"{r['activation']} ({100 * r['difference']:+z.{decimals}f} points)"
                for r in members
                if r["verdict"] == verdict
            ]
            if found:
                said.append(f"{where}{verdict} than {reference}: {', '.join(found)}.")
        verdicts = {row["verdict"] for row in members}
        if "undecided" in verdicts and not verdicts & {"better", "worse"} and _decidable(members):
            said.append(f"{where}undecided: these seeds tell no activation from {reference}.")
    return said


def _decidable(rows: Sequence[Row]) -> bool:
    """Whether so many pairs could have given a p under ALPHA."""
    pairs = max(row["pairs"] for row in rows)
    return bool(stats.smallest_p(pairs) * rows[0]["comparisons"] < ALPHA)


def _method(rows: Sequence[Row]) -> list[str]:
    """How p was found, of what it speaks, and what so few pairs can never show."""
    tested = [row for row in rows if row["p"] is not None]
    if not tested:
        return []
    fewest, most = (bound(row["pairs"] for row in tested) for bound in (min, max))
    pairs = str(most) if fewest == most else f"{fewest} to {most}"
    tests = " or ".join(dict.fromkeys(row["test"] for row in tested))
    said = [
        f"p: {tests}, over {pairs} paired seeds; interval: 95 % t of the mean paired difference, "
        "not corrected. Both speak of these rows under other seeds, not of new data."
    ]
    comparisons = max(row["comparisons"] for row in tested)
    least = min(1.0, stats.smallest_p(most) * comparisons)
    if least >= ALPHA:
        said.append(
            f"{counted(most, 'paired seed')} can decide nothing here: over "
            f"{counted(comparisons, 'comparison')} no corrected p is below {least:.3g}; "
            f"--seeds {stats.pairs_needed(comparisons)} could."
        )
    return said
