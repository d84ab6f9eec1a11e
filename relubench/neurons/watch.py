"""Units watched while a network is trained in somebody's own loop."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from relubench.catalog import Deferred
from relubench.errors import BadValue
from relubench.neurons.batches import Batch
from relubench.neurons.counting import Asked, Counted, check_ready, counted, taken
from relubench.neurons.preserving import as_found
from relubench.neurons.sites import Plan, find
from relubench.results import COUNTS, MOMENTS
from relubench.rows import WatchRow, weighed

if TYPE_CHECKING:
    import pandas
else:
    pandas = Deferred("pandas")

REMEDY = (
    "a lower learning rate, a bias that begins above 0 or an activation without a flat part "
    "(relubench compare -a relu,leaky_relu) keeps units alive"
)


class DeadUnitsWarning(UserWarning):
    """A layer has more dead units than it should."""


class Watch:
    """Counts over time; `rows` hold them, a row for each call of an activation and a total."""

    def __init__(self, model: nn.Module, probe: Any, every: int, asked: Asked) -> None:
        if every < 1:
            raise BadValue(f"every is a number of steps from 1, got {every}")
        self.model, self.every, self.asked = model, every, asked
        self.batches = [*taken(probe if isinstance(probe, list) else [probe], model)]
        self.steps = 0
        self.rows: list[WatchRow] = []
        self._plan: Plan | None = None
        self._dead: dict[str, Tensor] = {}
        self._limit: float | None = None
        self._warned: set[str] = set()
        self.probe()

    def step(self) -> None:
        """One step of training is done; after each `every` of them units are counted."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.probe()

    def probe(self) -> Sequence[WatchRow]:
        """Count now; the rows of this count."""
        check_ready(self.model)
        with as_found(self.model):
            batches = self._on_device()
            if self._plan is None:
                self._plan = find(self.model, batches[0], self.asked.unit, self.asked.modules)
            rows = self._rows(counted(self.model, self._plan, batches, self.asked))
        self.rows += rows
        self._warn(rows)
        return rows

    def _on_device(self) -> list[Batch]:
        device = next(self.model.parameters(), torch.empty(0)).device
        return [batch.to(device) for batch in self.batches]

    def _rows(self, found: Counted) -> list[WatchRow]:
        rows = []
        for site, seen, figures in found.figures():
            names = (*COUNTS, *MOMENTS)
            shares: dict[str, Any] = {name: float(figures[name].double().mean()) for name in names}
            # What cannot die by its formula has no share of dead units,
            # unless derivatives underflow.
            if not site.dies and not shares["dead"]:
                shares["dead"] = None
            before, dead = self._dead.get(site.place), figures["dead"]
            changed: dict[str, Any] = {}
            if before is not None:
                changed["newly_dead"] = float((dead & ~before).double().mean())
                changed["revived"] = float((before & ~dead).double().mean())
            # For the next count: newly dead and revived are changes from one count to the next.
            self._dead[site.place] = dead
            row = WatchRow(
                step=self.steps, layer=site.place, function=site.function, units=seen.units,
                **shares, **changed,
            )  # fmt: skip
            rows.append(row)
        return [*rows, _total(rows)]

    # --- warnings

    def warn_above(self, share: float) -> Self:
        """Warn, once for each layer, where more of its units than this share are dead."""
        if not 0 <= share < 1:
            raise BadValue(f"warn_above takes a share from 0 to 1, such as 0.2, got {share:g}")
        self._limit = share
        self._warn([row for row in self.rows if row.step == self.rows[-1].step])
        return self

    def _warn(self, rows: Iterable[WatchRow]) -> None:
        for row in rows:
            quiet = self._limit is None or row.layer in self._warned or row.layer == "total"
            if quiet or row.dead is None or row.dead <= (self._limit or 0):
                continue
            self._warned.add(row.layer)
            warnings.warn(
                f"{row.layer}: {row.dead:.0%} of {row.units} units are dead at step {row.step}: "
                f"{REMEDY}",
                DeadUnitsWarning,
                # _warn, probe and step lie between: the warning names the
                # line of the training loop.
                stacklevel=4,
            )

    # --- views

    def frame(self) -> pandas.DataFrame:
        """The rows as a data frame of pandas."""
        return pandas.DataFrame([row.record() for row in self.rows])

    # --- context

    def close(self) -> None:
        """Count once more, unless that was done after the last step."""
        if self.rows[-1].step != self.steps:
            self.probe()

    def __enter__(self) -> Self:
        """The watch itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count a last time, where nothing was raised."""
        if kind is None:
            self.close()


def _total(rows: Sequence[WatchRow]) -> WatchRow:
    names = (*COUNTS, *MOMENTS, "newly_dead", "revived")
    figures: dict[str, Any] = {name: weighed(rows, name) for name in names}
    units = sum(row.units for row in rows)
    return WatchRow(step=rows[0].step, layer="total", function=None, units=units, **figures)
