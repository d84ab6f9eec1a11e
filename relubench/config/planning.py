"""Settings to a Plan: the product of what they name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from relubench.catalog import Catalog
from relubench.config.settings import Settings
from relubench.datasets import task_of
from relubench.errors import BadValue
from relubench.metrics import measures
from relubench.metrics.measures import Measure
from relubench.plan import Cell, Plan, Preparation, Recipe, Split

QUICK_EPOCHS, QUICK_STEPS, QUICK_TASKS = 2, 100, 3
Models = Catalog[Any]  # their entries are of a package on this floor, which is not imported here


# At most so many of each.
QUICK = {"seeds": 2, "folds": 2, "repeats": 1, "limit": 500}


COMPARING = ("compare", "suggest")  # commands that take the reference in, too
FOLDS = 10  # of cv, where nothing says how many


def plan(settings: Settings, command: str, quick: bool, models: Models) -> Plan:
    """The cells of a command; with `quick` a smoke run: a few seeds, epochs and examples.

    A benchmark's own quick form stays as it is.
    models  say which activation is their own, where none is chosen
    """
    _check_growth(settings)
    _check_task(settings)
    _check_seeds(settings)
    _check_tasks(settings)
    _check_report(settings)
    # 1. How many seeds and folds; a benchmark's own quick form is not made smaller still.
    settings = _counted(settings, command, quick and not settings.quick)
    # 2. By model: without -a each brings the activation that it was published with.
    names = {model: _activations(settings, command, models, model) for model in settings.model}
    splits = _splits(settings, command)
    # 3. Every set-up with every repetition of it.
    cells: list[Cell] = []
    for setup in _setups(settings):
        # Seeds stand inside folds: examples are shared between cells that follow each other.
        repetitions = itertools.product(splits, _seeds(settings), names[setup.model])
        cells += [_repeated(setup, *repetition) for repetition in repetitions]
    return Plan(
        cells=tuple(cells),
        reference=settings.reference,
        quick=quick,
        margins=dict(settings.margin),
        track=settings.track_neurons,
    )


@dataclass(frozen=True)
class _SetUp:
    """What settings may name several of, beside activations and repetitions."""

    settings: Settings
    dataset: str
    model: str
    head: str
    init: str | None
    recipe: Recipe


def _setups(settings: Settings) -> list[_SetUp]:
    """Every set-up, the first of the options changing slowest."""
    setups = []
    for dataset in settings.dataset:
        options = itertools.product(
            settings.model,
            settings.heads(dataset),
            settings.init or (None,),
            _recipes(settings),
        )
        setups += [_SetUp(settings, dataset, *chosen) for chosen in options]
    return setups


def _seeds(settings: Settings) -> Sequence[int]:
    if settings.seed is not None:
        return [settings.seed]
    return range(settings.seed_base, settings.seed_base + (settings.seeds or 1))


def _repeated(setup: _SetUp, split: Split, seed: int, activation: str) -> Cell:
    """One training: a set-up with an activation, on one split and seed."""
    settings = setup.settings
    return Cell(
        dataset=setup.dataset,
        model=setup.model,
        activation=activation,
        head=setup.head,
        match_parameters=settings.match_parameters,
        recipe=setup.recipe,
        preparation=Preparation(
            standardise=settings.standardise, pca=settings.pca, limit=settings.limit
        ),
        split=split,
        seed=seed,
        perturb=",".join(settings.perturb) or None,
        until=settings.until,
        fresh=settings.fresh,
        unit_axis=settings.unit_axis,
        init=setup.init,
        validation=settings.validation,
        tasks=settings.tasks,
        task=settings.task,
    )


def _counted(settings: Settings, command: str, shrunk: bool) -> Settings:
    """With as many seeds and folds as the command takes; few of all where it is shrunk."""
    seeds = settings.max_seeds or settings.first_seeds(command)
    folds = settings.folds or (FOLDS if command == "cv" else None)
    counts: dict[str, Any] = {"seeds": seeds, "folds": folds}
    if shrunk:
        asked = dict(settings) | counts
        counts = {key: min(asked[key] or most, most) for key, most in QUICK.items()}
        # Of a run without folds a smoke run has none either.
        counts["folds"] = folds and counts["folds"]
        counts["epochs"] = tuple(dict.fromkeys(min(n, QUICK_EPOCHS) for n in settings.epochs))
        counts["task_epochs"] = settings.task_epochs and min(settings.task_epochs, QUICK_EPOCHS)
        counts["tasks"] = settings.tasks and min(settings.tasks, QUICK_TASKS)
        counts["steps"] = settings.steps and min(settings.steps, QUICK_STEPS)
    return settings.model_copy(update=counts)


def _recipes(settings: Settings) -> list[Recipe]:
    """The product of all that a recipe may be given several of."""
    searched = _rates(settings)
    epochs_given = (settings.task_epochs,) if settings.task_epochs else settings.epochs
    return [
        Recipe(
            optimizer=optimizer,
            lr=lr,
            rates=searched,
            epochs=epochs,
            batch_size=size,
            weight_decay=decay,
            augment=",".join(settings.augment) or None,
            schedule=None if schedule == "constant" else schedule,
            warmup=settings.warmup,
            clip_norm=settings.clip_norm,
            label_smoothing=settings.label_smoothing,
            steps=settings.steps,
            revive=None if revive == "none" else revive,
            report=None if settings.report == "last" else settings.report,
        )
        for optimizer, lr, epochs, size, decay, schedule, revive in itertools.product(
            settings.optimizer,
            # Rates that runs choose from are one recipe, named by the first of them.
            settings.lr[:1] if searched else settings.lr,
            (0,) if settings.steps else epochs_given,
            settings.batch_size,
            settings.weight_decay,
            settings.schedule,
            settings.revive,
        )
    ]


def protocols(settings: Settings, command: str, quick: bool, models: Models) -> Plan:
    """The folds of every set-up and seed, the run that carries its weights through them, and the
    run on the whole training set that it is compared with.
    """
    folded = settings.model_copy(update={"seeds": settings.first_seeds(command)})
    cells = plan(folded, "cv", quick, models).cells
    # No fold: all of them in turn, with weights carried on. No folds: the hold-out.
    through = (replace(cell, split=replace(cell.split, fold=None)) for cell in cells)
    whole = (replace(cell, split=Split()) for cell in cells)
    # dict.fromkeys: every fold of a repeat asks for the same carried run and the same whole one.
    every = tuple(dict.fromkeys((*cells, *through, *whole)))
    return Plan(cells=every, quick=quick, track=settings.track_neurons)


def _rates(settings: Settings) -> str | None:
    """The rates of which each run takes its best; None where every rate is a set-up of its own."""
    if settings.best_lr and len(settings.lr) == 1:
        raise BadValue("--best-lr chooses among several rates: give them, --lr 0.1,0.01,0.001")
    if settings.measure.name in measures.UNTIL and not settings.until:
        raise BadValue(f"--metric {settings.metric}: say until what, --until train_error=0.25")
    if len(settings.lr) == 1 or not (settings.best_lr or settings.until):
        return None
    if settings.protocol == "published":
        raise BadValue("--protocol published carries weights on: give one --lr, and no --best-lr")
    # Sorted, so that --lr 0.1,0.01 and --lr 0.01,0.1 are the same runs to the ledger.
    return ",".join(repr(rate) for rate in sorted(settings.lr))


def _check_growth(settings: Settings) -> None:
    """Refuse --until-decided without an end, or where more seeds would add no repetition."""
    if not settings.until_decided:
        if settings.max_seeds:
            raise BadValue("--max-seeds says where --until-decided ends: give both")
        return
    if settings.max_seeds is None:
        raise BadValue("--until-decided: say where it ends with --max-seeds N")
    if settings.folds:
        raise BadValue("--until-decided adds seeds, and over folds it is --repeats that counts")
    if settings.seed is not None:
        raise BadValue("--until-decided begins with --seeds N, not with one --seed")
    if settings.max_seeds <= settings.first_seeds("compare"):
        first = settings.first_seeds("compare")
        raise BadValue(f"--max-seeds: got {settings.max_seeds}, must be above --seeds {first}")


def _check_task(settings: Settings) -> None:
    """Refuse what says nothing of these datasets' targets."""
    measure = settings.measure
    for task in settings.targets:
        if measure.task not in ("any", task):
            _refuse_measure(settings, measure, task)
    for name in settings.margin:
        of = measures.MEASURES[name].task
        if of not in ("any", *settings.targets):
            raise BadValue(f"--margin {name}: of no data here: it is a score of {of}")
    other = next((name for name in settings.dataset if task_of(name) != "classes"), "")
    if not other:
        return
    what = "numbers" if task_of(other) == "regression" else "a text"
    for flag, given in (
        ("--protocol published", settings.protocol == "published"),
        (f"--until {settings.until}", (settings.until or "").startswith("train_error")),
        ("--perturb", bool(settings.perturb)),
        ("--tasks", bool(settings.tasks) and what == "a text"),
        ("--label-smoothing", bool(settings.label_smoothing) and what == "numbers"),
    ):
        if given:
            raise BadValue(f"{flag} is of classes alone, and {other} has {what}")


