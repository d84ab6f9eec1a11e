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

Figure = Literal[
    "accuracy",
    "cv_accuracy",
    "loss",
    "train_accuracy",
    "train_loss",
    "dead",
    "online_accuracy",
    "token_accuracy",
    "perplexity",
    "sparsity",
    "seconds",
    "epochs_until_ratio",
    "seconds_until_ratio",
]


Toml = Mapping[str, Any]  # a table as it was written; Settings checks what stands in it


class Published(BaseModel):
    """A published figure, and the rows of compare that it is about: all with these names.

    value         fractions are fractions; None: the paper says something, but not how much
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
    metric: Figure = "accuracy"
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
            checked.append(_named(Published.model_validate(entry), info.context or {}))
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


def _named(entry: Published, catalogs: Catalogs) -> Published:
    """The entry with its names spelt as rows spell them."""
    names = {key: getattr(entry, key) for key in ("dataset", "model", "activation", "head")}
    spelt = {}
    for key, name in names.items():
        if name:
            spelt[key] = str(catalogs[key].choose(name))
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
