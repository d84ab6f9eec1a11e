"""Flags in, exit code out: the only file that knows Typer, and the only one that prints."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer import Argument, Option

from relubench import __version__
from relubench.errors import RelubenchError

if TYPE_CHECKING:
    from relubench.commands import Console, Outcome, Request
    from relubench.results import RunResult

app = typer.Typer(
    name="relubench",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WHAT, HOW, WHERE, SHOWN = "What to train", "How to train it", "Where it runs", "Output"
Names = list[str] | None


class Flags:
    """Flags of every training command; those of benchmarks.toml have the same keys there."""

    dataset: Annotated[
        Names, Option("-d", "--dataset", metavar="NAME,…", help="Datasets.", rich_help_panel=WHAT)
    ] = None
    model: Annotated[
        Names, Option("-m", "--model", metavar="NAME,…", help="Models.", rich_help_panel=WHAT)
    ] = None
    activation: Annotated[
        Names,
        Option("-a", "--activation", metavar="NAME,…", help="Activations.", rich_help_panel=WHAT),
    ] = None
    head: Annotated[
        Names, Option(metavar="NAME,…", help="What outputs mean.", rich_help_panel=WHAT)
    ] = None
    seed: Annotated[int | None, Option(help="One seed.", rich_help_panel=WHAT)] = None
    seeds: Annotated[int | None, Option(help="Seeds 0 … N-1.", rich_help_panel=WHAT)] = None
    optimizer: Annotated[str | None, Option(metavar="NAME", rich_help_panel=HOW)] = None
    lr: Annotated[Names, Option(metavar="RATE,…", help="Learning rates.", rich_help_panel=HOW)] = (
        None
    )
    epochs: Annotated[
        int | None, Option(help="Passes over the training part.", rich_help_panel=HOW)
    ] = None
    batch_size: Annotated[int | None, Option(help="Examples per step.", rich_help_panel=HOW)] = None
    weight_decay: Annotated[float | None, Option(rich_help_panel=HOW)] = None
    standardise: Annotated[
        bool | None,
        Option(
            "--standardise/--no-standardise",
            help="Inputs to mean 0 and variance 1, per feature or image channel (default).",
            rich_help_panel=HOW,
        ),
    ] = None
    pca: Annotated[
        int | None, Option(help="Keep so many principal components.", rich_help_panel=HOW)
    ] = None
    limit: Annotated[
        int | None,
        Option(help="Train on a stratified subset of so many examples.", rich_help_panel=HOW),
    ] = None
    device: Annotated[
        str | None,
        Option(metavar="auto|cpu|cuda[:i]|mps|xpu", help="Torch device.", rich_help_panel=WHERE),
    ] = None
    threads: Annotated[
        int | None, Option(help="CPU threads (default: torch's choice).", rich_help_panel=WHERE)
    ] = None
    data_dir: Annotated[
        Path | None,
        Option(
            help="Downloaded datasets (or RELUBENCH_DATA; default: the user cache).",
            rich_help_panel=WHERE,
        ),
    ] = None
    config: Annotated[
        Path | None,
        Option(
            help="Benchmarks (default: ./benchmarks.toml, else the shipped one).",
            rich_help_panel=WHERE,
        ),
    ] = None
    quick: Annotated[
        bool, Option("--quick", help="A smoke run, marked as such.", rich_help_panel=WHERE)
    ] = False


class OutputFlags:
    """Flags of every command that prints a table."""

    format: Annotated[
        str | None,
        Option(
            metavar="text|github|csv|json|jsonl|latex|html",
            help="Default: what -o's suffix means, else text.",
            rich_help_panel=SHOWN,
        ),
    ] = None
    output: Annotated[
        Path | None,
        Option("-o", "--output", metavar="FILE", help="Instead of stdout.", rich_help_panel=SHOWN),
    ] = None
    quiet: Annotated[
        bool, Option("--quiet", help="No progress and no notes.", rich_help_panel=SHOWN)
    ] = False
    verbose: Annotated[
        bool, Option("--verbose", help="Tracebacks of errors.", rich_help_panel=SHOWN)
    ] = False


Benchmark = Annotated[
    str | None, Argument(metavar="[BENCHMARK]", help="A table of benchmarks.toml.")
]


def takes(*groups: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the command takes the flags of these classes as **flags."""

    def widen(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command)
        hints = get_type_hints(command, include_extras=True)
        parameters = [
            p.replace(annotation=hints[p.name])
            for p in own.parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        for group in groups:
            for name, annotation in get_type_hints(group, include_extras=True).items():
                parameters.append(
                    inspect.Parameter(
                        name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=getattr(group, name),
                        annotation=annotation,
                    )
                )
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return widen


@app.command()
@takes(Flags, OutputFlags)
def train(
    benchmark: Benchmark = None,
    *,
    confusion: Annotated[
        bool, Option("--confusion", help="The confusion matrix.", rich_help_panel=SHOWN)
    ] = False,
    curve: Annotated[
        bool, Option("--curve", help="The learning curve.", rich_help_panel=SHOWN)
    ] = False,
    save: Annotated[
        Path | None,
        Option(metavar="FILE", help="The weights, as a state dict.", rich_help_panel=SHOWN),
    ] = None,
    **flags: Any,
) -> int:
    """Train each cell once and print its scores on the test part."""
    from relubench import commands, files

    with files.replacing(save, "--save") if save else nullcontext() as part:
        return run(
            lambda request, console: commands.train(request, console, confusion, curve, part),
            "train",
            benchmark,
            flags,
        )


@app.command()
@takes(Flags, OutputFlags)
def cv(
    benchmark: Benchmark = None,
    *,
    folds: Annotated[
        int | None, Option(help="Parts of the partition.", rich_help_panel=WHAT)
    ] = None,
    repeats: Annotated[
        int | None, Option(help="Partitions, each drawn anew.", rich_help_panel=WHAT)
    ] = None,
    **flags: Any,
) -> int:
    """Cross-validate: stratified K-fold, nothing carried from fold to fold."""
    from relubench import commands

    return run(commands.cv, "cv", benchmark, flags | {"folds": folds, "repeats": repeats})


@app.command()
@takes(Flags, OutputFlags)
def compare(
    benchmark: Benchmark = None,
    *,
    reference: Annotated[
        str | None, Option(metavar="NAME", help="Compare with this one.", rich_help_panel=WHAT)
    ] = None,
    **flags: Any,
) -> int:
    """Compare activations on paired seeds (the benchmark 'default' where none is named)."""
    from relubench import commands

    return run(
        commands.compare, "compare", benchmark or "default", flags | {"reference": reference}
    )


@app.command()
@takes(Flags, OutputFlags)
def deadcount(benchmark: Benchmark = None, **flags: Any) -> int:
    """Train, then count dead units per layer over the whole training set."""
    from relubench import commands

    return run(commands.deadcount, "deadcount", benchmark, flags)


@app.command("list")
@takes(OutputFlags)
def list_(
    kind: Annotated[str | None, Argument(metavar="[KIND]", help="Such as activations.")] = None,
    *,
    config: Annotated[
        Path | None, Option(help="Benchmarks (default: ./benchmarks.toml, else the shipped one).")
    ] = None,
    **flags: Any,
) -> int:
    """List what there is to name: activations, models, datasets, heads, benchmarks …"""
    from relubench import commands

    return show(lambda: commands.listing(kind, config), **flags)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, Option("--version", help="Print the version.")] = False,
) -> None:
    """Which activation should this network use, and what does it cost?"""
    if version:
        print(f"relubench {__version__}")
        raise typer.Exit


