"""deadcount: hidden units by run and layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from relubench import stats
from relubench.grouping import grouped
from relubench.plan import Plan
from relubench.report.columns import percent_column, percent_of, share_tone
from relubench.report.figures import bar, count_text, percent, significant
from relubench.report.naming import name_column, setup_row, title, varying
from relubench.report.notes import failures, quick
from relubench.report.run_table import unit_fractions
from relubench.results import COUNTED_ON, COUNTS, DEFINITIONS, LayerCount, RunResult, total
from relubench.rows import SETUP, DeadByRateRow, LayerRow, SetupRow
from relubench.table import AnyTable, Column, Table

SHARES = ("born_dead", *COUNTS, "sparsity")
RANKS = {"sparsity": 7, "saturated": 6, "dormant": 5, "rare": 4, "inactive": 3, "born_dead": 2}
BAR = 20  # columns of a drawn share
DEFINITION = "; ".join([*(f"{key}: {text}" for key, text in DEFINITIONS.items()), COUNTED_ON])


def deadcount(
    results: Sequence[RunResult],
    plan: Plan,
    untrained: Sequence[RunResult] = (),
    layers: bool = False,
) -> list[AnyTable]:
    """A row per run and layer, then the run's total; of several runs also the means.

    untrained  the same networks as they begin, as far as they are known
    layers     whether people see the rows of layers too
    """
    born = {result.cell: result for result in untrained}
    rows: list[LayerRow] = []
    for result in results:
        rows += _layer_rows(result, born.get(result.cell.untrained), plan)
    names = varying(rows, "activation", *SETUP, "seed") or ["activation"]
    layer: Column[LayerRow] = Column("layer", lambda row: row.layer, left=True)
    columns: list[Column[LayerRow]] = [
        *map(name_column, names),
        *([layer] if layers else []),
        Column("units", lambda row: count_text(row.units), rank=1),
        *(percent_column(name, rank=RANKS.get(name, 0)) for name in SHARES),
        Column("mean", lambda row: significant(row.mean_activation), key="mean_activation", rank=8),
    ]
    examples = next((f" ({row.examples} examples here)" for row in rows if row.examples), "")
    notes = [
        *failures(results),
        f"dead: {DEFINITIONS['dead']}; {COUNTED_ON}{examples}",
        *([] if layers or not rows else ["of the whole network; --layers has each layer"]),
        *quick(plan),
    ]
    meanings = {name: meaning for name, meaning in DEFINITIONS.items() if name != "dead"}
    setups = {row.setup for row in rows}
    # A blank line between set-ups, unless each has but one row.
    whole = (lambda row: row.setup) if len(setups) < len(results) else (lambda row: None)
    detail = Table(
        rows,
        columns,
        title(rows, names),
        notes,
        group=lambda row: (row.activation, row.setup, row.seed) if layers else whole(row),
        asides=[f"{name}: {meaning}" for name, meaning in meanings.items()],
        bars=[
            Column(
                "dead, of all", lambda row: bar(row.dead, BAR), left=True, tone=share_tone("dead")
            )
        ],
        hidden=lambda row: not layers and row.layer != "total",
    )
    return [detail, _means(rows)] if len(results) > 1 else [detail]


def _layer_rows(result: RunResult, born: RunResult | None, plan: Plan) -> list[LayerRow]:
    """A row per layer and their total; of a run without counts the total alone, undefined."""
    begun = _dead(born.layers) if born else {}
    # A diverged run has no counts: its row shows that it was there, and – for every figure.
    layers: list[LayerCount | None] = [None]
    if result.layers:
        layers = [*result.layers, total(result.layers)]
    return [_layer_row(result, layer, begun, plan) for layer in layers]


def _layer_row(
    result: RunResult, layer: LayerCount | None, begun: Mapping[str, float], plan: Plan
) -> LayerRow:
    name = layer.layer if layer else "total"
    return LayerRow(
        **vars(setup_row(result.cell)),
        seed=result.cell.seed,
        layer=name,
        units=layer.units if layer else None,
        born_dead=begun.get(name),
        **vars(unit_fractions(layer)),
        examples=layer.examples if layer else None,
        definition=DEFINITION,
        accuracy=result.scores.get("accuracy"),
        parameters=result.parameters,
        seconds=result.seconds,
        **vars(result.environment),
        key=result.cell.key,
        quick=plan.quick,
        failed=result.failed,
    )


def _dead(layers: Sequence[LayerCount]) -> dict[str, float]:
    """Dead fraction by layer, and of all of them as `total`."""
    counts = [*layers, total(layers)] if layers else []
    return {count.layer: count.dead / count.units for count in counts}


def _means(rows: Sequence[LayerRow]) -> Table[DeadByRateRow]:
    """Dead fraction of the network by set-up, a column per learning rate: means over seeds."""
    totals = [row for row in rows if row.layer == "total"]
    # Without the rate: each rate is a column.
    setup = [key for key in ("activation", *SETUP) if key != "lr"]
    names = [name for name in varying(totals, *setup) if name != "activation"]
    rates = sorted({row.lr for row in totals if row.lr is not None})
    means = []
    for members in grouped(totals, lambda row: tuple(row.get(key) for key in setup)).values():
        by_rate = grouped(members, lambda row: row.lr)
        dead = {rate: _mean(by_rate.get(rate, ()), "dead") for rate in rates}
        born_dead = _mean(members, "born_dead")
        identity = {field.name: members[0].get(field.name) for field in fields(SetupRow)}
        means.append(DeadByRateRow(**identity, born_dead=born_dead, dead=dead))
    columns: list[Column[DeadByRateRow]] = [
        *map(name_column, (*names, "activation")),
        Column("born dead", percent_of("born_dead")),
        *(_rate_column(rate, len(rates) > 1) for rate in rates),
    ]
    varied = ", by learning rate" if len(rates) > 1 else ""
    what = "dead units, % of all hidden units, before training (born dead) and after it"
    return Table(means, columns, f"{what}{varied} (mean over runs that finished)")


def _rate_column(rate: float, several: bool) -> Column[DeadByRateRow]:
    return Column(f"lr {rate:g}" if several else "dead", lambda row: percent(row.dead[rate]))


def _mean(rows: Sequence[LayerRow], key: str) -> float | None:
    """The mean of what is defined."""
    figures = [row.get(key) for row in rows]
    mean, _ = stats.mean_sd([figure for figure in figures if figure is not None])
    return mean
