"""Tables of named columns: a user's own files, and those of openml.org."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

from relubench.catalog import Deferred
from relubench.datasets import csv_cells, csv_lines, language
from relubench.datasets.dataset import (
    DATASETS,
    FLOAT32,
    Dataset,
    huge,
    target_summary,
    targeted,
)
from relubench.datasets.vision import network_timeout
from relubench.errors import BadValue, DataError, RelubenchError, suggestion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn import datasets as sklearn_datasets
    from sklearn import impute

    from relubench.datasets.dataset import Array

    Series = pd.Series[Any]  # of whatever a parquet file holds
else:
    np, pd, sklearn_datasets = Deferred("numpy"), Deferred("pandas"), Deferred("sklearn.datasets")
    impute = Deferred("sklearn.impute")

YOURS = "a file of yours"


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What a user says of a table: the parameters of csv that do not say how to read it.

    target, group   names of columns, or @N for the N-th
    max_categories  inputs that a column of words becomes at the most
    """

    target: str = ""
    missing: str = "refuse"
    index: str = "auto"
    group: str = ""
    task: str = "auto"
    max_categories: int = 100
    text: str = ""
    words: int = 1000
    context: int = 64


@DATASETS.add(task="classes", source=YOURS, examples="as many as the file has lines")
def csv(
    folder: Path,
    *,
    file: str,
    target: str = "",
    missing: str = "refuse",
    sep: str = "auto",
    decimal: str = "auto",
    skip: int = 0,
    index: str = "auto",
    group: str = "",
    task: str = "auto",
    max_categories: int = 100,
    text: str = "",
    words: int = 1000,
    context: int = 64,
) -> Dataset:
    """Comma-separated values with a header; `target` is the column of the class, or of a number

    Words become one input per word that the column has, the rarest together beyond
    `max_categories`. Gaps are refused, or with missing=impute filled with the training set's
    median or most frequent word. `target` and `group` are names or @3 for the third column;
    examples of one `group` are never both in training and in test. A first column that only
    counts the lines is left out, unless index=keep. sep=semicolon, decimal=comma and skip=1 (lines)
    say how the file is written where it is taken wrongly. task=classes says that numbers are
    classes, task=regression that they are measured: then `target` is the number to predict.
    `text` is a column of sentences, which is the only input then, as tokens for a model of
    attention: the first `context` words, of which the `words` most frequent in training are known.
    """
    options = TableOptions(
        target=target,
        missing=missing,
        index=index,
        group=group,
        task=task,
        max_categories=max_categories,
        text=text,
        words=words,
        context=context,
    )
    if decimal not in DECIMALS:
        raise BadValue(f"csv:{file}: decimal={decimal}: known: auto, comma, point")
    if skip < 0:
        raise BadValue(f"csv:{file}: skip={skip}: a number of lines")
    return _file("csv", file, options, lambda path: _read_csv(path, sep, DECIMALS[decimal], skip))


DECIMALS = {"auto": "auto", "comma": ",", "point": ".", ",": ",", ".": "."}


@dataclass(frozen=True)
class Read:
    """A table as it was read: cells of text are yet to be understood.

    decimal, usual  as for csv_cells.column
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    decimal: str = "auto"
    usual: str = "."


def _read_csv(path: Path, sep: str, decimal: str, skip: int) -> Read:
    lines = csv_lines.read(path, sep, skip)
    # As text: what a cell means is for csv_cells to say, not for pandas.
    frame = pd.DataFrame(dict(enumerate(lines.columns)), dtype=object)
    frame.columns = pd.Index(lines.names)
    # The whole table is asked before any column: one that leaves the mark open follows the others.
    usual = csv_cells.decimal_of(lines.columns, lines.separator)
    notes = lines.notes
    if decimal == "auto" and usual == ",":
        notes += ("numbers are read with a decimal comma (decimal=)",)
    return Read(frame, notes, decimal, usual)


@DATASETS.add(task="classes", source=YOURS, examples="as many as the file has rows")
def parquet(
    folder: Path,
    *,
    file: str,
    target: str = "",
    missing: str = "refuse",
    index: str = "auto",
    group: str = "",
    task: str = "auto",
    max_categories: int = 100,
) -> Dataset:
    """A Parquet table, with the parameters of csv"""
    options = TableOptions(
        target=target,
        missing=missing,
        index=index,
        group=group,
        task=task,
        max_categories=max_categories,
    )
    return _file("parquet", file, options, lambda path: Read(pd.read_parquet(path)))


def _file(kind: str, file: str, options: TableOptions, read: Callable[[Path], Read]) -> Dataset:
    label, path = f"{kind}:{file}", Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"{label}: there is no such file")
    try:
        cells = read(path)
    except RelubenchError as error:
        raise type(error)(f"{label}: {error}") from error
    except ImportError:
        raise DataError(f"{label}: needs pyarrow: pip install 'relubench[parquet]'") from None
    except Exception as error:  # what a damaged file makes a reader raise, is in no list
        reason = getattr(error, "strerror", None) or (str(error).strip() or repr(error))
        if isinstance(error, UnicodeError):
            reason = f"it is not UTF-8 text: save it as that ({reason})"
        raise DataError(f"{label}: cannot be read as {kind}: {reason.splitlines()[0]}") from error
    return replace(_of_read(label, cells, options), files=(path,))


def of_frame(label: str, frame: pd.DataFrame, options: TableOptions) -> Dataset:
    """The dataset of a data frame's columns, as parquet reads one; raises with `label`."""
    return _of_read(label, Read(frame.reset_index(drop=True)), options)


