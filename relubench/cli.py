"""Flags in, exit code out: the only file that knows Typer, and the only one that prints."""

from __future__ import annotations

import inspect
import io
import os
import re
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer import Argument, Option

from relubench import __version__
from relubench.errors import BadValue, NotComparable, RelubenchError, Stopped
from relubench.formats import UNFOLDED
from relubench.plan import Asked

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
SAID, GATE = "What is said of it", "Baselines and continuous integration"
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
    match_parameters: Annotated[
        bool | None,
        Option(
            "--match-parameters/--no-match-parameters",
            help="Narrow hidden layers to as many parameters as with relu, within 3 %.",
            rich_help_panel=WHAT,
        ),
    ] = None
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
    executor: Annotated[
        str | None, flag(WHERE, "Default: what the next three say, else serial.", "NAME")
    ] = None
    jobs: Annotated[Number, flag(WHERE, "Worker processes (default 1: none).")] = None
    scheduler: Annotated[
        str | None, flag(WHERE, "A dask cluster's scheduler.", "tcp://HOST:PORT")
    ] = None
    scheduler_file: Annotated[str | None, flag(WHERE, "The file that it wrote.", "FILE")] = None
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
    context: typer.Context,
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
        Names, flag(SAID, "What counts as alike (default accuracy=1%).", "METRIC=SIZE,…")
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
    baseline: Annotated[
        Path | None, flag(GATE, "Is it as good as this, up to --margin? Exit code 3: no.", "FILE")
    ] = None,
    strict: Annotated[bool, flag(GATE, "Undecided is exit code 4.", "", "--strict")] = False,
    require_baseline: Annotated[
        bool, flag(GATE, "No baseline is exit code 4.", "", "--require-baseline")
    ] = False,
    save_baseline: Annotated[
        Path | None, flag(GATE, "Keep what was measured, to be committed.", "FILE")
    ] = None,
    junit: Annotated[Path | None, flag(GATE, "A test case per row, as JUnit XML.", "FILE")] = None,
    export_benchmark: Annotated[
        Path | None, flag(GATE, "Figures for github-action-benchmark.", "FILE")
    ] = None,
    **flags: Any,
) -> int:
    """Compare activations on paired seeds or folds (benchmark 'default' where none is named)."""
    from relubench import commands

    if (strict or require_baseline) and not baseline:
        raise BadValue(f"{'--strict' if strict else '--require-baseline'} needs --baseline FILE")
    written = {
        "--save-baseline": save_baseline,
        "--junit": junit,
        "--export-benchmark": export_benchmark,
    }
    outputs = [("-o", path) for path in flags["output"] or ()]
    _distinct([("--baseline", baseline), *outputs, *written.items()])
    flags |= {"reference": reference, "folds": folds, "repeats": repeats, "metric": metric}
    flags |= {"margin": margin, "rope": rope, "pairs": pairs}
    flags |= {"until_decided": until_decided, "max_seeds": max_seeds}
    remedy = _remedy(context.obj)
    asked = Asked(baseline, bool(save_baseline), strict, require_baseline, remedy)

    def work(request: Request, console: Console) -> Outcome:
        return deliver(commands.compare(request, console, explain, asked), parts)

    with _keeping(written) as parts:
        try:
            return run(work, "compare", benchmark, flags)
        except NotComparable as refusal:
            return deliver(commands.refused(str(refusal).splitlines()), parts).exit_code


def _distinct(paths: Iterable[tuple[str, Path | None]]) -> None:
    """Refuse two flags that name one file."""
    seen: dict[Path, str] = {}
    for flag, path in paths:
        if path and (path.is_file() or not path.exists()):
            other = seen.setdefault(path.resolve(), flag)
            if other != flag:
                raise BadValue(f"{other} and {flag} both name {path}")


def _remedy(arguments: list[str]) -> str:
    """A command line with what makes a baseline in place of what asks for one."""
    kept = [word for word in arguments if word not in ("--strict", "--require-baseline")]
    text = shlex.join(["relubench", *kept])
    return re.sub(r"(?<= )--baseline(?=[ =])", "--save-baseline", text)


@contextmanager
def _keeping(paths: dict[str, Path | None]) -> Iterator[dict[str, Path]]:
    """Files that appear, each whole, if something is written to them."""
    from relubench import files

    with ExitStack() as stack:
        parts = {
            flag: stack.enter_context(files.replacing(path, flag))
            for flag, path in paths.items()
            if path
        }
        yield parts
        for part in parts.values():
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def deliver(done: Outcome, parts: dict[str, Path]) -> Outcome:
    """Write what an outcome has for files and for GitHub; stdout is left alone."""
    for flag, part in parts.items():
        if flag in done.files:
            try:
                part.write_text(done.files[flag], encoding="utf-8")
            except OSError as error:
                raise BadValue(f"{flag}: cannot write: {error.strerror}") from error
    for problem in done.problems:
        say(f"relubench: {problem}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in done.annotations:
            say(line)
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page and done.summary:
        _append(Path(page), done.summary)
    return done


def _append(page: Path, text: str) -> None:
    """Add to the page of a step as much as it has room for; a page that cannot be written is told.

    It is no reason for another exit code.
    """
    from relubench import ci

    try:
        with page.open("a", encoding="utf-8") as file:
            file.write(ci.cut(text, ci.SUMMARY_BYTES - page.stat().st_size))
    except OSError as error:
        say(f"relubench: GITHUB_STEP_SUMMARY: cannot write {page}: {error.strerror}")


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
    family: Annotated[str | None, flag(SHOWN, "Activations of one family.", "NAME")] = None,
    search: Annotated[str | None, flag(SHOWN, "Entries with this text.", "TEXT")] = None,
    config: Annotated[Path | None, flag(WHERE, BENCHMARKS, "FILE")] = None,
    **flags: Any,
) -> int:
    """List what there is to name: activations, models, datasets, heads, benchmarks …"""
    from relubench import commands

    return show(lambda: commands.list_kind(kind, config, family, search), **flags)


