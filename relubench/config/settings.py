"""benchmarks.toml and flags to a Plan; whatever is not known is refused, all of it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
)

from relubench.catalog import Catalog, Catalogs, Entry
from relubench.config import kinds
from relubench.config.options import NAMED_KINDS, Options, declared
from relubench.config.published import Published, _published
from relubench.datasets import Task, task_of
from relubench.errors import BadValue, UnknownName
from relubench.metrics import measures
from relubench.metrics.measures import Measure
from relubench.plan import Margin

HEADS = {
    "classes": "softmax",
    "regression": "mse",
    "language": "next_token",
}  # where nobody names one
SEEDS = {"compare": 10}  # how many, where neither a flag nor the table says; else seed 0 alone


if TYPE_CHECKING:

    class _Fields(Options, BaseModel):
        """A field for each option."""

else:

    def _fields() -> type[BaseModel]:
        """A model with a field for each option: its type by name, its default."""
        # Types are resolved only here: options.py names them without importing pydantic.
        types = get_type_hints(Options, vars(kinds), include_extras=True)
        return create_model(
            "_Fields", **{option.key: (types[option.key], option.default) for option in declared()}
        )

    _Fields = _fields()


class Settings(_Fields):
    """The keys of a [benchmark.NAME] table: the options, and what only a file may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    minutes: float | None = Field(None, gt=0, allow_inf_nan=False)  # about, on two CPU cores
    estimated: bool = False  # whether nobody has waited so long: what --dry-run says
    quick: dict[str, Any] = Field(default={})  # the keys that --quick replaces
    published: Annotated[tuple[Published, ...], BeforeValidator(_published)] = ()

    @field_validator(
        *("dataset", "model", "activation", "head", "init", "optimizer", "augment", "perturb"),
        "schedule",
        "revive",
        mode="after",
    )
    @classmethod
    def _known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if names is None:
            return None
        catalog, problems, spelled = _catalog(info), [], []
        for name in names:
            try:
                spelled.append(str(catalog.choose(name)))
            # Gathered: several wrong names are told at once.
            except (BadValue, UnknownName) as problem:
                problems.append(str(problem))
        if problems:
            raise BadValue("; ".join(problems))
        return tuple(dict.fromkeys(spelled))

    @field_validator("reference", "executor", "task", mode="after")
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
        # Read as of some measure that takes any size: which one is compared is not known here yet.
        if not measures.margin(text, measures.MEASURES["seconds"]).size:
            raise BadValue(f"got {text}, must be above 0")
        return text

    @property
    def measure(self) -> Measure:
        """What is compared."""
        usual = measures.DEFAULT[self.targets[0]]
        if self.tasks:
            usual = "online_accuracy" if self.targets[0] == "classes" else "online_loss"
        return measures.MEASURES[self.metric or ("epochs_until" if self.until else usual)]

    @property
    def targets(self) -> tuple[Task, ...]:
        """What the datasets' targets are, each once."""
        return tuple(dict.fromkeys(map(task_of, self.dataset)))

    def heads(self, dataset: str) -> tuple[str, ...]:
        """The output layers for a dataset: those that were named, else that of its task."""
        return self.head or (HEADS[task_of(dataset)],)

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


def _catalog(info: ValidationInfo) -> Catalog[Entry]:
    name = NAMED_KINDS.get(str(info.field_name), str(info.field_name))
    catalogs: Catalogs = info.context or {}
    return catalogs[name]
