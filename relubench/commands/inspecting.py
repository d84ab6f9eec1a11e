"""What is available, what an entry is, what an activation costs: nothing is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from relubench import config, execution, page, profiling, report, training, user_code
from relubench.activations import ACTIVATIONS
from relubench.activations.activation import FAMILIES
from relubench.commands.request import CATALOGS, Outcome
from relubench.errors import BadValue, UnknownName, suggestion
from relubench.execution.progress import Console
from relubench.formats.pictures import MOST
from relubench.grouping import joined
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
    # `list activation` is understood, too.
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
            name: len(config.plan(benchmark, "compare", False, names["model"]).cells)
            for name, benchmark in settings.items()
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
    x = profiling.profiles.window(choices.values())
    profiles = [profiling.profiles.profile(choice, x) for choice in choices.values()]
    return Outcome([report.listing.activation_profiles(profiles)])


def kind_and_names(words: Sequence[str]) -> tuple[str, list[str]]:
    """What `show` is asked for: [KIND] NAME,…; a kind that is not named is that of the first name.

    Where several kinds have such a name, it is that which comes first in `list`.
    """
    kinds = (*CATALOGS, "benchmark")
    # `show activations relu` is understood, too.
    named = words[0].removesuffix("s")
    if len(words) > 1 and named in kinds:
        return named, _split(words[1:])
    names = _split(words)
    if not names:
        raise BadValue("name what to show: relubench show relu (relubench list names all)")
    return _kind_of(names[0]), names


def _kind_of(name: str) -> str:
    first = name.partition(":")[0]
    # In the order of `list`: catalogues, then benchmarks, then what looks like code.
    for kind, entries in CATALOGS.items():
        if (
            first in entries
            or first.lower() in entries.aliases
            or first.partition(".")[0] in entries.libraries
        ):
            return kind
    benchmarks = config.read(None, CATALOGS).tables
    if name in benchmarks:
        return "benchmark"
    if user_code.named(first):
        return ACTIVATIONS.kind
    names = [*joined(CATALOGS.values()), *benchmarks]
    hint = suggestion(name, names) or "see relubench list"
    raise BadValue(f"nothing is named {name!r}: {hint}")


def show_entry(kind: str, names: Sequence[str], console: Console) -> Outcome:
    """Facts of entries that are not activations, from top to bottom."""
    if kind == "benchmark":
        listed = _listed(kind, None, console)
        benchmarks = [row.get("name") for row in listed.rows]
        for name in names:
            if name not in benchmarks:
                raise UnknownName(kind, name, benchmarks)
        return Outcome([_turned(listed, kind, names)])
    # A catalogue with these entries alone, so that they are listed as all others are.
    chosen = copy.copy(CATALOGS[kind])
    chosen.clear()
    for name in names:
        entry = CATALOGS[kind].choose(name).entry
        chosen[entry.name] = entry
    table = report.listing.catalog(chosen, "formula" if kind in FORMULAS else "description")
    return Outcome([_turned(table, kind, list(chosen))])


def _turned(table: AnyTable, kind: str, names: Sequence[str]) -> AnyTable:
    """The rows of these names, from top to bottom."""
    rows = [row for row in table.rows if row.get("name") in names]
    shown = replace(table, rows=rows, title=f"{kind}: {', '.join(names)}", heading=lambda row: "")
    return replace(shown, turned=True, stacks=False)


@dataclass(frozen=True)
class Timing:
    """What `cost` is asked.

    benchmark  whose activations are timed, and whose published ratios stand beside; None: no one's
    flags      activation, device and threads
    sizes      elements, as texts
    quick      one round, at few elements
    """

    benchmark: str | None
    flags: Mapping[str, object]
    sizes: Sequence[str]
    rounds: int
    quick: bool
    config: Path | None


def cost(asked: Timing, console: Console) -> Outcome:
    """Time activations in interleaved rounds, published ratios beside; `quick` times them once."""
    rounds, quick = asked.rounds, asked.quick
    settings = _settings_of(asked, console)
    names = settings.activation or tuple(ACTIVATIONS)
    # The reference always, and first: everything is shown beside it.
    choices = [
        ACTIVATIONS.choose(name) for name in dict.fromkeys((profiling.table.REFERENCE, *names))
    ]
    counts = list(dict.fromkeys(elements(size) for size in _split(asked.sizes)))
    if rounds < 1:
        raise BadValue(f"--rounds: got {rounds}, must be at least 1")
    if quick:
        rounds, counts = 1, [min(QUICK_ELEMENTS, *counts)]
    machine = Machine(
        data_dir="",
        device=execution.machines.device(settings.device, console),
        threads=settings.threads or 1,
    )

    def announce(seconds: float) -> None:
        what = f"{counted(len(choices), 'activation')}, {counted(rounds, 'round')}"
        console.note(f"{what}: about {seconds:.0f} s")

    with training.compute.compute_settings(machine):
        timings = profiling.timing.measure(choices, counts, rounds, machine.device, announce)
    table = profiling.table.table(timings, machine, execution.machines.torch_version(), quick)
    more = _published_costs(settings, timings, config.changed({}, quick))
    return Outcome([table, *more], study=lambda: page.Study(costs=table.rows))


def _settings_of(asked: Timing, console: Console) -> config.Settings:
    if asked.benchmark is None:
        return config.resolve(config.Benchmarks("", {}), None, asked.flags, CATALOGS)
    benchmarks = config.read(asked.config, CATALOGS)
    if benchmarks.note:
        console.note(benchmarks.note)
    return config.resolve(benchmarks, asked.benchmark, asked.flags, CATALOGS, asked.quick)


def _published_costs(
    settings: config.Settings, timings: Sequence[profiling.timing.Timings], why_not: str
) -> list[AnyTable]:
    """Published ratios of time and memory beside those at the largest size."""
    entries = [entry for entry in settings.published if entry.metric in config.OF_COST]
    entries = report.published.beside(entries, profiling.table.REFERENCE)
    if not entries:
        return []
    named = dict.fromkeys(entry.beside or "" for entry in entries)
    rows = profiling.table.ratio_rows(timings, list(named))
    return [report.published.table(entries, rows, why_not)]


def elements(text: str) -> int:
    """A number of elements: 65536, 1e6, 64Ki or 1Mi; raises BadValue."""
    number, scale = text.strip(), 1
    for suffix, factor in (("Ki", 2**10), ("Mi", 2**20)):
        if number.endswith(suffix):
            number, scale = number.removesuffix(suffix), factor
    try:
        count = float(number) * scale
        # 64 are the neurons of one row of a timed input.
        if not (64 <= count <= 2**31 and count.is_integer()):
            raise ValueError(text)
    except ValueError:
        raise BadValue(
            f"--sizes: got {text!r}, must be whole numbers of elements from 64, such as 16Ki,1e6"
        ) from None
    return int(count)


def _split(names: Sequence[str]) -> list[str]:
    return joined(name.split(",") for name in names)
