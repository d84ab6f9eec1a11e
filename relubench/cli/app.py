"""The commands: each with its flags, each handing what was asked to `commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer import Argument, Option

from relubench import __version__, commands, files
from relubench.baselines.options import BaselineOptions
from relubench.cli.artefacts import deliver, distinct, keeping, remedy
from relubench.cli.flags import (
    BENCHMARKS,
    GATE,
    HOW,
    SAID,
    SHOWN,
    WHAT,
    WHERE,
    Benchmark,
    FilterFlags,
    Flags,
    Names,
    Number,
    OutputFlags,
    Protocol,
    Where,
    flag,
    names_in,
    takes,
)
from relubench.cli.output import arrangement, show
from relubench.cli.terminal import console
from relubench.errors import BadValue, NotComparable

if TYPE_CHECKING:
    from relubench.commands import Chosen, Outcome, Request
    from relubench.execution.progress import Console

app = typer.Typer(
    name="relubench",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@app.command()
@takes(Flags, OutputFlags)
def cv(
    benchmark: Benchmark = None,
    *,
    folds: Annotated[Number, flag(WHAT, "Parts of a partition (default 10).")] = None,
    repeats: Annotated[Number, flag(WHAT, "Partitions, each drawn anew (default 1).")] = None,
    protocol: Protocol = None,
    **flags: Any,
) -> int:
    """Cross-validate: stratified K-fold, nothing carried from fold to fold."""
    chosen = {"folds": folds, "repeats": repeats, "protocol": protocol}
    return run(commands.cv, "cv", benchmark, flags | chosen)


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
    protocol: Protocol = None,
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
    family: Annotated[
        str | None, flag(SAID, "Correct p over each set-up, or over all.", "setup|all")
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
    if (strict or require_baseline) and not baseline:
        raise BadValue(f"{'--strict' if strict else '--require-baseline'} needs --baseline FILE")
    written = {
        "--save-baseline": save_baseline,
        "--junit": junit,
        "--export-benchmark": export_benchmark,
    }
    outputs = [("-o", path) for path in flags["output"] or ()]
    distinct([("--baseline", baseline), *outputs, *written.items()])
    flags |= {"reference": reference, "folds": folds, "repeats": repeats, "metric": metric}
    flags |= {"protocol": protocol}
    flags |= {"margin": margin, "rope": rope, "pairs": pairs, "family": family}
    flags |= {"until_decided": until_decided, "max_seeds": max_seeds}
    asked = BaselineOptions(
        baseline, bool(save_baseline), strict, require_baseline, remedy(context.obj)
    )

    def work(request: Request, console: Console) -> Outcome:
        return deliver(commands.compare(request, console, explain, asked), parts)

    with keeping(written) as parts:
        try:
            return run(work, "compare", benchmark, flags)
        except NotComparable as refusal:
            return deliver(commands.refused(str(refusal).split("\n")), parts).exit_code


@app.command()
@takes(Flags, OutputFlags)
def deadcount(benchmark: Benchmark = None, **flags: Any) -> int:
    """Count dead units per layer over the training set, before training and after."""
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

    def listed() -> Outcome:
        return commands.list_kind(kind, config, family, search, console(flags["quiet"]))

    return show(listed, **flags)


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
    return show(lambda: commands.show_activation(names), **flags, pictured=True)


ledger_app = typer.Typer(
    help="Finished runs: show, export, merge, check, rm.", no_args_is_help=True
)
app.add_typer(ledger_app, name="ledger")


def _ledger(given: Path | None) -> Path:
    return given or Path(os.environ.get("RELUBENCH_LEDGER") or ".relubench/ledger.db")


def _chosen(flags: dict[str, Any]) -> Chosen:
    """The filters among a ledger command's flags, which are taken out."""
    since = commands.since(flags.pop("since"))
    given = {key: flags.pop(key) or () for key in ("dataset", "model", "activation")}
    names = {key: names_in(value) for key, value in given.items()}
    return commands.Chosen(**names, since=since)


@ledger_app.command("show")
@takes(FilterFlags, OutputFlags)
def ledger_show(
    key: Annotated[
        str | None, Argument(metavar="[KEY]", help="One run whole, by its key's beginning.")
    ] = None,
    *,
    ledger: Where = None,
    **flags: Any,
) -> int:
    """Print what the ledger holds, a row per set-up; or one run whole."""
    chosen, told = _chosen(flags), console(flags["quiet"])
    return show(lambda: commands.ledger_show(_ledger(ledger), chosen, key, told), **flags)


@ledger_app.command("export")
@takes(FilterFlags, OutputFlags)
def ledger_export(*, ledger: Where = None, **flags: Any) -> int:
    """Print every finished run, with the rows of train (jsonl unless said otherwise)."""
    flags["format"] = flags["format"] or (None if flags["output"] else "jsonl")
    chosen, told = _chosen(flags), console(flags["quiet"])
    return show(lambda: commands.ledger_export(_ledger(ledger), chosen, told), **flags)


@ledger_app.command("check")
@takes(OutputFlags)
def ledger_check(*, ledger: Where = None, **flags: Any) -> int:
    """Print the rows that cannot be read; exit code 1 where there are any."""
    return show(lambda: commands.ledger_check(_ledger(ledger)), **flags)


@ledger_app.command("rm")
@takes(OutputFlags)
def ledger_rm(
    rows: Annotated[list[str], Argument(metavar="ROW…", help="Keys, or rows that check names.")],
    *,
    ledger: Where = None,
    **flags: Any,
) -> int:
    """Drop the runs that are named: a key means all that is known under it."""
    told = console(flags["quiet"])
    return show(lambda: commands.ledger_rm(_ledger(ledger), rows, told), **flags)


@ledger_app.command("merge")
@takes(OutputFlags)
def ledger_merge(
    others: Annotated[list[Path], Argument(metavar="FILE…", help="Ledgers to add.")],
    *,
    ledger: Where = None,
    **flags: Any,
) -> int:
    """Add the runs of other ledgers; a conflict is named and nothing is merged."""

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
    shown = {key: flags.pop(key) for key in get_type_hints(OutputFlags)}
    apart = {key: flags.pop(key) for key in ("config", "data_dir", "quick", "rerun")}
    dry, ledger = flags.pop("dry_run"), flags.pop("ledger")
    apart["ledger"] = None if flags.pop("no_ledger") else _ledger(ledger)
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    arranged = [shown[key] for key in ("columns", "sort", "group")]
    apart["arranged"] = arrangement(*arranged) if any(arranged) else None
    request = commands.Request(command=name, benchmark=benchmark, flags=given, **apart)
    command = commands.dry_run if dry else command
    on_stderr = {key: shown[key] for key in ("quiet", "verbose")}
    return show(lambda: command(request, console(**on_stderr)), **shown)
