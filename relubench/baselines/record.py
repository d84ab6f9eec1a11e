"""Baselines: what a run measured, seed by seed, in a small file that is meant to be committed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from relubench import __version__, files
from relubench.errors import BadValue, NotComparable
from relubench.grouping import grouped, joined
from relubench.metrics.measures import DEFAULT, MEASURES
from relubench.plan import Cell
from relubench.report import run_row, setup_row
from relubench.results import Context, RunResult, status
from relubench.rows import RunRow, SetupRow, SetupValue
from relubench.training.heads import HEADS
from relubench.wording import counted

FORMAT = 2
# What names a row: dataset, model, activation, head, recipe, preparation.
Setup = dict[str, SetupValue]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One activation in one set-up: its figures by metric, in the order of its seeds.

    data    digest of the dataset
    stack   cells that shared a pass, the most: what shares a pass was timed together
    failed  why a run diverged or was lost; None: it was finished
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    setup: Setup
    data: str
    threads: int
    stack: int = 0
    seeds: tuple[int, ...] = ()
    failed: tuple[str | None, ...] = ()
    values: dict[str, tuple[float | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (self.failed, *self.values.values())
        if any(len(column) != len(self.seeds) for column in columns):
            raise ValueError("there is not one figure per seed")
        # Figures are paired by seed: a seed that stands twice has no one partner.
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice")

    @property
    def finished(self) -> bool:
        """Whether any run came to its end."""
        return None in self.failed

    @property
    def lost(self) -> int:
        """How many runs nobody could train: they say nothing of the activation."""
        return sum(status(failed) == "lost" for failed in self.failed)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run measured and on what; the same for a baseline and for what is held against it.

    machine  CPU model and cores, or the GPU's name; None: not all seconds are of one machine
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int
    relubench: str
    engine: int
    torch: str
    device: str
    precision: str
    machine: str | None
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        setups = [row.setup for row in self.rows]
        if any(setups.count(setup) > 1 for setup in setups):
            raise ValueError("a row stands twice")

    def row(self, setup: Mapping[str, SetupValue]) -> Row:
        """The row of a set-up, which must be there."""
        return next(row for row in self.rows if row.setup == setup)


RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def setup(cell: Cell) -> Setup:
    """What names the row of a cell."""
    row = setup_row(cell)
    # What rows did not have at first has a default: baselines from before know the same set-ups.
    first = {part.name for part in fields(row) if part.default is MISSING}
    named: Setup = vars(row)
    return {
        key: value
        for key, value in named.items()
        if key in first or value != getattr(SetupRow, key)
    }


def planned(setups: Iterable[tuple[Setup, Context]], machine: str | None) -> Record:
    """The record of what is still to be trained: rows without figures."""
    setups = list(setups)
    here = setups[0][1]
    return Record(
        format=FORMAT,
        relubench=__version__,
        engine=here.engine,
        torch=here.torch,
        device=here.device,
        precision=here.dtype,
        machine=machine,
        rows=tuple(
            Row(setup=setup, data=context.data, threads=context.threads)
            for setup, context in setups
        ),
    )


def measured(plan: Record, results: Sequence[RunResult]) -> Record:
    """The planned record with what came out."""
    runs = grouped(results, lambda result: _key(setup(result.cell)))
    rows = [_filled(row, runs[_key(row.setup)]) for row in plan.rows]
    return replace(plan, rows=tuple(rows))


def _filled(row: Row, results: Sequence[RunResult]) -> Row:
    runs = [run_row(result) for result in results]
    return replace(
        row,
        stack=max((run.stack for run in runs), default=0),
        seeds=tuple(run.seed for run in runs),
        failed=tuple(run.failed for run in runs),
        values={name: _values(runs, name) for name in MEASURES},
    )


def _values(runs: Sequence[RunRow], name: str) -> tuple[float | None, ...]:
    return tuple(run.get(name) for run in runs)


def _key(setup: Setup) -> str:
    return json.dumps(setup, sort_keys=True)


def write(record: Record) -> str:
    """The text of a baseline's file: JSON, keys sorted, a metric's figures on one line.

    `sha256` is the digest of all the rest, whatever its blanks and line ends.
    """
    # There and back, so that tuples are lists: the digest is of what a reader will parse.
    content = json.loads(json.dumps(asdict(record), allow_nan=False))
    # Sorted and a line for each list: a diff of the committed file is readable.
    text = json.dumps(content | {"sha256": digest(content)}, indent=1, sort_keys=True)
    return re.sub(r"\[\n([^\[\]{}]*)\n\s*\]", _on_one_line, text) + "\n"


def digest(content: Mapping[str, object]) -> str:
    """What tells whether a figure of a baseline was altered, its own place left out."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(line.strip() for line in numbers[1].splitlines())}]"


def read(path: Path) -> Record | None:
    """The record in a file; None where there is no file.

    Raises NotComparable where it is damaged or of another format.
    """
    try:
        text = files.text(path)
    except files.Missing:
        return None
    except BadValue as error:
        raise NotComparable(f"{path}: cannot be read: {error}") from None
    # Python's json takes the last of two equal keys: a merge of two branches may leave both.
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise NotComparable(f"{path}: cannot be read: it is not JSON") from None
    # Before anything else: another format may have other fields, which would read as damage.
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        differs = f"format: {_listed([version])} in the baseline, {FORMAT} here"
        raise NotComparable(f"{path}: {differs} (--save-baseline makes it anew)")
    sealed = content.pop("sha256", None)
    try:
        record = RECORD.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "rows"
        raise NotComparable(f"{path}: damaged: {where}: {first['msg']}") from None
    # Last, since "damaged: rows.3.seeds" helps more than "it is not as it was saved".
    if sealed != digest(content):
        altered = "sha256: it is not as it was saved (--save-baseline makes it anew)"
        raise NotComparable(f"{path}: damaged: {altered}")
    return record


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON whose keys stand once."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice")
    return content