@app.command()
@takes(OutputFlags)
def cost(
    *,
    activation: Annotated[
        Names, flag(WHAT, "Activations (default: all).", "NAME,…", "-a", "--activation")
    ] = None,
    sizes: Annotated[list[str], flag(HOW, "Elements, such as 1e6.", "N,…")] = ["16Ki", "1Mi"],  # noqa: B006
    rounds: Annotated[int, flag(HOW, "Each times every unit once.")] = 21,
    device: Annotated[str | None, flag(WHERE, "Torch device.", "auto|cpu|cuda[:i]|mps|xpu")] = None,
    threads: Annotated[Number, flag(WHERE, "CPU threads (default 1).")] = None,
    quick: Annotated[bool, flag(WHERE, "A smoke run, marked as such.", "", "--quick")] = False,
    **flags: Any,
) -> int:
    """Time activations: forward, backward, memory, beside relu and a plain copy."""
    from relubench import commands

    given = {"activation": activation, "device": device, "threads": threads}
    asked = {key: value for key, value in given.items() if value}

    def measure() -> Outcome:
        return commands.cost(asked, sizes, rounds, quick, console(flags["quiet"]))

    return show(measure, **flags)


show_app = typer.Typer(help="What a thing is: formula, facts, picture.", no_args_is_help=True)
app.add_typer(show_app, name="show")


@show_app.command("activation")
@takes(OutputFlags)
def show_activation(
    names: Annotated[list[str], Argument(metavar="NAME,…", help="Activations.")],
    **flags: Any,
) -> int:
    """Show activations: formula, facts, gain, how they die; curves (also -o FILE.svg|png)."""
    from relubench import commands

    return show(lambda: commands.show_activation(names), **flags, pictured=True)


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
    pictured: bool = False,
) -> int:
    """Do the work and print its tables; files are checked before the work and written after.

    With `pictured` a file may be one of pictures.SUFFIXES.
    """
    from relubench import files

    targets = _targets(output, format, pictured)
    if None in targets and sys.stdout is None:
        raise BadValue("stdout is closed: give -o FILE")
    path: Path | None = None
    try:
        with ExitStack() as stack:
            parts = {p: stack.enter_context(files.replacing(p, "-o")) for p in targets if p}
            done = outcome()
            tables = [_arranged(done.tables[0], columns, sort, group), *done.tables[1:]]
            for path, name in targets.items():
                _write(tables, name, parts[path]) if path else _print(tables, name)
    except KeyboardInterrupt:
        raise Stopped("interrupted") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BadValue(f"cannot write {path or 'to stdout'}: {error.strerror}") from error
    return done.exit_code


def _targets(
    output: list[Path] | None, format: str | None, pictured: bool
) -> dict[Path | None, str]:
    """Where the tables go, each place with its format or a picture's suffix; None is stdout."""
    places = [None if path == Path("-") else path for path in output or [Path("-")]]
    if format and len(set(places)) > 1:
        raise BadValue("--format is for one output: of several, the suffixes say the format")
    return {place: _format(format, place, pictured) for place in places}


def _format(given: str | None, output: Path | None, pictured: bool) -> str:
    """The format's name, or the suffix of a picture's file."""
    from relubench import formats, pictures

    if given or output is None:
        return formats.FORMATS[given or "text"].name
    drawn = pictures.SUFFIXES if pictured else ()
    suffix = output.suffix.lower()
    name = suffix if suffix in drawn else formats.by_suffix(output.name)
    if name is None:
        known = ", ".join([*(entry.suffix for entry in formats.FORMATS.values()), *drawn])
        raise BadValue(f"-o {output}: no format has this suffix; give --format, or one of {known}")
    return name


def _write(tables: Sequence[Table], name: str, path: Path) -> None:
    """To a file: the tables, or the picture where `name` is a picture's suffix."""
    from relubench import formats

    if name in formats.FORMATS:
        path.write_text(formats.render(tables, name), encoding="utf-8")
    elif picture := tables[0].picture:
        from relubench import plots

        plots.save(picture, path, name.removeprefix("."))


def _print(tables: Sequence[Table], name: str) -> None:
    """The tables to stdout; what its encoding cannot say is escaped for machines, else a ?."""
    from relubench import formats

    text = formats.render(tables, name, *_terminal())
    if isinstance(sys.stdout, io.TextIOWrapper):
        machine = formats.FORMATS[name].machine
        sys.stdout.reconfigure(errors="backslashreplace" if machine else "replace")
    sys.stdout.write(text)
    sys.stdout.flush()


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
        return app(arguments, standalone_mode=False, obj=arguments) or 0
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
