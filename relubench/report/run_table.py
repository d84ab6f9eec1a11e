"""train and cv: a row per trained cell, folds, the confusion matrix, the learning curve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics import METRICS
from relubench.metrics.measures import SEQUENCE, SEQUENCE_LOSSES, UNTIL
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.cell_keys import CELL_KEYS, facts
from relubench.report.columns import (
    figure_of,
    head,
    percent_of,
    perturbations,
    perturbed_accuracy,
    share_tone,
)
from relubench.report.figures import (
    all_or_none,
    mean_of,
    meaningful_decimals,
    percent,
    plus_minus,
    significant,
    sparkline,
)
from relubench.report.lives import history_rows
from relubench.report.naming import (
    by_activation,
    name_column,
    run_name,
    setup_row,
    sizes,
    title,
    varying,
)
from relubench.report.notes import (
    definitions,
    failures,
    perturbation_notes,
    quick,
    reported,
    undefined,
)
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
from relubench.table import Column, Curve, Panel, Picture, Table

RANKS = {"mae": 5, "precision": 7, "recall": 7, "f1": 6, "macro_f1": 5, "silent": 2, "dead": 1}
ALWAYS = 10  # classes of a confusion matrix that are never left out
LOSSES = {"loss": "train loss by epoch", "held_out_loss": "held-out loss by epoch"}
SPARKS = 20  # columns of a drawn curve
SCORES = (
    *METRICS,
    *("tokens_per_second", "train_accuracy", "train_r2", "train_loss"),
    *(*SEQUENCE, *SEQUENCE_LOSSES, "mean_weight"),
)
NUMBERS = ("rmse", "mae", "r2")  # scores of regression
TEXTS = ("perplexity", "bits_per_character")  # scores of a text that are no fractions
SHARES = ("accuracy", "precision", "recall", "f1", "macro_f1")  # scores of classes, in %

# What decides a run beside its set-up: seed and split.
REPEATED = CELL_KEYS.difference(SetupRow.declared_keys())


def run_row(result: RunResult, quick: bool = False, classes: Sequence[str] | None = None) -> RunRow:
    """One trained cell for machines; None where a figure is not defined."""
    cell = result.cell
    found = facts(cell)
    names = vars(setup_row(cell)) | {key: found[key] for key in REPEATED}
    scores = {name: result.scores.get(name) for name in SCORES}
    confusion = None
    if result.confusion is not None:
        confusion = [list(counts) for counts in result.confusion]
    return RunRow(
        **(names | scores | {"lr": result.lr}),
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
        classes=list(classes) if classes else None,
        curve=[dict(vars(epoch)) for epoch in result.curve],
        history=history_rows(result) or None,
        by_task=[dict(vars(task)) for task in result.tasks] if cell.tasks else None,
    )


def unit_fractions(count: LayerCount | None) -> HiddenUnits:
    """Counts as fractions of the units."""
    if count is None:
        return HiddenUnits()
    fractions = {name: getattr(count, name) / count.units for name in COUNTS}
    return HiddenUnits(**fractions, **{name: getattr(count, name) for name in MOMENTS})


def runs(
    results: Sequence[RunResult], plan: Plan, classes: Mapping[str, Sequence[str]] | None = None
) -> Table[RunRow]:
    """A row per trained cell: its scores on the test set.

    classes  the names of each dataset's classes, as far as they are known
    """
    known = classes or {}
    rows = [run_row(result, plan.quick, known.get(result.cell.dataset)) for result in results]
    names = varying(rows, "activation", *SETUP, "seed", "repeat", "fold") or ["activation"]
    names += ["lr"] if "lr" not in names and any(row.rates for row in rows) else []
    kinds = _kinds(results)
    notes = [
        *failures(results),
        *undefined(rows),
        *convergence.majority(results),
        *([] if plan.quick else convergence.falling(results)),
        *reported(rows),
        *definitions(["dead"]),
        *quick(plan),
    ]
    asides = [
        *(text for kind, text in UNITS.items() if kind in kinds),
        *definitions(_silent(rows)),
        *perturbation_notes(perturbations(rows)),
    ]
    bars: list[Column[RunRow]] = [Column("train loss by epoch", _falling_loss, left=True)]
    columns: list[Column[RunRow]] = [*map(name_column, names), *_scores(rows, kinds)]
    return Table(rows, columns, title(rows, names), notes, asides=asides, bars=bars)


def _silent(rows: Sequence[RunRow]) -> list[str]:
    return ["silent"] if any(row.silent is not None for row in rows) else []


def _scores(rows: Sequence[RunRow], kinds: Collection[str]) -> list[Column[RunRow]]:
    """The scores that these kinds of data have, then sizes and seconds."""
    # One example of 2000 is 0.05 %: of fewer, a second decimal would say little.
    decimals = 2 if min((row.n_test for row in rows), default=0) >= 2000 else 1
    classified, measured = "classes" in kinds, "numbers" in kinds
    percentages = [*(SHARES if classified else ()), *_silent(rows), "dead"]
    numbers: Sequence[str] = NUMBERS
    if rows and all(row.tasks for row in rows):
        percentages = [*(SEQUENCE[:3] if classified else ()), "dead"]
        numbers = SEQUENCE_LOSSES
    until = UNTIL if any(row.until for row in rows) else ()
    return [
        *map(_number, (numbers if measured else ())),
        *map(_number, (TEXTS if "text" in kinds else ())),
        *(_percentage(name, decimals) for name in percentages),
        *(Column(name, perturbed_accuracy(name, decimals), rank=2) for name in perturbations(rows)),
        Column("loss", lambda row: significant(row.loss, 3), rank=3),
        *([_train_r2()] if measured else []),
        *([_train_accuracy(decimals)] if classified else []),
        *(Column(head(name), figure_of(name), key=name, rank=2) for name in until),
        *sizes(rows),
        Column("s", lambda row: significant(row.seconds), key="seconds", rank=8),
    ]


UNITS = {
    "classes": "In %: accuracy, f1 and so on of the test set (weighted by support unless macro), "
    "dead, and train, the accuracy on the training set. loss: nats; s: seconds of training.",
    "numbers": "rmse, mae: of the test set, in the target's unit; r2: of the test set, train r2 of "
    "the training set; loss: the head's, of numbers standardised as the training set's are.",
    "text": "perplexity, bits per character, loss (nats per token): of the text's end, which is "
    "not learned from; dead: over all tokens of the rest.",
}


def _kinds(results: Sequence[RunResult]) -> set[str]:
    """What finished runs learned: classes, numbers, text; classes where none has finished."""
    kinds = {_kind(result.scores) for result in results if not result.failed}
    return kinds or {"classes"}


def _kind(scores: Mapping[str, float | None]) -> str:
    # Of the training set: a task of a sequence may have no test set.
    if scores.get("train_r2", scores.get("rmse")) is not None:
        return "numbers"
    return "text" if scores.get("perplexity") is not None else "classes"


def _number(name: str) -> Column[RunRow]:
    return Column(name.replace("_", " "), figure_of(name, 4), key=name, rank=RANKS.get(name, 0))


def _train_r2() -> Column[RunRow]:
    return Column("train r2", figure_of("train_r2", 4), key="train_r2", rank=4)


def _train_accuracy(decimals: int) -> Column[RunRow]:
    return Column("train", percent_of("train_accuracy", decimals), key="train_accuracy", rank=4)


def _percentage(name: str, decimals: int) -> Column[RunRow]:
    tone = share_tone(name) if name == "dead" else lambda row: ""
    text = percent_of(name, decimals)
    return Column(name.replace("_", " "), text, key=name, rank=RANKS.get(name, 0), tone=tone)


def _falling_loss(row: RunRow) -> str:
    return sparkline([epoch.get("loss") for epoch in row.curve], SPARKS)


def means(results: Sequence[RunResult]) -> list[Table[FoldRow]]:
    """Mean ± sd over the runs of each set-up, where one has several."""
    setups = by_activation(results).values()
    if max(map(len, setups), default=0) < 2:
        return []
    averaged = folds(results, each=lambda result: result.cell.seed)
    columns = [
        replace(column, head=column.head.replace("folds", "runs")) for column in averaged.columns
    ]
    return [replace(averaged, columns=columns, title="mean ± sd over finished runs")]


def folds(
    results: Sequence[RunResult],
    plan: Plan | None = None,
    each: Callable[[RunResult], object] = lambda result: result.cell.split,
) -> Table[FoldRow]:
    """Mean ± sd over folds per set-up; the seeds of a fold are averaged first.

    each  what is one of the figures that are averaged
    """
    perturbations = dict.fromkeys(joined(result.cell.perturbations for result in results))
    perturbed = [f"accuracy {name}" for name in perturbations]
    kinds = _kinds(results)
    numbers = (*(NUMBERS if "numbers" in kinds else ()), *(TEXTS if "text" in kinds else ()))
    scores = (*numbers, *(SHARES if "classes" in kinds else ()), *perturbed)
    if all(result.cell.tasks for result in results):
        scores = SEQUENCE if "classes" in kinds else SEQUENCE_LOSSES
    rows = []
    for setup, runs in by_activation(results).items():
        rows.append(_fold_row(setup, list(grouped(runs, each).values()), scores))
    names = varying(rows, "activation", *SETUP) or ["activation"]
    columns: list[Column[FoldRow]] = [
        *map(name_column, names),
        Column("folds", lambda row: str(row.folds)),
        *(_fold_column(name, rows) for name in scores),
    ]
    return Table(rows, columns, "mean ± sd over finished folds (seeds averaged first)")


def _fold_row(
    setup: SetupRow, by_fold: Sequence[Sequence[RunResult]], scores: Sequence[str]
) -> FoldRow:
    # A fold counts if all its seeds came to their end.
    finished = [runs for runs in by_fold if not any(map(_failed, runs))]
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
    scale = 1 if name in (*NUMBERS, *TEXTS, *SEQUENCE_LOSSES) else 100
    decimals = meaningful_decimals((row.spreads[name] for row in rows), scale)

    def show(row: FoldRow) -> str:
        return plus_minus(row.means[name], row.spreads[name], decimals, scale)

    return Column(head(name), show, key=name, rank=RANKS.get(name, 0))


def confusion(result: RunResult, classes: Sequence[str]) -> Table[ConfusionRow]:
    """The confusion matrix of one finished cell: true classes down, predicted ones across."""
    rows = [
        ConfusionRow(true=name, predicted=dict(zip(classes, counts, strict=True)))
        for name, counts in zip(classes, result.confusion or (), strict=True)
    ]
    columns: list[Column[ConfusionRow]] = [
        Column("true \\ predicted", lambda row: row.true, left=True)
    ]
    columns += [_predicted_column(name, number) for number, name in enumerate(classes)]
    return Table(rows, columns, f"confusion matrix, {run_name(result)}")


def _predicted_column(name: str, number: int) -> Column[ConfusionRow]:
    # Of a hundred classes the first stay where a terminal has no room for all.
    rank = max(0, number - ALWAYS)
    return Column(name, lambda row: str(row.predicted[name]), rank=rank)


def curve(result: RunResult) -> Table[EpochRow]:
    """The learning curve of one cell, as its training passes saw it."""
    numbered = enumerate(result.curve, start=1)
    rows = [EpochRow(epoch=number, **asdict(epoch)) for number, epoch in numbered]
    columns: list[Column[EpochRow]] = [
        Column("epoch", lambda row: str(row.epoch)),
        Column("train loss", lambda row: significant(row.loss, 3)),
    ]
    if not any(row.loss is not None and row.accuracy is None for row in rows):
        columns.append(Column("train accuracy %", lambda row: percent(row.accuracy, 2)))
    part = "test" if result.cell.validation == "test" else "validation"
    if any(row.held_out_loss is not None for row in rows):
        columns.append(Column(f"{part} loss", lambda row: significant(row.held_out_loss, 3)))
    if any(row.held_out is not None for row in rows):
        columns.append(Column(f"{part} accuracy %", lambda row: percent(row.held_out, 2)))
    return Table(rows, columns, f"learning curve, {run_name(result)}")


def curves(results: Sequence[RunResult]) -> Picture | None:
    """The loss by epoch of each activation, over its runs; beside it that of what was held out."""
    finished = [result for result in results if len(result.curve) > 1 and not result.failed]
    panels = []
    for key, caption in LOSSES.items():
        drawn = [_mean_curve(name, runs, key) for name, runs in _by_name(finished).items()]
        if drawn and all(map(_is_drawn, drawn)):
            panels.append(Panel(caption, drawn))
    return Picture(panels) if panels else None


def _is_drawn(curve: Curve) -> bool:
    return any(y is not None for y in curve.y)


def _by_name(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    return grouped(results, lambda result: result.cell.activation)


def _mean_curve(name: str, results: Sequence[RunResult], key: str) -> Curve:
    """The mean of a figure over runs, as far as all of them have it."""
    means = []
    for epochs in zip(*(result.curve for result in results), strict=False):
        means.append(mean_of([getattr(epoch, key) for epoch in epochs]))
    return Curve(name, [float(number) for number in range(1, len(means) + 1)], means)
