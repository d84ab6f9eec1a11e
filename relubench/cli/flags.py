"""The flags that commands share, and the panels of the help in which they stand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Argument, Option

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
    activation: Annotated[
        Names, flag(WHAT, "Activations (default: the model's own).", "NAME,…", "-a", "--activation")
    ] = None
    head: Annotated[Names, flag(WHAT, "What the outputs mean.", "NAME,…")] = None
    init: Annotated[
        Names,
        flag(WHAT, "Initial weights: gain, he … (default: each activation's own).", "NAME,…"),
    ] = None
    match_parameters: Annotated[
        bool | None,
        Option(
            "--match-parameters/--no-match-parameters",
            help="Narrow hidden layers to as many parameters as with relu, within 3 %.",
            rich_help_panel=WHAT,
        ),
    ] = None
    fresh: Annotated[
        bool | None,
        flag(WHAT, "Draw weights that your code loads anew.", "", "--fresh/--no-fresh"),
    ] = None
    unit_axis: Annotated[
        int | None, flag(WHAT, "Where the units of your network are, if need be.", "AXIS")
    ] = None
    strict_swap: Annotated[
        bool | None,
        flag(WHAT, "Refuse what would stay, as gates do.", "", "--strict-swap/--no-strict-swap"),
    ] = None
    seed: Annotated[Number, flag(WHAT, "One seed.")] = None
    seeds: Annotated[Number, flag(WHAT, "The seeds 0 … N-1.")] = None
    optimizer: Annotated[Names, flag(HOW, "Such as sgd:momentum=0.9.", "NAME,…")] = None
    lr: Annotated[Names, flag(HOW, "Learning rates.", "RATE,…")] = None
    best_lr: Annotated[
        bool | None,
        flag(HOW, "Each run at its own best of the --lr given.", "", "--best-lr/--no-best-lr"),
    ] = None
    epochs: Annotated[Names, flag(HOW, "Passes over the training part (0: none).", "N,…")] = None
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
    augment: Annotated[Names, flag(HOW, "Change training images: flip, crop.", "NAME,…")] = None
    perturb: Annotated[
        Names, flag(WHAT, "Score under gaussian:SD, dropout:SHARE, shift:SD too.", "NAME,…")
    ] = None
    until: Annotated[
        str | None,
        flag(SAID, "Epochs and seconds to this, each run at its best --lr.", "train_error=0.25"),
    ] = None
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


class FilterFlags:
    """Flags that say which runs of a ledger are meant."""

    dataset: Annotated[Names, flag(WHAT, "On these datasets.", "NAME,…", "-d", "--dataset")] = None
    model: Annotated[Names, flag(WHAT, "Of these models.", "NAME,…", "-m", "--model")] = None
    activation: Annotated[
        Names, flag(WHAT, "With these activations.", "NAME,…", "-a", "--activation")
    ] = None
    since: Annotated[
        str | None, flag(WHAT, "Finished since a date, a time (UTC) or an age.", "DATE|7d|12h")
    ] = None


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


Protocol = Annotated[
    str | None,
    flag(WHAT, "published: beside it, weights carried from fold to fold.", "fresh|published"),
]

Benchmark = Annotated[
    str | None, Argument(metavar="[BENCHMARK]", help="A table of benchmarks.toml.")
]

Where = Annotated[
    Path | None, flag(WHERE, "Or RELUBENCH_LEDGER; default .relubench/ledger.db.", "FILE")
]


def names_in(lists: Iterable[str]) -> tuple[str, ...]:
    """The names of comma lists."""
    return tuple(name.strip() for text in lists for name in text.split(",") if name.strip())


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
