"""Flags in, exit code out: the only file that knows Typer, and the only one that prints."""

from __future__ import annotations

import inspect
import io
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer import Argument, Option

from relubench import __version__
from relubench.errors import BadValue, RelubenchError, Stopped
from relubench.formats import UNFOLDED

if TYPE_CHECKING:
    from relubench.commands import Outcome, Request
    from relubench.console import Console
    from relubench.executors import Done
    from relubench.formats import Table
    from relubench.report import Arrangement

app = typer.Typer(
    name="relubench",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WHAT, HOW, WHERE, SHOWN = "What to train", "How to train it", "Where it runs", "Output"
SAID = "What is said of it"
BENCHMARKS = "Benchmarks (default: ./benchmarks.toml, else the shipped ones)."
Names = list[str] | None
Number = str | None  # config says what is wrong with it, as it does for benchmarks.toml


def flag(panel: str, help: str, metavar: str = "N", *names: str) -> Any:
    """One flag of the help's panel `panel`."""
    return Option(*names, help=help, metavar=metavar, rich_help_panel=panel)


class Flags:
    """Flags of every training command; those of benchmarks.toml have the same keys there."""

    dataset: Annotated[Names, flag(WHAT, "Datasets.", "NAME,…", "-d", "--dataset")] = None
    model: Annotated[Names, flag(WHAT, "Models.", "NAME,…", "-m", "--model")] = None
    activation: Annotated[Names, flag(WHAT, "Activations.", "NAME,…", "-a", "--activation")] = None
    head: Annotated[Names, flag(WHAT, "What the outputs mean.", "NAME,…")] = None
    seed: Annotated[Number, flag(WHAT, "One seed.")] = None
    seeds: Annotated[Number, flag(WHAT, "The seeds 0 … N-1.")] = None
    optimizer: Annotated[Names, flag(HOW, "Such as sgd:momentum=0.9.", "NAME,…")] = None
    lr: Annotated[Names, flag(HOW, "Learning rates.", "RATE,…")] = None
    epochs: Annotated[Names, flag(HOW, "Passes over the training part.", "N,…")] = None
    batch_size: Annotated[Names, flag(HOW, "Examples per step.", "N,…")] = None
    weight_decay: Annotated[Names, flag(HOW, "Pull of the weights to 0.", "RATE,…")] = None
    standardise: Annotated[
        bool | None,
        Option(
            "--standardise/--no-standardise",
            help="Inputs to mean 0 and variance 1, per feature or image channel (default).",
            rich_help_panel=HOW,
        ),
    ] = None
    pca: Annotated[Number, flag(HOW, "Keep so many principal components.")] = None
    limit: Annotated[Number, flag(HOW, "Train on a stratified subset of so many.")] = None
    device: Annotated[str | None, flag(WHERE, "Torch device.", "auto|cpu|cuda[:i]|mps|xpu")] = None
    threads: Annotated[Number, flag(WHERE, "CPU threads (default: what measures fastest).")] = None
    jobs: Annotated[Number, flag(WHERE, "Worker processes (default 1: none).")] = None
    stack: Annotated[str | None, flag(WHERE, "Cells in one pass (default: auto).", "N|auto")] = None
    precision: Annotated[
        str | None, flag(WHERE, "Default: float32.", "float32|float64|tf32|bf16")
    ] = None
    checkpoint: Annotated[
        Number, flag(WHERE, "Save unfinished runs every so often (default 60).", "SECONDS")
    ] = None
    data_dir: Annotated[
        Path | None,
        flag(WHERE, "Downloaded data (or RELUBENCH_DATA; default: the user cache).", "FOLDER"),
    ] = None
    config: Annotated[Path | None, flag(WHERE, BENCHMARKS, "FILE")] = None
    ledger: Annotated[
        Path | None,
        flag(WHERE, "Finished runs (or RELUBENCH_LEDGER; default .relubench/ledger.db).", "FILE"),
    ] = None
    no_ledger: Annotated[bool, flag(WHERE, "Keep and take nothing.", "", "--no-ledger")] = False
    rerun: Annotated[bool, flag(WHERE, "Train finished runs again.", "", "--rerun")] = False
    dry_run: Annotated[bool, flag(WHERE, "Print the plan, train nothing.", "", "--dry-run")] = False
    quick: Annotated[bool, flag(WHERE, "A smoke run, marked as such.", "", "--quick")] = False


class OutputFlags:
    """Flags of every command that prints a table."""

    format: Annotated[
        str | None,
        flag(SHOWN, "Default: what -o's suffix means, else text.", "text|github|csv|json|jsonl|…"),
    ] = None
    output: Annotated[
        list[Path] | None,
        flag(SHOWN, "Not to stdout (-); several by suffix.", "FILE", "-o", "--output"),
    ] = None
    columns: Annotated[Names, flag(SHOWN, "These keys of the rows only.", "KEY,…")] = None
    sort: Annotated[str | None, flag(SHOWN, "Sort by a key; -KEY: largest first.", "KEY")] = None
    group: Annotated[
        Names, flag(SHOWN, "Keep rows together that share these; none: all.", "KEY,…")
    ] = None
    quiet: Annotated[bool, flag(SHOWN, "No progress and no notes.", "", "--quiet")] = False
    verbose: Annotated[
        bool, flag(SHOWN, "What was measured; tracebacks of errors.", "", "--verbose")
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
    confusion: Annotated[bool, flag(SHOWN, "The confusion matrix.", "", "--confusion")] = False,
    curve: Annotated[bool, flag(SHOWN, "The learning curve.", "", "--curve")] = False,
    save: Annotated[Path | None, flag(SHOWN, "The weights, as a state dict.", "FILE")] = None,
    **flags: Any,
) -> int:
    """Train each cell once and print its scores on the test part."""
    from relubench import commands, files

    if save and save in (flags["output"] or ()):
        raise BadValue(f"--save and -o both name {save}")
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
    folds: Annotated[Number, flag(WHAT, "Parts of a partition (default 10).")] = None,
    repeats: Annotated[Number, flag(WHAT, "Partitions, each drawn anew (default 1).")] = None,
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
        str | None, flag(WHAT, "Compare with this activation (default relu).", "NAME")
    ] = None,
    folds: Annotated[Number, flag(WHAT, "Compare over folds, not seeds.")] = None,
    repeats: Annotated[Number, flag(WHAT, "Partitions, each drawn anew (default 1).")] = None,
    metric: Annotated[
        str | None, flag(SAID, "What is compared (default accuracy).", "accuracy|dead|seconds|…")
    ] = None,
    margin: Annotated[
        Names, flag(SAID, "Within it two are equivalent, such as accuracy=0.5%.", "METRIC=SIZE,…")
    ] = None,
    rope: Annotated[
        str | None, flag(SAID, "Show P(below, inside, above ±SIZE) over splits.", "SIZE")
    ] = None,
    pairs: Annotated[
        str | None, flag(SAID, "Every pair, or those with the reference.", "reference|all")
    ] = None,
    until_decided: Annotated[
        bool | None,
        flag(SAID, "Add seeds, in declared looks, until all is said.", "", "--until-decided"),
    ] = None,
    max_seeds: Annotated[Number, flag(SAID, "Where --until-decided ends.")] = None,
    explain: Annotated[
        bool, flag(SAID, "How each verdict came about, and a methods section.", "", "--explain")
    ] = False,
    **flags: Any,
) -> int:
    """Compare activations on paired seeds or folds (benchmark 'default' where none is named)."""
    from relubench import commands

    flags |= {"reference": reference, "folds": folds, "repeats": repeats, "metric": metric}
    flags |= {"margin": margin, "rope": rope, "pairs": pairs}
    flags |= {"until_decided": until_decided, "max_seeds": max_seeds}
    return run(
        lambda request, console: commands.compare(request, console, explain),
        "compare",
        benchmark,
        flags,
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
    config: Annotated[Path | None, flag(WHERE, BENCHMARKS, "FILE")] = None,
    **flags: Any,
) -> int:
    """List what there is to name: activations, models, datasets, heads, benchmarks …"""
    from relubench import commands

    return show(lambda: commands.list_kind(kind, config), **flags)


