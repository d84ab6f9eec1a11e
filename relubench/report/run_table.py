"""train and cv: a row per trained cell, folds, the confusion matrix, the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics import METRICS
from relubench.metrics.measures import UNTIL
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.columns import (
    figure_of,
    head,
    percent_of,
    perturbations,
    perturbed_accuracy,
)
from relubench.report.figures import (
    all_or_none,
    mean_of,
    meaningful_decimals,
    percent,
    plus_minus,
    significant,
)
from relubench.report.naming import (
    by_activation,
    name_column,
    run_name,
    setup_row,
    sizes,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, perturbation_notes, quick, undefined
from relubench.results import COUNTS, MOMENTS, LayerCount, RunResult, total
from relubench.rows import (
    SETUP,
    ConfusionRow,
    EpochRow,
    FoldRow,
    HiddenUnits,
    RunRow,
    SetupRow,
)
from relubench.table import Column, Table

SCORES = (*METRICS, "train_accuracy", "train_loss")


def run_row(result: RunResult, quick: bool = False) -> RunRow:
    """One trained cell for machines; None where a figure is not defined."""
    cell = result.cell
    names = vars(setup_row(cell)) | {"lr": result.lr}
    scores = {name: result.scores.get(name) for name in SCORES}
    confusion = None
    if result.confusion is not None:
        confusion = [list(counts) for counts in result.confusion]
    return RunRow(
        **(names | scores),
        seed=cell.seed,
        folds=cell.split.folds,
        fold=cell.split.fold,
        repeat=cell.split.repeat,
        n_train=result.n_train,
        n_test=result.n_test,
        parameters=result.parameters,
        perturbed={name: result.scores.get(f"accuracy {name}") for name in cell.perturbations},
        **vars(unit_fractions(total(result.layers) if result.layers else None)),
        seconds=result.seconds,
        epochs_until=result.epochs_until,
        seconds_until=result.seconds_until,
        **vars(result.environment),
        key=cell.key,
        quick=quick,
        failed=result.failed,
        confusion=confusion,
        curve=[dict(vars(epoch)) for epoch in result.curve],
    )


def unit_fractions(count: LayerCount | None) -> HiddenUnits:
    """Counts as fractions of the units."""
    if count is None:
        return HiddenUnits()
    fractions = {name: getattr(count, name) / count.units for name in COUNTS}
    return HiddenUnits(**fractions, **{name: getattr(count, name) for name in MOMENTS})


def runs(results: Sequence[RunResult], plan: Plan) -> Table[RunRow]:
    """A row per trained cell: its scores on the test set."""
    rows = [run_row(result, plan.quick) for result in results]
    decimals = 2 if min((row.n_test for row in rows), default=0) >= 2000 else 1
    names = varying(rows, "activation", *SETUP, "seed", "repeat", "fold") or ["activation"]
    names += ["lr"] if "lr" not in names and any(row.rates for row in rows) else []
    silent = ["silent"] if any(row.silent is not None for row in rows) else []
    percentages = ["accuracy", "precision", "recall", "f1", "macro_f1", *silent, "dead"]
    until = UNTIL if any(row.until for row in rows) else ()
    columns: list[Column[RunRow]] = [
        *map(name_column, names),
        *(Column(name.replace("_", " "), percent_of(name, decimals)) for name in percentages),
        *(Column(name, perturbed_accuracy(name, decimals)) for name in perturbations(rows)),
        Column("loss", lambda row: significant(row.loss, 3)),
        Column("train", percent_of("train_accuracy", decimals), key="train_accuracy"),
        *(Column(head(name), figure_of(name), key=name) for name in until),
        *sizes(rows),
        Column("s", lambda row: significant(row.seconds), key="seconds"),
    ]
    notes = [
        *failures(results),
        *undefined(rows),
        "In %: accuracy, f1 and so on of the test set (weighted by support unless macro), dead, "
        "and train, the accuracy on the training set. loss: nats; s: seconds of training.",
        *convergence.majority(results),
        *([] if plan.quick else convergence.falling(results)),
        *definitions(percentages),
        *perturbation_notes(perturbations(rows)),
        *quick(plan),
    ]
    return Table(rows, columns, title(rows, names), notes)


def folds(results: Sequence[RunResult], plan: Plan) -> Table[FoldRow]:
    """Mean ± sd over folds per set-up; the seeds of a fold are averaged first."""
    perturbations = dict.fromkeys(joined(result.cell.perturbations for result in results))
    perturbed = [f"accuracy {name}" for name in perturbations]
    scores = ("accuracy", "precision", "recall", "f1", "macro_f1", *perturbed)
    rows = [_fold_row(setup, runs, scores) for setup, runs in by_activation(results).items()]
    names = varying(rows, "activation", *SETUP) or ["activation"]
    columns: list[Column[FoldRow]] = [
        *map(name_column, names),
        Column("folds", lambda row: str(row.folds)),
        *(_fold_column(name, rows) for name in scores),
    ]
    return Table(rows, columns, "mean ± sd over finished folds (seeds averaged first)")


def _fold_row(setup: SetupRow, results: Sequence[RunResult], scores: Sequence[str]) -> FoldRow:
    by_fold = grouped(results, lambda result: result.cell.split)
    finished = [runs for runs in by_fold.values() if not any(map(_failed, runs))]
    means, spreads = {}, {}
    for name in scores:
        figures = [_mean_score(runs, name) for runs in finished]
        means[name], spreads[name] = stats.mean_sd(all_or_none(figures))
    return FoldRow(**vars(setup), folds=len(finished), means=means, spreads=spreads)


def _failed(result: RunResult) -> bool:
    return result.status != "ok"


def _mean_score(runs: Sequence[RunResult], name: str) -> float | None:
    return mean_of([run.scores.get(name) for run in runs])


def _fold_column(name: str, rows: Sequence[FoldRow]) -> Column[FoldRow]:
    decimals = meaningful_decimals(row.spreads[name] for row in rows)

    def show(row: FoldRow) -> str:
        return plus_minus(row.means[name], row.spreads[name], decimals)

    return Column(head(name), show, key=name)


def confusion(result: RunResult, classes: Sequence[str]) -> Table[ConfusionRow]:
    """The confusion matrix of one finished cell: true classes down, predicted ones across."""
    rows = [
        ConfusionRow(true=name, predicted=dict(zip(classes, counts, strict=True)))
        for name, counts in zip(classes, result.confusion or (), strict=True)
    ]
    columns: list[Column[ConfusionRow]] = [
        Column("true \\ predicted", lambda row: row.true, left=True)
    ]
    columns += [_predicted_column(name) for name in classes]
    return Table(rows, columns, f"confusion matrix, {run_name(result)}")


def _predicted_column(name: str) -> Column[ConfusionRow]:
    return Column(name, lambda row: str(row.predicted[name]))


def curve(result: RunResult) -> Table[EpochRow]:
    """The learning curve of one cell, as its training passes saw it."""
    numbered = enumerate(result.curve, start=1)
    rows = [EpochRow(epoch=number, **asdict(epoch)) for number, epoch in numbered]
    columns: list[Column[EpochRow]] = [
        Column("epoch", lambda row: str(row.epoch)),
        Column("train loss", lambda row: significant(row.loss, 3)),
        Column("train accuracy %", lambda row: percent(row.accuracy, 2)),
    ]
    return Table(rows, columns, f"learning curve, {run_name(result)}")
