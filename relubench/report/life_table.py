"""deadcount --history: what became of hidden units, and how many never died."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.grouping import joined
from relubench.plan import Plan
from relubench.report.columns import percent_column
from relubench.report.figures import UNDEFINED, percent, sparkline
from relubench.report.lives import OVER_RUNS, OVER_UNITS, life_rows, survival_rows
from relubench.report.naming import name_column, setup_title, varying
from relubench.report.notes import failures, quick
from relubench.results import DEFINITIONS, RunResult
from relubench.rows import SETUP, LifeRow, SurvivalRow
from relubench.table import AnyTable, Column, Curve, Panel, Picture, Table

SPARKS = 20  # columns of a line over epochs
NEVER_DEAD = "never dead: the share of units that was dead at no count so far (Kaplan and Meier)"
INTERVALS = (OVER_RUNS, OVER_UNITS)
DRAWN = 8  # curves of one picture
SHARES = ("born_dead", "died", "revived", "ever_revived", "dead")
RANKS = {"ever_revived": 2, "revived": 1}


def histories(results: Sequence[RunResult], plan: Plan) -> list[AnyTable]:
    """A line per layer, then the survival of units per activation."""
    return [lives(results, plan), _survival(results)]


def lives(results: Sequence[RunResult], plan: Plan) -> Table[LifeRow]:
    """A line per layer of each activation and set-up, then of all hidden layers."""
    rows = life_rows(results)
    names = varying(rows, "activation", *SETUP) or ["activation"]
    highest = max(joined(row.dead_by_epoch for row in rows), default=0.0)
    line: Column[LifeRow] = Column(
        "dead by epoch",
        lambda row: sparkline(row.dead_by_epoch, SPARKS, (0.0, highest or 1.0)),
        left=True,
        key="dead_by_epoch",
    )
    reset: Column[LifeRow] = Column("reset", lambda row: f"{row.reset:.2f}", rank=3)
    columns: list[Column[LifeRow]] = [
        *map(name_column, names),
        Column("layer", lambda row: row.layer, left=True),
        Column("units", lambda row: str(row.units), rank=4),
        line,
        *(percent_column(name, rank=RANKS.get(name, 0)) for name in SHARES),
        *([reset] if any(row.revive for row in rows) else []),
    ]
    notes = [*failures(results), *_meanings(rows, highest), *quick(plan)]
    runs = f"n {max((row.n for row in rows), default=0)}"
    title = setup_title(rows, names, runs)
    return Table(rows, columns, title, notes, group=lambda row: (row.setup, row.activation))


def _meanings(rows: Sequence[LifeRow], highest: float) -> list[str]:
    """What the columns say."""
    if not rows:
        return []
    probe = f"a probe set ({rows[0].examples} examples of the training set)"
    return [
        f"dead: {DEFINITIONS['dead']} of {probe}",
        *([f"dead by epoch: lines from 0 to {percent(highest)} %"] if highest else []),
        "died: alive as it began, dead at some later count; revived: dead at some count, alive at "
        "the last; ever revived: of the units that were ever dead",
        *(["reset: times that a unit began anew"] if any(row.revive for row in rows) else []),
    ]


def _survival(results: Sequence[RunResult]) -> Table[SurvivalRow]:
    rows = survival_rows(results)
    names = varying(rows, "activation", *SETUP) or ["activation"]
    columns: list[Column[SurvivalRow]] = [
        *map(name_column, names),
        Column("n", lambda row: str(row.n)),
        Column(
            "never dead by epoch",
            lambda row: sparkline(row.survived, SPARKS, (0.0, 1.0)),
            left=True,
            key="survived",
        ),
        Column("at the end %", lambda row: percent(_last(row.survived)), key="survived"),
        Column("95 % interval", _interval, key="survived_low"),
    ]
    used = {row.interval for row in rows}
    notes = [NEVER_DEAD, *(text for text in INTERVALS if text in used)]
    title = "units that have never been dead"
    return Table(rows, columns, title, notes if rows else [], picture=_picture(rows, names))


def _last(shares: Sequence[float | None]) -> float | None:
    return shares[-1]


def _interval(row: SurvivalRow) -> str:
    low, high = row.survived_low[-1], row.survived_high[-1]
    return UNDEFINED if low is None else f"{percent(low)} to {percent(high)}"


def _picture(rows: Sequence[SurvivalRow], names: Sequence[str]) -> Picture | None:
    """Survival curves in %, where they are few."""
    if not 0 < len(rows) <= DRAWN or len(rows[0].counted_after) < 2:
        return None
    curves = []
    for row in rows:
        name = ", ".join(name_column(key).text(row) for key in names)
        y = [None if share is None else 100 * share for share in row.survived]
        curves.append(Curve(name, list(map(float, row.counted_after)), y))
    return Picture([Panel("% of units never dead, by epoch", curves)])
