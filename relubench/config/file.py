"""benchmarks.toml: its tables checked, and one of them with flags on top."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import (
    ValidationError,
)

from relubench import files
from relubench.catalog import Catalogs
from relubench.config.published import Toml, _explain
from relubench.config.settings import Settings
from relubench.errors import BadValue, UnknownName, suggestion
from relubench.plan import Preparation, Recipe


@dataclass(frozen=True)
class Benchmarks:
    """The benchmarks of one file: their tables as written, already checked.

    shipped  whether they are relubench's
    """

    path: str
    tables: Mapping[str, Toml]
    shipped: bool = True

    @property
    def note(self) -> str:
        """Which file it is, where a user may not expect it; "" for the shipped one."""
        return "" if self.shipped else f"benchmarks: those of {self.path}"


def find(path: Path | None) -> Path:
    """The file that holds the benchmarks: `path`, else ./benchmarks.toml, else the shipped copy."""
    if path:
        return path
    here = Path("benchmarks.toml")
    return here if here.is_file() else shipped()


def shipped() -> Path:
    """The benchmarks that come with relubench."""
    package = Path(__file__).parents[1]
    # In a wheel it lies inside the package, in a checkout beside it.
    inside = package / "benchmarks.toml"
    return inside if inside.is_file() else package.parent / "benchmarks.toml"


def unread(catalogs: Catalogs) -> Catalogs:
    """The same catalogues, in which a user's own code is named and not run."""
    return {kind: catalog.unread() for kind, catalog in catalogs.items()}


def read(path: Path | None, catalogs: Catalogs) -> Benchmarks:
    """All benchmarks of a file; raises BadValue that lists every problem in it.

    No own code is run, since a file may name other code than the command does.
    """
    place, catalogs = find(path), unread(catalogs)
    try:
        text = files.text(place)
    except BadValue as error:
        raise BadValue(f"cannot read {place}: {error}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadValue(f"{place} is not valid TOML: {error}") from None
    except RecursionError:
        raise BadValue(f"{place} is not valid TOML: it is nested too deeply") from None
    # All problems at once: a file is mended in one go, not by one run for each.
    problems = [
        f"{place}: unknown table [{key}]: known: [benchmark.NAME]"
        for key in document
        if key != "benchmark"
    ]
    tables = document.get("benchmark", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise BadValue(f"{place}: every benchmark is a table: [benchmark.NAME]")
    for name, table in tables.items():
        label = f"{place}, [benchmark.{name}]: ".__add__
        problems += _problems(table, catalogs, label, strict=True)
        if isinstance(quick := table.get("quick"), dict):
            label = f"{place}, [benchmark.{name}], quick: ".__add__
            problems += _problems(quick, catalogs, label, strict=True)
    if problems:
        raise BadValue(*problems)
    return Benchmarks(str(place), tables, files.resolved(place) == files.resolved(shipped()))


NAMED = {"activation": "-a", "dataset": "-d", "model": "-m", "optimizer": "--optimizer"}


SEEDING = {"seed", "seeds"}


EXECUTION = {"executor", "jobs", "scheduler", "scheduler_file"}
SPLITTING = {"folds", "one_holdout"}
LENGTH = {"epochs", "steps", "task_epochs"}


def resolve(
    benchmarks: Benchmarks,
    name: str | None,
    flags: Toml,
    catalogs: Catalogs,
    quick: bool = False,
) -> Settings:
    """The table `name` with the given flags on top; raises BadValue with every problem in them.

    quick  its quick form, where it has one
    """
    if name is not None and name not in benchmarks.tables:
        # `compare relu` is a natural slip: say how an activation is named.
        for kind, flag in NAMED.items():
            if name in catalogs[kind]:
                named = [part.strip(", ") for part in flags.get(kind, ())]
                names = ",".join([*named, name])
                raise BadValue(
                    f"{name!r} is no benchmark but an entry of {kind}s: {flag} {names} "
                    "(names are joined by commas)"
                )
        raise UnknownName("benchmark", name, known=benchmarks.tables)
    table = dict(benchmarks.tables[name]) if name is not None else {}
    # In this order: the table, its quick form over it, flags over both.
    table |= table.get("quick", {}) if quick else {}
    for alternatives in (SEEDING, EXECUTION, SPLITTING, LENGTH):
        if alternatives & flags.keys():  # one replaces the other
            table = {key: value for key, value in table.items() if key not in alternatives}
    # Checked apart, so that a problem is named where it was written: a flag or the file.
    problems = _problems(flags, catalogs, lambda key: f"--{key.replace('_', '-')}", False)
    kept = {key: value for key, value in table.items() if key not in flags}
    problems += _problems(kept, catalogs, f"{benchmarks.path}, [benchmark.{name}]: ".__add__, True)
    if problems:
        raise BadValue(*problems)
    return Settings.model_validate(table | dict(flags), context=catalogs)


CHANGING = {*Recipe.__dataclass_fields__, *Preparation.__dataclass_fields__} | {
    *("dataset", "model", "init", "match_parameters", "fresh"),
}


def changed(flags: Mapping[str, object], quick: bool) -> str:
    """Why a benchmark run with these flags is not the published study; "" where it still is."""
    if quick:
        return "a quick run is not the published set-up"
    names = [f"--{key.replace('_', '-')}" for key in flags if key in CHANGING]
    return f"{', '.join(names)} is not the published set-up" if names else ""


def _problems(
    table: Toml, catalogs: Catalogs, label: Callable[[str], str], strict: bool
) -> list[str]:
    """A line for each; `strict` takes no text for a number: a file has both, a shell only text."""
    keys = Settings.model_fields
    problems = []
    for key in table.keys() - keys.keys():
        hint = suggestion(key, keys) or f"known: {', '.join(keys)}"
        problems.append(f"{label('')}unknown key {key!r}: {hint}")
    if table.get("seed") is not None and table.get("seeds") is not None:
        problems.append(f"{label('seed')}: give one seed or a number of seeds, not both")
    lengths = sorted(key for key in LENGTH if table.get(key) is not None)
    if len(lengths) > 1:
        problems.append(f"{label(lengths[1])}: give {' or '.join(lengths)}, not both")
    try:
        declared = {key: value for key, value in table.items() if key in keys}
        Settings.model_validate(declared, context=catalogs, strict=strict)
    except ValidationError as error:
        problems += [f"{label(str(e['loc'][0]))}: {_explain(e)}" for e in error.errors()]
    # A set, since one wrong value may break several rules in the same words.
    return sorted(set(problems))