def _of_read(label: str, cells: Read, options: TableOptions) -> Dataset:
    names = list(map(str, cells.frame.columns))
    cells.frame.columns = pd.RangeIndex(len(names))  # a column is its number: names may be strange
    return _columns(label, cells, names, options)


def _columns(label: str, cells: Read, names: list[str], options: TableOptions) -> Dataset:
    """The dataset of the columns that are chosen."""
    if not options.target:
        raise BadValue(f"{label}: say which column is the target: target=NAME of {_some(names)}")
    # 1. Which columns are the target, the group and the inputs.
    target = _place(label, options.target, names)
    group = _place(label, options.group, names) if options.group else None
    if target == group:
        raise BadValue(f"{label}: target and group are one column, {names[target]!r}")
    if options.text:
        return _of_texts(label, cells, names, options)
    inputs = [number for number in range(len(names)) if number not in (target, group)]
    notes = list(cells.notes)
    for number in _indexes(label, cells, names, inputs, options.index):
        column = _named(names[number], number + 1)
        notes.append(f"column {column}, which counts the lines, is no input (index=keep)")
        inputs.remove(number)
    # 2. What their cells mean.
    columns = {
        _named(names[number], number + 1): _column(label, names[number], cells, number)
        for number in inputs
    }
    _check_constant(label, columns)
    # 3. The class, whose numbers are read more carefully: each is a name.
    values = _target(label, names[target], cells, target)
    groups = None
    if group is not None:
        groups = _groups(label, names[group], cells.frame[group])
        notes.append(f"examples of one {names[group]!r} stay together ({groups.max() + 1} of them)")
    return table(label, columns, values, options, groups, notes)


def _of_texts(label: str, cells: Read, names: list[str], options: TableOptions) -> Dataset:
    """The dataset of one column of sentences."""
    target, column = (_place(label, name, names) for name in (options.target, options.text))
    if target == column:
        raise BadValue(f"{label}: target and text are one column, {names[target]!r}")
    if options.words < 1 or options.context < 1:
        raise BadValue(f"{label}: words and context must be at least 1")
    sentences = _text(cells.frame[column])
    if sentences is None:
        raise DataError(f"{label}: column {names[column]!r} holds numbers, not sentences")
    y, classes = targeted(label, _target(label, names[target], cells, target), options.task)
    groups = None
    if options.group:
        place = _place(label, options.group, names)
        groups = _groups(label, names[place], cells.frame[place])
    note = (
        f"{target_summary(y, classes)}; the first {options.context} words of {names[column]!r}, "
        f"{options.words} of which are known"
    )
    return Dataset(
        np.array(sentences, dtype=object),
        y,
        classes,
        encode=partial(language.sequences, words=options.words, context=options.context),
        width=options.context,
        groups=groups,
        notes=(note, *cells.notes),
        tokens=options.words + language.FIRST,
    )


def _place(label: str, name: str, names: Sequence[str]) -> int:
    """A column's number, from 0, by its name or @number from 1."""
    if name in names:
        return list(names).index(name)
    number = name[1:]
    if name[:1] == "@" and number.isdecimal() and 1 <= int(number) <= len(names):
        return int(number) - 1
    hint = suggestion(name, names) or f"known: {_some(names)}"
    if len(names) == 1:
        hint += " (one column: say what parts them, as in sep=:)"
    raise BadValue(f"{label}: no column {name!r}: {hint}")


def _named(name: str, number: int) -> str:
    return repr(name) if name else f"@{number} without a name"


