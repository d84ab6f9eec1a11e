"""What a dataset is, and the catalogue of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]  # of numbers, texts or objects
    # (training inputs, test inputs) to both as numbers, fitted on the first alone.
    Encode = Callable[[Array, Array], tuple[NDArray[np.float64], NDArray[np.float64]]]
else:
    np = Deferred("numpy")


# What a dataset's targets are: classes, numbers, or the token after each of a text.
Task = Literal["classes", "regression", "language"]


@dataclass(frozen=True)
class Source(Entry["Dataset"]):
    """One dataset's facts: task, where it comes from, SHA-256 of each decoded array by its name."""

    task: Task
    source: str
    examples: str
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples with their classes or numbers, the published test set (if there is one) last.

    x        (examples, features) for tables, (examples, channels, height, width) for images
    y        (examples,) class numbers, int64; of regression the measured numbers, float64; of
             language the tokens that follow those of x, (examples, context) both
    classes  the classes' names; none: regression
    n_test   how many examples at the end are the published test set
    encode   where `x` is not numbers yet, or has gaps: what a split makes of it
    width    features after `encode`
    groups   (examples,) whose example it is, where a split must not part the examples of one
    notes    what a user should know of how it was read, a line each
    files    what it was read from, where that may change: files, and folders that were searched
    drawn    of language: windows of an epoch, at random places of what the examples are made of
    letters  of language: characters of a token; NaN where that is not known
    tokens   kinds of tokens that x is made of, after `encode`; 0: it is made of numbers
    """

    x: Array
    y: Array
    classes: tuple[str, ...]
    n_test: int = 0
    encode: Encode | None = None
    width: int = 0
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    drawn: int = 0
    letters: float = float("nan")
    tokens: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return (self.width,) if self.encode else tuple(self.x.shape[1:])

    @property
    def task(self) -> Task:
        """What the targets are."""
        if self.y.ndim > 1:
            return "language"
        return "classes" if self.classes else "regression"

    @property
    def outputs(self) -> int:
        """How many outputs a network needs: one per class, or one for a number."""
        return len(self.classes) or 1

    @property
    def strata(self) -> NDArray[np.int64]:
        """(examples,): the classes, whose proportions a split keeps; all else is of one."""
        if self.task != "classes":
            return np.zeros(len(self.y), dtype=np.int64)
        classes: NDArray[np.int64] = self.y
        return classes

    @property
    def n_train(self) -> int:
        """Examples outside the published test set."""
        return len(self.y) - self.n_test

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for all of it."""
        # Not the notes nor the files' names: where data come from decides no number.
        parts = [digest(self.x), digest(self.y), *self.classes]
        parts += [str(self.n_test), str(self.width)]
        if self.drawn:
            parts.append(str(self.drawn))
        if self.groups is not None:
            parts.append(digest(self.groups))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


DATASETS: Catalog[Source] = Catalog("dataset", Source)


def task_of(name: str) -> Task:
    """What the targets of the dataset of that name are, without loading it."""
    choice = DATASETS.choose(name)
    asked = choice.parameters.get("task")
    return "regression" if asked == "regression" else choice.entry.task


def digest(array: Array) -> str:
    """SHA-256 of an array's type, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    if array.dtype == object:  # texts: the array holds their addresses
        return hashlib.sha256(head + "\0".join(array).encode(errors="replace")).hexdigest()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def targeted(label: str, values: Array, task: str = "auto") -> tuple[Array, tuple[str, ...]]:
    """What is to be learned of a target's values: class numbers and names, or numbers and no names.

    task  "classes": numbers are classes, however many there are; "regression": they are numbers
    Raises DataError, beginning with `label`, where that is not possible.
    """
    if task not in TASKS:
        raise BadValue(f"{label}: task={task}: known: {', '.join(TASKS)}")
    if task == "regression":
        return measurements(label, values), ()
    return classed(label, values, task)


TASKS = ("auto", "classes", "regression")


def measurements(label: str, values: Array) -> NDArray[np.float64]:
    """(examples,) the numbers of a target; raises DataError where they are none, or all alike."""
    if values.dtype.kind not in "iuf":
        word = next((value for value in values.tolist() if not isinstance(value, float)), "")
        raise DataError(
            f"{label}: task=regression: the target holds {str(word)[:40]!r}, and needs numbers"
        )
    numbers = values.astype(np.float64)
    if huge(numbers, FLOAT32):
        raise DataError(f"{label}: the target holds a number beyond ±{FLOAT32:g}")
    if len(numbers) < 2 or numbers.min() == numbers.max():
        raise DataError(f"{label}: the target has one value only, and there is nothing to learn")
    return numbers


def classed(
    label: str, values: Array, task: str = "auto"
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers and names of a target's values, in their order.

    task  "classes": numbers are classes, however many there are
    Raises DataError, beginning with `label`, for one class, and for numbers that are measurements.
    """
    # 1.0 and 1 are one class. Beyond 2⁵³ a float may stand for several whole numbers.
    if values.dtype.kind == "f" and (values == np.round(values)).all() and not huge(values):
        values = values.astype(np.int64)
    elif values.dtype.kind not in "iuf":
        values = values.astype(str)
    # Sorted: class numbers follow the names, not the order of the rows.
    names, y = np.unique(values, return_inverse=True)
    if len(names) < 2:
        only = "there are no examples"
        if len(names):
            only = f"every example is of class '{names[0]}'"
        raise DataError(f"{label}: {only}, and two classes are the least")
    if task == "auto" and measured(names, len(values)):
        kind = "" if names.dtype.kind == "f" else "whole "
        raise DataError(
            f"{label}: the target has {len(names)} distinct {kind}numbers among {len(values)} "
            "examples, as in regression: say task=classes if these are classes, task=regression if "
            "they are measured"
        )
    return y.astype(np.int64), tuple(map(_printable, names))


def target_summary(y: Array, classes: tuple[str, ...]) -> str:
    """How many examples and classes, and the fraction of the largest class, for a note.

    Of numbers their range, mean and standard deviation.
    """
    if not classes:
        return (
            f"{len(y)} examples of a number from {y.min():g} to {y.max():g} "
            f"(mean {y.mean():.4g}, sd {y.std(ddof=1):.4g})"
        )
    counts = np.bincount(y)
    most = int(counts.argmax())
    return (
        f"{len(y)} examples of {len(classes)} classes ({classes[most]!r} the most, "
        f"{counts[most] / len(y):.1%})"
    )


def _printable(name: object) -> str:
    """A class's name for a table: line ends and a terminal's commands escaped."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
    return "".join(escaped)


def huge(values: Array, most: float = 2.0**53) -> bool:
    """Whether a number is infinite or beyond ±most; up to 2⁵³ floats stand for whole numbers."""
    return bool((np.abs(values.astype(np.float64)) > most).any())


FLOAT32 = 3.4e38  # what training can hold
FEW = 20  # classes that any target may have


def measured(distinct: Array, examples: int) -> bool:
    """Whether a target's distinct values are measurements: many, of which few come back."""
    if distinct.dtype.kind == "f":
        return len(distinct) > min(FEW, max(2, examples / 10))
    return distinct.dtype.kind in "iu" and len(distinct) > max(FEW, examples / 10)
