"""What a call gives: the command's rows, as rows, data frame, text, HTML and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from relubench import formats, report
from relubench.catalog import Deferred
from relubench.door import pictures
from relubench.formats.pictures import UNFOLDED
from relubench.metrics import measures
from relubench.rows import SETUP, CompareRow, EpochRow, RunRow, SuggestRow
from relubench.table import AnyTable, Panel, Row, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from relubench.formats import plots
else:
    plots = Deferred("relubench.formats.plots")

R = TypeVar("R", bound=Row)
CLAIM = ("verdict", "difference", "difference_low", "difference_high", "p", "n")


@dataclass(frozen=True, repr=False, eq=False)
class Result(Generic[R]):
    """What a command ends with.

    tables     all that it prints; the first has the rows
    notes      what it tells besides, a line each
    exit_code  with which it ends: 1 where a run diverged or was lost
    """

    tables: Sequence[AnyTable]
    notes: Sequence[str] = ()
    exit_code: int = 0

    @property
    def rows(self) -> Sequence[R]:
        """The rows, frozen and typed: their fields are the keys of machine formats."""
        rows: Sequence[R] = self.tables[0].rows
        return rows

    def frame(self) -> pd.DataFrame:
        """The rows as a data frame: a column per key; NaN or NA where nothing is defined."""
        return self.tables[0].frame()

    def table(
        self,
        format: str = "text",
        columns: Sequence[str] = (),
        sort: str | None = None,
        group: Sequence[str] = (),
        width: int = UNFOLDED,
    ) -> str:
        """The tables in one of the formats of `relubench list formats`.

        columns, sort, group  of the first, as --columns, --sort and --group say it
        width                 columns of a terminal, for text
        """
        name = formats.FORMATS[format].name
        first, *others = self.tables
        if columns or sort or group:
            first = report.Arrangement(tuple(columns), sort, tuple(group)).apply(first)
        return formats.render([first, *others], name, width)

    def __str__(self) -> str:
        return self.table().rstrip("\n")

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.table("html")


@dataclass(frozen=True, repr=False, eq=False)
class Runs(Result[RunRow]):
    """Trained runs, a row each.

    curves  the learning curve of each, a row per epoch
    """

    curves: Sequence[Table[EpochRow]] = ()

    def plot(self, ax: Axes | None = None) -> Axes:
        """The learning curves: mean training loss by epoch, a line per set-up and activation."""
        drawn = plots.axes(pictures.curves(self.rows, self.curves), ax)
        drawn.set(xlabel="epoch", ylabel="training loss (nats)")
        return drawn


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result[CompareRow]):
    """Activations beside a reference, a row each per set-up."""

    @property
    def verdicts(self) -> pd.DataFrame:
        """What the differences allow one to say: set-ups as far as they differ, then the claim."""
        frame = self.frame()
        # As texts, since lists and mappings have no hash.
        varies = [key for key in SETUP if len(frame[key].map(str).unique()) > 1]
        return frame[[*varies, "activation", *CLAIM]]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean paired differences to the reference with their 95 % intervals."""
        return _intervals(pictures.differences(self.rows), self.rows[0], ax)


@dataclass(frozen=True, repr=False, eq=False)
class Suggestion(Result[SuggestRow]):
    """Which activation to use on one dataset: a row per activation over several networks."""

    @property
    def answer(self) -> str:
        """Which to use, or that it does not matter, in one sentence."""
        return self.tables[0].said[0]

    @property
    def activation(self) -> str | None:
        """The one that is suggested; None where runs of each of them diverged."""
        chosen = (row.activation for row in self.rows if row.verdict == "suggested")
        return next(chosen, None)

    @property
    def decided(self) -> bool:
        """Whether it is shown to be the best, or within the margin of the best."""
        return report.suggestion_decided(self.rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Mean differences to the reference over all networks; their intervals hold together."""
        return _intervals(pictures.suggested(self.rows), self.rows[0], ax)


def _intervals(panel: Panel, first: CompareRow | SuggestRow, ax: Axes | None) -> Axes:
    """Draw a line per activation, its name beside it; `first` has what all rows share."""
    drawn = plots.axes(panel, ax, legend=False)
    for line in drawn.lines:
        line.set(linestyle="-")  # the places tell the lines apart
    low, high = panel.x_range
    room = (max(high, 0) - min(low, 0) or 1) / 20
    drawn.set_xlim(min(low, 0) - room, max(high, 0) + room)
    drawn.set_ylim(0.5, len(panel.curves) + 0.5)
    names = [curve.name for curve in panel.curves]
    drawn.set_yticks(range(len(names), 0, -1), names)
    drawn.locator_params(axis="x", nbins=5)
    measure = measures.MEASURES[first.metric]
    drawn.set_xlabel(f"{measure.name} − {first.reference}'s ({measure.unit})")
    return drawn
