"""What is shown: rows for machines, columns for people, curves in panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from relubench.catalog import Deferred
from relubench.grouping import joined
from relubench.printable import plain

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from pandas.api.extensions import ExtensionDtype
else:  # `--help` and `list` must not wait for it
    pd = Deferred("pandas")


@dataclass(frozen=True)
class Curve:
    """A named line through points; None: not defined there."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes; what lies outside `low` and `high` is not drawn."""

    title: str
    curves: Sequence[Curve]
    low: float = -math.inf
    high: float = math.inf

    @property
    def y_range(self) -> tuple[float, float]:
        """The least range that holds 0 and every drawn point, and a little more."""
        points = joined(curve.y for curve in self.curves)
        drawn = [y for y in points if y is not None]
        # 0 is always in sight: a curve that starts at 0.9 must not look like one that starts at 0.
        low = min(0.0, *(max(y, self.low) for y in drawn))
        high = max(0.0, *(min(y, self.high) for y in drawn))
        margin = 0.04 * (high - low or 1)
        return low - margin, high + margin

    @property
    def x_range(self) -> tuple[float, float]:
        """The range of all curves."""
        return min(c.x[0] for c in self.curves), max(c.x[-1] for c in self.curves)


@dataclass(frozen=True)
class Picture:
    """Panels side by side, with the same curves in the same order."""

    panels: Sequence[Panel]


class Worded:
    """A structure that rows carry, and that machines get as its text, str()."""


@dataclass(frozen=True)
class Row:
    """One row: a frozen dataclass whose fields are the keys of machine formats, in their order.

    A field's type is Annotated with what the key means.
    """

    @classmethod
    def declared_keys(cls) -> list[str]:
        """What machine formats print of such rows, in order."""
        return [field.name for field in fields(cls)]

    @property
    def keys(self) -> list[str]:
        """What machine formats print of this row."""
        return self.declared_keys()

    def get(self, key: str) -> Any:
        """What stands under a key; None where the row has no such key."""
        return getattr(self, key, None)

    def record(self) -> dict[str, object]:
        """The row as machines get it."""
        return {key: self.machine_value(key) for key in self.keys}

    def machine_value(self, key: str) -> object:
        """What machines get under a key: no rows and no structures."""
        return _plain_value(self.get(key))

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """What each key means, for the manual and for help."""
        # Resolved only here: it evaluates annotations, which takes its time.
        hints = get_type_hints(cls, include_extras=True)
        return {key: hints[key].__metadata__[0] for key in cls.declared_keys()}

    @classmethod
    def types(cls) -> dict[str, object]:
        """The type of what stands under each key."""
        hints = get_type_hints(cls)
        return {key: hints[key] for key in cls.declared_keys() if key in hints}


def _plain_value(value: object) -> object:
    """The value without rows and structures in it."""
    if isinstance(value, Row):
        return value.record()
    if isinstance(value, Worded):
        return str(value)
    if isinstance(value, list) and value and isinstance(value[0], Row):
        return [row.record() for row in value]
    return value


def _dtype(declared: object) -> ExtensionDtype | np.dtype[np.generic]:
    """The pandas type of a declared one; what is neither number nor truth stays as it is.

    Int64 with a capital has an NA; an int64 column with one gap would turn to floats.
    """
    is_union = get_origin(declared) in (Union, UnionType)
    kinds = set(get_args(declared)) if is_union else {declared}
    nullable = type(None) in kinds
    name = "object"
    if kinds <= {float, type(None)}:
        name = "float64"
    elif kinds <= {int, type(None)}:
        name = "Int64" if nullable else "int64"
    elif kinds <= {bool, type(None)}:
        name = "boolean" if nullable else "bool"
    return pd.api.types.pandas_dtype(name)


def _chosen(record: dict[str, object], keys: Sequence[str]) -> dict[str, object]:
    return {key: record[key] for key in keys if key in record}


R = TypeVar("R", bound=Row)
Shown = TypeVar("Shown", bound=Row, contravariant=True)


