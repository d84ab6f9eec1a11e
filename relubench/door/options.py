"""The keywords of training calls, for type checkers and editors.

The calls themselves take whatever relubench.config.options declares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Frame = pd.DataFrame
    Numbers = float | Sequence[float] | NDArray[np.float64]
else:
    Frame = Numbers = Any

Path = str | os.PathLike[str]
Arrays = tuple[Any, ...]  # (X, y) or (X, y, X_test, y_test): whatever numpy makes an array of
OneDataset = Path | Arrays | Frame
Data = OneDataset | Sequence[OneDataset] | Mapping[str, OneDataset]
Code = str | Callable[..., Any]  # a name; a function, a class, a factory or an nn.Module
Several = Code | Sequence[Code]
Names = str | Sequence[str]
WholeNumbers = int | Sequence[int]


class RunOptions(TypedDict, total=False):
    """Keywords of every training call that no benchmark holds.

    config               benchmarks
    data_dir             where downloaded data are kept
    ledger, no_ledger    where finished runs are kept; that none is read or written
    rerun                train what is finished too
    quick                a smoke run
    quiet                no bar in a notebook
    """

    config: Path | None
    data_dir: Path | None
    ledger: Path | None
    no_ledger: bool
    rerun: bool
    quick: bool
    quiet: bool


# --- made from relubench.config.options by tests/test_door.py --update-golden


class SharedOptions(RunOptions, total=False):
    """Those of every training call."""

    dataset: Data | None
    model: Several | None
    activation: Several | None
    head: Names | None
    init: Names | None
    match_parameters: bool | None
    fresh: bool | None
    unit_axis: int | None
    strict_swap: bool | None
    one_holdout: bool | None
    task: str | None
    tasks: int | None
    optimizer: Names | None
    lr: Numbers | None
    epochs: WholeNumbers | None
    task_epochs: int | None
    steps: int | None
    batch_size: WholeNumbers | None
    weight_decay: Numbers | None
    schedule: Names | None
    warmup: int | float | str | None
    clip_norm: float | None
    label_smoothing: float | None
    standardise: bool | None
    pca: int | None
    limit: int | None
    augment: Names | None
    revive: Names | None
    track_neurons: int | None
    device: str | None
    threads: int | None
    stack: int | Literal["auto"] | None
    precision: Literal["float32", "float64", "tf32", "bf16"] | None
    checkpoint: float | None


class TrainOptions(SharedOptions, total=False):
    """Those of `train`."""

    seed: int | None
    seeds: int | None
    seed_base: int | None
    perturb: Names | None
    best_lr: bool | None
    validation: str | None
    report: Literal["last", "best"] | None
    until: str | None
    jobs: int | None
    executor: str | None
    scheduler: str | None
    scheduler_file: str | None


class CvOptions(TrainOptions, total=False):
    """Those of `cv`."""

    folds: int | None
    repeats: int | None
    protocol: Literal["fresh", "published"] | None


class CompareOptions(CvOptions, total=False):
    """Those of `compare`."""

    reference: Code | None
    metric: str | None
    margin: Names | Mapping[str, str] | None
    rope: str | None
    pairs: Literal["reference", "all"] | None
    family: Literal["setup", "all"] | None
    until_decided: bool | None
    max_seeds: int | None


class SuggestOptions(SharedOptions, total=False):
    """Those of `suggest`."""

    reference: Code | None
    metric: str | None
    margin: Names | Mapping[str, str] | None
    budget: float | str | None
