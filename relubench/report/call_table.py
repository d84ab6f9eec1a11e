"""deadcount of any network: a row for each call of an activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from relubench.report.figures import count_text, percent, significant
from relubench.rows import AblationRow, CallRow, PruningRow, weighed
from relubench.table import Column, Table

if TYPE_CHECKING:
    from torch import Tensor

    from relubench.neurons.counting import Counted
    from relubench.neurons.sites import Site
    from relubench.neurons.statistics import Seen

CANNOT = "cannot"
RULE = 0.05  # 1 - 0.95: how often a rate as high as the bound is not seen
# Which columns a narrow terminal leaves out first, the highest.
RANKS = {
    **dict.fromkeys(("dead", "dead_test", "newly_dead", "dead_before", "proven_dead"), 0),
    **dict.fromkeys(("inactive", "revived"), 1),
    "dormant": 2,
    "rare": 3,
    "dead_in_training_only": 3,
    "saturated": 4,
    "sparsity": 6,
    "mean_activation": 8,
    "sd_activation": 9,
    "effective_rank": 2,
}
HEADS = {
    "dead_test": "test: dead",
    "dead_in_training_only": "alive there",
    "proven_dead": "proven",
    "dead_before": "before",
}
SHARES = ("constant", "always_on", "grama")
BESIDE = (
    "proven_dead",
    "dead_test",
    "dead_in_training_only",
    "dead_before",
    "newly_dead",
    "revived",
)


@dataclass(frozen=True)
class About:
    """What the rows say of the network and its data."""

    model: str
    data: str = "batches"
    split: str = "train"
    weights: str | None = None


def rows(counted: Counted, about: About) -> list[CallRow]:
    """A row for each call, then their total."""
    definition = "; ".join(meanings(counted))
    made = [_row(*each, about, definition) for each in counted.figures()]
    return [*made, total(made)]


def meanings(counted: Counted) -> list[str]:
    """What each count means, with its parameters."""
    return [f"{choice}: {choice.entry.description}" for choice in counted.definitions]


def _row(
    site: Site, seen: Seen, figures: Mapping[str, Any], about: About, definition: str
) -> CallRow:
    shares: dict[str, Any] = {name: _number(figure) for name, figure in figures.items()}
    # It has no flat part: 0 of it is no finding, and "cannot" is shown.
    # Underflow is one, and stays.
    if not site.dies and shares.get("dead") == 0:
        shares["dead"] = None
    return CallRow(
        **vars(about),
        layer=site.place,
        function=site.function,
        unit=site.unit,
        units=seen.units,
        can_die=site.dies,
        **shares,
        examples=seen.examples,
        active_below=rate_bound(seen.examples),
        definition=definition,
    )


def _number(figure: Tensor | None) -> float | None:
    """The share of units that are so, or a layer's figure; None: not defined, or not finite."""
    if figure is None:
        return None
    value = float(figure.double().mean())
    return value if abs(value) < float("inf") else None


def rate_bound(examples: int) -> float | None:
    """The share of examples that a unit never seen active stays below, at 95 %: about 3/n.

    It supposes examples drawn alone, each like the others: (1 - p)^n = 0.05 is solved for p.
    """
    return 1 - RULE ** (1 / examples) if examples else None


def total(rows: Sequence[CallRow]) -> CallRow:
    """All calls together, each unit alike; what a call does not define is left out of its share."""
    figures: dict[str, Any] = {}
    for key in (*_shares_of(rows), *BESIDE, "inactive_test"):
        figures[key] = weighed(rows, key)
    return replace(
        rows[0],
        layer="total",
        function=None,
        unit=None,
        units=sum(row.units for row in rows),
        can_die=any(row.can_die for row in rows),
        # A rank belongs to one layer's outputs: over several it is not defined.
        effective_rank=None,
        examples=max(row.examples for row in rows),
        gate=None,
        **figures,
    )


def _shares_of(rows: Sequence[CallRow]) -> list[str]:
    own = ("dead", "inactive", "rare", "dormant", "saturated", "sparsity", "near_zero")
    return [*own, "mean_activation", "sd_activation", *SHARES]


# --- the table ------------------------------------------------------------------------------------


