"""The commands: each with its flags, each handing what was asked to `commands`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

import typer
from typer import Argument, Option

from relubench import __version__, commands, files
from relubench.baselines.options import BaselineOptions
from relubench.cli import manual
from relubench.cli.artefacts import deliver, distinct, keeping, remedy
from relubench.cli.completion import completed
from relubench.cli.flags import (
    BENCHMARKS,
    DATA,
    GATE,
    SHOWN,
    Benchmark,
    CountFlags,
    FilterFlags,
    Flags,
    FlagValue,
    Names,
    Number,
    OutputFlags,
    PageFlags,
    PictureFlags,
    RunFlags,
    Where,
    flag,
    given,
    names_in,
    takes,
)
from relubench.cli.hints import COMMANDS
from relubench.cli.output import arrangement, show
from relubench.cli.terminal import console
from relubench.config.options import MACHINE
from relubench.errors import BadValue, NotComparable

if TYPE_CHECKING:
    from relubench.commands import Chosen, Outcome, Request
    from relubench.execution.progress import Console

TIMED = "What is timed"
SIZES = ["16Ki", "1Mi"]  # elements

app = typer.Typer(
    name="relubench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def examples(*lines: str) -> str:
    """The end of a command's help: what may be typed."""
    return "Examples:\n\n" + "\n\n".join(f"  relubench {line}" for line in lines)


@app.command(
    epilog=examples(
        "train -d digits -a relu,gelu --seeds 3",
        "train -d wdbc -m ffnn:hidden=64x32 --lr 0.01 --curve",
    )
)
@takes(RunFlags, OutputFlags, PictureFlags, command="train")
def train(
    benchmark: Benchmark = None,
    *,
    confusion: Annotated[
        bool, flag(SHOWN, "Also print the confusion matrix.", "", "--confusion")
    ] = False,
    curve: Annotated[bool, flag(SHOWN, "Also print the learning curve.", "", "--curve")] = False,
    save: Annotated[Path | None, flag(SHOWN, "Save the weights: a state dict.", "FILE")] = None,
    **flags: FlagValue,
) -> int:
    """Train every run once and print its scores on the test set."""
    # Of two writers of one file the last would win.
    if save and save in (flags["output"] or ()):
        raise BadValue(f"--save and -o both name {save}")
    with files.replacing(save, "--save") if save else nullcontext() as part:
        return run(
            lambda request, console: deliver(
                commands.train(request, console, confusion, curve, part, save), {}
            ),
            "train",
            benchmark,
            flags,
        )


@app.command(
    epilog=examples(
        "cv -d wdbc -a relu,gelu --folds 10",
        "cv -d iris -m ffnn:hidden=8 --folds 5 --repeats 3",
    )
)
@takes(RunFlags, OutputFlags, PictureFlags, command="cv")
def cv(benchmark: Benchmark = None, **flags: FlagValue) -> int:
    """Cross-validate over stratified folds, each with weights and scaler of its own."""
    return run(commands.cv, "cv", benchmark, flags)