def unfit(record: Record) -> str | None:
    """Why a record is no baseline; None: it is one."""
    if lost := sum(row.lost for row in record.rows):
        return f"{counted(lost, 'run')} lost"
    if not any(row.finished for row in record.rows):
        return "every run diverged"
    return None


def usual_metric(setup: Setup) -> str:
    """What a gate looks at where nobody says: accuracy, of numbers rmse."""
    head = HEADS.get(str(setup.get("head")).partition(":")[0])
    return DEFAULT["regression" if head and head.task == "regression" else "classes"]


def lacking(record: Record, metrics: Iterable[str]) -> list[str]:
    """What a baseline needs for a gate over these metrics too and has not; a line for each row."""
    metrics = list(metrics)
    lines = []
    for row in record.rows:
        if reason := _lacks(row, [usual_metric(row.setup), *metrics]):
            lines.append(f"row: {_listed(row.setup.values())}: {reason} in the baseline")
    return lines


def _lacks(row: Row, metrics: Sequence[str]) -> str:
    """Why a row cannot be held against another; "" where it can."""
    if not row.seeds:
        return "no seeds"
    if row.lost:
        return f"{counted(row.lost, 'run')} lost"
    for name in metrics:
        values = row.values.get(name)
        if values is None:
            return f"no {name}"
        figures = [figure for figure in values if figure is not None]
        fractions = figures if MEASURES[name].unit == "fraction" else []
        if any(not 0 <= fraction <= 1 for fraction in fractions):
            return f"{name} is no fraction"
    for seed, failed, value in zip(
        row.seeds, row.failed, row.values.get("accuracy", ()), strict=False
    ):
        if failed is None and value is None and "accuracy" in metrics:
            return f"no accuracy of seed {seed}"
    return ""


def differences(base: Record, new: Record) -> list[str]:
    """Each field in which two records cannot be compared, with both values."""
    lines = []
    if base.precision != new.precision:
        lines.append(_differs("precision", [base.precision], [new.precision]))
    for key in dict.fromkeys(joined(row.setup for row in (*base.rows, *new.rows))):
        there = [row.setup.get(key) for row in base.rows]
        here = [row.setup.get(key) for row in new.rows]
        # Key by key, so that the error names the field that differs and not a whole row.
        if set(there) != set(here):
            lines.append(_differs(key, there, here))
    digests = _digests(new)
    for dataset, before in _digests(base).items():
        now = digests.get(dataset, before)
        if before != now:
            lines.append(_differs(f"data of {dataset}", sorted(before), sorted(now)))
    return lines or _missing(base, new)


def _digests(record: Record) -> dict[SetupValue, set[str]]:
    """The digests of the data by dataset: one each, where nothing is wrong."""
    digests: dict[SetupValue, set[str]] = {}
    for row in record.rows:
        digests.setdefault(row.setup.get("dataset"), set()).add(row.data)
    return digests


def _missing(base: Record, new: Record) -> list[str]:
    """Rows that only one of two records has, where each of their fields stands in both."""
    lines = []
    for name, one, other in (("the baseline", base, new), ("this run", new, base)):
        setups = [row.setup for row in other.rows]
        for row in one.rows:
            if row.setup not in setups:
                lines.append(f"row: {_listed(row.setup.values())}: only in {name}")
    return lines


def surroundings(base: Record, new: Record) -> list[str]:
    """Environment differences that are reported but allowed, a line each."""
    names = ("relubench", "engine", "torch", "device", "machine")
    lines = []
    for name in names:
        there, here = getattr(base, name), getattr(new, name)
        if there != here:
            lines.append(_differs(name, [there], [here]))
    return lines


def clock(base: Record, new: Record, setup: Setup) -> str | None:
    """Why the seconds of two rows cannot be compared; None: they can."""
    there, here = base.row(setup), new.row(setup)
    if base.machine is None:
        return "the baseline's runs were not all timed when it was made"
    if base.machine != new.machine:
        return _differs("machine", [base.machine], [new.machine])
    if there.threads != here.threads:
        return _differs("threads", [there.threads], [here.threads])
    if max(there.stack, here.stack) > 1:
        return "seeds that share a pass are not timed apart (--stack 1, in both)"
    return None


def _differs(name: str, there: Iterable[object], here: Iterable[object]) -> str:
    return f"{name}: {_listed(there)} in the baseline, {_listed(here)} here"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys("none" if value is None else str(value) for value in values))


def machine_class(device: str) -> str:
    """What seconds depend on: the GPU's name, or the CPU's with its cores."""
    if device.startswith("cuda"):
        import torch  # here: where there is a GPU to be named, it is loaded by now

        return torch.cuda.get_device_name(device)
    # Not cpu_count(): a container or taskset may allow fewer, and seconds follow from those.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = f"{_cpu()}, {cores} cores"
    return cpu if device == "cpu" else f"{device} of {cpu}"


def _cpu() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        facts = ""
    model = re.search(r"^model name\s*: (.+)$", facts, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()
