"""benchmarks.toml and flags to a Plan; whatever is not known is refused, all of it at once."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from relubench import files, measures
from relubench.catalog import Catalog, Entry
from relubench.errors import BadValue, UnknownName, suggestion
from relubench.measures import Measure
from relubench.plan import Cell, Margin, Plan, Preparation, Recipe, Split

Catalogs = Mapping[str, Catalog[Any]]
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


Figure = Literal[
    "accuracy",
    "cv_accuracy",
    "loss",
    "train_accuracy",
    "train_loss",
    "dead",
    "seconds",
    "epochs_until_ratio",
    "seconds_until_ratio",
]


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
    value: float | None = Field(None, allow_inf_nan=False)
    sd: float | None = Field(None, gt=0, allow_inf_nan=False)
    runs: int = Field(1, ge=1)
    source: str
    confirmed: bool
    note: str = ""
    incomparable: str = ""


def _published(value: Any, info: ValidationInfo) -> Any:
    shared = value if isinstance(value, list) else [None]
    if not all(isinstance(entry, dict) and _tables(entry.get("figures", [])) for entry in shared):
        raise BadValue("must be tables: [[benchmark.NAME.published]], with figures = [{…}, …]")
    found, problems = [], []
    for number, entry in enumerate(figures(value), 1):
        try:
            found.append(_named(Published.model_validate(entry), info.context or {}))
        except (BadValue, UnknownName) as error:
            problems.append(f"entry {number}: {error}")
        except ValidationError as error:
            problems += [f"entry {number}, {_place(e)}: {_explain(e)}" for e in error.errors()]
    if problems:
        raise BadValue("; ".join(problems))
    return tuple(found)


def _tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def figures(published: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A table for each figure; one with `figures` says what all of them share."""
    return [
        {key: known for key, known in entry.items() if key != "figures"} | figure
        for entry in published
        for figure in entry.get("figures", [{}])
    ]


def _named(entry: Published, catalogs: Catalogs) -> Published:
    """The entry with its names spelt as rows spell them."""
    names = {key: getattr(entry, key) for key in ("dataset", "model", "activation", "head")}
    spelt = {key: str(catalogs[key].choose(name)) for key, name in names.items() if name}
    return entry.model_copy(update=spelt)


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


@dataclass(frozen=True)
class Benchmarks:
    """The benchmarks of one file: their tables as written, already checked.

    shipped  whether they are relubench's
    """

    path: str
    tables: Mapping[str, Mapping[str, Any]]
    shipped: bool = True

    @property
    def note(self) -> str:
        """Which file it is, where a user may not expect it; "" for the shipped one."""
        return "" if self.shipped else f"benchmarks: those of {self.path}"


def find(path: Path | None) -> Path:
    """The file that holds the benchmarks: `path`, else ./benchmarks.toml, else the shipped copy."""
    if path:
        return path
    here = Path("benchmarks.toml")
    return here if here.is_file() else shipped()


def shipped() -> Path:
    """The benchmarks that come with relubench."""
    package = Path(__file__).parent
    inside = package / "benchmarks.toml"
    return inside if inside.is_file() else package.parent / "benchmarks.toml"


def unread(catalogs: Catalogs) -> Catalogs:
    """The same catalogues, in which a user's own code is named and not run."""
    return {kind: catalog.unread() for kind, catalog in catalogs.items()}