@app.command(
    epilog=examples(
        "compare -d digits -a relu,gelu,mish --seeds 10",
        "compare smoke --baseline baseline.json --margin accuracy=1%",
    )
)
@takes(RunFlags, OutputFlags, PictureFlags, command="compare")
def compare(
    context: typer.Context,
    benchmark: Benchmark = None,
    *,
    baseline: Annotated[
        Path | None,
        flag(GATE, "Gate: fail (exit code 3) if worse than this by more than --margin.", "FILE"),
    ] = None,
    strict: Annotated[
        bool, flag(GATE, "An undecided gate is exit code 4.", "", "--strict")
    ] = False,
    require_baseline: Annotated[
        bool, flag(GATE, "A missing baseline is exit code 4.", "", "--require-baseline")
    ] = False,
    save_baseline: Annotated[
        Path | None, flag(GATE, "Save this run as a baseline.", "FILE")
    ] = None,
    junit: Annotated[
        Path | None, flag(GATE, "Write JUnit XML, a test case per row.", "FILE")
    ] = None,
    export_benchmark: Annotated[
        Path | None, flag(GATE, "Write figures for github-action-benchmark.", "FILE")
    ] = None,
    **flags: FlagValue,
) -> int:
    """Compare activations on paired seeds or folds (benchmark 'first' where nothing is named)."""
    if (strict or require_baseline) and not baseline:
        raise BadValue(f"{'--strict' if strict else '--require-baseline'} needs --baseline FILE")
    written = {
        "--save-baseline": save_baseline,
        "--junit": junit,
        "--export-benchmark": export_benchmark,
    }
    outputs = [("-o", path) for path in flags["output"] or ()]
    distinct([("--baseline", baseline), *outputs, *written.items()])
    baseline_options = BaselineOptions(
        baseline, bool(save_baseline), strict, require_baseline, remedy(context.obj)
    )

    def work(request: Request, console: Console) -> Outcome:
        return deliver(commands.compare(request, console, baseline_options), parts)

    with keeping(written) as parts:
        try:
            return run(work, "compare", benchmark, flags)
        # CI gets its files in this case, too: a job that is red must say why.
        except NotComparable as refusal:
            return deliver(commands.refused(str(refusal).split("\n")), parts).exit_code


@app.command(
    epilog=examples(
        "suggest -d csv:table.csv:target=label",
        "suggest -d csv:table.csv:target=label --budget 10min -o report.html",
    )
)
@takes(RunFlags, OutputFlags, PictureFlags, command="suggest")
def suggest(benchmark: Benchmark = None, **flags: FlagValue) -> int:
    """Say which activation to use on a table: a study of its own, within a time."""
    return run(partial(commands.suggest, began=time.monotonic()), "suggest", benchmark, flags)


@app.command(
    epilog=examples(
        "deadcount -d digits -a relu,leaky_relu",
        "deadcount -d wdbc --lr 0.1,0.3 --format csv",
        "deadcount -m ./net.py:Net --weights best.pt -d mnist --split both --fail-above 20%",
    )
)
@takes(CountFlags, RunFlags, OutputFlags, PictureFlags, command="deadcount")
def deadcount(
    benchmark: Benchmark = None,
    *,
    layers: Annotated[
        bool, flag(SHOWN, "Also print a row for each layer.", "", "--layers")
    ] = False,
    history: Annotated[
        bool,
        flag(SHOWN, "Print what became of units, epoch by epoch, and survival.", "", "--history"),
    ] = False,
    **flags: FlagValue,
) -> int:
    """Count dead neurons: of runs, before training and after (--layers), or of any network."""
    # Taken out: what is left of the flags are a training command's.
    asked = {key: flags.pop(key) for key in get_type_hints(CountFlags)}
    # Two commands under one name: of runs that are trained, or of any network as it is.
    if not any(asked.values()) and not commands.is_untrained(names_in(flags["model"] or ())):
        counted = partial(commands.deadcount, layers=layers, history=history)
        return run(counted, "deadcount", benchmark, flags)
    if history:
        raise BadValue("--history is of what is trained here: leave the flags of any network out")
    outputs = [("-o", path) for path in flags["output"] or ()]
    written = {"--junit": asked.pop("junit"), "--prune": asked["prune"]}
    distinct([("--baseline", asked["baseline"]), *outputs, *written.items()])
    for key in ("definitions", "activation_module", "fail_above"):
        asked[key] = names_in(asked[key] or ())
    counting = commands.Counting(**asked)

    def work(request: Request, console: Console) -> Outcome:
        prune = parts.pop("--prune", None)
        return deliver(commands.count_network(request, counting, console, prune), parts)

    with keeping(written) as parts:
        return run(work, "deadcount", benchmark, flags)


