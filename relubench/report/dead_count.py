"""What deadcount of any network gives: rows, and views of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from relubench import formats
from relubench.catalog import Deferred
from relubench.report import call_table
from relubench.report.call_table import About
from relubench.rows import AblationRow, CallRow
from relubench.table import Table

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from relubench.neurons.counting import Counted
else:
    pandas = Deferred("pandas")


@dataclass(frozen=True, eq=False, repr=False)
class DeadCount:
    """Units of a network that are dead and so on, call by call.

    rows       a row for each call of an activation, then their total
    masks      by definition and layer: which units are so, (units,) bool
    notes      what each count means, and what was not counted
    ablations  what the network does without units, where that was asked
    offending  what a gate finds wrong, by layer
    """

    rows: Sequence[CallRow]
    masks: Mapping[str, Mapping[str, Tensor]]
    notes: Sequence[str] = field(default_factory=list)
    ablations: Sequence[AblationRow] = ()
    offending: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, counted: Counted, about: About) -> DeadCount:
        """The rows of what was counted."""
        masks: dict[str, dict[str, Tensor]] = {}
        for site, _, figures in counted.figures():
            for choice in counted.definitions:
                mask = figures[choice.entry.name]
                if choice.entry.of_units and mask is not None:
                    masks.setdefault(choice.entry.name, {})[site.place] = mask.cpu()
        notes = [*call_table.meanings(counted), *counted.notes]
        return cls(call_table.rows(counted, about), masks, notes)

    @property
    def layers(self) -> Sequence[CallRow]:
        """The rows of calls, without the total."""
        return self.rows[:-1]

    @property
    def total(self) -> CallRow:
        """All calls together."""
        return self.rows[-1]

    @property
    def passed(self) -> bool | None:
        """Whether every layer keeps the gate's limits; None: no gate was asked for."""
        return None if self.total.gate is None else not self.offending

    def units(self, definition: str = "dead") -> dict[str, list[int]]:
        """The numbers of the units that are so, by layer."""
        masks = self.masks.get(definition, {})
        return {layer: mask.nonzero().flatten().tolist() for layer, mask in masks.items()}

    def updated(self, figures: Mapping[str, Mapping[str, Any]]) -> DeadCount:
        """With further figures by layer; the total follows from them."""
        rows = [replace(row, **figures.get(row.layer, {})) for row in self.layers]
        return replace(self, rows=[*rows, call_table.total(rows)])

    def table(self) -> Table[CallRow]:
        """The rows for people."""
        return call_table.table(self.rows, self.notes)

    def frame(self) -> pandas.DataFrame:
        """The rows as a data frame of pandas."""
        return pandas.DataFrame([row.record() for row in self.rows])

    def __str__(self) -> str:
        """The table as text."""
        return formats.text(self.table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return formats.html(self.table())
