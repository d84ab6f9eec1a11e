"""--dry-run and ledger: what is to be trained, and what is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relubench.formats import Column, Table, counted
from relubench.report.columns import text_of
from relubench.report.figures import UNDEFINED, significant
from relubench.report.naming import SETUP, by_setup, name_column, varying
from relubench.results import RunResult


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
        rows.append(dict(setup) | {"runs": len(runs), "failed": failed, "finished": last})
    names = ["dataset", "model", "activation", *varying(rows, *SETUP[2:])]
    columns = [*map(name_column, names)]
    columns += [Column(name, text_of(name)) for name in ("runs", "failed", "finished")]
    return Table(rows, columns, counted(len(results), "finished run"))
