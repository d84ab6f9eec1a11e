"""The parts of the manual that are made from the tool itself.

A page names each between `<!-- generated: NAME -->` and `<!-- end -->`;
`pytest tests/test_readme.py --update-golden` writes them anew.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import typer

from relubench.cli import main
from relubench.cli.app import app

PART = re.compile(r"<!-- generated: ([^\n]+?) -->\n(.*?)<!-- end -->", re.DOTALL)
WIDEST = 118
TRAINING = ("train", "cv", "compare", "deadcount")
ROWS = {  # small runs whose rows have every key
    "train and cv": "train -d iris -m ffnn:hidden=4 --quick",
    "compare": "compare -d iris -m ffnn:hidden=4 --quick",
    "deadcount": "deadcount -d iris -m ffnn:hidden=4 --quick",
    "ledger show": "ledger show",
    "cost": "cost -a relu --quick",
    "show, of activations": "show relu",
}


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
    if command in TRAINING:
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
    """The keys of each command's rows, in order."""
    return "\n".join(_keys_of_commands())


def _keys_of_commands() -> Iterator[str]:
    for heading, command in ROWS.items():
        rows = json.loads(stdout(*command.split(), "--format", "json"))
        names = " ".join(f"`{key}`" for key in rows[0])
        lines = textwrap.wrap(names, WIDEST, break_long_words=False, break_on_hyphens=False)
        yield f"### {heading}\n\n" + "\n".join(lines) + "\n"


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
