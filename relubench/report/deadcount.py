"""deadcount: units by run and layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from relubench import stats
from relubench.formats import Column, Row, Table
from relubench.plan import Plan, grouped
from relubench.report.columns import percent_column, percent_of
from relubench.report.figures import count_text, significant
from relubench.report.naming import SETUP, name_column, setup_row, title, varying
from relubench.report.notes import failures, quick
from relubench.report.runs import shares
from relubench.results import COUNTED_ON, COUNTS, DEFINITIONS, LayerCount, RunResult, total


def deadcount(results: Sequence[RunResult], plan: Plan) -> list[Table]:
    """A row per run and layer, then the run's total; with several rates also the sweep."""
    rows = [row for result in results for row in _layer_rows(result, plan)]
    names = varying(rows, "activation", *SETUP, "seed") or ["activation"]
    columns = [
        *map(name_column, names),
        Column("layer", lambda row: row["layer"], left=True),
        Column("units", lambda row: count_text(row["units"])),
        *(percent_column(name) for name in (*COUNTS, "sparsity")),
        Column("mean", lambda row: significant(row["mean_activation"]), key="mean_activation"),
    ]
    examples = next((f" ({row['examples']} examples here)" for row in rows if row["examples"]), "")
    notes = [
        *failures(results),
        *(f"{name}: {meaning}" for name, meaning in DEFINITIONS.items()),
        f"{COUNTED_ON}{examples}",
        *quick(plan),
    ]
    identity = ("activation", *SETUP, "seed")
    detail = Table(
        rows,
        columns,
        title(rows, names),
        notes,
        group=lambda row: tuple(row[key] for key in identity),
    )
    rates = sorted({result.cell.recipe.lr for result in results})
    return [detail, _sweep(rows, rates)] if len(rates) > 1 else [detail]


def _layer_rows(result: RunResult, plan: Plan) -> list[dict[str, Any]]:
    identity = setup_row(result.cell) | {"seed": result.cell.seed}
    layers: list[LayerCount | None] = (
        [*result.layers, total(result.layers)] if result.layers else [None]
    )
    return [
        identity
        | {
            "layer": layer.layer if layer else "total",
            "units": layer and layer.units,
            **shares(layer),
            "examples": layer and layer.examples,
            "definition": "; ".join(f"{k}: {v}" for k, v in DEFINITIONS.items())
            + f"; {COUNTED_ON}",
            "accuracy": result.scores.get("accuracy"),
            "parameters": result.parameters,
            "seconds": result.seconds,
            **asdict(result.environment),
            "key": result.cell.key,
            "quick": plan.quick,
            "failed": result.failed,
        }
        for layer in layers
    ]


def _sweep(rows: Sequence[Row], rates: Sequence[float]) -> Table:
    """Dead share of the whole network by activation and learning rate, mean over seeds."""
    totals = [row for row in rows if row["layer"] == "total"]
    setup = [key for key in ("activation", *SETUP) if key != "lr"]
    names = [name for name in varying(totals, *setup) if name != "activation"]
    swept = []
    for members in grouped(totals, lambda row: tuple(row[key] for key in setup)).values():
        row: dict[str, Any] = {key: members[0][key] for key in setup}
        for rate in rates:
            known = [r["dead"] for r in members if r["lr"] == rate and r["dead"] is not None]
            row[f"dead at {rate:g}"] = stats.mean_sd(known)[0]
        swept.append(row)
    columns = [name_column(name) for name in (*names, "activation")]
    for rate in rates:
        columns.append(Column(f"lr {rate:g}", percent_of(f"dead at {rate:g}")))
    return Table(
        swept,
        columns,
        "dead units, % of all hidden units, by learning rate (mean over runs that finished)",
    )
