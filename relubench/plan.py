"""Plans: cells to train, stacks of them, and the machine; frozen data, no torch."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any

from relubench.grouping import grouped


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe: optimiser, learning rate, passes over the data, batch size.

    rates    learning rates joined by commas; each run takes the best on a validation set, and
             `lr` is the first of them
    augment  names of augmentations joined by commas, applied one after the other
    schedule  how the rate changes from step to step; None: it does not
    warmup   before that: steps, as '100', or a fraction of all, as '0.05'
    clip_norm  the largest norm of a network's gradient
    label_smoothing  the share of a label that goes to all classes alike, in training alone
    steps    how many to take, instead of epochs, which are 0 then
    revive   what is done to hidden units between epochs: one of training.interventions
    report   "best": the epoch with the lowest loss on what is validated on; None: the last
    """

    optimizer: str = "adam"
    lr: float = 0.001
    rates: str | None = None
    epochs: int = 30
    batch_size: int = 64
    weight_decay: float = 0.0
    augment: str | None = None
    schedule: str | None = None
    warmup: str | None = None
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    steps: int | None = None
    revive: str | None = None
    report: str | None = None

    @property
    def trains(self) -> bool:
        """Whether any step is taken."""
        return bool(self.epochs or self.steps)

    def passes(self, per_epoch: int) -> int:
        """Epochs of so many steps; the last may be cut short."""
        return self.epochs if self.steps is None else math.ceil(self.steps / per_epoch)

    def total_steps(self, per_epoch: int) -> int:
        """All steps, where an epoch has so many."""
        return self.epochs * per_epoch if self.steps is None else self.steps

    def steps_in(self, epoch: int, per_epoch: int) -> int:
        """The steps of one epoch, from 0."""
        return min(per_epoch, self.total_steps(per_epoch) - epoch * per_epoch)

    @property
    def candidates(self) -> tuple[float, ...]:
        """The numbers in `rates`."""
        return tuple(map(float, _names(self.rates)))

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The names in `augment`."""
        return _names(self.augment)


def _names(joined: str | None) -> tuple[str, ...]:
    # Cells keep such lists as one text: a key is a hash of their JSON, and ledgers hold old keys.
    return tuple(joined.split(",")) if joined else ()


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Preprocessing of the inputs, always fitted on the training set of the split alone."""

    standardise: bool = True
    pca: int | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which rows train and which test: fold `fold` of `folds`, or the hold-out without folds.

    folds       where no fold is named: one network learns from all of them in turn, within the
                training set of the hold-out, its weights carried from fold to fold
    validation  a tenth of the training set takes the place of the test set
    one_holdout  the hold-out is drawn once for all seeds, instead of by each
    """

    folds: int | None = None
    fold: int | None = None
    repeat: int = 0
    validation: bool = False
    one_holdout: bool = False

    @property
    def carried(self) -> bool:
        """Whether weights are carried from fold to fold."""
        return self.folds is not None and self.fold is None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that decides one training, and nothing else: no device, no executor.

    match_parameters  whether hidden layers are narrowed to as many parameters as with relu
    perturb  names of perturbations joined by commas: each is a further score on the test set
    until    "train_error=0.25": after how many epochs and seconds a run comes so far
    fresh    whether weights that another's code brings along are drawn anew
    unit_axis  which axis holds the units of another's network, where nothing else says so
    validation  what every epoch is scored on too: a fraction of the training set that is not
             learned from, as '0.1', or 'test'
    init     the scheme of initial weights for every activation; None: each its own
    tasks, task  how many tasks one network learns in turn, and of what kind
    """

    dataset: str
    model: str
    activation: str
    head: str = "softmax"
    match_parameters: bool = False
    recipe: Recipe = Recipe()
    preparation: Preparation = Preparation()
    split: Split = Split()
    seed: int = 0
    perturb: str | None = None
    until: str | None = None
    fresh: bool = False
    unit_axis: int | None = None
    init: str | None = None
    validation: str | None = None
    tasks: int | None = None
    task: str | None = None

    @property
    def parts(self) -> int:
        """How many parts one network learns from in turn: tasks, folds, or one."""
        return self.tasks or (self.split.folds if self.split.carried else None) or 1

    @property
    def perturbations(self) -> tuple[str, ...]:
        """The names in `perturb`."""
        return _names(self.perturb)

    @property
    def untrained(self) -> Cell:
        """The same network as it begins, which has nothing to do with how it is trained."""
        # The whole recipe goes: set-ups that differ in it alone share one untrained network.
        untrained = Recipe(epochs=0)
        return replace(self, recipe=untrained, perturb=None, until=None, tasks=None, task=None)

    @property
    def timing_key(self) -> tuple[object, ...]:
        """Equal for cells whose steps take as long: what else they differ in takes no time."""
        own = _values(self, but=("recipe", *UNTIMED))
        return (*own, *_values(self.recipe, but=UNTIMED_RECIPE))

    @property
    def step_options(self) -> dict[str, Any]:
        """What is set that a step's seconds depend on, beside model, data, batch and optimizer."""
        own = _set_values(self, but=(*UNTIMED, *OF_NO_STEP))
        return own | _set_values(self.recipe, but=(*UNTIMED_RECIPE, *OF_NO_STEP))

    def timed(self, batch: int) -> Cell:
        """The cell whose steps are timed for it: with relu, and without what takes no time."""
        options = self.step_options
        of_recipe = {name: options.pop(name) for name in vars(self.recipe) if name in options}
        return Cell(
            dataset=self.dataset,
            model=self.model,
            activation="relu",
            head=self.head,
            recipe=Recipe(optimizer=self.recipe.optimizer, epochs=1, batch_size=batch, **of_recipe),
            **options,
        )

    @property
    def checked_as(self) -> Cell:
        """What a check before training finds the same: the cell without what it does not look at.

        Its seed, rate, initial weights and number of a fold decide nothing that can be refused
        before training.
        """
        return replace(
            self, seed=0, init=None, recipe=_at_any_rate(self.recipe), split=_any_fold(self.split)
        )

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that stand for this cell: a hash of its canonical JSON."""
        # cached_property writes to __dict__, past the __setattr__ that a frozen dataclass refuses.
        facts = _set_fields(self)
        for name in ("recipe", "preparation", "split"):
            facts[name] = _set_fields(getattr(self, name))
        return hashlib.sha256(CANONICAL.encode(facts).encode()).hexdigest()[:16]


@lru_cache
def _at_any_rate(recipe: Recipe) -> Recipe:
    # weight_decay stays: an optimizer may refuse one.
    return replace(recipe, lr=Recipe.lr)


@lru_cache
def _any_fold(split: Split) -> Split:
    return replace(split, repeat=0, fold=None if split.fold is None else 0)


# In no key at their default: ledgers from before these fields know the same cells.
LATER = (
    *("rates", "augment", "validation", "perturb", "until", "fresh", "unit_axis", "init"),
    *("one_holdout", "schedule", "warmup", "clip_norm", "label_smoothing", "steps", "revive"),
    *("tasks", "task", "report"),
)
# Where examples stand in another axis than the first, this one may hold the units: a network that
# takes it does not take None, and ledgers know its cells without it.
FIRST_AXIS = ("unit_axis", 0)
# Sorted and without blanks: the order in which fields are declared is in no key.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
# Fields of a cell that no step's duration depends on, or that are not measured (activation, head).
UNTIMED = ("activation", "head", "init", "seed", "split", "tasks", "task")
# Those that a step of relu does not depend on (nothing of it is narrowed to match relu), and those
# that a step is timed apart for anyway.
OF_NO_STEP = (
    *("recipe", "preparation", "match_parameters", "perturb", "until", "fresh", "validation"),
    *("rates", "epochs", "steps", "dataset", "model", "optimizer", "batch_size"),
)
UNTIMED_RECIPE = (
    *("lr", "weight_decay", "schedule", "warmup", "label_smoothing", "revive", "report"),
)


def _set_fields(record: Cell | Recipe | Preparation | Split) -> dict[str, object]:
    """The fields of a cell or a part of it, so that a new one changes no old key.

    Not by dataclasses.asdict, which copies every value: plans have ten thousands of cells.
    """
    facts = vars(record).copy()  # neither of these records keeps more than its fields, but …
    facts.pop("key", None)  # … the key, once it has been asked for
    for name, default in LATER_DEFAULTS[type(record)].items():
        if is_unset(facts[name], default) or (name, facts[name]) == FIRST_AXIS:
            del facts[name]
    return facts


def _later_defaults(kind: type[Cell | Recipe | Preparation | Split]) -> dict[str, object]:
    return {part.name: part.default for part in fields(kind) if part.name in LATER}


LATER_DEFAULTS = {kind: _later_defaults(kind) for kind in (Recipe, Preparation, Split, Cell)}


def is_unset(value: object, default: object) -> bool:
    """Whether an option is as if nobody had set it; 0 is a number, unless 0 is its default."""
    if isinstance(value, bool) or isinstance(default, bool):
        return value is default  # 0 == False
    return value in (default, "")


def _values(record: Cell | Recipe, but: Sequence[str]) -> list[object]:
    """The values of the fields of a record, without some."""
    return [getattr(record, part.name) for part in fields(record) if part.name not in but]


def _set_values(record: Cell | Recipe, but: Sequence[str]) -> dict[str, Any]:
    """The fields of a record that are not at their default, without some."""
    kept = (part for part in fields(record) if part.name not in but)
    values = {part.name: (getattr(record, part.name), part.default) for part in kept}
    return {name: value for name, (value, default) in values.items() if value != default}


@dataclass(frozen=True)
class Stack:
    """Cells that differ in seed and fold only: what one pass can train, and what is saved at once.

    threads     CPU threads to train it on; None leaves it to the machine
    n_parallel  passes to train it in, side by side, each on that many threads
    track       hidden units are counted after every so many epochs, too; it changes no number
    """

    cells: tuple[Cell, ...]
    threads: int | None = None
    n_parallel: int = 1
    track: int | None = None

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for these cells."""
        # In their order: it is that of the pass, whose state a checkpoint keeps.
        keys = "".join(cell.key for cell in self.cells)
        return hashlib.sha256(keys.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Arrangement:
    """Cells in a pass, CPU threads of each pass, passes side by side."""

    width: int
    threads: int
    n_parallel: int = 1


@dataclass(frozen=True)
class Margin:
    """The margin within which two means are as good: a fraction, or in the metric's unit.

    relative  as a fraction of the mean that it is compared with
    """

    size: float
    relative: bool = False

    def of(self, mean: float) -> float:
        """The margin in the metric's unit, beside this mean."""
        return self.size * abs(mean) if self.relative else self.size


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cells that one command trains, in the order in which they run.

    margins  within which two means of a metric are as good as each other, where it was said
    track    hidden units are counted after every so many epochs; no cell's key has it, since it
             decides nothing of a training
    """

    cells: tuple[Cell, ...]
    reference: str = "relu"
    quick: bool = False
    margins: Mapping[str, Margin] = field(default_factory=dict)
    track: int | None = None

    def setups(self) -> list[list[Cell]]:
        """The cells that one pass could train together, in the plan's order."""

        def setup(cell: Cell) -> Cell:
            # Carried weights pass their folds in turn: such a cell takes as many steps as all.
            folds = cell.split.folds if cell.split.carried else None
            split = Split(folds=folds, one_holdout=cell.split.one_holdout)
            return replace(cell, seed=0, split=split)

        return list(grouped(self.cells, setup).values())

    def shapes(self) -> list[Cell]:
        """The first cell of each kind that is checked before training, in the plan's order."""
        first: dict[Cell, Cell] = {}
        for cell in self.cells:
            first.setdefault(cell.checked_as, cell)
        return list(first.values())


def stacks(
    setups: Sequence[tuple[Sequence[Cell], int, int | None, int]], track: int | None = None
) -> list[Stack]:
    """Cut set-ups into stacks: cells, how many a pass takes, its threads, passes in parallel.

    The set-ups take turns, so that a study that is interrupted is balanced over them.
    """
    by_setup = []
    for cells, width, threads, n_parallel in setups:
        size = width * n_parallel
        chunks = [tuple(cells[begin : begin + size]) for begin in range(0, len(cells), size)]
        by_setup.append([Stack(chunk, threads, n_parallel, track) for chunk in chunks])
    # Round by round, the shorter ones padded with None.
    rounds = itertools.zip_longest(*by_setup)
    turns = itertools.chain.from_iterable(rounds)
    return [stack for stack in turns if stack is not None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that trains: a torch device, CPU threads, a float type, the data's folder.

    dtype  what is computed in: float32, float64, tf32 or bf16
    """

    data_dir: str
    device: str = "cpu"
    threads: int = 1
    dtype: str = "float32"

    @property
    def storage(self) -> str:
        """The type that data and weights are kept in: tf32 and bf16 are for computing alone."""
        return "float64" if self.dtype == "float64" else "float32"
