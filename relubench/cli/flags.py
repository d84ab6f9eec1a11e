"""The flags that commands share, and the panels of the help in which they stand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer import Argument

from relubench.cli.completion import completed
from relubench.config.options import MACHINE, Option, declared
from relubench.errors import BadValue
from relubench.grouping import comma_parts, joined
from relubench.page.kinds import KINDS

SHOWN, FILTER, GATE = "Output", "Which runs", "Baselines and continuous integration"
ANY = "Any network, as it is"
BENCHMARKS = "Benchmarks (default: ./benchmarks.toml, else the shipped ones)."
DATA = "Downloaded data (or RELUBENCH_DATA; default: the user cache)."
Names = list[str] | None
FlagValue = Any  # of the type that the flag's declaration names; Typer has seen to that
Flags = dict[str, FlagValue]
Command = Callable[..., FlagValue]
Number = str | None  # config says what is wrong with it, as it does for benchmarks.toml


def flag(panel: str, help: str, metavar: str = "N", *names: str, complete: str = "") -> FlagValue:
    """One flag of the help's panel `panel`; `complete` is the kind of names that it takes."""
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        rich_help_panel=panel,
        autocompletion=completed(complete) if complete else None,
    )


def _parameters_of(option: Option) -> list[inspect.Parameter]:
    """The flags of an option; None where it is not given.

    A switch has two, of which help shows the one that changes the default.
    """
    if option.switch:
        on, off = option.flag, f"--no-{option.flag[2:]}"
        shown, hidden = (off, on) if option.default else (on, off)
        made = {
            shown: flag(option.panel, option.help, "", shown),
            hidden: typer.Option(hidden, hidden=True),
        }
        return [_keyword(option.key, bool, made[on]), _keyword(f"no_{option.key}", bool, made[off])]
    complete = option.key if option.metavar.startswith("NAME") else ""
    # Short names first, as help shows them.
    names = sorted([option.flag, *option.names], key=lambda name: name.startswith("--"))
    made = flag(option.panel, _help(option), option.metavar, *names, complete=complete)
    return [_keyword(option.key, list[str] | None if option.listed else str | None, made)]


def _keyword(name: str, kind: object, made: object) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if kind is bool else None,
        annotation=Annotated[kind, made],
    )


def given(flags: Flags) -> Flags:
    """The options that a command line gives, by key."""
    # What was not given is None, False or []: it must not overwrite a benchmark's table.
    values = {
        key: value
        for key, value in flags.items()
        if value is not None and value is not False and value != []
    }
    for option in declared():
        if option.switch and values.pop(f"no_{option.key}", False):
            if option.key in values:
                raise BadValue(f"{option.flag} and --no-{option.flag[2:]}: give one of them")
            values[option.key] = False
    return values


def _help(option: Option) -> str:
    """Its line of help, with its default where that is a number."""
    default = option.default[0] if isinstance(option.default, tuple) and option.default else None
    default = option.default if isinstance(option.default, int | float) else default
    if isinstance(default, bool | str | None) or "default" in option.help:
        return option.help
    return f"{option.help.rstrip('.')} (default {default:g})."


class RunFlags:
    """Flags of every training command that no benchmark holds."""

    data_dir: Annotated[
        Path | None,
        flag(MACHINE, DATA, "FOLDER"),
    ] = None
    config: Annotated[Path | None, flag(MACHINE, BENCHMARKS, "FILE")] = None
    ledger: Annotated[
        Path | None,
        flag(MACHINE, "Finished runs (or RELUBENCH_LEDGER; default .relubench/ledger.db).", "FILE"),
    ] = None
    no_ledger: Annotated[
        bool, flag(MACHINE, "Do not use the ledger: reuse and keep no runs.", "", "--no-ledger")
    ] = False
    rerun: Annotated[bool, flag(MACHINE, "Train finished runs again.", "", "--rerun")] = False
    dry_run: Annotated[
        bool, flag(MACHINE, "Print the plan and train nothing.", "", "--dry-run")
    ] = False
    quick: Annotated[
        bool, flag(MACHINE, "A smoke run: few seeds and epochs, marked as such.", "", "--quick")
    ] = False


class FilterFlags:
    """Flags that say which runs of a ledger are meant."""

    dataset: Annotated[
        Names, flag(FILTER, "On these datasets.", "NAME,…", "-d", "--dataset", complete="dataset")
    ] = None
    model: Annotated[
        Names, flag(FILTER, "Of these models.", "NAME,…", "-m", "--model", complete="model")
    ] = None
    activation: Annotated[
        Names,
        flag(
            FILTER, "With these activations.", "NAME,…", "-a", "--activation", complete="activation"
        ),
    ] = None
    since: Annotated[
        str | None, flag(FILTER, "Finished since a date, a time (UTC) or an age.", "DATE|7d|12h")
    ] = None


class PictureFlags:
    """Flags of the commands that can be drawn."""

    picture: Annotated[
        str | None,
        flag(SHOWN, f"Which picture -o FILE.svg|png|pdf is: {', '.join(KINDS)}.", "KIND"),
    ] = None


class PageFlags:
    """Flags of the command that makes a page and no table."""

    output: Annotated[
        list[Path] | None,
        flag(
            SHOWN,
            "Write to files: a page (.html) or a picture (.svg, .png, .pdf).",
            "FILE",
            "-o",
            "--output",
        ),
    ] = None
    quiet: Annotated[bool, flag(SHOWN, "Print no notes.", "", "-q", "--quiet")] = False
    verbose: Annotated[bool, flag(SHOWN, "Also print tracebacks.", "", "-v", "--verbose")] = False