@dataclass(frozen=True)
class Column(Generic[Shown]):
    """What people see of a row: a head and a function from the row to text.

    key    by which it is chosen, as in machine rows; '': that of its head
    mark   what a published table does to a cell: 'bold', 'underline' or nothing
    tone   how a terminal colours it: 'good', 'bad', 'warning', 'quiet' or not
    rank   which columns a narrow terminal leaves out first, the highest; 0: it stays
    short  the same in fewer words, where there is little room
    """

    head: str
    show: Callable[[Shown], str]
    left: bool = False
    wrap: bool = False
    key: str = ""
    mark: Callable[[Shown], str] = lambda row: ""
    tone: Callable[[Shown], str] = lambda row: ""
    rank: int = 0
    short: Callable[[Shown], str] | None = None

    def text(self, row: Shown) -> str:
        """What people see of a row, on one line: it may hold anybody's text."""
        return plain(self.show(row))


@dataclass(frozen=True)
class Table(Generic[R]):
    """Rows for machines, columns for people, a title above and notes below.

    group    a blank line goes between rows where this key changes
    keys     what machines get of a row, in this order; (): everything
    heading  a line above the rows that share it, in text; it groups them too
    stacks   where the width does not hold it, a row stands on lines of its own, in text
    turned   people read a row from top to bottom, under what its first column shows
    picture  the text format draws it between table and notes
    answers  what the figures say, in sentences that stand above everything
    asides   notes that the figures can be read without; --explain shows them
    bars     further columns, which a terminal shows where it has room for them
    best     which rows a terminal makes bold
    whole    all columns are shown, however narrow the terminal
    hidden   rows that only machines get
    """

    rows: Sequence[R]
    columns: Sequence[Column[R]]
    title: str = ""
    notes: Sequence[str] = ()
    group: Callable[[R], object] = lambda row: None
    keys: Sequence[str] = ()
    heading: Callable[[R], str] = lambda row: ""
    stacks: bool = False
    turned: bool = False
    picture: Picture | None = None
    answers: Sequence[str] = ()
    asides: Sequence[str] = ()
    bars: Sequence[Column[R]] = ()
    best: Callable[[R], bool] = lambda row: False
    whole: bool = False
    hidden: Callable[[R], bool] = lambda row: False

    @property
    def for_people(self) -> Table[R]:
        """The same without the rows that only machines get."""
        return replace(self, rows=[row for row in self.rows if not self.hidden(row)])

    @property
    def explained(self) -> Table[R]:
        """The same with its asides among the notes."""
        return replace(self, notes=[*self.notes, *self.asides], asides=())

    @cached_property
    def records(self) -> list[dict[str, object]]:
        """The rows as machines get them."""
        records = [row.record() for row in self.rows]
        if not self.keys:
            return records
        return [_chosen(record, self.keys) for record in records]

    def frame(self) -> pd.DataFrame:
        """The rows as a data frame: a column per key, of the type that the row's class declares.

        What is not defined is NaN, or pandas' NA where a column holds whole numbers.
        """
        records = self.records
        types = type(self.rows[0]).types() if self.rows else {}
        columns = {}
        for key in dict.fromkeys(joined(records)):
            # As objects into a typed series: pandas would take [2**60, None] through floats.
            values = [record.get(key) for record in records]
            columns[key] = pd.Series(values, dtype=_dtype(types.get(key)))
        return pd.DataFrame(columns)

    @property
    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        texts = []
        for row in self.rows:
            texts.append([column.text(row) for column in self.columns])
        return texts

    @property
    def heads(self) -> list[str]:
        """What stands above the columns."""
        return [plain(column.head) for column in self.columns]

    @property
    def caption(self) -> str:
        """The title as people read it."""
        return plain(self.title)

    @property
    def remarks(self) -> list[str]:
        """The notes as people read them."""
        return [plain(note) for note in self.notes]

    @property
    def said(self) -> list[str]:
        """The answers as people read them."""
        return [plain(answer) for answer in self.answers]


AnyTable = Table[Any]  # of any kind of rows
AnyColumn = Column[Any]