def _refuse_measure(settings: Settings, measure: Measure, task: str) -> None:
    """Say why a dataset of this task has no such figure, and what to do."""
    other = next(name for name in settings.dataset if task_of(name) == task)
    if not settings.metric:
        raise BadValue(
            f"{other} is not of the task of {settings.dataset[0]}, so that they have no score in "
            "common: compare them apart, or say --metric dead, seconds, …"
        )
    known = [name for name, one in measures.MEASURES.items() if one.task == task]
    what = {"classes": "classes", "regression": "numbers, not classes", "language": "a text"}[task]
    raise BadValue(f"--metric {measure.name}: {other} has {what}: its own are {', '.join(known)}")


def _check_seeds(settings: Settings) -> None:
    """Refuse what would go unheard."""
    if settings.steps and settings.protocol == "published":
        raise BadValue("--protocol published counts epochs: give --epochs instead of --steps")
    if settings.validation and settings.protocol == "published":
        raise BadValue("--protocol published scores each epoch on a fold: leave --validation out")
    if settings.seed_base and settings.seed is not None:
        raise BadValue("--seed-base is the first of --seeds N: give it, or one --seed")
    if settings.seed_base and settings.until_decided:
        raise BadValue("--until-decided begins with seed 0: leave --seed-base out")
    if settings.one_holdout and settings.folds:
        raise BadValue("--one-holdout draws no folds: give it, or --folds")


