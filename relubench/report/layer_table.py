"""deadcount: units by run and layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from relubench import stats
from relubench.grouping import grouped
from relubench.plan import Plan
from relubench.report.columns import percent_column, percent_of
from relubench.report.figures import count_text, significant
from relubench.report.naming import SETUP, name_column, setup_row, title, varying
from relubench.report.notes import failures, quick
from relubench.report.run_table import shares
from relubench.results import COUNTED_ON, COUNTS, DEFINITIONS, LayerCount, RunResult, total
from relubench.table import Column, Row, Table


def deadcount(
    results: Sequence[RunResult], plan: Plan, untrained: Sequence[RunResult] = ()
) -> list[Table]:
    """A row per run and layer, then the run's total; of several runs also the means.

    untrained  the same networks as they begin, as far as they are known
    """
    born = {result.cell: result for result in untrained}
    rows = [row for r in results for row in _layer_rows(r, born.get(r.cell.untrained), plan)]
    names = varying(rows, "activation", *SETUP, "seed") or ["activation"]
    columns = [
        *map(name_column, names),
        Column("layer", lambda row: row["layer"], left=True),
        Column("units", lambda row: count_text(row["units"])),
        *(percent_column(name) for name in ("born_dead", *COUNTS, "sparsity")),
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
    return [detail, _means(rows)] if len(results) > 1 else [detail]


def _layer_rows(result: RunResult, born: RunResult | None, plan: Plan) -> list[dict[str, Any]]:
    identity = setup_row(result.cell) | {"seed": result.cell.seed}
    begun = _dead(born.layers) if born else {}
    layers: list[LayerCount | None] = (
        [*result.layers, total(result.layers)] if result.layers else [None]
    )
    return [
        identity
        | {
            "layer": layer.layer if layer else "total",
            "units": layer and layer.units,
            "born_dead": begun.get(layer.layer if layer else "total"),
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


def _dead(layers: Sequence[LayerCount]) -> dict[str, float]:
    """Dead share by layer, and of all of them as `total`."""
    counts = [*layers, total(layers)] if layers else []
    return {count.layer: count.dead / count.units for count in counts}


def _means(rows: Sequence[Row]) -> Table:
    """Dead share of the whole network by set-up, a column per learning rate: means over seeds."""
    totals = [row for row in rows if row["layer"] == "total"]
    setup = [key for key in ("activation", *SETUP) if key != "lr"]
    names = [name for name in varying(totals, *setup) if name != "activation"]
    rates = sorted({row["lr"] for row in totals})
    means = []
    for members in grouped(totals, lambda row: tuple(row[key] for key in setup)).values():
        row: dict[str, Any] = {key: members[0][key] for key in setup}
        row["born dead"] = _mean(members, "born_dead")
        for rate in rates:
            row[f"dead at {rate}"] = _mean([r for r in members if r["lr"] == rate], "dead")
        means.append(row)
    columns = [name_column(name) for name in (*names, "activation")]
    columns.append(Column("born dead", percent_of("born dead")))
    for rate in rates:
        head = f"lr {rate:g}" if len(rates) > 1 else "dead"
        columns.append(Column(head, percent_of(f"dead at {rate}")))
    by_rate = ", by learning rate" if len(rates) > 1 else ""
    what = "dead units, % of all hidden units, before training (born dead) and after it"
    return Table(means, columns, f"{what}{by_rate} (mean over runs that finished)")


def _mean(rows: Sequence[Row], key: str) -> float | None:
    """The mean of what is defined."""
    return stats.mean_sd([row[key] for row in rows if row[key] is not None])[0]
