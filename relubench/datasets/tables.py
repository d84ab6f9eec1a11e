"""Tables of named columns: a user's own files, and those of openml.org."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, FLOAT32, Dataset, classed, huge
from relubench.datasets.vision import network_timeout
from relubench.errors import BadValue, DataError, suggestion

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn import compose, impute, pipeline
    from sklearn import datasets as sklearn_datasets
    from sklearn import preprocessing as codes
else:
    np, pd, sklearn_datasets = Deferred("numpy"), Deferred("pandas"), Deferred("sklearn.datasets")
    compose, impute = Deferred("sklearn.compose"), Deferred("sklearn.impute")
    pipeline, codes = Deferred("sklearn.pipeline"), Deferred("sklearn.preprocessing")

YOURS = "a file of yours"
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "?"]  # None may well be a category


@DATASETS.add(task="classes", source=YOURS, examples="as many as the file has lines")
def csv(folder: Path, *, file: str, target: str = "", missing: str = "refuse") -> Dataset:
    """Comma-separated values with a header; `target` is the column of the class

    Words become one input per word that the column has. Gaps are refused, or with missing=impute
    filled with the training part's median or most frequent word.
    """

    return _file("csv", file, target, missing, _read_csv)


def _read_csv(path: Path) -> pd.DataFrame:
    read: Callable[..., Any] = partial(
        pd.read_csv,
        path,
        index_col=False,
        encoding="utf-8-sig",
        na_values=MISSING,
        keep_default_na=False,
        low_memory=False,
        skipinitialspace=True,
    )
    names = read(header=None, nrows=1, dtype=str).iloc[0].dropna()
    if (twice := names[names.duplicated()]).any():  # pandas would rename them
        raise ValueError(f"two columns are named {twice.iloc[0]!r}: give each a name of its own")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame: pd.DataFrame = read()
    return frame


@DATASETS.add(task="classes", source=YOURS, examples="as many as the file has rows")
def parquet(folder: Path, *, file: str, target: str = "", missing: str = "refuse") -> Dataset:
    """A Parquet table, with the parameters of csv"""
    return _file("parquet", file, target, missing, lambda path: pd.read_parquet(path))


def _file(
    kind: str, file: str, target: str, missing: str, read: Callable[[Path], pd.DataFrame]
) -> Dataset:
    label, path = f"{kind}:{file}", Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"{label}: there is no such file")
    try:
        frame = read(path)
    except ImportError:
        raise DataError(f"{label}: needs pyarrow: pip install 'relubench[parquet]'") from None
    except (OSError, ValueError, Warning) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        if isinstance(error, UnicodeError):
            reason = f"it is not UTF-8 text: save it as that ({reason})"
        raise DataError(f"{label}: cannot be read as {kind}: {reason}") from error
    columns = list(map(str, frame.columns))
    frame.columns = pd.Index(columns)
    if not target:
        raise BadValue(f"{label}: say which column is the class: target=NAME of {_some(columns)}")
    if target not in columns:
        hint = suggestion(target, columns) or f"known: {_some(columns)}"
        raise BadValue(f"{label}: no column {target!r}: {hint}")
    inputs = frame.drop(columns=target)
    for column in columns:
        if _distinct(label, frame[column]) <= 1 and len(frame) > 1 and column != target:
            raise DataError(
                f"{label}: column {column!r} is constant and says nothing: take it out of the file"
            )
    return table(label, inputs, frame[target], missing)


def _distinct(label: str, column: pd.Series[Any]) -> int:
    try:
        return column.nunique()
    except TypeError as error:  # what has no hash
        raise DataError(
            f"{label}: column {column.name!r} holds lists or tables: numbers and words only"
        ) from error


def _some(columns: Sequence[str]) -> str:
    return ", ".join(columns[:10]) + (" …" if len(columns) > 10 else "")


@DATASETS.add(
    task="classes",
    source="openml.org through scikit-learn, kept in --data-dir; not pinned",
    examples="as OpenML has them",
)
def openml(folder: Path, *, data: str, missing: str = "refuse") -> Dataset:
    """A data set of openml.org, by its name (the oldest active version) or number

    Words and gaps are treated as by csv.
    """
    label, home = f"openml:{data}", folder / "openml"
    known = {"data_id": int(data)} if data.isdecimal() else {"name": data}
    try:
        with warnings.catch_warnings(), network_timeout(seconds=20):
            warnings.simplefilter("ignore")  # of versions: a number names one
            bunch = sklearn_datasets.fetch_openml(
                **known, data_home=str(folder), as_frame=True, parser="auto", n_retries=1, delay=0.1
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
    return table(label, bunch.data, bunch.target, missing)


def table(label: str, inputs: pd.DataFrame, target: pd.Series[Any], missing: str) -> Dataset:
    """The dataset of a table's columns; raises DataError, beginning with `label`."""
    if missing not in ("refuse", "impute"):
        raise BadValue(f"{label}: missing={missing}: known: refuse, impute")
    if target.isna().any():
        raise DataError(f"{label}: {_gaps(target.to_frame())}: an example needs its class")
    if not inputs.shape[1]:
        raise DataError(f"{label}: it has no column besides the target")
    if missing == "refuse" and inputs.isna().any(axis=None):
        raise DataError(f"{label}: {_gaps(inputs)}: fill the gaps, or say missing=impute")
    numeric = pd.api.types.is_numeric_dtype
    numbers = [_numbers(label, inputs[name]) for name in inputs if numeric(inputs[name])]
    words = [_words(label, inputs[name]) for name in inputs if not numeric(inputs[name])]
    sizes = [1 + int(np.nanmax(column, initial=-1)) for column in words]
    x = np.column_stack([*numbers, *words])
    y, classes = classed(label, _values(target))
    if not words and not np.isnan(x).any():
        return Dataset(x, y, classes)
    fit = partial(encode, numbers=len(numbers), sizes=sizes)
    return Dataset(x, y, classes, encode=fit, width=len(numbers) + sum(sizes))


