"""Tables of what there is to name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from operator import itemgetter
from typing import Any

from relubench.activations import Activation
from relubench.activations.activation import FAMILIES
from relubench.catalog import Catalog, Entry, spell
from relubench.printable import plain
from relubench.results import FLAT
from relubench.table import Column, Curve, Panel, Picture, Row, Table
from relubench.wording import counted

UNDEFINED = "–"
MOMENTS = (
    "E: mean over standard normal z. gain: 1/√E f(z)², the factor that keeps the second moment of "
    "a layer at 1. All in float64 and evaluation mode, the gain of a noisy unit as it trains."
)

HIDDEN = (
    *("name", "function", "sha256", "code", "learns", "shared", "flat", "module"),
    *("mixes", "widths"),
)


def catalog(entries: Catalog[Entry], described: str) -> Table:
    """What a user may name, of one kind; `described` is the word for an entry's docstring."""
    rows = sorted((_row(entry, described) for entry in entries.values()), key=_family)
    plain = ("init", "activation", "source", "examples", "better", "unit", "suffix")
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
    notes = [entries.beside] if entries.beside else []
    return Table(
        rows, columns, counted(len(rows), entries.kind), notes, heading=_heading, stacks=True
    )


def _row(entry: Entry, described: str) -> dict[str, Any]:
    facts = {f.name: getattr(entry, f.name) for f in fields(entry) if f.name not in HIDDEN}
    parameters = dict.fromkeys(entry.first) | entry.parameters
    row = {"name": entry.name, described: entry.description, "parameters": parameters}
    if isinstance(entry, Activation):
        facts |= {"learned": list(entry.learns), "can_die": entry.can_die}
        facts["elementwise"] = entry.elementwise
    return row | facts


def _family(row: Row) -> int:
    return [*FAMILIES].index(row["family"]) if "family" in row else 0


def _heading(row: Row) -> str:
    return f"{row['family']}: {FAMILIES[row['family']]}" if "family" in row else ""


def only(table: Table, keep: Callable[[Row, Sequence[str]], bool], why: str) -> Table:
    """The rows that `keep` wants, of the row and its texts; `why` ends the title."""
    pairs = zip(table.rows, table.texts, strict=True)
    rows = [row for row, texts in pairs if keep(row, texts)]
    return replace(table, rows=rows, title=f"{len(rows)} of {table.title} {why}")


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


def units(rows: Sequence[Row]) -> Table:
    """What there is to say of activations, and their curves."""
    columns = [Column("activation", itemgetter("name"), left=True)]
    for head, show in (
        ("formula", itemgetter("formula")),
        ("remarks", itemgetter("remarks")),
        ("family", itemgetter("family")),
        ("paper", _paper_text),
        ("parameters", _settings_text),
        ("takes, gives", _arity_text),
        ("noise", lambda row: "in training only" if row["noisy"] else ""),
        ("slope at kink", _kinks_text),
        ("can die", _death_text),
        ("values", lambda row: f"{_end(row['low'], '-∞')} to {_end(row['high'], '∞')}"),
        ("E f(z)", lambda row: f"{row['mean']:.3g}"),
        ("E f(z)²", lambda row: f"{row['second_moment']:.3g}"),
        ("gain", _gain_text),
        ("initial weights", lambda row: f"{row['init']}: normal, sd {row['init_std']}"),
    ):
        columns.append(Column(head, show, left=True, wrap=True))
    return Table(rows, columns, notes=[MOMENTS], turned=True, picture=_curves(rows))


def _curves(rows: Sequence[Row]) -> Picture:
    """Values and slopes side by side, as far up and down as x reaches."""
    reach = max(max(map(abs, row["x"])) for row in rows)
    return Picture(
        [
            Panel(title, [Curve(plain(r["name"]), r["x"], r[key]) for r in rows], -reach, reach)
            for title, key in (("value", "value"), ("slope", "slope"))
        ]
    )


def _settings_text(row: Row) -> str:
    return ", ".join(
        f"{name}={spell(value)}" + " (initially; learned)" * (name in row["learned"])
        for name, value in row["parameters"].items()
    )


def _gain_text(row: Row) -> str:
    if row["gain"] is None:
        return UNDEFINED
    drift = f"; holds nothing: a small deviation grows {row['growth']:.1f} times in a layer"
    return f"{row['gain']:.4g}" + ("" if row["steady"] else drift)


def _arity_text(row: Row) -> str:
    if row["pieces"] == row["outputs"] == 1:
        return ""
    return f"{counted(row['pieces'], 'pre-activation')}, {counted(row['outputs'], 'output')}"


def _death_text(row: Row) -> str:
    if row["flat"]:
        return f"yes: where every x lies in {' or '.join(map(_interval_text, row['flat']))}"
    if row["can_die"]:
        return "yes: at some pre-activations all its slopes are 0"
    faint = " and ".join(map(_interval_text, row["faint"]))
    return "no: its slope is 0 nowhere" + (f", but under {FLAT} at {faint}" if faint else "")


def _interval_text(ends: tuple[float | None, float | None]) -> str:
    low, high = ends
    if low is None or high is None:
        return "all x" if low == high else f"x ≤ {high:.3g}" if low is None else f"x ≥ {low:.3g}"
    return f"{low:.3g} ≤ x ≤ {high:.3g}"


def _end(bound: float | None, unbounded: str) -> str:
    return unbounded if bound is None else f"{bound:.3g}"


def kinds(names: Mapping[str, str]) -> Table:
    """What `list` can list."""
    rows = [{"kind": plural} for plural in names]
    column = Column("relubench list …", lambda row: row["kind"], left=True)
    return Table(rows, [column], "what there is to name")


def benchmarks(tables: Mapping[str, Row], runs: Mapping[str, int]) -> Table:
    """The benchmarks of a file, how many runs `compare` makes of each, and about how long."""
    rows = [
        {
            "name": name,
            **table,
            "runs": runs[name],
            "minutes": table.get("minutes"),
            "quick_minutes": table.get("quick", {}).get("minutes"),
        }
        for name, table in tables.items()
    ]
    columns = [
        Column("name", lambda row: row["name"], left=True),
        Column("datasets", lambda row: _joined(row.get("dataset")), left=True, wrap=True),
        Column("runs", lambda row: str(row["runs"])),
        Column("minutes", lambda row: _minutes(row["minutes"])),
        Column("quick", lambda row: _minutes(row["quick_minutes"]), key="quick_minutes"),
        Column("published", lambda row: str(len(row["published"]) or "")),
        Column("description", lambda row: str(row.get("description", "")), left=True, wrap=True),
    ]
    notes = [
        "runs: of compare NAME. minutes: about, on two CPU cores, and of its quick form (--quick); "
        "--dry-run says how long they take here."
    ]
    return Table(rows, columns, counted(len(rows), "benchmark"), notes, stacks=True)


def _minutes(about: float | None) -> str:
    return UNDEFINED if about is None else f"{about:g}"


def _joined(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")
