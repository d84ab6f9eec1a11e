"""Tables of what there is to name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from relubench.activations import Activation
from relubench.activations.activation import FAMILIES
from relubench.catalog import Catalog, Entry, spell
from relubench.printable import plain
from relubench.results import FLAT
from relubench.rows import ActivationProfileRow
from relubench.table import AnyTable, Column, Curve, Panel, Picture, Row, Table
from relubench.wording import counted

UNDEFINED = "–"
MOMENTS = (
    "E: mean over standard normal z. gain: 1/√E f(z)², the factor that keeps the second moment of "
    "a layer at 1. All in float64 and evaluation mode, the gain of a noisy activation as it trains."
)

HIDDEN = (
    *("name", "function", "sha256", "code", "learns", "shared", "flat", "module"),
    *("mixes", "widths", "lesson", "slope", "filled"),
)


@dataclass(frozen=True, kw_only=True)
class CatalogRow(Row):
    """list KIND: what a user may name; its facts are keys of their own.

    described  the key of the description, such as formula
    """

    name: str
    described: str
    description: str
    parameters: Mapping[str, object]
    facts: Mapping[str, object]

    @property
    def keys(self) -> list[str]:
        """Name, description, parameters; then the facts of the kind."""
        return ["name", self.described, "parameters", *self.facts]

    def get(self, key: str) -> Any:
        """What stands under a key."""
        if key == self.described:
            return self.description
        return self.facts[key] if key in self.facts else super().get(key)

    @property
    def kinks(self) -> Mapping[float, float]:
        """Of an activation: its derivative at each kink."""
        kinks: Mapping[float, float] = self.get("kinks")
        return kinks


@dataclass(frozen=True, kw_only=True)
class KindRow(Row):
    """list: what can be listed."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow(Row):
    """list benchmarks: a benchmark's settings are keys of their own."""

    name: str
    settings: Mapping[str, Any]
    runs: int

    @property
    def minutes(self) -> float | None:
        """About how long it takes."""
        about: float | None = self.settings.get("minutes")
        return about

    @property
    def quick_minutes(self) -> float | None:
        """About how long its quick form takes."""
        about: float | None = self.settings.get("quick", {}).get("minutes")
        return about

    @property
    def keys(self) -> list[str]:
        """Name, settings, and what is counted."""
        return list(dict.fromkeys(["name", *self.settings, "runs", "minutes", "quick_minutes"]))

    def get(self, key: str) -> Any:
        """What stands under a key."""
        if key in ("name", "runs", "minutes", "quick_minutes"):
            return getattr(self, key)
        return self.settings.get(key)


def catalog(entries: Catalog[Entry], described: str) -> Table[CatalogRow]:
    """What a user may name, of one kind; `described` is the word for an entry's docstring."""
    rows = sorted((_row(entry, described) for entry in entries.values()), key=_family)
    plain = ("task", "init", "activation", "source", "examples", "better", "unit", "suffix")
    shown = [key for key in plain if any(map(value_of(key), rows))]
    columns: list[Column[CatalogRow]] = [
        Column("name", lambda row: row.name, left=True),
        Column(described, lambda row: row.description, left=True, wrap=True),
    ]
    if any(row.parameters for row in rows):
        columns.append(Column("parameters", _parameters_text, left=True, wrap=True))
    columns += [Column(key, value_of(key), left=True, wrap=True) for key in shown]
    if any("kinks" in row.facts for row in rows):
        columns.append(
            Column(
                "derivative at kink",
                lambda row: _kinks_text(row.kinks),
                left=True,
                wrap=True,
                key="slope_at_kink",
            )
        )
    if any(row.get("paper") for row in rows):
        columns.append(Column("paper", _paper_text, left=True, wrap=True))
    notes = [entries.beside] if entries.beside else []
    return Table(
        rows, columns, counted(len(rows), entries.kind), notes, heading=_heading, stacks=True
    )


def _row(entry: Entry, described: str) -> CatalogRow:
    names = [field.name for field in fields(entry) if field.name not in HIDDEN]
    facts = {name: getattr(entry, name) for name in names}
    # None for what must be given: it has no default to show.
    parameters = dict.fromkeys(entry.first) | entry.parameters
    if isinstance(entry, Activation):
        facts |= {"learned": list(entry.learns), "can_die": entry.can_die}
        facts["elementwise"] = entry.elementwise
    return CatalogRow(
        name=entry.name,
        described=described,
        description=entry.description,
        parameters=parameters,
        facts=facts,
    )


def value_of(key: str) -> Callable[[CatalogRow], str]:
    """How a fact that is text reads."""
    return lambda row: row.get(key)


def _family(row: CatalogRow) -> int:
    return [*FAMILIES].index(row.get("family")) if "family" in row.facts else 0


def _heading(row: CatalogRow) -> str:
    family = row.get("family")
    return f"{family}: {FAMILIES[family]}" if "family" in row.facts else ""


def only(table: AnyTable, keep: Callable[[Row, Sequence[str]], bool], why: str) -> AnyTable:
    """The rows that `keep` wants, of the row and its texts; `why` ends the title."""
    pairs = zip(table.rows, table.texts, strict=True)
    rows = [row for row, texts in pairs if keep(row, texts)]
    return replace(table, rows=rows, title=f"{len(rows)} of {table.title} {why}")


def _parameters_text(row: CatalogRow) -> str:
    return " ".join(_parameter_text(*item) for item in row.parameters.items())


def _parameter_text(name: str, value: object) -> str:
    if value is None:  # must be given
        return name.upper()
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={spell(value)}"


