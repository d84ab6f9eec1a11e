"""--columns, --sort and --group: what of a table is shown, and in which order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from relubench.errors import BadValue, suggestion
from relubench.grouping import grouped, joined
from relubench.metrics.measures import MEASURES
from relubench.report.columns import percent_column
from relubench.report.figures import UNDEFINED, significant
from relubench.report.naming import texts_of
from relubench.table import AnyTable, Column, Row


@dataclass(frozen=True)
class Arrangement:
    """Keys of rows, as machines see them; nothing changes where nothing is given.

    sort   one key, with '-' for descending; inside each group
    group  rows with the same values of these stand together; ('none',): one group
    """

    columns: tuple[str, ...] = ()
    sort: str | None = None
    group: tuple[str, ...] = ()

    def apply(self, table: AnyTable) -> AnyTable:
        """The table in this arrangement; raises BadValue for a key that no row has."""
        if self == Arrangement() or not table.rows:
            return table
        # Every column has a key, its head where no other was given.
        shown = {column.key or column.head.replace(" ", "_"): column for column in table.columns}
        # A set would forget the order, in which an error names the keys.
        keys = dict.fromkeys([*table.rows[0].keys, *shown])
        table = self._grouped(table, keys)
        if self.sort:
            table = replace(table, rows=self._sorted(table, keys))
        if not self.columns:
            return table
        for key in self.columns:
            _check("--columns", key, keys)
        # As people see it where they see it already, else as it is.
        columns = [shown.get(key) or _plain(key) for key in self.columns]
        if table.turned:  # what each row is called stands above it
            first = table.columns[0]
            columns = [first, *(column for column in columns if column is not first)]
        return replace(table, columns=columns, keys=self.columns, bars=(), whole=True)

    def _grouped(self, table: AnyTable, keys: Collection[str]) -> AnyTable:
        if not self.group:
            return table
        shared = () if self.group == ("none",) else self.group
        for key in shared:
            _check("--group", key, keys)
        group = texts_of(shared)
        # First by group, in the order of the first rows: a table breaks where the next row differs.
        together = joined(grouped(table.rows, group).values())
        return replace(table, rows=together, group=group, heading=lambda row: "")

    def _sorted(self, table: AnyTable, keys: Collection[str]) -> list[Row]:
        """The rows by one key inside each group; those without a value last."""
        wanted = self.sort or ""
        down, key = wanted.startswith("-"), wanted.removeprefix("-")
        _check("--sort", key, keys)
        ordered: list[Row] = []
        blocks = grouped(table.rows, lambda row: (table.heading(row), table.group(row)))
        for rows in blocks.values():
            # None compares with nothing; and reverse=True alone would put those rows first.
            defined = [row for row in rows if row.get(key) is not None]
            ordered += sorted(defined, key=lambda row: _order(row.get(key)), reverse=down)
            ordered += [row for row in rows if row.get(key) is None]
        return ordered


def _check(flag: str, key: str, keys: Collection[str]) -> None:
    if key not in keys:
        near = suggestion(key, keys)
        hint = f"{near} " if near else ""
        raise BadValue(f"{flag}: unknown key {key!r}: {hint}known: {', '.join(keys)}")


def _order(value: object) -> tuple[float, str]:
    """Numbers by size, words by letter."""
    return (value, "") if isinstance(value, int | float) else (0.0, str(value))


def _plain(key: str) -> Column[Row]:
    """A column for a key that the table for people leaves out."""
    if key in MEASURES and MEASURES[key].unit == "fraction":
        return percent_column(key)
    return Column(key.replace("_", " "), lambda row: _text(row.machine_value(key)), key=key)


def _text(value: object) -> str:
    if value is None:
        return UNDEFINED
    return significant(value, 3) if isinstance(value, float) else str(value)
