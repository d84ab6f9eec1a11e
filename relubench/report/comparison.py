"""compare: a row per activation, its difference to the reference, what that allows to be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from relubench.grouping import grouped
from relubench.metrics.measures import Measure
from relubench.plan import Plan
from relubench.report import beginnings, convergence
from relubench.report.claims import said
from relubench.report.columns import percent_column, perturbations, spread_column, withstood
from relubench.report.compare_rows import _rows
from relubench.report.evidence import (
    Terms,
)
from relubench.report.figures import UNDEFINED, deserved, p_value, signed, significant
from relubench.report.naming import (
    SETUP,
    name_column,
    run_count,
    sizes,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, quick, withstanding
from relubench.report.ranking import over_datasets, rankings
from relubench.results import RunResult
from relubench.table import Column, Row, Table
from relubench.wording import counted

MARKS = {"best": "bold", "not worse": "underline"}


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