def _check_tasks(settings: Settings) -> None:
    """Refuse half of a sequence of tasks, and what it has no room for."""
    if bool(settings.task) != bool(settings.tasks):
        raise BadValue("--tasks N is how many, and --task NAME which: give both, or neither")
    if settings.task_epochs and not settings.tasks:
        raise BadValue("--task-epochs is for --tasks N: without them, give --epochs")
    if not settings.tasks:
        return
    without = {
        "--folds": settings.folds,
        "--validation": settings.validation,
        "--best-lr": settings.best_lr,
        "--until": settings.until,
        "--perturb": settings.perturb,
        "--protocol published": settings.protocol == "published",
    }
    if given := [flag for flag, value in without.items() if value]:
        raise BadValue(f"--tasks: a sequence of tasks has no {', '.join(given)}")


def _check_report(settings: Settings) -> None:
    """Refuse the best epoch where nothing, or something else, says which that is."""
    if settings.report == "last":
        return
    if not settings.validation:
        raise BadValue("--report best: say what is best on, with --validation 10% or test")
    if _rates(settings):
        raise BadValue("--report best: rates are chosen by all of their epochs: give one --lr")


def _activations(settings: Settings, command: str, models: Models, model: str) -> tuple[str, ...]:
    """What is chosen, else the model's own; where they are compared, the reference too."""
    chosen = settings.activation or (models.choose(model).entry.activation,)
    if command in COMPARING and settings.reference not in chosen:
        return (settings.reference, *chosen)
    return chosen


def _splits(settings: Settings, command: str) -> list[Split]:
    if command not in ("cv", "compare") or settings.folds is None:
        return [Split(one_holdout=settings.one_holdout)]
    places = itertools.product(range(settings.repeats), range(settings.folds))
    return [Split(folds=settings.folds, fold=fold, repeat=repeat) for repeat, fold in places]