def _kinks_text(kinks: Mapping[float, float]) -> str:
    return ", ".join(f"{derivative:.4g} at {x:g}" for x, derivative in kinks.items())


def _paper_text(row: Row) -> str:
    facts = [row.get("paper"), row.get("year")]
    return ", ".join(str(fact) for fact in facts if fact)


Show = Callable[[ActivationProfileRow], str]


def activation_profiles(rows: Sequence[ActivationProfileRow]) -> Table[ActivationProfileRow]:
    """What there is to say of activations, and their curves."""
    facts: list[tuple[str, Show]] = [
        ("formula", lambda row: row.formula),
        ("remarks", lambda row: row.remarks),
        ("family", lambda row: row.family),
        ("paper", _paper_text),
        ("parameters", _settings_text),
        ("takes, gives", _arity_text),
        ("noise", lambda row: "in training only" if row.noisy else ""),
        ("derivative at kink", lambda row: _kinks_text(row.kinks)),
        ("can die", _death_text),
        ("values", lambda row: f"{_end(row.low, '-∞')} to {_end(row.high, '∞')}"),
        ("E f(z)", lambda row: f"{row.mean:.3g}"),
        ("E f(z)²", lambda row: f"{row.second_moment:.3g}"),
        ("gain", _gain_text),
        ("initial weights", lambda row: f"{row.init}: normal, sd {row.init_std}"),
    ]
    columns = [Column[ActivationProfileRow]("activation", lambda row: row.name, left=True)]
    columns += [Column(head, show, left=True, wrap=True) for head, show in facts]
    return Table(rows, columns, notes=[MOMENTS], turned=True, picture=_curves(rows))


def _curves(rows: Sequence[ActivationProfileRow]) -> Picture:
    """Values and derivatives side by side, as far up and down as x reaches."""
    reach = max(max(map(abs, row.x)) for row in rows)
    values = [Curve(plain(row.name), row.x, row.value) for row in rows]
    derivatives = [Curve(plain(row.name), row.x, row.slope) for row in rows]
    panels = {"value": values, "derivative": derivatives}
    return Picture([Panel(title, curves, -reach, reach) for title, curves in panels.items()])


def _settings_text(row: ActivationProfileRow) -> str:
    texts = []
    for name, value in row.parameters.items():
        learned = " (initially; learned)" if name in row.learned else ""
        texts.append(f"{name}={spell(value)}{learned}")
    return ", ".join(texts)


def _gain_text(row: ActivationProfileRow) -> str:
    if row.gain is None:
        return UNDEFINED
    drift = f"; holds nothing: a small deviation grows {row.growth:.1f} times in a layer"
    return f"{row.gain:.4g}" + ("" if row.steady else drift)


def _arity_text(row: ActivationProfileRow) -> str:
    if row.pieces == row.outputs == 1:
        return ""
    return f"{counted(row.pieces, 'pre-activation')}, {counted(row.outputs, 'output')}"


def _death_text(row: ActivationProfileRow) -> str:
    if row.flat:
        return f"yes: where every x lies in {' or '.join(map(_interval_text, row.flat))}"
    if row.can_die:
        return "yes: at some pre-activations all its derivatives are 0"
    faint = " and ".join(map(_interval_text, row.faint))
    return "no: its derivative is 0 nowhere" + (f", but under {FLAT} at {faint}" if faint else "")


def _interval_text(ends: tuple[float | None, float | None]) -> str:
    low, high = ends
    if low is None or high is None:
        return "all x" if low == high else f"x ≤ {high:.3g}" if low is None else f"x ≥ {low:.3g}"
    return f"{low:.3g} ≤ x ≤ {high:.3g}"


def _end(bound: float | None, unbounded: str) -> str:
    return unbounded if bound is None else f"{bound:.3g}"


def kinds(names: Mapping[str, str]) -> Table[KindRow]:
    """What `list` can list."""
    rows = [KindRow(kind=plural) for plural in names]
    column: Column[KindRow] = Column("relubench list …", lambda row: row.kind, left=True)
    return Table(rows, [column], "what there is to name")


def benchmarks(
    tables: Mapping[str, Mapping[str, object]], runs: Mapping[str, int]
) -> Table[BenchmarkRow]:
    """The benchmarks of a file, how many runs `compare` makes of each, and about how long."""
    rows = [
        BenchmarkRow(name=name, settings=table, runs=runs[name]) for name, table in tables.items()
    ]
    columns: list[Column[BenchmarkRow]] = [
        Column("name", lambda row: row.name, left=True),
        Column("datasets", lambda row: _joined(row.get("dataset")), left=True, wrap=True),
        Column("runs", lambda row: str(row.runs)),
        Column("minutes", lambda row: _minutes(row.minutes, bool(row.get("estimated")))),
        Column("quick", lambda row: _minutes(row.quick_minutes), key="quick_minutes"),
        Column("published", lambda row: str(len(row.get("published")) or "")),
        Column(
            "description",
            lambda row: str(row.settings.get("description", "")),
            left=True,
            wrap=True,
        ),
    ]
    notes = [
        "runs: of compare NAME. minutes: as measured on two CPU cores, and of its quick form "
        "(--quick); ~ estimated, not run; --dry-run says how long they take here."
    ]
    return Table(rows, columns, counted(len(rows), "benchmark"), notes, stacks=True)


def _minutes(about: float | None, estimated: bool = False) -> str:
    return UNDEFINED if about is None else f"{'~' if estimated else ''}{about:g}"


def _joined(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")