def _indexes(
    label: str, cells: Read, names: Sequence[str], inputs: Sequence[int], index: str
) -> list[int]:
    """The columns that only count the lines: the first, and what pandas names when it reads one."""
    if index not in ("auto", "keep"):
        raise BadValue(f"{label}: index={index}: known: auto, keep")
    if index == "keep":
        return []
    counting = [number for number in inputs if SAVED_INDEX.match(names[number])]
    # The first column alone: a number that rises elsewhere may well be a measurement.
    if inputs[:1] == [0] and 0 not in counting and (not names[0] or _rises(label, names[0], cells)):
        counting.insert(0, 0)
    # One that is the only input is an input.
    return counting if len(counting) < len(inputs) else []


SAVED_INDEX = re.compile(r"Unnamed: 0(\.|$)")


def _rises(label: str, name: str, cells: Read) -> bool:
    """Whether the first column has whole numbers that only rise."""
    numbers = _column(label, name, cells, 0).numbers
    # Of three numbers any might rise.
    if numbers is None or len(numbers) <= 3 or not bool((np.diff(numbers) > 0).all()):
        return False
    return bool((numbers == np.round(numbers)).all())


def _text(column: Series) -> list[str] | None:
    """The cells of a column of text, "" for a gap; None for a column of anything else."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_numeric_dtype(column):
        return None
    texts = column.tolist()
    if not all(isinstance(cell, str) for cell in texts):
        texts = ["" if gap else cell for cell, gap in zip(texts, column.isna(), strict=True)]
    if not all(isinstance(cell, str) for cell in texts):
        return None
    return [cell.strip() for cell in texts]


def _column(label: str, name: str, cells: Read, number: int) -> csv_cells.Column:
    text = _text(cells.frame[number])
    if text is None:
        _check_hashes(label, name, cells.frame[number])
        return typed(label, name, cells.frame[number])
    column = csv_cells.column(label, name, text, cells.decimal, cells.usual)
    if column.numbers is not None:
        _check_finite(label, name, column.numbers)
    return column


def typed(label: str, name: str, column: Series) -> csv_cells.Column:
    """A column of a library's type: numbers, or words for all else."""
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        _check_finite(label, name, numbers)
        return csv_cells.Column(numbers, [], {}, ())
    words = column.astype("string").astype(object)
    dates = pd.api.types.is_datetime64_any_dtype(column)
    notes: tuple[str, ...] = ()
    if dates:
        notes = (f"column {name!r} holds dates, taken as words: write them as numbers",)
    return csv_cells.Column(None, words.where(column.notna(), None).tolist(), {}, notes)


def _check_finite(label: str, name: str, numbers: NDArray[np.float64]) -> None:
    if huge(numbers, FLOAT32):
        raise DataError(
            f"{label}: column {name!r} holds a number that is not finite in float32 "
            f"(none may be beyond ±{FLOAT32:g})"
        )


def _check_hashes(label: str, name: str, column: Series) -> None:
    try:
        column.nunique()
    except TypeError as error:  # what has no hash
        raise DataError(
            f"{label}: column {name!r} holds lists or tables: numbers and words only"
        ) from error


def _check_constant(label: str, columns: Mapping[str, csv_cells.Column]) -> None:
    for name, column in columns.items():
        size = len(column.words) if column.numbers is None else len(column.numbers)
        if size > 1 and column.distinct <= 1:
            raise DataError(
                f"{label}: column {name} is constant and says nothing: take it out of the file"
            )


def _target(label: str, name: str, cells: Read, number: int) -> Array:
    """The target as an array of whole numbers, other numbers or words."""
    series = cells.frame[number]
    text = _text(series)
    gaps = series.isna().to_numpy() if text is None else np.isin(text, list(csv_cells.GAPS))
    if gaps.any():
        values = "value is" if gaps.sum() == 1 else "values are"
        raise DataError(
            f"{label}: {gaps.sum()} {values} missing, first in column {name!r}, example "
            f"{int(gaps.argmax()) + 1}: an example needs its target"
        )
    if text is None:
        return _values(series)
    # As integers, not through float64: two large ids must not become one class.
    if all(map(WHOLE.fullmatch, text)):
        return _whole(text)
    column = csv_cells.column(label, name, text, cells.decimal, cells.usual)
    if column.numbers is None or column.odd or column.unit or set(text) <= csv_cells.TRUTH.keys():
        return np.array(text, dtype=object)
    return column.numbers


WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")


def _whole(text: Sequence[str]) -> Array:
    try:
        return np.array([int(cell.partition(".")[0]) for cell in text], dtype=np.int64)
    except OverflowError:  # beyond 2⁶³ they are names
        return np.array(text, dtype=object)