@app.command(
    epilog=examples(
        "report -o report.html",
        "report rows.jsonl -o report.html",
        "report smoke --picture curves -o curves.svg",
    )
)
@takes(FilterFlags, PageFlags, PictureFlags, command="report")
def report(
    source: Annotated[
        str | None,
        Argument(
            metavar="LEDGER|ROWS.jsonl|BENCHMARK",
            help="What the page is of (default: the ledger).",
            autocompletion=completed("benchmark"),
        ),
    ] = None,
    *,
    ledger: Where = None,
    data_dir: Annotated[Path | None, flag(MACHINE, DATA, "FOLDER")] = None,
    config: Annotated[Path | None, flag(MACHINE, BENCHMARKS, "FILE")] = None,
    **flags: FlagValue,
) -> int:
    """Make a page of finished runs, one HTML file that needs nothing else; or a picture of them."""
    shown: Flags = {key: flags.pop(key) for key in ("output", "quiet", "verbose", "picture")}
    if not shown["output"] and sys.stdout is not None and sys.stdout.isatty():
        raise BadValue("say where the page goes: -o report.html")
    told = console(shown["quiet"], shown["verbose"])
    chosen = _chosen(flags)
    asked = commands.Asked(source, chosen, given(flags), _ledger(ledger), data_dir, config)
    shown |= dict.fromkeys(("format", "columns", "sort", "group"))
    shown |= dict.fromkeys(("wide", "explain"), False)
    return show(lambda: commands.report_page(asked, told), **shown, json=False, command="report")


@app.command("list", epilog=examples("list activations --family smooth", "list benchmarks --json"))
@takes(OutputFlags)
def list_(
    kind: Annotated[str | None, Argument(metavar="KIND", help="Such as activations.")] = None,
    *,
    family: Annotated[str | None, flag(SHOWN, "Only activations of this family.", "NAME")] = None,
    search: Annotated[str | None, flag(SHOWN, "Only entries with this text.", "TEXT")] = None,
    config: Annotated[Path | None, flag(MACHINE, BENCHMARKS, "FILE")] = None,
    **flags: FlagValue,
) -> int:
    """List available activations, models, datasets, heads, benchmarks, …"""

    def listed() -> Outcome:
        return commands.list_kind(kind, config, family, search, console(flags["quiet"]))

    return show(listed, **flags)


@app.command(epilog=examples("cost -a relu,gelu,mish", "cost mish-cost --rounds 5"))
@takes(OutputFlags, PictureFlags)
def cost(
    benchmark: Benchmark = None,
    *,
    activation: Annotated[
        Names,
        flag(
            TIMED,
            "Activations (default: all).",
            "NAME,…",
            *("-a", "--activation"),
            complete="activation",
        ),
    ] = None,
    sizes: Annotated[Names, flag(TIMED, "Elements, such as 1e6 (default 16Ki,1Mi).", "N,…")] = None,
    rounds: Annotated[int, flag(TIMED, "Rounds, each of all activations (default 21).")] = 21,
    device: Annotated[
        str | None, flag(MACHINE, "auto (default), cpu, cuda, cuda:1, mps or xpu.", "DEVICE")
    ] = None,
    threads: Annotated[Number, flag(MACHINE, "CPU threads (default 1).")] = None,
    quick: Annotated[bool, flag(MACHINE, "A smoke run, marked as such.", "", "--quick")] = False,
    config: Annotated[Path | None, flag(MACHINE, BENCHMARKS, "FILE")] = None,
    **flags: FlagValue,
) -> int:
    """Time activations: forward, backward and memory, beside relu and a plain copy."""
    settings = given({"activation": activation, "device": device, "threads": threads})

    asked = commands.Timing(benchmark, settings, sizes or SIZES, rounds, quick, config)

    def measure() -> Outcome:
        return commands.cost(asked, console(flags["quiet"]))

    return show(measure, **flags, command="cost")


