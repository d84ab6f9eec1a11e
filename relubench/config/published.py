"""Figures that others published, as benchmarks.toml has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from relubench.catalog import Catalogs
from relubench.errors import BadValue, UnknownName
from relubench.metrics.measures import MEASURES
from relubench.results import COUNTS

Figure = Literal[
    "accuracy",
    "cv_accuracy",
    "loss",
    "perplexity",
    "rmse",
    "mae",
    "r2",
    "train_accuracy",
    "train_loss",
    "dead",
    "inactive",
    "rare",
    "dormant",
    "saturated",
    "sparsity",
    "online_accuracy",
    "online_loss",
    "task_accuracy",
    "first_task_accuracy",
    "loss_slope",
    "held_out",
    "effective_rank",
    "weight_norm",
    "mean_weight",
    "token_accuracy",
    "seconds",
    "seconds_ratio",
    "epochs_until_ratio",
    "seconds_until_ratio",
    "relative",
    "forward_relative",
    "saved_relative",
]
OF_UNITS = (*COUNTS, "sparsity")  # of the hidden units of a layer
OF_TASKS = (
    *("online_accuracy", "online_loss", "accuracy", "held_out", "dead", "dormant"),
    *("effective_rank", "weight_norm", "mean_weight"),
)  # of one task of a sequence
OF_COST = ("relative", "forward_relative", "saved_relative")  # of activations by themselves
RATIOS = ("seconds_ratio", *OF_COST)  # beside another activation


Toml = Mapping[str, Any]  # a table as it was written; Settings checks what stands in it


class Published(BaseModel):
    """A published figure or claim, and the rows that it is about: all with these names.

    layer         of which a share of units is; None: of all hidden layers
    number        of the task that a figure is of, from 1; None: of all tasks together
    beside        the activation that a ratio or a claim is beside; None: the reference
    value         fractions are fractions; None: the paper says something, but not how much
    claimed       higher or lower than with `beside`, where a direction was claimed
    sd, runs      of so many runs `value` is the mean
    confirmed     whether it was read where it was published
    incomparable  why no run of relubench can be held against it; "" where one can
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dataset: str | None = None
    model: str | None = None
    activation: str | None = None
    head: str | None = None
    lr: float | None = None
    layer: str | None = None
    number: int | None = Field(default=None, ge=1)
    beside: str | None = None
    metric: Figure = "accuracy"
    claimed: Literal["higher", "lower"] | None = None
    value: float | None = Field(default=None, allow_inf_nan=False)
    sd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    runs: int = Field(default=1, ge=1)
    source: str
    confirmed: bool
    note: str = ""
    incomparable: str = ""


def _published(value: Any, info: ValidationInfo) -> Any:
    shared = value if isinstance(value, list) else [None]
    if not all(isinstance(entry, dict) and _tables(entry.get("figures", [])) for entry in shared):
        raise BadValue("must be tables: [[benchmark.NAME.published]], with figures = [{…}, …]")
    checked, problems = [], []
    for number, entry in enumerate(figures(value), 1):
        try:
            figure = _fitting(Published.model_validate(entry))
            checked.append(_named(figure, info.context or {}))
        except (BadValue, UnknownName) as error:
            problems.append(f"entry {number}: {error}")
        except ValidationError as error:
            problems += [f"entry {number}, {_place(e)}: {_explain(e)}" for e in error.errors()]
    if problems:
        raise BadValue("; ".join(problems))
    return tuple(checked)


def _tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(table, dict) for table in value)


def figures(published: Sequence[Toml]) -> list[Toml]:
    """A table for each figure; one with `figures` says what all of them share."""
    tables = []
    for entry in published:
        shared = dict(entry)
        # Without `figures` the entry is a figure itself.
        own = shared.pop("figures", [{}])
        tables += [shared | figure for figure in own]
    return tables


def _fitting(entry: Published) -> Published:
    """The entry itself; raises BadValue where its keys do not go together."""
    metric, what = entry.metric, f"a figure of {entry.metric}"
    if entry.layer and (metric not in OF_UNITS or entry.number):
        raise BadValue(f"layer: {what} has none: known for {', '.join(OF_UNITS)}, of no one task")
    if entry.number and metric not in OF_TASKS:
        raise BadValue(f"number: {what} is of no one task: known for {', '.join(OF_TASKS)}")
    if entry.beside and metric not in RATIOS and not entry.claimed:
        raise BadValue(f"beside: {what} is beside nothing: say what is claimed, or name a ratio")
    if entry.claimed and (metric not in MEASURES or entry.layer or entry.number):
        raise BadValue(f"claimed: {what} is not compared: name a metric of compare, without a part")
    return entry


def _named(entry: Published, catalogs: Catalogs) -> Published:
    """The entry with its names spelt as rows spell them."""
    kinds = {key: key for key in ("dataset", "model", "activation", "head")}
    spelt = {}
    for key, kind in (kinds | {"beside": "activation"}).items():
        if name := getattr(entry, key):
            spelt[key] = str(catalogs[kind].choose(name))
    return entry.model_copy(update=spelt)


def _place(error: ErrorDetails) -> str:
    return ".".join(map(str, error["loc"]))


def _explain(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "must be given"
    if error["type"] == "extra_forbidden":
        return f"unknown key: known: {', '.join(Published.model_fields)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "literal_error":
        return f"got {error['input']}, must be {error['ctx']['expected']}"
    message = error["msg"].replace("Input should be", "must be").split(",")[0]
    return f"got {error['input']}, {message[0].lower()}{message[1:]}"
