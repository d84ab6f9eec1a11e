"""Tables of what there is to name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from operator import itemgetter
from typing import Any

from relubench.catalog import Catalog, Entry, spell
from relubench.formats import Column, Row, Table, counted


def catalog(entries: Catalog[Entry], described: str) -> Table:
    """What a user may name, of one kind; `described` is the word for an entry's docstring."""
    rows = []
    for entry in entries.values():
        facts = {f.name: getattr(entry, f.name) for f in fields(entry)}
        own = {k: v for k, v in facts.items() if k not in ("name", "function", "sha256", "learns")}
        parameters = dict.fromkeys(entry.first) | entry.parameters
        row = {"name": entry.name, described: entry.description, "parameters": parameters}
        rows.append(row | own | ({"learned": list(facts["learns"])} if "learns" in facts else {}))
    plain = ("init", "source", "examples", "better", "unit", "suffix")
    shown = [key for key in plain if any(row.get(key) for row in rows)]
    columns = [Column("name", lambda row: row["name"], left=True)]
    columns.append(Column(described, lambda row: row[described], left=True, wrap=True))
    if any(row["parameters"] for row in rows):
        columns.append(Column("parameters", _parameters_text, left=True, wrap=True))
    columns += [Column(key, itemgetter(key), left=True, wrap=True) for key in shown]
    if any("kinks" in row for row in rows):
        columns.append(Column("slope at kink", _kinks_text, left=True, wrap=True))
    if any(row.get("paper") for row in rows):
        columns.append(Column("paper", _paper_text, left=True, wrap=True))
    return Table(
        rows, columns, counted(len(rows), entries.kind), group=lambda row: row.get("family")
    )


def _parameters_text(row: Row) -> str:
    return " ".join(_parameter_text(*item) for item in row["parameters"].items())


def _parameter_text(name: str, value: Any) -> str:
    if value is None:  # must be given
        return name.upper()
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={spell(value)}"


def _kinks_text(row: Row) -> str:
    return ", ".join(f"{slope:.4g} at {x:g}" for x, slope in row["kinks"].items())


def _paper_text(row: Row) -> str:
    return ", ".join(str(row[key]) for key in ("paper", "year") if row.get(key))


def kinds(names: Mapping[str, str]) -> Table:
    """What `list` can list."""
    rows = [{"kind": plural} for plural in names]
    column = Column("relubench list …", lambda row: row["kind"], left=True)
    return Table(rows, [column], "what there is to name")


def benchmarks(tables: Mapping[str, Row]) -> Table:
    """The benchmarks of a file."""
    rows = [
        {"name": name, **{key: value for key, value in table.items()}}
        for name, table in tables.items()
    ]
    columns = [
        Column("name", lambda row: row["name"], left=True),
        Column("datasets", lambda row: _joined(row.get("dataset")), left=True, wrap=True),
        Column("description", lambda row: str(row.get("description", "")), left=True, wrap=True),
    ]
    return Table(rows, columns, counted(len(rows), "benchmark"))


def _joined(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")
