"""Every key of a benchmark, declared once: its type, default and help.

Command line, benchmarks.toml and Python calls are made from these declarations. `--help` reads
them, so that nothing here imports pydantic or torch: types are names in `relubench.config.kinds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from relubench.plan import Preparation, Recipe

if TYPE_CHECKING:
    from relubench.config.kinds import (
        Address,
        Axis,
        BatchSizes,
        Components,
        Count,
        Decays,
        Duration,
        Epochs,
        Family,
        Folds,
        Margins,
        Names,
        Norm,
        Pairs,
        Precision,
        Protocol,
        Rates,
        Reported,
        Schedules,
        Seconds,
        Seed,
        Seeds,
        SeveralSeeds,
        Smoothing,
        StackWidth,
        Steps,
        Target,
        Threads,
        Validation,
        Warmup,
    )

T = TypeVar("T")
TRAINING = ("train", "cv", "compare", "suggest", "deadcount")
FREE = ("train", "cv", "compare", "deadcount")  # of which nothing is planned beforehand
JUDGED = ("compare", "report")
ASKED = ("compare", "suggest", "report")
MODEL, RECIPE, MACHINE = "What to train", "How to train it", "Where it runs"
COMPARISON = "How runs are compared"


@dataclass(frozen=True)
class Option:
    """One key.

    key       in benchmarks.toml and in Python; the flag is the same with - for _
    kind      the name of its type
    default   where nothing says otherwise
    help      one line
    metavar   what stands for its value there
    panel     of the help that it stands in
    commands  which have it as a flag; any table may hold it
    names     further spellings of the flag
    """

    key: str
    kind: str
    default: Any
    help: str
    metavar: str
    panel: str
    commands: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def listed(self) -> bool:
        """Whether it takes a comma list."""
        return self.kind.split(" ")[0] in LISTS

    @property
    def switch(self) -> bool:
        """Whether it is on or off."""
        return self.kind == "bool"


# What a key names, where that has another name than the key.
NAMED_KINDS = {
    "reference": "activation",
    "augment": "augmentation",
    "perturb": "perturbation",
    "revive": "intervention",
}
LISTS = {"Names", "Rates", "Schedules", "Decays", "Epochs", "BatchSizes", "Margins"}


def option(
    default: T,
    panel: str,
    help: str,
    metavar: str = "N",
    *names: str,
    commands: tuple[str, ...] = TRAINING,
) -> T:
    """Declare a key; what it becomes is made by `declared`."""
    # A lie to the type checker: the class body reads as a table of typed defaults.
    return cast(T, Option("", "", default, help, metavar, panel, commands, names))


class Options:
    """The keys, in the order of the help."""

    dataset: Names = option(("digits",), MODEL, "Datasets (default digits).", "NAME,…", "-d")
    model: Names = option(
        ("ffnn:hidden=128x64x32",),
        MODEL,
        "Models (default ffnn:hidden=128x64x32).",
        "NAME,…",
        "-m",
    )
    activation: Names | None = option(
        None, MODEL, "Activations (default: the model's own).", "NAME,…", "-a"
    )
    head: Names | None = option(
        None, MODEL, "Output layer: softmax (default) or relu; of numbers mse or huber.", "NAME,…"
    )
    init: Names | None = option(
        None, MODEL, "Initial weights: gain, he, … (default: each activation's own).", "NAME,…"
    )
    match_parameters: bool = option(
        False, MODEL, "Narrow hidden layers to as many parameters as with relu, within 3 %."
    )
    fresh: bool = option(False, MODEL, "Draw anew the weights that your own code loads.")
    unit_axis: Axis | None = option(
        None, MODEL, "Axis of the neurons, where your network does not tell.", "AXIS"
    )
    strict_swap: bool = option(
        False, MODEL, "Refuse a network in which a non-linearity, such as a gate, would stay."
    )
    seed: Seed | None = option(None, MODEL, "Run this one seed.", commands=FREE)
    seeds: Seeds | None = option(
        None, MODEL, "Run seeds 0 to N-1 (default 1, compare 10).", commands=FREE
    )
    seed_base: Seed = option(0, MODEL, "First of the --seeds (default 0).", "S", commands=FREE)
    one_holdout: bool = option(
        False, MODEL, "Draw the hold-out once, for all seeds (default: each seed draws its own)."
    )
    task: str | None = option(
        None,
        MODEL,
        "Tasks that one network learns in turn: random_labels, permuted_inputs, …",
        "NAME",
    )
    tasks: Count | None = option(None, MODEL, "How many, one after the other.")
    perturb: Names = option(
        (),
        MODEL,
        "Also score on perturbed inputs: gaussian:SD, dropout:P, shift:SD.",
        "NAME,…",
        commands=FREE,
    )
    reference: str = option(
        "relu", MODEL, "Activation to compare with (default relu).", "NAME", commands=ASKED
    )
    folds: Folds | None = option(
        None,
        MODEL,
        "Number of folds (cv: default 10; compare: over seeds instead).",
        "K",
        commands=("cv", "compare"),
    )
    repeats: Count = option(
        1, MODEL, "Repeat the folds, drawn anew.", "R", commands=("cv", "compare")
    )
    protocol: Protocol = option(
        "fresh",
        MODEL,
        "published: also carry weights from fold to fold, as studies did.",
        "WHICH",
        commands=("cv", "compare"),
    )
    optimizer: Names = option(
        (Recipe.optimizer,),
        RECIPE,
        "Optimizers: adam (default), sgd:momentum=0.9, …",
        "NAME,…",
    )
    lr: Rates = option((Recipe.lr,), RECIPE, "Learning rates.", "RATE,…", "--learning-rate")
    best_lr: bool = option(
        False,
        RECIPE,
        "Let each run choose the best of these --lr on a validation set.",
        commands=FREE,
    )
    epochs: Epochs = option(
        (Recipe.epochs,), RECIPE, "Passes over the training set (0: do not train).", "N,…"
    )
    task_epochs: Steps | None = option(
        None, RECIPE, "Passes over the training set of each of --tasks, instead of --epochs."
    )
    steps: Steps | None = option(None, RECIPE, "Steps to take, instead of --epochs.")
    batch_size: BatchSizes = option((Recipe.batch_size,), RECIPE, "Examples per step.", "N,…")
    weight_decay: Decays = option((Recipe.weight_decay,), RECIPE, "Weight decay.", "RATE,…")
    schedule: Schedules = option(
        ("constant",),
        RECIPE,
        "How the rate changes: constant (default), cosine, step:at=81,122, …",
        "NAME,…",
    )
    warmup: Warmup | None = option(
        None, RECIPE, "Let the rate rise over so many steps, or a share of all.", "N|5%"
    )
    clip_norm: Norm | None = option(
        None, RECIPE, "Largest norm of each network's gradient.", "NORM"
    )
    label_smoothing: Smoothing = option(
        Recipe.label_smoothing,
        RECIPE,
        "Share of a label that goes to all classes alike, in training.",
        "SHARE",
    )
    standardise: bool = option(
        Preparation.standardise,
        RECIPE,
        "Leave inputs as they are, not scaled to mean 0 and variance 1.",
    )
    pca: Components | None = option(None, RECIPE, "Keep N principal components.")
    limit: Components | None = option(None, RECIPE, "Train on a stratified subset of N examples.")
    validation: Validation | None = option(
        None,
        RECIPE,
        "Score every epoch on 10% held back from training, or on test.",
        "SIZE|test",
        commands=FREE,
    )
    report: Reported = option(
        "last",
        RECIPE,
        "Epoch that is reported: last (default), or best by its loss on --validation.",
        "WHICH",
        commands=FREE,
    )
    augment: Names = option((), RECIPE, "Augment training images: flip, crop.", "NAME,…")
    revive: Names = option(
        ("none",),
        RECIPE,
        "Let units begin anew between epochs: redo, reset_dead, shrink_perturb (default none).",
        "NAME,…",
    )
    track_neurons: Count | None = option(
        None, RECIPE, "Count hidden units after every N epochs, on 512 training examples."
    )
    until: Target | None = option(
        None,
        COMPARISON,
        "Report epochs and seconds to train_error=0.25, each run at its best --lr.",
        "TARGET",
        commands=FREE,
    )
    metric: str | None = option(
        None,
        COMPARISON,
        "What is compared: accuracy (default; of numbers rmse), dead, seconds, …",
        "METRIC",
        commands=ASKED,
    )
    margin: Margins = option(
        {},
        COMPARISON,
        "Differences up to this are equivalent (default accuracy=1%).",
        "SIZE,…",
        commands=ASKED,
    )
    rope: str | None = option(
        None,
        COMPARISON,
        "Show P(below, inside, above ±SIZE), over folds or random splits.",
        "SIZE",
        commands=JUDGED,
    )
    pairs: Pairs = option(
        "reference",
        COMPARISON,
        "Compare with the reference (default), or all pairs: reference, all.",
        "WHICH",
        commands=JUDGED,
    )
    family: Family = option(
        "setup",
        COMPARISON,
        "Correct p-values per set-up (default) or over all: setup, all.",
        "WHICH",
        commands=JUDGED,
    )
    until_decided: bool = option(
        False,
        COMPARISON,
        "Add seeds, in looks declared beforehand, until every comparison is decided.",
        commands=("compare",),
    )
    max_seeds: SeveralSeeds | None = option(
        None, COMPARISON, "Where --until-decided stops.", commands=("compare",)
    )
    budget: Duration = option(
        120.0,
        COMPARISON,
        "End within this time, whatever is decided (default 2min).",
        "TIME",
        commands=("suggest",),
    )
    device: str = option(
        "auto", MACHINE, "auto (default), cpu, cuda, cuda:1, mps or xpu.", "DEVICE"
    )
    threads: Threads | None = option(None, MACHINE, "CPU threads (default: what measures fastest).")
    jobs: Threads | None = option(
        None, MACHINE, "Worker processes; 1: none (default: as pays).", "N", "-j", commands=FREE
    )
    executor: str | None = option(
        None,
        MACHINE,
        "serial, pool or dask (default: as --jobs and --scheduler imply).",
        "NAME",
        commands=FREE,
    )
    scheduler: Address | None = option(
        None, MACHINE, "Scheduler of a dask cluster: tcp://HOST:PORT.", "URL", commands=FREE
    )
    scheduler_file: str | None = option(
        None, MACHINE, "File that the scheduler wrote.", "FILE", commands=FREE
    )
    stack: StackWidth = option("auto", MACHINE, "Runs trained in one vectorised pass.", "N|auto")
    precision: Precision = option(
        "float32", MACHINE, "float32 (default), float64, tf32 or bf16.", "TYPE"
    )
    checkpoint: Seconds = option(
        60.0, MACHINE, "Save unfinished runs every so many seconds.", "SECONDS"
    )


def declared() -> Iterator[Option]:
    """Every option, with its key and the name of its type."""
    # Texts, since annotations are not evaluated here: the types' module imports pydantic.
    for key, kind in Options.__annotations__.items():
        made: Option = vars(Options)[key]
        yield Option(
            key, kind, made.default, made.help, made.metavar, made.panel, made.commands, made.names
        )
