"""benchmarks.toml and flags to a Plan; whatever is not known is refused, all of it at once."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from relubench.catalog import Catalog, Catalogs, Entry
from relubench.config.published import Published, _published
from relubench.errors import BadValue, UnknownName
from relubench.metrics import measures
from relubench.metrics.measures import Measure
from relubench.plan import Margin

SEEDS = {"compare": 10}  # how many, where neither a flag nor the table says; else seed 0 alone
MANY = 100_000  # seeds, folds or repeats: a slip of the finger, not a study


def _comma_list(value: Any) -> Any:
    """'a,b' or ['a,b', 'c'] to a tuple of single entries; a comma after a backslash stays."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(
        part.strip().replace("\\,", ",") if isinstance(part, str) else part
        for item in items
        for part in (re.split(r"(?<!\\),", item) if isinstance(item, str) else [item])
    )


def _width(value: Any) -> str:
    """'auto', or how many cells train in one pass."""
    text = str(value)
    if text != "auto" and not (text.isdecimal() and 1 <= int(text) <= MANY):
        raise BadValue(f"got {text}, must be auto or a whole number from 1")
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"(tcp|tls|ws|wss)://[^\s/]+:\d{1,5}", text):
        raise BadValue(f"got {text}, must be an address such as tcp://host:8786")
    return text


def _target(value: Any) -> str:
    """'train_error=0.25' or 'train_error=25%', as cells and rows have it: the first."""
    name, equals, text = str(value).partition("=")
    found = re.fullmatch(r"\s*((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)\s*(%?)\s*", text)
    if not equals or name.strip() not in ("train_error", "train_loss") or not found:
        raise BadValue(f"got {value}, must be such as train_error=0.25 or train_loss=0.1")
    name, size = name.strip(), float(found[1]) / (100 if found[2] else 1)
    if name == "train_error" and size >= 1:
        raise BadValue(f"got {value}: an error is a share below 1, such as 0.25 or 25%")
    if name == "train_loss" and found[2]:
        raise BadValue(f"got {value}: a loss is in nats, such as 0.1")
    return f"{name}={size!r}"


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list), Field(min_length=1)]


# A comma list, or a TOML list; what stands twice counts once.
LISTED = (
    BeforeValidator(_comma_list),
    AfterValidator(lambda items: tuple(dict.fromkeys(items))),
    Field(min_length=1),
)
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(abs)]
Rates = Annotated[tuple[Rate, ...], *LISTED]
Decays = Annotated[tuple[Decay, ...], *LISTED]
Epochs = Annotated[tuple[Annotated[int, Field(ge=0)], ...], *LISTED]  # 0: untrained
Margins = Annotated[dict[str, Margin], BeforeValidator(measures.margins)]
BatchSizes = Annotated[tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...], *LISTED]


class Settings(BaseModel):
    """The keys of a [benchmark.NAME] table: the flags' names with _ for -."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    minutes: float | None = Field(None, gt=0, allow_inf_nan=False)  # about, on two CPU cores
    dataset: Names = ("digits",)
    model: Names = ("ffnn:hidden=128x64x32",)
    activation: Names | None = None  # each model's own
    head: Names = ("softmax",)
    init: Names | None = None  # each activation's own
    match_parameters: bool = False
    fresh: bool = False
    unit_axis: int | None = None
    strict_swap: bool = False
    reference: str = "relu"
    optimizer: Names = ("adam",)
    lr: Rates = (0.001,)
    best_lr: bool = False
    epochs: Epochs = (30,)
    batch_size: BatchSizes = (64,)
    weight_decay: Decays = (0.0,)
    standardise: bool = True
    pca: int | None = Field(None, ge=1)
    limit: int | None = Field(None, ge=1)
    augment: Names = ()
    perturb: Names = ()
    until: Annotated[str, BeforeValidator(_target)] | None = None
    protocol: Literal["fresh", "published"] = "fresh"
    seed: int | None = Field(None, ge=0)
    seeds: int | None = Field(None, ge=1, le=MANY)
    folds: int | None = Field(None, ge=2, le=MANY)
    repeats: int = Field(1, ge=1, le=MANY)
    metric: str | None = None  # accuracy; with `until` epochs_until
    margin: Margins = {}
    rope: str | None = None
    pairs: Literal["reference", "all"] = "reference"
    family: Literal["setup", "all"] = "setup"
    until_decided: bool = False
    max_seeds: int | None = Field(None, ge=2, le=MANY)
    device: str = "auto"
    threads: int | None = Field(None, ge=1, le=1024)
    stack: Annotated[str, BeforeValidator(_width)] = "auto"
    executor: str | None = None
    jobs: int | None = Field(None, ge=1, le=1024)
    scheduler: Annotated[str, AfterValidator(_address)] | None = None
    scheduler_file: str | None = None
    precision: Literal["float32", "float64", "tf32", "bf16"] = "float32"
    checkpoint: float = Field(60.0, ge=0, allow_inf_nan=False)
    quick: dict[str, Any] = {}  # the keys that --quick replaces
    published: Annotated[tuple[Published, ...], BeforeValidator(_published)] = ()

    @field_validator(
        *("dataset", "model", "activation", "head", "init", "optimizer", "augment", "perturb"),
        mode="after",
    )
    @classmethod
    def _known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if names is None:
            return None
        catalog, problems, known = _catalog(info), [], []
        for name in names:
            try:
                known.append(str(catalog.choose(name)))
            except (BadValue, UnknownName) as problem:
                problems.append(str(problem))
        if problems:
            raise BadValue("; ".join(problems))
        return tuple(dict.fromkeys(known))

    @field_validator("reference", "executor", mode="after")
    @classmethod
    def _known_one(cls, name: str, info: ValidationInfo) -> str:
        return str(_catalog(info).choose(name))

    @field_validator("metric", mode="after")
    @classmethod
    def _known_measure(cls, name: str) -> str:
        return measures.measure(name).name

    @field_validator("rope", mode="after")
    @classmethod
    def _size(cls, text: str) -> str:
        if not measures.margin(text, measures.MEASURES["seconds"]).size:
            raise BadValue(f"got {text}, must be above 0")
        return text

    @property
    def measure(self) -> Measure:
        """What is compared."""
        return measures.MEASURES[self.metric or ("epochs_until" if self.until else "accuracy")]

    @property
    def region(self) -> Margin | None:
        """Half the region of practical equivalence, in terms of what is compared."""
        try:
            return measures.margin(self.rope, self.measure) if self.rope else None
        except BadValue as problem:
            raise BadValue(f"--rope: {problem}") from None

    def first_seeds(self, command: str) -> int:
        """How many seeds a command begins with."""
        return self.seeds or (1 if self.folds else SEEDS.get(command, 1))


KINDS = {"reference": "activation", "augment": "augmentation", "perturb": "perturbation"}


def _catalog(info: ValidationInfo) -> Catalog[Entry]:
    name = KINDS.get(str(info.field_name), str(info.field_name))
    catalogs: Catalogs = info.context or {}
    return catalogs[name]