ledger_app = typer.Typer(help="Finished runs: show, export, merge.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
Where = Annotated[
    Path | None, flag(WHERE, "Or RELUBENCH_LEDGER; default .relubench/ledger.db.", "FILE")
]


def _ledger(given: Path | None) -> Path:
    return given or Path(os.environ.get("RELUBENCH_LEDGER") or ".relubench/ledger.db")


@ledger_app.command("show")
@takes(OutputFlags)
def ledger_show(*, ledger: Where = None, **flags: Any) -> int:
    """Print what the ledger holds, a row per set-up."""
    from relubench import commands

    return show(lambda: commands.ledger_show(_ledger(ledger)), **flags)


@ledger_app.command("export")
@takes(OutputFlags)
def ledger_export(*, ledger: Where = None, **flags: Any) -> int:
    """Print every finished run, with the rows of train (jsonl unless said otherwise)."""
    from relubench import commands

    flags["format"] = flags["format"] or (None if flags["output"] else "jsonl")
    return show(lambda: commands.ledger_export(_ledger(ledger)), **flags)


@ledger_app.command("merge")
@takes(OutputFlags)
def ledger_merge(
    others: Annotated[list[Path], Argument(metavar="FILE…", help="Ledgers to add.")],
    *,
    ledger: Where = None,
    **flags: Any,
) -> int:
    """Add the runs of other ledgers; a conflict is named and nothing is merged."""
    from relubench import commands

    def merge() -> Outcome:
        return commands.ledger_merge(_ledger(ledger), others, console(flags["quiet"]))

    return show(merge, **flags)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, Option("--version", help="Print the version.")] = False,
) -> None:
    """Which activation should this network use, and what does it cost?"""
    if version:
        print(f"relubench {__version__}")
        sys.stdout.flush()
        raise typer.Exit


