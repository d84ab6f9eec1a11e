"""Data that a Python call was given: arrays, and data frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, Dataset, measured
from relubench.datasets.tables import TableOptions, of_frame
from relubench.datasets.user_files import of_arrays
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from relubench.datasets.dataset import Array
else:
    np, pd = Deferred("numpy"), Deferred("pandas")

R = TypeVar("R")

LENT: dict[str, Dataset] = {}  # by name, while the call goes on that was given them
TARGETS = ("target", "class", "label", "y")  # what the column of the class is called
FORMS = "a name, arrays (X, y) or (X, y, X_test, y_test), or a data frame (frame, 'COLUMN')"


@DATASETS.add(task="classes", source="a Python call", examples="as many as it was given")
def memory(folder: Path, *, data: str, task: str = "classes") -> Dataset:
    """Arrays or a data frame that a Python call was given; its name is a digest of them

    task=regression is in the name where a float target has more than a few values.
    """
    if data not in LENT:
        raise DataError(
            f"memory:{data}: these data were given to a Python call, and are not here: "
            "write them to a file, npz:FILE or csv:FILE:target=COLUMN"
        )
    return LENT[data]


@contextmanager
def lent(data: Mapping[str, Dataset]) -> Iterator[None]:
    """Let data be had by their names until the end."""
    LENT.update(data)
    try:
        yield
    finally:
        for name in data:
            LENT.pop(name, None)


def as_lent(data: Mapping[str, Dataset], run: Callable[..., R], *arguments: Any) -> R:
    """Run with these data: a worker process has none of its own."""
    # In this process they may be there already, and must be there still when `run` is over.
    with lent({name: each for name, each in data.items() if name not in LENT}):
        return run(*arguments)


def name_of(data: Dataset, label: str = "") -> str:
    """What stands after `memory:`: a digest, with a label before it where one is given."""
    if label and not re.fullmatch(r"[\w-]+", label):
        raise BadValue(f"dataset {label!r}: a label is made of letters, digits, _ and -")
    return f"{label}-{data.digest}" if label else data.digest


def spelt(data: Dataset, name: str) -> str:
    """The dataset as options name it, its task where that is not classes."""
    return f"memory:{name}" if data.task == "classes" else f"memory:{name}:task={data.task}"


def dataset(given: object) -> Dataset:
    """The dataset that arrays or a data frame make; raises BadValue or DataError."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], str):
        return _of_frame(_frame(given[0]), given[1])
    if _is_frame(given):
        return _of_frame(given, _target(given))
    if not isinstance(given, tuple) or len(given) not in (2, 4):
        kind = type(given).__name__
        what = f"{len(given)} of them" if isinstance(given, tuple) else f"an object of type {kind}"
        raise BadValue(f"dataset: got {what}, must be {FORMS}")
    if len(given) == 2 and _is_frame(given[0]):
        return _of_columns(*given)
    arrays = list(map(_array, given))
    return of_arrays("dataset (X, y)", arrays, task=_task(arrays[1]))


def _task(y: Array) -> str:
    """Numbers are measured where they are floats and many, as in regression."""
    flat = y.reshape(-1)
    if y.dtype.kind != "f" or not np.isfinite(flat).all() or len(flat) < len(y):
        return "auto"
    if y.ndim > 1 and y.shape[1:] != (1,):  # one-hot, or nothing that is known
        return "auto"
    distinct = np.unique(flat)
    # As classes are told from measurements: whole floats are classes while they are few.
    whole = bool((distinct == np.round(distinct)).all())
    many = measured(distinct.astype(np.int64) if whole else distinct, len(flat))
    return "regression" if many else "auto"


def _is_frame(given: object) -> TypeGuard[pd.DataFrame]:
    return hasattr(given, "columns") and hasattr(given, "iloc")


def _frame(given: object) -> pd.DataFrame:
    if not _is_frame(given):
        raise BadValue(f"dataset: got {type(given).__name__} with a column, must be a data frame")
    return given


def _target(frame: pd.DataFrame) -> str:
    """The column that can only be the class."""
    found = [str(name) for name in frame.columns if str(name).lower() in TARGETS]
    if len(found) != 1:
        names = list(map(str, frame.columns))
        few = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
        raise BadValue(
            f"dataset: say which column is the class: dataset=(frame, 'COLUMN'), one of {few}"
        )
    return found[0]


def _of_frame(frame: pd.DataFrame, target: str) -> Dataset:
    chosen = frame[target] if list(map(str, frame.columns)).count(target) == 1 else None
    is_float = getattr(getattr(chosen, "dtype", None), "kind", "") == "f"
    task = _task(chosen.to_numpy()) if is_float and chosen is not None else "auto"
    return of_frame("dataset (data frame)", frame.copy(), TableOptions(target=target, task=task))


def _of_columns(x: pd.DataFrame, y: object) -> Dataset:
    """Inputs as a data frame, classes beside it, taken by position and not by index."""
    classes = _array(y)
    if classes.shape not in ((len(x),), (len(x), 1)):
        raise DataError(f"dataset (X, y): y must be ({len(x)},) like X, got {classes.shape}")
    # A name that no column has, as long as it takes.
    name = "y"
    while name in map(str, x.columns):
        name += "'"
    # By position: pandas would put classes beside rows of the same index.
    frame = x.reset_index(drop=True)
    # A series of its own type: classes of words and classes of numbers are both read from it.
    frame[name] = pd.Series(classes.reshape(-1))
    options = TableOptions(target=name, task=_task(classes.reshape(-1)))
    return of_frame("dataset (X, y)", frame, options)


def _array(values: Any) -> Array:
    """As numpy has it; a tensor may be on a device, or ask for gradients."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array: Array = np.asarray(values)
    except ValueError:  # rows of several lengths
        raise DataError("dataset (X, y): its rows are not of one length") from None
    return array


def used(names: Sequence[str]) -> dict[str, Dataset]:
    """Those data that these names of datasets mean, for `as_lent`."""
    found = {}
    for name in names:
        kind, _, rest = name.partition(":")
        data = rest.partition(":")[0]
        if kind == "memory" and data in LENT:
            found[data] = LENT[data]
    return found