def _values(column: Series) -> Array:
    """A target without gaps as an array of numbers or words."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return column.astype(str).to_numpy(dtype=object)
    if pd.api.types.is_integer_dtype(column):  # as float64, two beyond 2⁵³ may be one
        return column.to_numpy(dtype=np.uint64 if column.min() >= 0 else np.int64)
    return column.to_numpy(dtype=np.float64)


def _groups(label: str, name: str, column: Series) -> NDArray[np.int64]:
    text = _text(column)
    series = column if text is None else pd.Series([cell or None for cell in text], dtype=object)
    # In the order in which they come, -1 for a gap.
    numbers, _ = pd.factorize(series)
    if (numbers < 0).any():
        raise DataError(
            f"{label}: example {int((numbers < 0).argmax()) + 1} has no {name!r}, its group"
        )
    return numbers.astype(np.int64)


def _some(columns: Sequence[str]) -> str:
    return ", ".join(columns[:10]) + (" …" if len(columns) > 10 else "")


@DATASETS.add(
    task="classes",
    source="openml.org through scikit-learn, kept in --data-dir; not pinned",
    examples="as OpenML has them",
)
def openml(
    folder: Path,
    *,
    data: str,
    missing: str = "refuse",
    task: str = "auto",
    max_categories: int = 100,
) -> Dataset:
    """A data set of openml.org, by its name (the oldest active version) or number

    Words, gaps and task= are treated as by csv.
    """
    label, home = f"openml:{data}", folder / "openml"
    key = {"data_id": int(data)} if data.isdecimal() else {"name": data}
    try:
        with warnings.catch_warnings(), network_timeout(seconds=20):
            warnings.simplefilter("ignore")  # of versions: a number names one
            bunch = sklearn_datasets.fetch_openml(
                **key, data_home=str(folder), as_frame=True, parser="auto", n_retries=1, delay=0.1
            )
    except (URLError, ConnectionError, TimeoutError) as error:
        if isinstance(error, HTTPError):
            raise DataError(f"{label}: openml.org answers {error}") from error
        raise DataError(
            f"{label}: not in {home}, and openml.org cannot be reached: run once with a network, "
            "or say where a copy is with --data-dir or RELUBENCH_DATA"
        ) from error
    except (OSError, ValueError, LookupError, EOFError) as error:
        raise DataError(f"{label}: {str(error).splitlines()[0] or 'cannot be read'}") from error
    if not isinstance(bunch.target, pd.Series):
        raise DataError(f"{label}: it has no single target column")
    names = list(map(str, bunch.data.columns))
    columns = {
        repr(name): typed(label, name, bunch.data.iloc[:, number])
        for number, name in enumerate(names)
    }
    if bunch.target.isna().any():
        row = int(bunch.target.isna().to_numpy().argmax()) + 1
        raise DataError(f"{label}: example {row} has no target, and an example needs its target")
    options = TableOptions(missing=missing, task=task, max_categories=max_categories)
    return table(label, columns, _values(bunch.target), options)


def table(
    label: str,
    columns: Mapping[str, csv_cells.Column],
    target: Array,
    options: TableOptions,
    groups: NDArray[np.int64] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """The dataset of a table's columns; raises DataError, beginning with `label`.

    target  (examples,) whole numbers, numbers or words
    notes   what is known so far of how it was read
    """
    if options.missing not in ("refuse", "impute"):
        raise BadValue(f"{label}: missing={options.missing}: known: refuse, impute")
    if options.max_categories < 2:
        raise BadValue(f"{label}: max_categories={options.max_categories}: 2 at the least")
    if not columns:
        raise DataError(f"{label}: it has no column besides the target")
    gaps = _gaps(columns)
    if options.missing == "refuse" and gaps:
        raise DataError(f"{label}: {gaps}: fill the gaps, or say missing=impute")
    numbers = [column.numbers for column in columns.values() if column.numbers is not None]
    worded = {name: column.words for name, column in columns.items() if column.numbers is None}
    words = [_words(label, name, texts) for name, texts in worded.items()]
    # initial=-1: a column of gaps alone has no word.
    sizes = [1 + int(np.nanmax(codes, initial=-1)) for codes in words]
    caps = [min(size, options.max_categories) for size in sizes]
    # Numbers first, then words as their codes: `encode` takes them apart by these counts.
    x = np.column_stack([*numbers, *words])
    y, classes = targeted(label, target, options.task)
    width = len(numbers) + sum(caps)
    size = f"{_counted(len(columns), 'column')} → {_counted(width, 'input')}"
    all_notes = [f"{target_summary(y, classes)}, {size}", *notes]
    for column in columns.values():
        all_notes += column.notes
    all_notes += _word_notes(list(worded), sizes, caps, len(y))
    if gaps:
        all_notes.append(f"{gaps}: filled from each training set")
    if not words and not np.isnan(x).any():
        return Dataset(x, y, classes, groups=groups, notes=tuple(all_notes))
    # What fills gaps and which words are rare is of the training set of each split: a dataset that
    # was encoded here would let its test set in.
    fit = partial(encode, numbers=len(numbers), sizes=sizes, caps=caps)
    return Dataset(x, y, classes, encode=fit, width=width, groups=groups, notes=tuple(all_notes))


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _word_notes(
    names: Sequence[str], sizes: Sequence[int], caps: Sequence[int], examples: int
) -> list[str]:
    """Which columns are words, of which the rarest words are one input, and which may be ids."""
    notes = []
    if names:
        listed = [f"{name} ({size})" for name, size in zip(names, sizes, strict=True)]
        notes.append(f"taken as words: {_some(listed)}")
    for name, size, cap in zip(names, sizes, caps, strict=True):
        if size > max(20, examples / 10):
            notes.append(f"column {name}: {size} words among {examples} examples, as ids have them")
        if size > cap:
            notes.append(
                f"column {name}: {size} words, all but the {cap - 1} most frequent in training are "
                "one input (max_categories=)"
            )
    return notes


def _gaps(columns: Mapping[str, csv_cells.Column]) -> str:
    """How many values are missing, and where the first is; "" where none is."""
    missing = {name: rows for name, column in columns.items() if len(rows := column.gaps)}
    if not missing:
        return ""
    name, rows = next(iter(missing.items()))
    count = sum(map(len, missing.values()))
    values = "value is" if count == 1 else "values are"
    there = columns[name].odd.get(int(rows[0]), "")
    shown = f" ({there[:40]!r})" if there else ""
    return f"{count} {values} missing, first in column {name}, example {rows[0] + 1}{shown}"


def _words(label: str, name: str, column: Sequence[str | None]) -> NDArray[np.float64]:
    """Each word's number in the order of the alphabet; NaN for a gap."""
    # Sorted, so that a word's number does not follow from the order of the rows.
    codes, words = pd.factorize(np.array(column, dtype=object), sort=True)
    if len(words) > max(20, len(column) / 2):
        raise DataError(
            f"{label}: column {name} has {len(words)} distinct words among {len(column)} "
            "examples: that is no category: take it out of the file"
        )
    return np.where(codes < 0, np.nan, codes)


