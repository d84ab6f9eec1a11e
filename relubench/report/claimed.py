"""Directions that were claimed, beside what the tests of a comparison show of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from relubench.config import Published
from relubench.metrics.measures import MEASURES
from relubench.plan import Plan
from relubench.report.columns import text_of
from relubench.report.compare_rows import compare_rows
from relubench.report.evidence import ComparisonOptions
from relubench.report.figures import meaningful_decimals, p_value, signed
from relubench.report.naming import varying
from relubench.report.sources import confirmed_text, named, source_text
from relubench.results import RunResult
from relubench.rows import ClaimedRow, ClaimVerdict, CompareRow
from relubench.table import AnyTable, Column, Table
from relubench.wording import counted

NAMES = ("dataset", "model", "head", "lr")
RULE = (
    "holds: the comparison shows a difference in the direction that was claimed, p after its "
    "correction; reversed: in the other; alike: equivalent inside the margin; undecided: none of "
    "these. A claim without a figure names no set-up: it is held against what was run, a quick "
    "form too."
)


def tables(
    entries: Sequence[Published],
    rows: Sequence[CompareRow],
    results: Sequence[RunResult],
    plan: Plan,
    options: ComparisonOptions,
) -> list[AnyTable]:
    """A row for each claim and each activation that it is about; nothing where there is none.

    rows  of the comparison of these results, whose measure other claims need not have
    """
    by_metric = {options.measure.name: rows}
    found: list[ClaimedRow] = []
    for entry in entries:
        if entry.metric not in by_metric:
            # A margin that a user named is of the measure that is compared.
            other = replace(options, measure=MEASURES[entry.metric], margin=None, rope=None)
            by_metric[entry.metric] = compare_rows(results, plan, other)
        found += [_row(entry, row) for row in by_metric[entry.metric] if _about(entry, row)]
    return [_table(found)] if found else []


def _about(entry: Published, row: CompareRow) -> bool:
    return named(entry, row) and row.activation != (entry.beside or row.reference)


def _row(entry: Published, row: CompareRow) -> ClaimedRow:
    assert entry.claimed is not None
    is_compared = entry.beside in (None, row.reference)
    return ClaimedRow(
        dataset=row.dataset,
        model=row.model,
        activation=row.activation,
        head=row.head,
        lr=row.lr,
        beside=entry.beside or row.reference,
        metric=entry.metric,
        claimed=entry.claimed,
        pairs=row.pairs,
        difference=row.difference if is_compared else None,
        difference_low=row.difference_low if is_compared else None,
        difference_high=row.difference_high if is_compared else None,
        p=row.p if is_compared else None,
        verdict=verdict(entry, row),
        source=entry.source,
        confirmed=entry.confirmed,
        note=entry.note,
    )


def verdict(entry: Published, row: CompareRow) -> ClaimVerdict:
    """What a comparison of the claim's metric says of it; an activation beside the reference."""
    if entry.beside not in (None, row.reference):
        reason = f"it is compared with {row.reference} (--reference {entry.beside})"
        return ClaimVerdict("cannot be said", reason)
    if row.verdict == "equivalent":
        return ClaimVerdict("alike")
    if row.verdict not in ("better", "worse"):
        return ClaimVerdict("undecided")
    is_higher = (row.verdict == "better") == (MEASURES[entry.metric].better == "higher")
    return ClaimVerdict("holds" if is_higher == (entry.claimed == "higher") else "reversed")


def _table(rows: Sequence[ClaimedRow]) -> Table[ClaimedRow]:
    several = [Column[ClaimedRow]("figure", _metric, left=True)] if varying(rows, "metric") else []
    place: Column[ClaimedRow] = Column("source", source_text, left=True, wrap=True)
    sure: Column[ClaimedRow] = Column("confirmed", confirmed_text, left=True)
    by_source = varying(rows, "source")
    columns: list[Column[ClaimedRow]] = [
        *(Column(name, text_of(name), left=True) for name in varying(rows, *NAMES)),
        Column("activation", text_of("activation"), left=True),
        *several,
        Column("claimed", _claim, left=True),
        Column("measured difference [95 %]", _difference, key="difference"),
        Column("p", lambda row: p_value(row.p)),
        Column("verdict", text_of("verdict"), left=True, wrap=True),
        *([place] if by_source else [sure] if varying(rows, "confirmed") else []),
    ]
    metric = "" if several else f", {_metric(rows[0])}"
    notes = [
        *([] if by_source else [f"claimed: {source_text(rows[0])}"]),
        *dict.fromkeys(row.note for row in rows if row.note),
        RULE,
    ]
    return Table(rows, columns, f"{counted(len(rows), 'claimed direction')}{metric}", notes)


def _metric(row: ClaimedRow) -> str:
    """What is compared, and its measure."""
    measure = MEASURES[row.metric]
    unit = measure.noun if measure.unit else ""
    return f"{row.metric.replace('_', ' ')} {unit}".rstrip()


def _claim(row: ClaimedRow) -> str:
    return f"{row.claimed} than {row.beside}"


def _difference(row: ClaimedRow) -> str:
    measure, low, high = MEASURES[row.metric], row.difference_low, row.difference_high
    if low is None or high is None or not math.isfinite(high - low):
        return signed(row.difference, measure, 2)
    decimals = meaningful_decimals([(high - low) / 2], measure.scale)
    mean, first, last = (signed(x, measure, decimals) for x in (row.difference, low, high))
    return f"{mean} [{first}, {last}]"
