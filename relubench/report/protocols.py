"""Cross-validation with fresh weights in every fold, beside weights carried from fold to fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from relubench import stats
from relubench.config import Published
from relubench.grouping import grouped
from relubench.plan import Plan
from relubench.report.figures import mean_of
from relubench.report.naming import SETUP, by_setup, name_column, varying
from relubench.report.notes import failures, quick
from relubench.report.published import about, figure, less
from relubench.results import RunResult
from relubench.table import Column, Row, Table

FIGURES = {"cv_accuracy": "over folds", "accuracy": "test part"}
Spread = tuple[float | None, float | None]


def table(results: Sequence[RunResult], plan: Plan, entries: Sequence[Published]) -> Table:
    """Two rows per set-up and activation: accuracy over folds and on the test part.

    Both as they should be measured, every fold with fresh weights, and with the weights carried
    from fold to fold, as one network that in the end has learned from all of them.
    """
    rows: list[dict[str, Any]] = []
    for setup, runs in by_setup(results, "activation", *SETUP).items():
        for metric, fresh, carried in (
            ("cv_accuracy", _over_folds(runs), _over_carried(runs)),
            ("accuracy", _tested(runs, carried=False), _tested(runs, carried=True)),
        ):
            row = dict(setup) | {"metric": metric, "fresh": fresh[0], "fresh_sd": fresh[1]}
            row |= {"carried": carried[0], "carried_sd": carried[1]}
            known = (e.value for e in entries if e.metric == metric and about(e, row))
            rows.append(
                row | {"difference": less(carried[0], fresh[0]), "published": next(known, None)}
            )
    names = varying(rows, "activation", *SETUP)
    columns = [
        *map(name_column, names),
        Column("accuracy %", lambda row: FIGURES[row["metric"]], left=True, key="metric"),
        Column("fresh", lambda row: figure(row, "fresh", "fresh_sd")),
        Column("carried", lambda row: figure(row, "carried", "carried_sd")),
        Column("difference", lambda row: figure(row, "difference")),
        *([Column("published", lambda row: figure(row, "published"))] if entries else []),
    ]
    pairs = zip(rows[::2], rows[1::2], strict=True)
    notes = [
        *(_worth(cv, test, names) for cv, test in pairs),
        "fresh: every fold begins anew, and so does its scaler. carried: one scaler for all folds, "
        "and one network that learns from one fold after the other, so that it is scored on "
        "examples that it has learned; on the test part after the last fold. ± sd over folds, "
        "over seeds.",
        *failures(results),
        *quick(plan),
    ]
    return Table(rows, columns, "weights fresh in every fold, and carried from fold to fold", notes)


def _over_folds(runs: Sequence[RunResult]) -> Spread:
    """Mean and sd over folds, the seeds of a fold averaged first."""
    folds = [run for run in runs if run.cell.split.fold is not None]
    return _spread(
        mean_of([run.scores.get("accuracy") for run in same])
        for same in grouped(folds, lambda run: run.cell.split).values()
    )


def _over_carried(runs: Sequence[RunResult]) -> Spread:
    through = [run for run in runs if run.cell.split.carried]
    by_repeat = grouped(through, lambda run: run.cell.split.repeat).values()
    if any(run.failed for run in through):
        return None, None
    return _spread(
        mean_of(list(fold))
        for same in by_repeat
        for fold in zip(*(run.folds for run in same), strict=True)
    )


def _tested(runs: Sequence[RunResult], carried: bool) -> Spread:
    """Mean and sd over seeds of the test part's accuracy."""
    return _spread(
        run.scores.get("accuracy")
        for run in runs
        if run.cell.split.fold is None and run.cell.split.carried is carried
    )


def _spread(figures: Iterable[float | None]) -> Spread:
    found = list(figures)
    known = [figure for figure in found if figure is not None]
    return stats.mean_sd(known if len(known) == len(found) else [])


def _worth(cv: Row, test: Row, names: Sequence[str]) -> str:
    """What the leak is worth, in a sentence."""
    who = ", ".join(str(cv[name]) for name in names) or str(cv["activation"])
    if cv["difference"] is None or test["difference"] is None:
        return f"{who}: not all runs were finished, so nothing is said of the leak."
    said = (
        f"{who}: carrying weights from fold to fold is worth {100 * cv['difference']:+.2f} points "
        f"over folds and {100 * test['difference']:+.2f} on the test part"
    )
    if test["published"] is None:
        return f"{said}."
    off, fresh = (abs(test[key] - test["published"]) for key in ("carried", "fresh"))
    side = "nearer to" if off < fresh else "farther from"
    return (
        f"{said}, {100 * abs(fresh - off):.2f} {side} the published {100 * test['published']:.2f} "
        f"({100 * off:.2f} from it instead of {100 * fresh:.2f})."
    )
