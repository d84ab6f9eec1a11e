"""--dry-run and ledger: what is to be trained, and what is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from relubench import stats
from relubench.plan import Plan
from relubench.report.columns import head, spread_column, text_of
from relubench.report.figures import UNDEFINED, meaningful_decimals, plus_minus, significant
from relubench.report.life_table import lives
from relubench.report.naming import by_activation, name_column, run_name, varying
from relubench.report.run_table import curve, run_row
from relubench.results import COUNTS, RunResult
from relubench.rows import SETUP, LayerCountRow, LedgerRow, LedgerRunRow, PlanRow, UnreadRow
from relubench.table import AnyTable, Column, Row, Table
from relubench.wording import counted


def dry_run(setups: Sequence[PlanRow]) -> Table[PlanRow]:
    """A row per set-up of a plan: runs, finished ones, stacks, estimated seconds."""
    names = ["dataset", "model", "activation", *varying(setups, *SETUP[2:], "weights")]
    counts = ("runs", "finished", "stacks", "stack", "threads")
    columns: list[Column[PlanRow]] = [
        *map(name_column, names),
        *(Column(name, text_of(name)) for name in counts),
        Column("s left", lambda row: significant(row.seconds_left)),
    ]
    runs = counted(sum(row.runs for row in setups), "run")
    finished = sum(row.finished for row in setups)
    stacks = counted(sum(row.stacks for row in setups), "stack")
    estimates = [row.seconds_left for row in setups if row.seconds_left is not None]
    about = f", about {significant(sum(estimates))} s" if estimates else ""
    title = f"{runs}, {finished} finished; {stacks} to train{about}"
    all_estimated = len(estimates) == len(setups)
    notes = (
        []
        if all_estimated
        else [f"{UNDEFINED}: not measured yet; stacks and threads are chosen by rule"]
    )
    return Table(setups, columns, title, notes)


def ledger(finished: Sequence[tuple[str, RunResult]]) -> Table[LedgerRow]:
    """A row per set-up and activation of finished runs, with when the last one was finished."""
    rows = []
    # By identity: a RunResult holds a dictionary and so has no hash.
    when = {id(result): time for time, result in finished}
    results = [result for _, result in finished]
    for setup, runs in by_activation(results).items():
        accuracies = [run.scores.get("accuracy") for run in runs if not run.failed]
        mean, sd = stats.mean_sd([figure for figure in accuracies if figure is not None])
        explained = [run.scores.get("r2") for run in runs if not run.failed]
        r2, r2_sd = stats.mean_sd([figure for figure in explained if figure is not None])
        rows.append(
            LedgerRow(
                **vars(setup),
                accuracy=mean,
                accuracy_sd=sd,
                r2=r2,
                r2_sd=r2_sd,
                runs=len(runs),
                failed=sum(run.failed is not None for run in runs),
                finished=max(when[id(run)] for run in runs),
            )
        )
    names = ["dataset", "model", "activation", *varying(rows, *SETUP[2:])]
    decimals = meaningful_decimals(row.accuracy_sd for row in rows)
    columns: list[Column[LedgerRow]] = [
        *map(name_column, names),
        spread_column("accuracy", decimals),
        *([_r2_column(rows)] if any(row.r2 is not None for row in rows) else []),
        *(Column(name, text_of(name)) for name in ("runs", "failed", "finished")),
    ]
    notes = ["accuracy: mean ± sd over the runs that did not fail"] if rows else []
    return Table(rows, columns, counted(len(results), "finished run"), notes)


def _r2_column(rows: Sequence[LedgerRow]) -> Column[LedgerRow]:
    decimals = meaningful_decimals((row.r2_sd for row in rows), 1)
    return Column(head("r2"), lambda row: plus_minus(row.r2, row.r2_sd, decimals, 1), key="r2")


def one_run(finished: Sequence[tuple[str, str, RunResult]]) -> list[AnyTable]:
    """All of one cell, a row per context in which it is known: facts, hidden units, curve.

    finished  context, time and result of each
    """
    rows = [_ledger_run_row(result, when, context) for context, when, result in finished]
    others = ("curve", "layers", "context", "confusion", "perturbed", "finished", "history")
    # What has a table of its own, or is none of a run's facts, is left out.
    facts = [key for key in rows[0].keys if key not in others]
    columns: list[Column[LedgerRunRow]] = [
        Column("finished", lambda row: row.finished),
        *(Column(key, _fact(key), key=key) for key in facts),
        *(Column(key, _context(key)) for key in ("data", "code", "engine")),
    ]
    tables: list[AnyTable] = [Table(rows, columns, run_name(finished[0][2]), turned=True)]
    for _, _, result in finished:
        if result.layers:
            tables.append(_layers(result))
        if result.history:
            tables.append(lives([result], Plan(cells=())))
        tables.append(curve(result))
    return tables


def _ledger_run_row(result: RunResult, when: str, context: str) -> LedgerRunRow:
    return LedgerRunRow(
        **vars(run_row(result)),
        finished=when,
        context=json.loads(context),
        layers=[asdict(layer) for layer in result.layers],
    )


def _fact(key: str) -> Callable[[Row], str]:
    """How a value reads as it is; nothing where there is none."""
    return lambda row: "" if row.get(key) is None else str(row.get(key))


def _context(key: str) -> Callable[[LedgerRunRow], str]:
    return lambda row: str(row.context.get(key, ""))


def _layers(result: RunResult) -> Table[LayerCountRow]:
    """The hidden units of one run's layers, as they were counted."""
    names = ("units", *COUNTS)
    rows = [
        LayerCountRow(
            layer=layer.layer,
            units=layer.units,
            dead=layer.dead,
            inactive=layer.inactive,
            rare=layer.rare,
            dormant=layer.dormant,
            saturated=layer.saturated,
        )
        for layer in result.layers
    ]
    columns: list[Column[LayerCountRow]] = [
        Column("layer", text_of("layer"), left=True),
        *(Column(name, text_of(name)) for name in names),
    ]
    return Table(rows, columns, "units by layer")


def unread(reasons: Mapping[str, str], count: int) -> Table[UnreadRow]:
    """The rows of a ledger that cannot be read, by name, with the reason.

    count  rows in all
    """
    columns: list[Column[UnreadRow]] = [
        Column("row", lambda row: row.row, left=True),
        Column("why", lambda row: row.why, left=True),
    ]
    rows = [UnreadRow(row=name, why=why) for name, why in reasons.items()]
    title = f"{counted(count, 'row')}, {len(rows) or 'none'} that cannot be read"
    notes = ["Such rows are left out and trained again; relubench ledger rm ROW… drops them."]
    return Table(rows, columns, title, notes if rows else [])
