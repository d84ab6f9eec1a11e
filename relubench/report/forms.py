"""Whether a study's quick form puts activations in the order of its full form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relubench import stats
from relubench.grouping import grouped
from relubench.metrics.measures import Measure
from relubench.report.columns import text_of
from relubench.report.evidence import scores
from relubench.report.figures import UNDEFINED
from relubench.report.naming import by_setup
from relubench.results import RunResult
from relubench.rows import FormsRow
from relubench.table import Column, Table
from relubench.wording import counted

NOTES = (
    "order: by the mean rank over the set-ups of a form, each by its mean. correlation: "
    "Spearman's, between the mean ranks of the two forms, with a 95 % interval over activations; "
    "few activations leave it wide.",
)


@dataclass(frozen=True)
class Forms:
    """The finished runs of both forms of a benchmark, and how many are missing."""

    benchmark: str
    measure: Measure
    quick: Sequence[RunResult]
    full: Sequence[RunResult]
    missing: int


def table(studies: Sequence[Forms]) -> Table[FormsRow]:
    """A row for each benchmark; it has no correlation where both share under three activations."""
    rows = [_row(study) for study in studies]
    columns: list[Column[FormsRow]] = [
        Column("benchmark", text_of("benchmark"), left=True),
        Column("metric", text_of("metric"), left=True),
        Column("runs, quick", text_of("quick_runs"), key="quick_runs"),
        Column("full", text_of("full_runs"), key="full_runs"),
        Column("missing", text_of("missing"), rank=1),
        Column("correlation [95 %]", _correlation, key="correlation"),
        Column("quick order", lambda row: _order(row.quick_order), left=True, wrap=True),
        Column("full order", lambda row: _order(row.full_order), left=True, wrap=True),
    ]
    title = f"the order of activations in quick and full forms of {counted(len(rows), 'benchmark')}"
    return Table(rows, columns, title, NOTES)


def _row(study: Forms) -> FormsRow:
    # Ranked among those that both have: a form may have others between them.
    in_quick = {run.cell.activation for run in study.quick}
    names = dict.fromkeys(run.cell.activation for run in study.full)
    shared = [name for name in names if name in in_quick]
    quick, full = (_ranks(results, study.measure, shared) for results in (study.quick, study.full))
    known = shared if quick and full else []
    figures = [quick[name] for name in known], [full[name] for name in known]
    correlation = stats.rank_correlation(*figures) or (None, None, None)
    return FormsRow(
        benchmark=study.benchmark,
        metric=study.measure.name,
        activations=len(known),
        quick_order=sorted(known, key=quick.__getitem__),
        full_order=sorted(known, key=full.__getitem__),
        quick_runs=len(study.quick),
        full_runs=len(study.full),
        missing=study.missing,
        correlation=correlation[0],
        correlation_low=correlation[1],
        correlation_high=correlation[2],
    )


def _ranks(
    results: Sequence[RunResult], measure: Measure, names: Sequence[str]
) -> dict[str, float]:
    """The mean rank of each of these activations over set-ups, 1 the best.

    A set-up in which one of them has no mean says nothing of the others' ranks, and is left out.
    """
    setups = []
    for members in by_setup(results):
        runs = grouped(members, lambda run: run.cell.activation)
        means = [scores(runs.get(name, ()), measure).mean for name in names]
        if None not in means:
            setups.append([measure.sign * mean for mean in means if mean is not None])
    return dict(zip(names, stats.mean_ranks(setups), strict=True)) if setups and names else {}


def _correlation(row: FormsRow) -> str:
    r, low, high = row.correlation, row.correlation_low, row.correlation_high
    if r is None or low is None or high is None:
        return UNDEFINED
    return f"{r:.2f} [{low:.2f}, {high:.2f}]"


def _order(names: Sequence[str]) -> str:
    return ", ".join(names) or UNDEFINED