def read(path: Path | None, catalogs: Catalogs) -> Benchmarks:
    """All benchmarks of a file; raises BadValue that lists every problem in it.

    No own code is run, since a file may name other code than the command does.
    """
    found, catalogs = find(path), unread(catalogs)
    try:
        text = files.text(found)
    except BadValue as error:
        raise BadValue(f"cannot read {found}: {error}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadValue(f"{found} is not valid TOML: {error}") from None
    except RecursionError:
        raise BadValue(f"{found} is not valid TOML: it is nested too deeply") from None
    problems = [
        f"{found}: unknown table [{key}]: known: [benchmark.NAME]"
        for key in document
        if key != "benchmark"
    ]
    tables = document.get("benchmark", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise BadValue(f"{found}: every benchmark is a table: [benchmark.NAME]")
    for name, table in tables.items():
        label = f"{found}, [benchmark.{name}]: ".__add__
        problems += _problems(table, catalogs, label, strict=True)
        if isinstance(quick := table.get("quick"), dict):
            label = f"{found}, [benchmark.{name}], quick: ".__add__
            problems += _problems(quick, catalogs, label, strict=True)
    if problems:
        raise BadValue(*problems)
    return Benchmarks(str(found), tables, files.resolved(found) == files.resolved(shipped()))


NAMED = {"activation": "-a", "dataset": "-d", "model": "-m", "optimizer": "--optimizer"}
SEEDING = {"seed", "seeds"}
EXECUTION = {"executor", "jobs", "scheduler", "scheduler_file"}


def settings(
    benchmarks: Benchmarks,
    name: str | None,
    flags: Mapping[str, Any],
    catalogs: Catalogs,
    quick: bool = False,
) -> Settings:
    """The table `name` with the given flags on top; raises BadValue with every problem in them.

    quick  its quick form, where it has one
    """
    if name is not None and name not in benchmarks.tables:
        for kind, flag in NAMED.items():
            if name in catalogs[kind]:
                names = ",".join([*(part.strip(", ") for part in flags.get(kind, ())), name])
                raise BadValue(
                    f"{name!r} is no benchmark but an entry of {kind}s: {flag} {names} "
                    "(names are joined by commas)"
                )
        raise UnknownName("benchmark", name, known=benchmarks.tables)
    table = dict(benchmarks.tables[name]) if name is not None else {}
    table |= table.get("quick", {}) if quick else {}
    for alternatives in (SEEDING, EXECUTION):
        if alternatives & flags.keys():  # one replaces the other
            table = {key: value for key, value in table.items() if key not in alternatives}
    problems = _problems(flags, catalogs, lambda key: f"--{key.replace('_', '-')}", False)
    kept = {key: value for key, value in table.items() if key not in flags}
    problems += _problems(kept, catalogs, f"{benchmarks.path}, [benchmark.{name}]: ".__add__, True)
    if problems:
        raise BadValue(*problems)
    return Settings.model_validate(table | dict(flags), context=catalogs)


CHANGING = {*Recipe.__dataclass_fields__, *Preparation.__dataclass_fields__} | {
    *("dataset", "model", "init", "match_parameters", "fresh"),
}


def changed(flags: Mapping[str, Any], quick: bool) -> str:
    """Why a benchmark run with these flags is not the published study; "" where it still is."""
    if quick:
        return "a quick run is not the published set-up"
    names = [f"--{key.replace('_', '-')}" for key in flags if key in CHANGING]
    return f"{', '.join(names)} is not the published set-up" if names else ""


def _problems(
    table: Mapping[str, Any], catalogs: Catalogs, label: Callable[[str], str], strict: bool
) -> list[str]:
    """A line for each; `strict` takes no text for a number: a file has both, a shell only text."""
    keys = Settings.model_fields
    found = []
    for key in table.keys() - keys.keys():
        hint = suggestion(key, keys) or f"known: {', '.join(keys)}"
        found.append(f"{label('')}unknown key {key!r}: {hint}")
    if table.get("seed") is not None and table.get("seeds") is not None:
        found.append(f"{label('seed')}: give one seed or a number of seeds, not both")
    try:
        known = {key: value for key, value in table.items() if key in keys}
        Settings.model_validate(known, context=catalogs, strict=strict)
    except ValidationError as error:
        found += [f"{label(str(e['loc'][0]))}: {_explain(e)}" for e in error.errors()]
    return sorted(set(found))


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


SEEDS = {"compare": 10}  # how many, where neither a flag nor the table says; else seed 0 alone
QUICK_EPOCHS = 2
QUICK = {"seeds": 2, "folds": 2, "repeats": 1, "limit": 500}
FOLDS = 10  # of cv, where nothing says how many


def plan(settings: Settings, command: str, quick: bool, models: Catalog[Any]) -> Plan:
    """The cells of a command; with `quick` a smoke run: a few seeds, epochs and examples.

    A benchmark's own quick form stays as it is.
    models  say which activation is their own, where none is chosen
    """
    _check_growth(settings)
    settings = _counted(settings, command, quick and not settings.quick)
    every_seed = [settings.seed] if settings.seed is not None else range(settings.seeds or 1)
    names = {model: _activations(settings, command, models, model) for model in settings.model}
    perturb = ",".join(settings.perturb) or None
    preparation = Preparation(
        standardise=settings.standardise, pca=settings.pca, limit=settings.limit
    )
    cells = tuple(
        Cell(
            dataset=dataset,
            model=model,
            activation=activation,
            head=head,
            match_parameters=settings.match_parameters,
            recipe=recipe,
            preparation=preparation,
            split=split,
            seed=seed,
            perturb=perturb,
            until=settings.until,
            fresh=settings.fresh,
            unit_axis=settings.unit_axis,
            init=init,
        )
        for dataset, model, head, init, recipe in itertools.product(
            settings.dataset,
            settings.model,
            settings.head,
            settings.init or (None,),
            _recipes(settings),
        )
        for split in _splits(settings, command)
        for seed in every_seed
        for activation in names[model]
    )
    return Plan(
        cells=cells, reference=settings.reference, quick=quick, margins=dict(settings.margin)
    )


def _counted(settings: Settings, command: str, shrunk: bool) -> Settings:
    """With as many seeds and folds as the command takes; few of all where it is shrunk."""
    seeds = settings.max_seeds or settings.first_seeds(command)
    folds = settings.folds or (FOLDS if command == "cv" else None)
    counts: dict[str, Any] = {"seeds": seeds, "folds": folds}
    if shrunk:
        given = dict(settings) | counts
        counts = {key: min(given[key] or most, most) for key, most in QUICK.items()}
        counts["folds"] = folds and counts["folds"]
        counts["epochs"] = tuple(dict.fromkeys(min(n, QUICK_EPOCHS) for n in settings.epochs))
    return settings.model_copy(update=counts)


def _recipes(settings: Settings) -> list[Recipe]:
    """The product of all that a recipe may be given several of."""
    searched = _rates(settings)
    return [
        Recipe(
            optimizer=optimizer,
            lr=lr,
            rates=searched,
            epochs=epochs,
            batch_size=size,
            weight_decay=decay,
            augment=",".join(settings.augment) or None,
        )
        for optimizer, lr, epochs, size, decay in itertools.product(
            settings.optimizer,
            settings.lr[:1] if searched else settings.lr,
            settings.epochs,
            settings.batch_size,
            settings.weight_decay,
        )
    ]


def protocols(settings: Settings, command: str, quick: bool, models: Catalog[Any]) -> Plan:
    """The folds of every set-up and seed, the run that carries its weights through them, and the
    run on the whole training part that it is held against.
    """
    folded = settings.model_copy(update={"seeds": settings.first_seeds(command)})
    cells = plan(folded, "cv", quick, models).cells
    through = (replace(cell, split=replace(cell.split, fold=None)) for cell in cells)
    whole = (replace(cell, split=Split()) for cell in cells)
    return Plan(cells=tuple(dict.fromkeys((*cells, *through, *whole))), quick=quick)


def _rates(settings: Settings) -> str | None:
    """The rates of which each run takes its best; None where every rate is a set-up of its own."""
    if settings.best_lr and len(settings.lr) == 1:
        raise BadValue("--best-lr chooses among several rates: give them, --lr 0.1,0.01,0.001")
    if settings.measure.name in measures.UNTIL and not settings.until:
        raise BadValue(f"--metric {settings.metric}: say until what, --until train_error=0.25")
    if len(settings.lr) == 1 or not (settings.best_lr or settings.until):
        return None
    if settings.protocol == "published":
        raise BadValue("--protocol published carries weights on: give one --lr, and no --best-lr")
    return ",".join(repr(rate) for rate in sorted(settings.lr))


def _check_growth(settings: Settings) -> None:
    """Refuse --until-decided without an end, or where more seeds would not be more units."""
    if not settings.until_decided:
        if settings.max_seeds:
            raise BadValue("--max-seeds says where --until-decided ends: give both")
        return
    if settings.max_seeds is None:
        raise BadValue("--until-decided: say where it ends with --max-seeds N")
    if settings.folds:
        raise BadValue("--until-decided adds seeds, and over folds a seed is no unit: --repeats")
    if settings.seed is not None:
        raise BadValue("--until-decided begins with --seeds N, not with one --seed")
    if settings.max_seeds <= settings.first_seeds("compare"):
        first = settings.first_seeds("compare")
        raise BadValue(f"--max-seeds: got {settings.max_seeds}, must be above --seeds {first}")


def _activations(
    settings: Settings, command: str, models: Catalog[Any], model: str
) -> tuple[str, ...]:
    """What is chosen, else the model's own; where they are compared, the reference too."""
    chosen = settings.activation or (models.choose(model).entry.activation,)
    if command == "compare" and settings.reference not in chosen:
        return (settings.reference, *chosen)
    return chosen


def _splits(settings: Settings, command: str) -> list[Split]:
    if command not in ("cv", "compare") or settings.folds is None:
        return [Split()]
    return [
        Split(folds=settings.folds, fold=fold, repeat=repeat)
        for repeat in range(settings.repeats)
        for fold in range(settings.folds)
    ]