@app.command("show", epilog=examples("show relu,gelu", "show relu -o relu.svg", "show digits"))
@takes(OutputFlags)
def show_entries(
    names: Annotated[
        list[str],
        Argument(
            metavar="NAME,…",
            help="Names; before them a kind, where several have such a name.",
            autocompletion=completed("activation"),
        ),
    ],
    **flags: FlagValue,
) -> int:
    """Show activations (formula, facts, gain, curves; also -o FILE.svg|png) or another entry."""
    kind, chosen = commands.kind_and_names(names)
    if kind == "activation":
        return show(lambda: commands.show_activation(chosen), **flags, command="show")
    notes = console(flags["quiet"])
    return show(lambda: commands.show_entry(kind, chosen, notes), **flags)


ledger_app = typer.Typer(
    help="Finished runs: show, export, merge, check, rm.", no_args_is_help=True
)
app.add_typer(ledger_app, name="ledger")


def _ledger(path: Path | None) -> Path:
    return commands.usual_ledger(path)


def _chosen(flags: Flags) -> Chosen:
    """The filters among a ledger command's flags, which are taken out."""
    since = commands.since(flags.pop("since"))
    filters = {key: flags.pop(key) or () for key in ("dataset", "model", "activation")}
    names = {key: names_in(value) for key, value in filters.items()}
    return commands.Chosen(**names, since=since)


@ledger_app.command("show")
@takes(FilterFlags, OutputFlags)
def ledger_show(
    key: Annotated[
        str | None, Argument(metavar="KEY", help="One whole run, by the beginning of its key.")
    ] = None,
    *,
    ledger: Where = None,
    **flags: FlagValue,
) -> int:
    """Show what the ledger holds, a row per set-up; or one whole run."""
    chosen, notes = _chosen(flags), console(flags["quiet"])
    return show(lambda: commands.ledger_show(_ledger(ledger), chosen, key, notes), **flags)


@ledger_app.command("export")
@takes(FilterFlags, OutputFlags)
def ledger_export(
    folder: Annotated[Path | None, Argument(metavar="DIR", help="A new folder, for --to.")] = None,
    *,
    to: Annotated[
        str | None,
        flag(
            SHOWN,
            "Write for tensorboard, mlflow, wandb-offline, or as csv, jsonl, parquet.",
            "NAME",
            complete="export",
        ),
    ] = None,
    ledger: Where = None,
    **flags: FlagValue,
) -> int:
    """Print every finished run, with the rows of train (jsonl unless said otherwise)."""
    if (to is None) != (folder is None):
        raise BadValue("--to NAME writes to a folder: relubench ledger export --to csv DIR")
    chosen, notes = _chosen(flags), console(flags["quiet"])
    where = _ledger(ledger)
    if to and folder:
        return show(lambda: commands.ledger_hand_over(where, chosen, to, folder, notes), **flags)
    flags["format"] = flags["format"] or (None if flags["output"] else "jsonl")
    return show(lambda: commands.ledger_export(where, chosen, notes), **flags)


@ledger_app.command("small-predicts-large")
@takes(OutputFlags)
def ledger_small_predicts_large(
    benchmarks: Annotated[
        list[str] | None,
        Argument(
            metavar="BENCHMARK…",
            help="Benchmarks (default: all that have runs of both forms).",
            autocompletion=completed("benchmark"),
        ),
    ] = None,
    *,
    ledger: Where = None,
    config: Annotated[Path | None, flag(MACHINE, BENCHMARKS, "FILE")] = None,
    **flags: FlagValue,
) -> int:
    """Show whether quick forms put activations in the order of the full ones."""
    notes, names = console(flags["quiet"]), benchmarks or []
    place = _ledger(ledger)
    return show(lambda: commands.small_predicts_large(place, names, config, notes), **flags)


@ledger_app.command("check")
@takes(OutputFlags)
def ledger_check(*, ledger: Where = None, **flags: FlagValue) -> int:
    """Print the rows that cannot be read; exit code 1 where there are any."""
    return show(lambda: commands.ledger_check(_ledger(ledger)), **flags)


