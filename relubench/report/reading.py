"""Rows of runs, as machine formats print them, back to results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

from relubench.errors import BadValue
from relubench.report import lives
from relubench.report.cell_keys import cell_of
from relubench.report.run_table import SCORES
from relubench.results import COUNTS, Environment, Epoch, LayerCount, RunResult, TaskResult

Record = Mapping[str, Any]
MOST_UNITS = 10**6  # up to which shares of units have one shortest fraction in float64


def results_of(text: str) -> list[RunResult]:
    """The runs of a file: a row a line, or an array of rows; raises BadValue, naming the row.

    What a row does not hold is not made up: layers are one, with the shares of all hidden units.
    """
    results = []
    for number, record in enumerate(_records(text), start=1):
        try:
            results.append(_result(record))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadValue(f"row {number}: {_why(record, error)}") from None
    return results


def _records(text: str) -> list[Any]:
    try:
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BadValue(f"it is neither JSON nor a row of JSON a line: {error}") from None


def _why(record: Any, error: Exception) -> str:
    wanted = "rows of train, cv or ledger export (--format jsonl) are wanted"
    if not isinstance(record, Mapping):
        return f"it is no row: {wanted}"
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}: {wanted}"
    return f"{error}: {wanted}"


def _result(record: Record) -> RunResult:
    """The run of a row; its cell must have the key that the row says."""
    cell = cell_of(record)
    if cell.key != record["key"]:
        raise ValueError(f"its key is {record['key']}, and what it describes has {cell.key}")
    scores = {name: record.get(name) for name in SCORES}
    scores |= {f"accuracy {name}": value for name, value in record["perturbed"].items()}
    failed, confusion = record["failed"], record["confusion"]
    return RunResult(
        cell=cell,
        environment=Environment(**{f.name: record[f.name] for f in fields(Environment)}),
        n_train=record["n_train"],
        n_test=record["n_test"],
        parameters=record["parameters"],
        seconds=float(record["seconds"]),
        curve=tuple(Epoch(**epoch) for epoch in record["curve"]),
        scores={} if failed else scores,
        confusion=None if confusion is None else tuple(map(tuple, confusion)),
        layers=_layers(record),
        failed=failed,
        chosen=record["lr"] if cell.recipe.rates else None,
        tasks=tuple(TaskResult(**task) for task in record.get("by_task") or ()),
        history=lives.histories(record.get("history") or []),
    )


def _layers(record: Record) -> tuple[LayerCount, ...]:
    """One layer with the shares of the row: of as few units as have them."""
    if record["dead"] is None:
        return ()
    # A share is count / units: with at most MOST_UNITS below the line, one fraction alone is this
    # near.
    shares = [Fraction(record[name]).limit_denominator(MOST_UNITS) for name in COUNTS]
    # As few units as make all of these counts whole; the real number may be a multiple.
    units = math.lcm(*(share.denominator for share in shares))
    counts = {name: int(share * units) for name, share in zip(COUNTS, shares, strict=True)}
    moments = {key: record[key] for key in ("sparsity", "mean_activation", "sd_activation")}
    examples = record["n_train"]
    return (LayerCount(layer="hidden", units=units, **counts, **moments, examples=examples),)
