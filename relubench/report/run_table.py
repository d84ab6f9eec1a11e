"""train and cv: a row per trained cell, folds, the confusion matrix, the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from relubench import stats
from relubench.grouping import grouped
from relubench.metrics import METRICS
from relubench.metrics.measures import UNTIL
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.columns import (
    figure_of,
    head,
    percent_of,
    perturbations,
    spread_column,
    text_of,
    withstood,
)
from relubench.report.figures import deserved, mean_of, percent, significant
from relubench.report.naming import (
    SETUP,
    by_setup,
    name_column,
    run_name,
    setup_row,
    sizes,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, quick, undefined, withstanding
from relubench.results import COUNTS, MOMENTS, LayerCount, RunResult, total
from relubench.table import Column, Table

SCORES = (*METRICS, "train_accuracy", "train_loss")


def run_row(result: RunResult, quick: bool = False) -> dict[str, Any]:
    """One trained cell for machines; None where a figure is not defined."""
    cell = result.cell
    return {
        **setup_row(result.cell),
        "lr": result.lr,
        "seed": cell.seed,
        **{name: getattr(cell.split, name) for name in ("folds", "fold", "repeat")},
        "n_train": result.n_train,
        "n_test": result.n_test,
        "parameters": result.parameters,
        **{name: result.scores.get(name) for name in SCORES},
        "perturbed": {n: result.scores.get(f"accuracy {n}") for n in cell.perturbations},
        **shares(total(result.layers) if result.layers else None),
        "seconds": result.seconds,
        **{name: getattr(result, name) for name in UNTIL},
        **vars(result.environment),
        "key": cell.key,
        "quick": quick,
        "failed": result.failed,
        "confusion": result.confusion and [list(row) for row in result.confusion],
        "curve": [dict(vars(epoch)) for epoch in result.curve],
    }


def shares(count: LayerCount | None) -> dict[str, float | None]:
    """Counts as fractions of the units."""
    if count is None:
        return dict.fromkeys((*COUNTS, *MOMENTS))
    shares: dict[str, float | None] = {name: getattr(count, name) / count.units for name in COUNTS}
    return shares | {name: getattr(count, name) for name in MOMENTS}


def runs(results: Sequence[RunResult], plan: Plan) -> Table:
    """A row per trained cell: its scores on the test part."""
    rows = [run_row(result, plan.quick) for result in results]
    decimals = 2 if min((row["n_test"] for row in rows), default=0) >= 2000 else 1
    names = varying(rows, "activation", *SETUP, "seed", "repeat", "fold") or ["activation"]
    names += ["lr"] if "lr" not in names and any(row["rates"] for row in rows) else []
    silent = ["silent"] if any(row["silent"] is not None for row in rows) else []
    shares = ["accuracy", "precision", "recall", "f1", "macro_f1", *silent, "dead"]
    until = UNTIL if any(row["until"] for row in rows) else ()
    columns = [
        *map(name_column, names),
        *(Column(name.replace("_", " "), percent_of(name, decimals)) for name in shares),
        *(Column(name, withstood(name, decimals)) for name in perturbations(rows)),
        Column("loss", lambda row: significant(row["loss"], 3)),
        Column("train", percent_of("train_accuracy", decimals), key="train_accuracy"),
        *(Column(head(name), figure_of(name), key=name) for name in until),
        *sizes(rows),
        Column("s", lambda row: significant(row["seconds"]), key="seconds"),
    ]
    notes = [
        *failures(results),
        *undefined(rows),
        "In %: accuracy, f1 and so on of the test part (weighted by support unless macro), dead, "
        "and train, the accuracy on the training part. loss: nats; s: seconds of training.",
        *convergence.majority(results),
        *([] if plan.quick else convergence.falling(results)),
        *definitions(shares),
        *withstanding(perturbations(rows)),
        *quick(plan),
    ]
    return Table(rows, columns, title(rows, names), notes)


def folds(results: Sequence[RunResult], plan: Plan) -> Table:
    """Mean ± sd over folds per set-up; the seeds of a fold are averaged first."""
    rows: list[dict[str, Any]] = []
    perturbed = dict.fromkeys(f"accuracy {n}" for r in results for n in r.cell.perturbations)
    scores = ("accuracy", "precision", "recall", "f1", "macro_f1", *perturbed)
    for setup, members in by_setup(results, "activation", *SETUP).items():
        by_fold = grouped(members, lambda result: result.cell.split)
        whole = [runs for runs in by_fold.values() if not any(run.failed for run in runs)]
        row: dict[str, Any] = dict(setup) | {"folds": len(whole)}
        for name in scores:
            figures = [mean_of([run.scores.get(name) for run in runs]) for runs in whole]
            defined = [figure for figure in figures if figure is not None]
            whole_or_none = defined if len(defined) == len(figures) else []
            row[name], row[f"{name}_sd"] = stats.mean_sd(whole_or_none)
        rows.append(row)
    names = varying(rows, "activation", *SETUP) or ["activation"]
    columns = [*map(name_column, names), Column("folds", lambda row: str(row["folds"]))]
    for name in scores:
        decimals = deserved(row[f"{name}_sd"] for row in rows)
        columns.append(spread_column(name, decimals))
    return Table(rows, columns, "mean ± sd over finished folds (seeds averaged first)")


def confusion(result: RunResult, classes: Sequence[str]) -> Table:
    """The confusion matrix of one finished cell: true classes down, predicted ones across."""
    rows = [
        {"true": name, **dict(zip(classes, counts, strict=True))}
        for name, counts in zip(classes, result.confusion or (), strict=True)
    ]
    columns = [Column("true \\ predicted", text_of("true"), left=True)]
    columns += [Column(name, text_of(name)) for name in classes]
    return Table(rows, columns, f"confusion matrix, {run_name(result)}")


def curve(result: RunResult) -> Table:
    """The learning curve of one cell, as its training passes saw it."""
    rows = [{"epoch": i, **asdict(epoch)} for i, epoch in enumerate(result.curve, start=1)]
    columns = [
        Column("epoch", lambda row: str(row["epoch"])),
        Column("train loss", lambda row: significant(row["loss"], 3)),
        Column("train accuracy %", lambda row: percent(row["accuracy"], 2)),
    ]
    return Table(rows, columns, f"learning curve, {run_name(result)}")
