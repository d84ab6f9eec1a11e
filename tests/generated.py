"""The parts of the manual that are made from the tool itself.

A page names each between `<!-- generated: NAME -->` and `<!-- end -->`;
`pytest tests/test_readme.py --update-golden` writes them anew.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer

import relubench
from relubench import rows
from relubench.cli import main
from relubench.cli.app import app
from relubench.config import kinds
from relubench.config.options import Option, declared
from relubench.table import Row, Worded

TYPES = {  # bool before int, which it is one of
    type(None): "null",
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Worded: "text",
    Mapping: "object",
    Sequence: "list",
}
PART = re.compile(r"<!-- generated: ([^\n]+?) -->\n(.*?)<!-- end -->", re.DOTALL)
WIDEST = 118
TRAINING = ("train", "cv", "compare", "deadcount")
SMALL = "-d iris -m ffnn:hidden=4 --quick"
PARTS: dict[str, type[Row]] = {  # keys that several kinds of rows have
    "Set-up": rows.SetupRow,
    "Hidden units": rows.HiddenUnits,
    "Environment": rows.Surroundings,
}
ROWS: dict[str, tuple[type[Row], str]] = {  # what prints the rows, and a small run of it
    "train and cv": (rows.RunRow, f"train {SMALL}"),
    "history, of train, cv and ledger export": (rows.HistoryRow, ""),
    "compare": (rows.CompareRow, f"compare {SMALL}"),
    "suggest": (rows.SuggestRow, f"suggest {SMALL} -a relu,gelu --budget 1h"),
    "compare with a baseline: gates": (rows.GateRow, ""),
    "deadcount": (rows.LayerRow, f"deadcount {SMALL}"),
    "deadcount --history": (rows.LifeRow, f"deadcount {SMALL} --history"),
    "deadcount --history: survival": (rows.SurvivalRow, ""),
    "deadcount of any network": (rows.CallRow, ""),
    "deadcount --ablate": (rows.AblationRow, ""),
    "deadcount --prune": (rows.PruningRow, ""),
    "relubench.watch, in Python": (rows.WatchRow, ""),
    "ledger show": (rows.LedgerRow, "ledger show"),
    "ledger small-predicts-large": (rows.FormsRow, ""),
    "cost": (rows.CostRow, "cost -a relu --quick"),
    "show, of activations": (rows.ActivationProfileRow, "show relu"),
}


# What may stand for a kind of option in a Python call; Literals are those of config.kinds.
IN_PYTHON = {
    **dict.fromkeys(("Rates", "Decays"), "Numbers"),
    **dict.fromkeys(("Epochs", "BatchSizes"), "WholeNumbers"),
    **dict.fromkeys(("Axis", "Seed", "Seeds", "Folds", "Count", "Components"), "int"),
    **dict.fromkeys(("Steps",), "int"),
    **dict.fromkeys(("SeveralSeeds", "Threads"), "int"),
    **dict.fromkeys(("str", "Address", "Target", "Validation"), "str"),
    **dict.fromkeys(("Norm", "Smoothing"), "float"),
    "Schedules": "Names",
    "Warmup": "int | float | str",
    "bool": "bool",
    "Names": "Names",
    "Seconds": "float",
    "Duration": "float | str",
    "StackWidth": 'int | Literal["auto"]',
    "Margins": "Names | Mapping[str, str]",
}
OBJECTS = {"dataset": "Data", "model": "Several", "activation": "Several", "reference": "Code"}
TYPED = Path(relubench.__file__).parent / "door" / "options.py"


def typed_options() -> str:
    """The module in which type checkers find the options of the Python calls."""
    taken = {command: _options_of(command) for command in CALLS}
    common = set.intersection(*map(set, taken.values()))
    classes = [_typed("Shared", "RunOptions", "every training call", taken["train"], common)]
    for command, before in CALLS.items():
        have = set(taken[before]) if before else common
        assert have <= taken[command].keys(), f"{command} has the options of {before}"
        parent = f"{before.capitalize() if before else 'Shared'}Options"
        own = taken[command].keys() - have
        classes.append(_typed(command.capitalize(), parent, f"`{command}`", taken[command], own))
    start = TYPED.read_text(encoding="utf-8").partition(MADE)[0]
    return "\n\n".join([f"{start}{MADE}", *classes])


# Each call, and the one that it has all options of; none: those of every call, and its own.
CALLS = {"train": "", "cv": "train", "compare": "cv", "suggest": ""}


def _options_of(command: str) -> dict[str, Option]:
    return {option.key: option for option in declared() if command in option.commands}


def _typed(
    name: str, parent: str, whose: str, options: Mapping[str, Option], keys: Collection[str]
) -> str:
    """A class of these keys."""
    fields = [f"    {key}: {_in_python(options[key])}\n" for key in options if key in keys]
    docstring = f'    """Those of {whose}."""\n\n'
    return f"class {name}Options({parent}, total=False):\n{docstring}{''.join(fields)}"


MADE = "# --- made from relubench.config.options by tests/test_door.py --update-golden\n"


def _in_python(option: Option) -> str:
    kind = option.kind.split(" ")[0]
    if option.key in OBJECTS:
        text = OBJECTS[option.key]
    elif get_origin(literal := getattr(kinds, kind, None)) is Literal:
        text = f"Literal[{', '.join(json.dumps(word) for word in get_args(literal))}]"
    else:
        text = IN_PYTHON[kind]
    return f"{text} | None"


def parts(page: str) -> list[str]:
    """The names of a page's generated parts."""
    return [name for name, _ in PART.findall(page)]