def run(
    command: Callable[[Request, Console], Outcome],
    name: str,
    benchmark: str | None,
    flags: dict[str, Any],
) -> int:
    """A training command: from flags to its table and exit code."""
    from relubench import commands
    from relubench.commands import Request

    shown = {key: flags.pop(key) for key in get_type_hints(OutputFlags)}
    apart = {key: flags.pop(key) for key in ("config", "data_dir", "quick", "rerun")}
    dry, ledger = flags.pop("dry_run"), flags.pop("ledger")
    apart["ledger"] = None if flags.pop("no_ledger") else _ledger(ledger)
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    arranged = [shown[key] for key in ("columns", "sort", "group")]
    apart["arranged"] = _arrangement(*arranged) if any(arranged) else None
    request = Request(command=name, benchmark=benchmark, flags=given, **apart)
    command = commands.dry_run if dry else command
    on_stderr = {key: shown[key] for key in ("quiet", "verbose")}
    return show(lambda: command(request, console(**on_stderr)), **shown)


def show(
    outcome: Callable[[], Outcome],
    format: str | None,
    output: list[Path] | None,
    columns: Names,
    sort: str | None,
    group: Names,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do the work and print its tables; files are checked before the work and written after."""
    from relubench import files, formats

    targets = _targets(output, format)
    if None in targets and sys.stdout is None:
        raise BadValue("stdout is closed: give -o FILE")
    path: Path | None = None
    try:
        with ExitStack() as stack:
            parts = {p: stack.enter_context(files.replacing(p, "-o")) for p in targets if p}
            done = outcome()
            tables = [_arranged(done.tables[0], columns, sort, group), *done.tables[1:]]
            for path, name in targets.items():
                if path:
                    parts[path].write_text(formats.render(tables, name), encoding="utf-8")
                else:
                    text = formats.render(tables, name, *_terminal())
                    _print(text, "backslashreplace" if formats.FORMATS[name].machine else "replace")
    except KeyboardInterrupt:
        raise Stopped("interrupted") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BadValue(f"cannot write {path or 'to stdout'}: {error.strerror}") from error
    return done.exit_code


def _targets(output: list[Path] | None, format: str | None) -> dict[Path | None, str]:
    """Where the tables go, each place with its format; None is stdout."""
    from relubench import formats

    places = [None if path == Path("-") else path for path in output or [Path("-")]]
    if format and len(set(places)) > 1:
        raise BadValue("--format is for one output: of several, the suffixes say the format")
    targets = {}
    for place in places:
        name = format or ("text" if place is None else formats.by_suffix(place.name))
        if name is None:
            known = ", ".join(entry.suffix for entry in formats.FORMATS.values())
            raise BadValue(
                f"-o {place}: no format has this suffix; give --format, or one of {known}"
            )
        targets[place] = formats.FORMATS[name].name
    return targets


def _arranged(table: Table, columns: Names, sort: str | None, group: Names) -> Table:
    """The table as --columns, --sort and --group want it."""
    if not (columns or sort or group):
        return table
    return _arrangement(columns, sort, group).apply(table)


def _arrangement(columns: Names, sort: str | None, group: Names) -> Arrangement:
    from relubench.report import Arrangement

    split = [
        tuple(part.strip() for item in keys or () for part in item.split(","))
        for keys in (columns, group)
    ]
    return Arrangement(split[0], sort, split[1])


def _terminal() -> tuple[int, bool]:
    """How wide stdout is, and whether it shows colours."""
    if not sys.stdout.isatty():
        return UNFOLDED, False
    plain = os.environ.get("NO_COLOR") or "CI" in os.environ
    return shutil.get_terminal_size().columns, not plain


def _print(text: str, errors: str) -> None:
    """To stdout; what its encoding cannot say is replaced as `errors` tells."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=errors)
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """A line to stderr, if it is open; a line that cannot be written stops nothing."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def console(quiet: bool, verbose: bool = False) -> Console:
    """Notes and a progress bar on stderr; the bar on a terminal only."""
    from relubench.console import Console

    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = terminal and not quiet and "CI" not in os.environ
    return Console(
        note=lambda text: None if quiet else say(text),
        detail=lambda text: say(text) if verbose and not quiet else None,
        track=_bar if bar else lambda results, total: iter(results),
    )


def _bar(finished: Iterable[Done], total: int) -> Iterator[Done]:
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
        for stack, results in finished:
            bars.update(task, advance=len(results), description=stack.cells[0].activation)
            yield stack, results


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where ± has no code, a ? must do
    try:
        return app(arguments, standalone_mode=False) or 0
    except RelubenchError as error:
        return _failed(arguments, str(error), error.exit_code)
    except typer.TyperException as error:
        return _failed(arguments, error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(arguments, "interrupted", 130)
    except SystemExit as stop:
        if stop.code != 1:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Typer's 1: nobody reads stdout any more
        return 141  # what a shell reports of a process that SIGPIPE ended
    except OSError as error:
        return _failed(arguments, f"cannot write to stdout: {error.strerror}", 2)
    except Exception as error:
        return _failed(arguments, f"bug in relubench: {type(error).__name__}: {error}", 70)


def _failed(arguments: list[str], message: str, exit_code: int) -> int:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)  # an interrupt has been heard
    if "--verbose" in arguments:
        traceback.print_exc()
    for line in message.splitlines():
        say(f"relubench: {line}")
    return exit_code
