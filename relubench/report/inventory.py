"""--dry-run and ledger: what is to be trained, and what is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from relubench import stats
from relubench.report.columns import spread_column, text_of
from relubench.report.figures import UNDEFINED, deserved, significant
from relubench.report.naming import SETUP, by_setup, name_column, run_name, varying
from relubench.report.run_table import curve, run_row
from relubench.results import COUNTS, RunResult
from relubench.table import Column, Row, Table
from relubench.wording import counted


def dry_run(setups: Sequence[Mapping[str, Any]]) -> Table:
    """A row per set-up of a plan: runs, finished ones, units of work, estimated seconds."""
    names = ["dataset", "model", "activation", *varying(setups, *SETUP[2:], "weights")]
    columns = [*map(name_column, names)]
    columns += [Column(n, text_of(n)) for n in ("runs", "finished", "stacks", "stack", "threads")]
    columns.append(Column("s left", lambda row: significant(row["seconds_left"])))
    runs, finished, stacks = (
        sum(row[key] for row in setups) for key in ("runs", "finished", "stacks")
    )
    known = [row["seconds_left"] for row in setups if row["seconds_left"] is not None]
    about = f", about {significant(sum(known))} s" if known else ""
    title = (
        f"{counted(runs, 'run')}, {finished} finished; {counted(stacks, 'stack')} to train{about}"
    )
    notes = [f"{UNDEFINED}: too little work to be measured"] if len(known) < len(setups) else []
    return Table(list(setups), columns, title, notes)


def ledger(finished: Sequence[tuple[str, RunResult]]) -> Table:
    """A row per set-up and activation of finished runs, with when the last one was finished."""
    rows = []
    when = {id(result): time for time, result in finished}
    results = [result for _, result in finished]
    for setup, runs in by_setup(results, "activation", *SETUP).items():
        failed = sum(1 for run in runs if run.failed)
        last = max(when[id(run)] for run in runs)
        known = [run.scores.get("accuracy") for run in runs if not run.failed]
        mean, sd = stats.mean_sd([share for share in known if share is not None])
        row = {"runs": len(runs), "failed": failed, "finished": last}
        rows.append(dict(setup) | {"accuracy": mean, "accuracy_sd": sd} | row)
    names = ["dataset", "model", "activation", *varying(rows, *SETUP[2:])]
    columns = [*map(name_column, names)]
    columns.append(spread_column("accuracy", deserved(row["accuracy_sd"] for row in rows)))
    columns += [Column(name, text_of(name)) for name in ("runs", "failed", "finished")]
    notes = ["accuracy: mean ± sd over the runs that did not fail"] if rows else []
    return Table(rows, columns, counted(len(results), "finished run"), notes)


def one_run(found: Sequence[tuple[str, str, RunResult]]) -> list[Table]:
    """All of one cell, a row per context in which it is known: facts, units by layer, curve.

    found  context, time and result of each
    """
    rows = [
        run_row(result)
        | {"finished": when, "context": json.loads(context)}
        | {"layers": [asdict(layer) for layer in result.layers]}
        for context, when, result in found
    ]
    lists = ("curve", "layers", "context", "confusion", "perturbed")
    facts = [key for key in rows[0] if key not in lists]
    columns = [Column("finished", text_of("finished"))]
    columns += [Column(key, _fact(key), key=key) for key in facts if key != "finished"]
    columns += [Column(key, _fact_of("context", key)) for key in ("data", "code", "engine")]
    tables = [Table(rows, columns, run_name(found[0][2]), turned=True)]
    for _, _, result in found:
        if result.layers:
            tables.append(_layers(result))
        tables.append(curve(result))
    return tables


def _fact(key: str) -> Callable[[Row], str]:
    """How a value reads as it is; nothing where there is none."""
    return lambda row: "" if row[key] is None else str(row[key])


def _fact_of(part: str, key: str) -> Callable[[Row], str]:
    return lambda row: str(row[part].get(key, ""))


def _layers(result: RunResult) -> Table:
    """The units of one run's layers, as they were counted."""
    rows = [asdict(layer) for layer in result.layers]
    names = ("units", *COUNTS)
    columns = [Column("layer", text_of("layer"), left=True)]
    columns += [Column(name, text_of(name)) for name in names]
    return Table(rows, columns, "units by layer")


def unread(rows: Mapping[str, str], count: int) -> Table:
    """The rows of a ledger that cannot be read, by name, with the reason.

    count  rows in all
    """
    columns = [Column("row", text_of("row"), left=True), Column("why", text_of("why"), left=True)]
    bad = [{"row": name, "why": why} for name, why in rows.items()]
    title = f"{counted(count, 'row')}, {len(bad) or 'none'} that cannot be read"
    notes = ["Such rows are left out and trained again; relubench ledger rm ROW… drops them."]
    return Table(bad, columns, title, notes if bad else [])
