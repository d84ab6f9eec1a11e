"""Files of tables: the runs, their figures in long form, their learning curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.exports.export import EXPORTS, ExportedRun

if TYPE_CHECKING:
    import pandas as pd

    from relubench import rows as declared
else:
    pd, declared = Deferred("pandas"), Deferred("relubench.rows")

Write = Callable[["pd.DataFrame", Path], None]
LONG = ("method", "task", "seed", "repeat", "fold", "metric", "value", "seconds", "key")


@EXPORTS.add()
def csv(runs: Sequence[ExportedRun], folder: Path) -> None:
    """runs.csv, results.csv (method, task, seed, metric, value, seconds) and curves.csv"""
    _write(runs, lambda frame, path: frame.to_csv(path.with_suffix(".csv"), index=False), folder)


@EXPORTS.add()
def jsonl(runs: Sequence[ExportedRun], folder: Path) -> None:
    """The same tables, a row a line"""
    _write(runs, _jsonl, folder)


@EXPORTS.add(requires=("pyarrow",), install="relubench[parquet]")
def parquet(runs: Sequence[ExportedRun], folder: Path) -> None:
    """The same tables as Parquet files"""
    _write(runs, lambda frame, path: frame.to_parquet(path.with_suffix(".parquet")), folder)


def _jsonl(frame: pd.DataFrame, path: Path) -> None:
    # 15 digits are pandas' most; its default of 10 would change figures.
    frame.to_json(path.with_suffix(".jsonl"), orient="records", lines=True, double_precision=15)


def _write(runs: Sequence[ExportedRun], write: Write, folder: Path) -> None:
    write(_wide(runs), folder / "runs")
    write(long(runs), folder / "results")
    write(_curves(runs), folder / "curves")


def _wide(runs: Sequence[ExportedRun]) -> pd.DataFrame:
    rows = []
    for run in runs:
        status = {"finished": run.finished, "failed": run.row.failed, "quick": run.row.quick}
        rows.append({"key": run.row.key, **run.settings, **run.metrics, **status})
    return pd.DataFrame(rows)


def long(runs: Sequence[ExportedRun]) -> pd.DataFrame:
    """A row per run and figure that is defined: `method` is the activation."""
    rows = []
    for run in runs:
        row = run.row
        names = (row.activation, run.task, row.seed, row.repeat, row.fold)
        for metric, value in run.metrics.items():
            rows.append((*names, metric, value, row.seconds, row.key))
    frame = pd.DataFrame(rows, columns=list(LONG))
    # With a capital: whole numbers that may be missing; int64 would become floats.
    return frame.astype({"fold": "Int64"})


def _curves(runs: Sequence[ExportedRun]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for run in runs:
        rows += ({"key": run.row.key, **epoch} for epoch in run.curve)
    return pd.DataFrame(rows, columns=["key", *declared.EpochRow.declared_keys()])
