"""Tasks in sequence: what networks have of each, and whether dead units go with what they learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from relubench import stats
from relubench.metrics.measures import MEASURES
from relubench.report.columns import figure_of, percent_column, spread_column
from relubench.report.figures import mean_of, meaningful_decimals, plus_minus
from relubench.report.naming import by_activation, by_setup, name_column, varying
from relubench.results import RunResult
from relubench.rows import SETUP, SetupRow, TaskRow
from relubench.table import Column, Row, Table
from relubench.wording import counted

SPREAD = ("online_accuracy", "online_loss", "accuracy", "dead")
PLAIN = ("held_out", "dormant", "effective_rank", "weight_norm", "mean_weight")
FEWEST = 5  # runs that a correlation is said of


def task_rows(results: Sequence[RunResult]) -> list[TaskRow]:
    """A row per set-up, activation and task; what diverged or was lost is in none of them."""
    rows: list[TaskRow] = []
    for setup, runs in by_activation(results).items():
        finished = [run for run in runs if run.tasks and not run.failed]
        count = min((len(run.tasks) for run in finished), default=0)
        rows += [_row(setup, finished, number) for number in range(count)]
    return rows


def _row(setup: SetupRow, runs: Sequence[RunResult], number: int) -> TaskRow:
    """Task `number`, from 0, of these runs."""
    figures: dict[str, Any] = {}
    for name in (*SPREAD, *PLAIN):
        values = [getattr(run.tasks[number], name) for run in runs]
        figures[name] = mean_of(values)
        if name in SPREAD:
            defined = None not in values
            _, figures[f"{name}_sd"] = stats.mean_sd(values if defined else [])
    return TaskRow(**vars(setup), number=number + 1, n=len(runs), **figures)


def over_tasks(results: Sequence[RunResult]) -> list[Table[TaskRow]]:
    """The first task, one in the middle and the last, where there are tasks."""
    rows = []
    for row in task_rows(results):
        if row.tasks and row.number in (1, math.ceil(row.tasks / 2), row.tasks):
            rows.append(row)
    if not rows:
        return []
    names = varying(rows, *SETUP, "activation") or ["activation"]
    columns: list[Column[TaskRow]] = [
        *map(name_column, names),
        Column("task", lambda row: str(row.number), key="number"),
        *(_mean_column(name, rows) for name in SPREAD if _known(rows, name)),
        *([percent_column("held_out", rank=3)] if _known(rows, "held_out") else []),
        percent_column("dormant", rank=4),
        *(Column(name.replace("_", " "), figure_of(name), key=name, rank=5) for name in PLAIN[2:]),
    ]
    title = f"by task, mean ± sd over runs: the first, the middle and the last of {rows[0].tasks}"
    return [Table(rows, columns, title, notes(results), group=lambda row: row.setup)]


def _mean_column(name: str, rows: Sequence[TaskRow]) -> Column[Row]:
    measure = MEASURES[name] if name == "online_loss" else None
    scale = measure.scale if measure else 100
    decimals = meaningful_decimals((row.get(f"{name}_sd") for row in rows), scale)
    if measure is None:
        return spread_column(name, decimals)

    def show(row: Row) -> str:
        return plus_minus(row.get(name), row.get(f"{name}_sd"), decimals, scale)

    return Column("online loss", show, key=name)


def _known(rows: Sequence[TaskRow], name: str) -> bool:
    return any(row.get(name) is not None for row in rows)


def notes(results: Sequence[RunResult]) -> list[str]:
    """Whether runs with more dead units at the end learned less, in each set-up of classes."""
    sentences = []
    for runs in by_setup(results):
        pairs = []
        for run in runs:
            if run.tasks and not run.failed:
                last = run.tasks[-1]
                pairs.append((last.dead, run.scores.get("online_accuracy")))
        if sentence := _said(pairs):
            sentences.append(sentence)
    return list(dict.fromkeys(sentences))


def _said(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    defined = [(x, y) for x, y in pairs if x is not None and y is not None]
    if len(defined) < FEWEST:
        return ""
    found = stats.correlation([x for x, _ in defined], [y for _, y in defined])
    if found is None:
        return ""
    r, low, high = found
    return (
        f"Over {counted(len(defined), 'run')} of all activations, online accuracy and the dead "
        f"share after the last task are correlated by {r:.2f} [{low:.2f}, {high:.2f}] (Pearson, "
        "95 %); that of activations which differ in more than dead units is no cause."
    )