@ledger_app.command("rm")
@takes(OutputFlags)
def ledger_rm(
    rows: Annotated[list[str], Argument(metavar="ROW…", help="Keys, or rows that check names.")],
    *,
    ledger: Where = None,
    **flags: FlagValue,
) -> int:
    """Drop the runs that are named: a key means all that is known under it."""
    notes = console(flags["quiet"])
    return show(lambda: commands.ledger_rm(_ledger(ledger), rows, notes), **flags)


@ledger_app.command("merge")
@takes(OutputFlags)
def ledger_merge(
    others: Annotated[list[Path], Argument(metavar="FILE…", help="Ledgers to add.")],
    *,
    ledger: Where = None,
    **flags: FlagValue,
) -> int:
    """Add the runs of other ledgers; a conflict is named and nothing is merged."""

    def merge() -> Outcome:
        return commands.ledger_merge(_ledger(ledger), others, console(flags["quiet"]))

    return show(merge, **flags)


@app.command("help", epilog=examples("help statistics", "help compare"))
def help_(
    topic: Annotated[
        list[str] | None,
        Argument(
            metavar="TOPIC",
            help="A topic of the manual, or a command.",
            autocompletion=manual.completed,
        ),
    ] = None,
) -> int:
    """Show the manual: its topics, one of them, or a command's flags."""
    if not topic:
        unset: Flags = dict.fromkeys(get_type_hints(OutputFlags))
        return show(commands.help.topics, **unset)
    if topic[0] in COMMANDS:
        return app([*topic, "--help"], prog_name="relubench", standalone_mode=False) or 0
    return manual.show(commands.help.page("-".join(topic), COMMANDS))


@app.command(epilog=examples("doctor", "doctor --json"))
@takes(OutputFlags)
def doctor(
    *,
    data_dir: Annotated[
        Path | None, flag(MACHINE, "Downloaded data (or RELUBENCH_DATA).", "FOLDER")
    ] = None,
    ledger: Where = None,
    **flags: FlagValue,
) -> int:
    """Check torch, device, threads, data folder, cache, ledger and disk; say what to do."""
    return show(lambda: commands.doctor(_ledger(ledger), data_dir), **flags)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, Option("--version", "-V", help="Print the version.")] = False,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="With --version: also torch and the device.")
    ] = False,
) -> None:
    """Which activation should this network use, and what does it cost?"""
    if version:
        print(f"relubench {__version__}")
        if verbose:
            print("\n".join(commands.versions()))
        sys.stdout.flush()
        raise typer.Exit


def run(
    command: Callable[[Request, Console], Outcome],
    name: str,
    benchmark: str | None,
    flags: Flags,
) -> int:
    """A training command: from flags to its table and exit code.

    What is left of the flags after those of output and of the run are taken out are options.
    """
    # 1. How it is shown; 2. where it runs; what is left is what a benchmark may hold, too.
    keys = {**get_type_hints(OutputFlags), **get_type_hints(PictureFlags)}
    shown = {key: flags.pop(key) for key in keys}
    apart = {key: flags.pop(key) for key in get_type_hints(RunFlags)}
    ledger = None if apart["no_ledger"] else _ledger(apart["ledger"])
    arranged = [shown[key] for key in ("columns", "sort", "group")]
    request = commands.Request(
        command=name,
        benchmark=benchmark,
        flags=given(flags),
        config=apart["config"],
        data_dir=apart["data_dir"],
        quick=apart["quick"],
        ledger=ledger,
        rerun=apart["rerun"],
        arranged=arrangement(*arranged) if any(arranged) else None,
    )
    command = commands.dry_run if apart["dry_run"] else command
    notes = console(shown["quiet"], shown["verbose"])
    return show(lambda: command(request, notes), **shown, command=name)