class CountFlags:
    """Flags of deadcount for a network that is not trained here."""

    weights: Annotated[
        str | None,
        flag(
            ANY,
            "Count with these weights: a state dict or safetensors; none: as the network begins.",
            "FILE",
        ),
    ] = None
    run: Annotated[
        str | None,
        flag(ANY, "A run of the ledger by its key, with the weights that --save kept.", "KEY"),
    ] = None
    from_ledger: Annotated[
        bool, flag(ANY, "The same for the run that these flags name.", "", "--from-ledger")
    ] = False
    data: Annotated[
        str | None, flag(ANY, "Batches of your own, in place of -d.", "FILE.py:NAME")
    ] = None
    split: Annotated[str | None, flag(ANY, "Count on train (default), test or both.", "PART")] = (
        None
    )
    definitions: Annotated[
        Names, flag(ANY, "What is counted: dead, dormant:tau=0.1, … or all.", "NAME,…")
    ] = None
    rare: Annotated[
        str | None, flag(ANY, "rare: active on under this share (default 1%).", "SIZE")
    ] = None
    tau: Annotated[
        str | None, flag(ANY, "dormant: this share of the layer's mean (default 0.025).", "TAU")
    ] = None
    unit: Annotated[
        str | None, flag(ANY, "What a unit is: channel, position or feature.", "WHICH")
    ] = None
    activation_module: Annotated[
        Names, flag(ANY, "Modules that are one activation: classes or paths.", "NAME,…")
    ] = None
    proof: Annotated[
        bool, flag(ANY, "Also prove units dead for any input like the data.", "", "--proof")
    ] = False
    ablate: Annotated[
        bool, flag(ANY, "Also measure the network without those units.", "", "--ablate")
    ] = False
    prune: Annotated[
        Path | None, flag(ANY, "Write weights without units that always give 0.", "FILE")
    ] = None
    fail_above: Annotated[
        Names, flag(GATE, "Exit code 3 if more of a layer is dead.", "[LAYER:]SIZE,…")
    ] = None
    baseline: Annotated[
        Path | None, flag(GATE, "Weights of before: newly dead and revived units.", "FILE")
    ] = None
    margin: Annotated[
        str | None, flag(GATE, "Exit code 3 if more die than that (default dead=1%).", "SIZE")
    ] = None
    junit: Annotated[Path | None, flag(GATE, "Write JUnit XML, a test case per layer.", "FILE")] = (
        None
    )


class OutputFlags:
    """Flags of every command that prints a table."""

    format: Annotated[
        str | None,
        flag(
            SHOWN,
            "text, github, csv, json, jsonl, latex or html (default: by -o's suffix, else text).",
            "FORMAT",
            *("-f", "--format"),
            complete="format",
        ),
    ] = None
    json: Annotated[bool, flag(SHOWN, "As --format json.", "", "--json")] = False
    output: Annotated[
        list[Path] | None,
        flag(
            SHOWN,
            "Write to files, in the format of their suffix (- is stdout).",
            "FILE",
            "-o",
            "--output",
        ),
    ] = None
    columns: Annotated[Names, flag(SHOWN, "Print only these keys of the rows.", "KEY,…")] = None
    wide: Annotated[
        bool, flag(SHOWN, "Print every column, however narrow the terminal.", "", "--wide")
    ] = False
    explain: Annotated[
        bool, flag(SHOWN, "Also print what heads and tests mean.", "", "--explain")
    ] = False
    sort: Annotated[str | None, flag(SHOWN, "Sort by this key; -KEY: largest first.", "KEY")] = None
    group: Annotated[
        Names, flag(SHOWN, "Group rows by these keys; none: do not group.", "KEY,…")
    ] = None
    quiet: Annotated[bool, flag(SHOWN, "Print no progress and no notes.", "", "-q", "--quiet")] = (
        False
    )
    verbose: Annotated[
        bool, flag(SHOWN, "Also print what was measured, and tracebacks.", "", "-v", "--verbose")
    ] = False


Benchmark = Annotated[
    str | None,
    Argument(
        metavar="BENCHMARK",
        help="A table of benchmarks.toml.",
        autocompletion=completed("benchmark"),
    ),
]

Where = Annotated[
    Path | None, flag(MACHINE, "Or RELUBENCH_LEDGER; default .relubench/ledger.db.", "FILE")
]


def names_in(lists: Iterable[str]) -> tuple[str, ...]:
    """The names of comma lists."""
    return tuple(name for name in comma_parts(lists) if name)


def takes(*groups: type, command: str = "") -> Callable[[Command], Command]:
    """Decorator: the command takes more flags, as **flags.

    groups   classes of flags
    command  whose options of a benchmark it takes, too
    """

    def widen(function: Command) -> Command:
        own = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in own.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        # The options of a benchmark come first in the help, then a command's own
        # flags, then shared ones.
        parameters[_positional(parameters) :] = [
            *options(command),
            *parameters[_positional(parameters) :],
        ]
        parameters += joined(map(_parameters, groups))
        # Typer reads the signature: it sees flags that Python's own signature gathers in **flags
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        return function

    return widen


def _positional(parameters: list[inspect.Parameter]) -> int:
    return sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in parameters)


def options(command: str) -> list[inspect.Parameter]:
    """The flags for the options that a command has."""
    taken = [option for option in declared() if command in option.commands]
    return joined(map(_parameters_of, taken))


def _parameters(group: type) -> Iterator[inspect.Parameter]:
    for name, annotation in get_type_hints(group, include_extras=True).items():
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(group, name),
            annotation=annotation,
        )