def _gaps(frame: pd.DataFrame) -> str:
    gaps = frame.isna()
    count, name = int(gaps.to_numpy().sum()), str(gaps.any().idxmax())
    row = int(gaps[name].to_numpy().argmax()) + 1
    values = "value is" if count == 1 else "values are"
    return f"{count} {values} missing, first in column {name!r}, example {row}"


def _values(column: pd.Series[Any]) -> NDArray[Any]:
    """A target without gaps as an array of numbers or words."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return column.astype(str).to_numpy(dtype=object)
    return column.to_numpy(dtype=np.float64)


def _numbers(label: str, column: pd.Series[Any]) -> NDArray[np.float64]:
    found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if huge(found, FLOAT32):
        raise DataError(
            f"{label}: column {column.name!r} holds a number that is not finite in float32 "
            f"(none may be beyond ±{FLOAT32:g})"
        )
    return found


def _words(label: str, column: pd.Series[Any]) -> NDArray[np.float64]:
    """Each word's number in the order of the alphabet; NaN for a gap."""
    found, words = pd.factorize(column.astype("string"), sort=True)
    if len(words) > max(20, len(column) / 2):
        raise DataError(
            f"{label}: column {column.name!r} has {len(words)} distinct words among {len(column)} "
            "examples: that is no category: take it out of the file"
        )
    return np.where(found < 0, np.nan, found)


def encode(
    train: NDArray[np.float64], test: NDArray[np.float64], numbers: int, sizes: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps filled as the training part says, then words as one input per word.

    train, test  (examples, columns): first the numbers, then words by their number of `sizes`
    """
    one_hot = codes.OneHotEncoder(
        categories=[np.arange(size) for size in sizes], sparse_output=False
    )
    fill = partial(impute.SimpleImputer, keep_empty_features=True)
    fitted = compose.make_column_transformer(
        (
            fill(strategy="median"),
            list(range(numbers)),
        ),  # an empty list is passed over, a slice not
        (
            pipeline.make_pipeline(fill(strategy="most_frequent"), one_hot),
            list(range(numbers, train.shape[1])),
        ),
    )
    return fitted.fit_transform(train), fitted.transform(test)