def table(rows: Sequence[CallRow], notes: Sequence[str] = ()) -> Table[CallRow]:
    """A row per call, the total below; columns that no row has are left out."""
    first = rows[0]
    columns: list[Column[CallRow]] = [
        Column("layer", lambda row: row.layer, left=True),
        Column("function", lambda row: row.function or "", left=True, rank=4),
        Column("unit", lambda row: row.unit or "", left=True, rank=7),
        Column("units", lambda row: count_text(row.units), rank=1),
        *(_share_column(name) for name in ("dead", "inactive", "rare", "dormant", "saturated")),
        *(_share_column(name) for name in (*SHARES, *BESIDE, "sparsity", "near_zero")),
        _figure_column("mean", "mean_activation"),
        _figure_column("sd", "sd_activation"),
        _figure_column("effective rank", "effective_rank"),
        Column("gate", lambda row: row.gate or "", left=True),
    ]
    shown = [column for column in columns if _filled(column, rows)]
    return Table(rows, shown, _title(first), [*_notes(rows), *notes], group=_is_total)


def _is_total(row: CallRow) -> bool:
    return row.layer == "total"


def _filled(column: Column[CallRow], rows: Sequence[CallRow]) -> bool:
    key = column.key or column.head
    return any(row.get(key) is not None for row in rows) or key == "dead"


def _share_column(name: str) -> Column[CallRow]:
    def show(row: CallRow) -> str:
        if name.startswith("dead") and not row.can_die and row.get(name) is None:
            return CANNOT
        return percent(row.get(name))

    head = HEADS.get(name, name.replace("_", " "))
    return Column(f"{head} %", show, key=name, rank=RANKS.get(name, 5))


def _figure_column(head: str, key: str) -> Column[CallRow]:
    return Column(head, lambda row: significant(row.get(key)), key=key, rank=RANKS.get(key, 5))


def _title(row: CallRow) -> str:
    weights = row.weights or "weights as they are"
    return f"{row.model} · {weights} · {row.data} · {row.split}, {row.examples} examples"


def _notes(rows: Sequence[CallRow]) -> list[str]:
    """On what was counted, what was never seen, what cannot be."""
    notes = ["counted after each call of an activation, in evaluation mode, over all examples"]
    bound = rows[0].active_below
    if bound is not None and any(row.inactive for row in rows):
        notes.append(
            f"never active on {rows[0].examples} examples: active on under {bound:.2%} of such "
            "examples (95 %)"
        )
    if any(row.dead is None and not row.can_die for row in rows):
        notes.append(
            f"{CANNOT}: by its formula the derivative is nowhere 0 over a stretch; not in the total"
        )
    if any(row.dead_in_training_only is not None for row in rows):
        notes.append("alive there: dead on the training set, and not on the test set")
    if any(row.dead and not row.can_die for row in rows):
        notes.append(
            "dead where the formula has no flat part: its derivative is below the float type's"
        )
    return notes


def ablations(rows: Sequence[AblationRow]) -> Table[AblationRow]:
    """What the network does without some of its units."""
    columns: list[Column[AblationRow]] = [
        Column("removed", lambda row: row.removed, left=True),
        Column("units", lambda row: count_text(row.units)),
        Column("metric", lambda row: row.metric, left=True),
        Column("before", lambda row: significant(row.before, 4)),
        Column("after", lambda row: significant(row.after, 4)),
        Column("outputs", lambda row: "identical" if row.identical else "differ", key="identical"),
    ]
    note = "removed units give 0; identical: every output is the same to the bit"
    return Table(rows, columns, f"without units, {rows[0].examples} examples", [note])


def pruning(rows: Sequence[PruningRow], notes: Sequence[str]) -> Table[PruningRow]:
    """The layers that became narrower, and what that frees."""
    columns: list[Column[PruningRow]] = [
        Column("layer", lambda row: row.layer, left=True),
        Column("width", lambda row: count_text(row.width)),
        Column("new width", lambda row: count_text(row.new_width)),
        Column("parameters", lambda row: count_text(row.parameters)),
        Column("new parameters", lambda row: count_text(row.new_parameters)),
        Column("ms", lambda row: significant(row.milliseconds), key="milliseconds"),
        Column("new ms", lambda row: significant(row.new_milliseconds), key="new_milliseconds"),
    ]
    return Table(rows, columns, "cut out: units that always gave 0", notes)