def run(
    command: Callable[[Request, Console], Outcome],
    name: str,
    benchmark: str | None,
    flags: dict[str, Any],
) -> int:
    """A training command: from flags to its table and exit code."""
    from relubench.commands import Request

    shown = {key: flags.pop(key) for key in get_type_hints(OutputFlags)}
    apart = {key: flags.pop(key) for key in ("config", "data_dir", "quick")}
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    request = Request(command=name, benchmark=benchmark, flags=given, **apart)
    return show(lambda: command(request, console(shown["quiet"])), **shown)


def show(
    outcome: Callable[[], Outcome],
    format: str | None,
    output: Path | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do the work and print its tables; a file is checked before the work and written after."""
    from relubench import files, formats

    name = format or (output and formats.by_suffix(output.name)) or "text"
    entry = formats.FORMATS[name]
    with files.replacing(output, "-o") if output else nullcontext() as part:
        done = outcome()
        if part:
            part.write_text(formats.render(done.tables, entry.name), encoding="utf-8")
        else:
            terminal = sys.stdout.isatty()
            colour = terminal and not os.environ.get("NO_COLOR") and "CI" not in os.environ
            width = os.get_terminal_size().columns if terminal else formats.UNFOLDED
            sys.stdout.write(formats.render(done.tables, entry.name, width, colour))
            sys.stdout.flush()
    return done.exit_code


def console(quiet: bool) -> Console:
    """Notes and a progress bar on stderr; the bar on a terminal only."""
    from relubench.commands import Console

    bar = sys.stderr.isatty() and not quiet and "CI" not in os.environ
    return Console(
        note=lambda text: None if quiet else print(text, file=sys.stderr),
        track=_bar if bar else lambda results, total: iter(results),
    )


def _bar(results: Iterable[RunResult], total: int) -> Iterator[RunResult]:
    from rich import progress
    from rich.console import Console as Terminal

    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.description}"),
    )
    with progress.Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=total)
        for result in results:
            bars.update(task, advance=1, description=result.cell.activation)
            yield result


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return app(arguments, standalone_mode=False) or 0
    except RelubenchError as error:
        return _failed(arguments, str(error), error.exit_code)
    except typer.TyperException as error:
        return _failed(arguments, error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(arguments, "interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # what a shell reports of a process that SIGPIPE ended
    except Exception as error:
        return _failed(arguments, f"bug in relubench: {type(error).__name__}: {error}", 70)


def _failed(arguments: list[str], message: str, exit_code: int) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    for line in message.splitlines() or [""]:
        print(f"relubench: {line}", file=sys.stderr)
    return exit_code