def generated(name: str) -> str:
    """What belongs there, with a line end."""
    first, _, rest = name.partition(" ")
    makers: dict[str, Callable[[], str]] = {
        "list": lambda: catalogue(name),
        "shown": lambda: f"```console\n$ relubench {rest}\n{stdout(*rest.split())}```\n",
        "flags": lambda: table(own_flags(rest)),
        "keys": keys,
    }
    whole: dict[str, Callable[[], str]] = {
        "shared flags": shared_flags,
        "output flags": lambda: table(output_flags()),
        "broken benchmark": broken_benchmark,
    }
    return (whole.get(name) or makers[first])()


def with_part(page: str, name: str, text: str) -> str:
    """The page with this part replaced."""
    start, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    before, _, after = page.partition(start)
    return f"{before}{start}{text}{end}{after.partition(end)[2]}"


def stdout(*arguments: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main([*arguments, "--quiet"]) == 0
    return out.getvalue()


def catalogue(command: str) -> str:
    """The table that `relubench list …` prints for Markdown, without its padding."""
    lines = stdout(*command.split(), "--format", "github").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return "".join(re.sub(r" {2,}", " ", re.sub(r"-{4,}", "---", row)) + "\n" for row in rows)


def options(command: str) -> dict[str, Any]:
    """The flags of a command by name, as Typer knows them."""
    found: Any = typer.main.get_command(app)
    for word in command.split():
        found = found.commands[word]
    params = [param for param in found.params if param.param_type_name == "option"]
    return {param.name: param for param in params if param.name != "help" and not param.hidden}


def output_flags() -> list[Any]:
    """Those that every command has that prints a table."""
    common = options("list").keys() & options("cost").keys() & options("ledger merge").keys()
    return [option for name, option in options("list").items() if name in common]


def own_flags(command: str) -> list[Any]:
    """Those of a command that stand in no table of flags that commands share."""
    elsewhere = {option.name for option in output_flags()}
    if command in (*TRAINING, "suggest"):
        elsewhere |= shared()
    return [option for name, option in options(command).items() if name not in elsewhere]


def shared() -> set[str]:
    """Names of the flags that all training commands have."""
    return set.intersection(*[set(options(command)) for command in TRAINING])


def shared_flags() -> str:
    """A table for each panel of the help."""
    elsewhere = {option.name for option in output_flags()}
    panels: dict[str, list[Any]] = {}
    for name, option in options("train").items():
        if name in shared() - elsewhere:
            panels.setdefault(option.rich_help_panel, []).append(option)
    return "\n".join(f"**{name}**\n\n{table(flags)}" for name, flags in panels.items())


def table(flags: list[Any]) -> str:
    """A row per flag."""
    return "".join(["| flag | meaning |\n| --- | --- |\n", *map(_row, flags)])


def _row(option: Any) -> str:
    spellings = sorted([*option.opts, *option.secondary_opts], key=lambda name: len(name) > 2)
    metavar = f" {option.metavar}" if option.metavar else ""
    flag = f"{', '.join(spellings)}{metavar}".replace("|", "\\|")
    return f"| `{flag}` | {(option.help or '').replace('|', chr(92) + '|')} |\n"


def keys() -> str:
    """What each key means, and the keys of each kind of rows in order, from the declarations."""
    shared = [f"### {heading}\n\n{_meanings(kind, ())}" for heading, kind in PARTS.items()]
    return "\n".join([*shared, *(_keys_of(heading, kind) for heading, (kind, _) in ROWS.items())])


def _keys_of(heading: str, kind: type[Row]) -> str:
    """The keys of a kind of rows in order, and what those mean that stand in no shared table."""
    elsewhere: set[str] = set()
    for part in PARTS.values():
        if issubclass(kind, part):
            elsewhere |= set(part.declared_keys())
    names = " ".join(f"`{key}`" for key in kind.declared_keys())
    lines = textwrap.wrap(names, WIDEST, break_long_words=False, break_on_hyphens=False)
    in_order = "\n".join(lines)
    return f"### {heading}\n\n{in_order}\n\n{_meanings(kind, elsewhere)}"


def _meanings(kind: type[Row], elsewhere: Collection[str]) -> str:
    types = kind.types()
    made = ["| key | type | meaning |\n| --- | --- | --- |\n"]
    for key, meaning in kind.meanings().items():
        if key not in elsewhere:
            cells = (f"`{key}`", _type_text(types[key]), meaning)
            made.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(made)


def _type_text(declared: Any) -> str:
    """A type as machine formats have it."""
    origin = get_origin(declared)
    if origin in (Union, UnionType):
        # None last: 'number or null'
        members = sorted(get_args(declared), key=lambda member: member is type(None))
        return " or ".join(dict.fromkeys(map(_type_text, members)))
    if origin is Literal:
        return "text"
    for kind, name in TYPES.items():
        if issubclass(origin or declared, kind):
            return name
    raise AssertionError(f"no name for {declared}")


def broken_benchmark() -> str:
    """What a misspelt benchmark is answered: the first of the page's, with two mistakes."""
    page = Path(__file__).parents[1] / "relubench" / "manual" / "commands.md"
    first = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[0]
    broken = first.replace('"mish"', '"mihs"') + "epcohs = 3\n"
    Path("benchmarks.toml").write_text(broken, encoding="utf-8")
    err = io.StringIO()
    with redirect_stderr(err):
        assert main(["compare", "mine"]) == 2
    return f"```console\n$ relubench compare mine\n{err.getvalue()}```\n"
