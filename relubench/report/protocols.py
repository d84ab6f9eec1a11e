"""Cross-validation with fresh weights in every fold, beside weights carried from fold to fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relubench import stats
from relubench.config import Published
from relubench.grouping import grouped
from relubench.plan import Plan
from relubench.report.figures import all_or_none, mean_of
from relubench.report.naming import by_activation, name_column, said_of, varying
from relubench.report.notes import failures, quick
from relubench.report.published import about, change, figure, less
from relubench.results import RunResult
from relubench.rows import SETUP, ProtocolRow, SetupRow
from relubench.table import Column, Table

FIGURES = {"cv_accuracy": "over folds", "accuracy": "test set"}
Spread = tuple[float | None, float | None]


def table(
    results: Sequence[RunResult],
    plan: Plan,
    entries: Sequence[Published],
    respected: Sequence[str] = (),
) -> Table[ProtocolRow]:
    """Two rows per set-up and activation: accuracy over folds and on the test set.

    Both as they should be measured, every fold with fresh weights, and with the weights carried
    from fold to fold, as one network that in the end has learned from all of them.
    respected  what the splits respect, a line each
    """
    rows: list[ProtocolRow] = []
    for setup, runs in by_activation(results).items():
        folds = _over_folds(runs), _over_carried(runs)
        test = _tested(runs, carried=False), _tested(runs, carried=True)
        rows.append(_row(setup, "cv_accuracy", *folds, entries))
        rows.append(_row(setup, "accuracy", *test, entries))
    names = varying(rows, "activation", *SETUP)
    columns: list[Column[ProtocolRow]] = [
        *map(name_column, names),
        Column("accuracy %", lambda row: FIGURES[row.metric], left=True, key="metric"),
        Column("fresh", lambda row: figure(row.fresh, row.metric, row.fresh_sd)),
        Column("carried", lambda row: figure(row.carried, row.metric, row.carried_sd)),
        Column("difference", lambda row: change(row.difference, row.metric)),
        *([Column("published", _published)] if entries else []),
    ]
    # Two rows each, as they were added: over folds, then on the test set.
    pairs = zip(rows[::2], rows[1::2], strict=True)
    notes = [
        *(_worth(cv, test, names) for cv, test in pairs),
        "fresh: every fold begins anew, and so does its scaler. carried: one scaler for all folds, "
        "and one network that learns from one fold after the other, so that it is scored on "
        "examples that it has learned; on the test set after the last fold. ± sd over folds, "
        "over seeds.",
        *respected,
        *failures(results),
        *quick(plan),
    ]
    return Table(rows, columns, "weights fresh in every fold, and carried from fold to fold", notes)


def _published(row: ProtocolRow) -> str:
    return figure(row.published, row.metric)


def _row(
    setup: SetupRow, metric: str, fresh: Spread, carried: Spread, entries: Sequence[Published]
) -> ProtocolRow:
    published = (e.value for e in entries if e.metric == metric and about(e, setup))
    return ProtocolRow(
        **vars(setup),
        metric=metric,
        fresh=fresh[0],
        fresh_sd=fresh[1],
        carried=carried[0],
        carried_sd=carried[1],
        difference=less(carried[0], fresh[0]),
        published=next(published, None),
    )


def _over_folds(runs: Sequence[RunResult]) -> Spread:
    """Mean and sd over folds, the seeds of a fold averaged first."""
    folds = [run for run in runs if run.cell.split.fold is not None]
    return _spread(map(_mean_accuracy, grouped(folds, lambda run: run.cell.split).values()))


def _mean_accuracy(runs: Sequence[RunResult]) -> float | None:
    return mean_of([run.scores.get("accuracy") for run in runs])


def _over_carried(runs: Sequence[RunResult]) -> Spread:
    through = [run for run in runs if run.cell.split.carried]
    by_repeat = grouped(through, lambda run: run.cell.split.repeat).values()
    # The weights of all folds are one network's: with it every fold is lost.
    if any(run.failed for run in through):
        return None, None
    means = []
    for same in by_repeat:
        by_fold = zip(*(run.folds for run in same), strict=True)
        means += [mean_of(accuracies) for accuracies in by_fold]
    return _spread(means)


def _tested(runs: Sequence[RunResult], carried: bool) -> Spread:
    """Mean and sd over seeds of the test set's accuracy."""
    return _spread(
        run.scores.get("accuracy")
        for run in runs
        if run.cell.split.fold is None and run.cell.split.carried is carried
    )


def _spread(figures: Iterable[float | None]) -> Spread:
    return stats.mean_sd(all_or_none(list(figures)))


def _worth(cv: ProtocolRow, test: ProtocolRow, names: Sequence[str]) -> str:
    """What the leak is worth, in a sentence."""
    who = ", ".join(said_of(names)(cv)) or cv.activation
    if cv.difference is None or test.difference is None:
        return f"{who}: not all runs were finished, so nothing is said of the leak."
    worth = (
        f"{who}: carrying weights from fold to fold is worth {100 * cv.difference:+.2f} points "
        f"over folds and {100 * test.difference:+.2f} on the test set"
    )
    if test.published is None or test.carried is None or test.fresh is None:
        return f"{worth}."
    off, fresh = abs(test.carried - test.published), abs(test.fresh - test.published)
    side = "nearer to" if off < fresh else "farther from"
    return (
        f"{worth}, {100 * abs(fresh - off):.2f} {side} the published {100 * test.published:.2f} "
        f"({100 * off:.2f} from it instead of {100 * fresh:.2f})."
    )
