"""What became of hidden units over a training: histories as rows, and rows as histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relubench.grouping import grouped
from relubench.results import COUNTS, LayerHistory, RunResult
from relubench.rows import HistoryRow

PLAIN = ("sparsity", "mean_activation", "reset")


def history_rows(result: RunResult) -> list[HistoryRow]:
    """A row per count and layer; none where nobody counted."""
    rows = []
    for at in range(len(result.history[0].epochs) if result.history else 0):
        rows += [_row(layer, at) for layer in result.history]
    return rows


def _row(layer: LayerHistory, at: int) -> HistoryRow:
    """The count number `at` of a layer."""
    shares = {name: getattr(layer, name)[at] / layer.units for name in COUNTS}
    return HistoryRow(
        epoch=layer.epochs[at],
        layer=layer.layer,
        units=layer.units,
        examples=layer.examples,
        **shares,
        **{name: getattr(layer, name)[at] for name in PLAIN},
        died=list(layer.died[at]),
        revived=list(layer.revived[at]),
    )


def histories(records: Sequence[Mapping[str, Any]]) -> tuple[LayerHistory, ...]:
    """The histories that `history_rows` gave, from what machine formats print of them."""
    by_layer = grouped(records, lambda record: record["layer"])
    return tuple(map(_history, by_layer.values()))


def _history(records: Sequence[Mapping[str, Any]]) -> LayerHistory:
    units = records[0]["units"]
    counts = {name: tuple(round(r[name] * units) for r in records) for name in COUNTS}
    return LayerHistory(
        layer=records[0]["layer"],
        units=units,
        examples=records[0]["examples"],
        epochs=tuple(record["epoch"] for record in records),
        **counts,
        **{name: tuple(record[name] for record in records) for name in PLAIN},
        died=tuple(tuple(record["died"]) for record in records),
        revived=tuple(tuple(record["revived"]) for record in records),
    )
