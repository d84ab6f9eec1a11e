"""What there is, what a unit is and what it costs: nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from relubench import config, execution, profiling, report
from relubench.activations import ACTIVATIONS
from relubench.activations.activation import FAMILIES
from relubench.commands.request import CATALOGS, Outcome
from relubench.errors import BadValue, UnknownName, suggestion
from relubench.execution.progress import Console
from relubench.formats.pictures import MOST
from relubench.plan import Machine
from relubench.table import AnyTable
from relubench.wording import counted

QUICK_ELEMENTS = 2**12
FORMULAS = ("activation", "head")  # kinds whose docstring is a formula


def list_kind(
    kind: str | None,
    config_file: Path | None,
    family: str | None,
    search: str | None,
    console: Console,
) -> Outcome:
    """What there is to name: one catalogue, or the kinds."""
    kinds = {f"{name}s": name for name in (*CATALOGS, "benchmark")}
    if kind is None:
        if family or search:
            raise BadValue("--family and --search need a kind, such as activations")
        return Outcome([report.listing.kinds(kinds)])
    singular = kinds.get(kind, kind)
    if singular not in kinds.values():
        raise UnknownName("kind", kind, known=kinds)
    table = _listed(singular, config_file, console)
    if family is not None:
        _check_family(singular, family)
        table = report.listing.only(
            table, lambda row, _: row.get("family") == family, f"in {family}"
        )
    if search is not None:
        sought = search.casefold()
        table = report.listing.only(
            table, lambda _, texts: sought in "\n".join(texts).casefold(), f"with {search!r}"
        )
    return Outcome([table])


def _listed(singular: str, config_file: Path | None, console: Console) -> AnyTable:
    if singular == "benchmark":
        benchmarks = config.read(config_file, CATALOGS)
        if benchmarks.note:
            console.note(benchmarks.note)
        names = config.unread(CATALOGS)
        settings = {name: config.resolve(benchmarks, name, {}, names) for name in benchmarks.tables}
        runs = {
            name: len(config.plan(each, "compare", False, names["model"]).cells)
            for name, each in settings.items()
        }
        tables = {
            name: {**table, "published": config.figures(table.get("published", ()))}
            for name, table in benchmarks.tables.items()
        }
        return report.listing.benchmarks(tables, runs)
    described = "formula" if singular in FORMULAS else "description"
    return report.listing.catalog(CATALOGS[singular], described)


def _check_family(singular: str, family: str) -> None:
    if singular != ACTIVATIONS.kind:
        raise BadValue(f"--family: only activations have families, not {singular}s")
    if family not in FAMILIES:
        hint = suggestion(family, FAMILIES) or f"known: {', '.join(FAMILIES)}"
        raise BadValue(f"unknown family {family!r}: {hint} (relubench list activations)")


def show_activation(names: Sequence[str]) -> Outcome:
    """Formula, facts, figures and curves of activations."""
    choices = {str(choice): choice for choice in map(ACTIVATIONS.choose, _split(names))}
    if len(choices) > MOST:
        raise BadValue(f"got {len(choices)} activations: a picture holds at most {MOST}")
    x = profiling.analysis.window(choices.values())
    profiles = [profiling.analysis.profile(choice, x) for choice in choices.values()]
    return Outcome([report.listing.activation_profiles(profiles)])


def cost(
    flags: Mapping[str, Any], sizes: Sequence[str], rounds: int, quick: bool, console: Console
) -> Outcome:
    """Time units in interleaved rounds; `quick` times them once, at few elements."""
    settings = config.resolve(config.Benchmarks("", {}), None, flags, CATALOGS)
    names = settings.activation or tuple(ACTIVATIONS)
    choices = [
        ACTIVATIONS.choose(name) for name in dict.fromkeys((profiling.table.REFERENCE, *names))
    ]
    counts = list(dict.fromkeys(elements(size) for size in _split(sizes)))
    if rounds < 1:
        raise BadValue(f"--rounds: got {rounds}, must be at least 1")
    if quick:
        rounds, counts = 1, [min(QUICK_ELEMENTS, *counts)]
    machine = Machine(
        data_dir="",
        device=execution.machines.device(settings.device, console),
        threads=settings.threads or 1,
    )
    execution.machines.use_threads(machine.threads)

    def announce(seconds: float) -> None:
        what = f"{counted(len(choices), 'unit')}, {counted(rounds, 'round')}"
        console.note(f"{what}: about {seconds:.0f} s")

    timings = profiling.timing.measure(choices, counts, rounds, machine.device, announce)
    return Outcome(
        [profiling.table.table(timings, machine, execution.machines.torch_version(), quick)]
    )


def elements(text: str) -> int:
    """A number of elements: 65536, 1e6, 64Ki or 1Mi; raises BadValue."""
    number, scale = text.strip(), 1
    for suffix, factor in (("Ki", 2**10), ("Mi", 2**20)):
        if number.endswith(suffix):
            number, scale = number.removesuffix(suffix), factor
    try:
        count = float(number) * scale
        if not (64 <= count <= 2**31 and count.is_integer()):
            raise ValueError(text)
    except ValueError:
        raise BadValue(
            f"--sizes: got {text!r}, must be whole numbers of elements from 64, such as 16Ki,1e6"
        ) from None
    return int(count)


def _split(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in name.split(",")]