def encode(
    train: NDArray[np.float64],
    test: NDArray[np.float64],
    numbers: int,
    sizes: Sequence[int],
    caps: Sequence[int] = (),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps filled as the training set says, then words as one input per word.

    train, test  (examples, columns): first the numbers, then words by their number of `sizes`
    caps         inputs per column of words, where they are fewer than its words
    """
    # keep_empty_features: a column that a training set leaves empty must not vanish from one fold.
    fill = partial(impute.SimpleImputer, keep_empty_features=True)
    fillers = [fill(strategy="median"), fill(strategy="most_frequent")]
    train_numbers, test_numbers = _filled(fillers[0], train[:, :numbers], test[:, :numbers])
    train_words, test_words = _filled(fillers[1], train[:, numbers:], test[:, numbers:])
    train_inputs, test_inputs = [train_numbers], [test_numbers]
    for number, (size, cap) in enumerate(zip(sizes, caps or sizes, strict=True)):
        words = [part[:, number].astype(np.int64) for part in (train_words, test_words)]
        train_hot, test_hot = _one_hot(words, size, cap)
        train_inputs.append(train_hot)
        test_inputs.append(test_hot)
    return np.hstack(train_inputs), np.hstack(test_inputs)


def _filled(
    filler: impute.SimpleImputer, train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not train.shape[1]:
        return train, test
    filler.fit(train)
    return filler.transform(train), filler.transform(test)


def _one_hot(parts: Sequence[NDArray[np.int64]], size: int, cap: int) -> list[NDArray[np.float64]]:
    """(examples, cap) for training and test: 1 at the word; the rarest of training are the last."""
    place = np.arange(size)
    if cap < size:
        # Most frequent first; stable, so that of equally frequent words the alphabet decides.
        order = np.argsort(-np.bincount(parts[0], minlength=size), kind="stable")
        place[order] = np.minimum(np.arange(size), cap - 1)
    return [np.eye(cap)[place[part]] for part in parts]
