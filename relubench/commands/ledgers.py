"""The commands about ledgers."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relubench import config, exports, report
from relubench.commands.assembly import open_ledger
from relubench.commands.request import CATALOGS, Outcome
from relubench.errors import BadValue, UnknownName
from relubench.execution.ledger import Ledger
from relubench.execution.progress import Console
from relubench.execution.records import TIME
from relubench.plan import Cell, Plan
from relubench.results import RunResult
from relubench.wording import counted

AGES = {"d": "days", "h": "hours", "m": "minutes"}


def _among(spelling: str, names: Sequence[str]) -> bool:
    """Whether one of the names, which may leave parameters out, means it; no names: all do."""
    return not names or any(f"{spelling}:".startswith(f"{name}:") for name in names)


@dataclass(frozen=True)
class Chosen:
    """Which runs of a ledger are meant: of these names, where there are any.

    A name without parameters means those with parameters too.
    since  the time from which on they were finished, as a ledger writes it
    """

    dataset: Sequence[str] = ()
    model: Sequence[str] = ()
    activation: Sequence[str] = ()
    since: str = ""

    def __contains__(self, run: tuple[str, Cell]) -> bool:
        finished, cell = run
        return (
            # As texts: ISO 8601 in UTC sorts by time.
            finished >= self.since
            and _among(cell.dataset, self.dataset)
            and _among(cell.model, self.model)
            and _among(cell.activation, self.activation)
        )


def since(text: str | None, now: datetime | None = None) -> str:
    """A time as a ledger writes it, from a date, a time (UTC where nothing else is said) or an age.

    Raises BadValue where it is none of these.
    """
    if not text:
        return ""
    age = re.fullmatch(r"(\d{1,5})([dhm])", text)
    try:
        if age:
            span = {AGES[age[2]]: int(age[1])}
            when = (now or datetime.now(UTC)) - timedelta(**span)
        else:
            when = datetime.fromisoformat(text)
            when = when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        examples = "a date (2025-12-31), a time (2025-12-31T18:00) or an age (7d, 12h, 30m)"
        raise BadValue(f"--since {text}: give {examples}") from None
    return when.strftime(TIME)


def ledger_show(path: Path, chosen: Chosen, key: str | None, console: Console) -> Outcome:
    """What a ledger holds, a row per set-up; or one run whole."""
    if key is not None:
        return one_run(path, key, console)
    runs = _runs(path, chosen, console)
    return Outcome([report.ledger([(when, result) for _, when, result in runs])])


def one_run(path: Path, key: str, console: Console) -> Outcome:
    """All that a ledger has of one cell, by the beginning of its key; a row per context."""
    runs = [
        (context, when, result)
        for context, when, result in _runs(path, Chosen(), console)
        if result.cell.key.startswith(key.lower())
    ]
    keys = list(dict.fromkeys(result.cell.key for _, _, result in runs))
    if not key or not keys:
        raise BadValue(f"{path} has no run {key!r}: relubench ledger export shows every key")
    if len(keys) > 1:
        few = f"{', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
        raise BadValue(f"{path} has {len(keys)} runs {key!r}: {few}")
    return Outcome(report.one_run(runs))


def run_of(path: Path, key: str) -> RunResult:
    """The run of a ledger by the beginning of its key; raises BadValue where that is not one."""
    ledger = open_ledger(path, existing=True, reading=True)
    found = {run[2].cell.key: run[2] for run in ledger if run[2].cell.key.startswith(key.lower())}
    ledger.close()
    if not key or len(found) != 1:
        which = f"{len(found)} runs" if found else "no run"
        raise BadValue(f"{path} has {which} {key!r}: relubench ledger export shows every key")
    return next(iter(found.values()))


def ledger_runs(path: Path, chosen: Chosen, console: Console) -> list[RunResult]:
    """Every finished run of a ledger that is meant, oldest first."""
    return [result for _, _, result in _runs(path, chosen, console)]


def ledger_export(path: Path, chosen: Chosen, console: Console) -> Outcome:
    """Every finished run of a ledger, as `train` prints it."""
    results = ledger_runs(path, chosen, console)
    return Outcome([report.runs(results, Plan(cells=()))])


def ledger_hand_over(
    path: Path, chosen: Chosen, name: str, folder: Path, console: Console
) -> Outcome:
    """Write finished runs to a new folder, in the form that another tool reads."""
    export = exports.EXPORTS.choose(name)
    export.entry.check()
    # Two exports in one folder would be read as one.
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadValue(f"{folder}: it is there and not an empty folder: name a new one")
    runs = _runs(path, chosen, console)
    rows = [report.run_row(result) for _, _, result in runs]
    tasks = report.tasks(rows)
    handed = []
    for (_, when, result), row, task in zip(runs, rows, tasks, strict=True):
        epochs = [epoch.record() for epoch in report.curve(result).rows]
        handed.append(exports.ExportedRun(row, task, when, epochs))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        export(handed, folder)
    except OSError as error:
        raise BadValue(f"{folder}: cannot be written: {error.strerror}") from error
    console.note(f"{counted(len(handed), 'run')} written to {folder}, for {export.entry.name}")
    return Outcome([report.ledger([(when, result) for _, when, result in runs])])


def ledger_merge(path: Path, others: Sequence[Path], console: Console) -> Outcome:
    """Add other ledgers' runs to one."""
    ledger = open_ledger(path)
    for other in others:
        theirs = open_ledger(other, existing=True, reading=True)
        added = ledger.merge(theirs)
        console.note(f"{counted(added, 'run')} of {other} added to {path}")
        tell_of_unread(theirs, console)
        theirs.close()
    ledger.close()
    return ledger_show(path, Chosen(), None, console)


def ledger_check(path: Path) -> Outcome:
    """Every row that cannot be read; exit code 1 where there is one."""
    ledger = open_ledger(path, existing=True, reading=True)
    unread = ledger.unreadable_rows()
    return Outcome([report.unread(unread, ledger.count())], 1 if unread else 0)


def ledger_rm(path: Path, names: Sequence[str], console: Console) -> Outcome:
    """Drop the runs that are named."""
    ledger = open_ledger(path, existing=True)
    removed = ledger.remove(names)
    ledger.close()
    console.note(f"{counted(removed, 'row')} dropped from {path}")
    return ledger_show(path, Chosen(), None, console)


def small_predicts_large(
    path: Path, names: Sequence[str], config_file: Path | None, console: Console
) -> Outcome:
    """The order of activations in the quick and full form of each benchmark that has runs of both.

    Raises BadValue where there is none, UnknownName where one that is named is no benchmark.
    """
    benchmarks = config.read(config_file, CATALOGS)
    for name in names:
        if name not in benchmarks.tables:
            raise UnknownName("benchmark", name, benchmarks.tables)
    latest = {result.cell.key: result for result in ledger_runs(path, Chosen(), console)}
    studies = []
    for name in names or benchmarks.tables:
        study = _forms(name, benchmarks, latest)
        if study.quick and study.full:
            studies.append(study)
    if not studies:
        raise BadValue(
            f"{path} has no benchmark with runs of its quick and of its full form: relubench "
            "compare NAME --quick trains one, relubench compare NAME the other"
        )
    return Outcome([report.forms.table(studies)])


def _forms(
    name: str, benchmarks: config.Benchmarks, latest: Mapping[str, RunResult]
) -> report.forms.Forms:
    catalogs = config.unread(CATALOGS)
    found: list[list[RunResult]] = []
    missing = 0
    for quick in (True, False):
        settings = config.resolve(benchmarks, name, {}, catalogs, quick)
        cells = config.plan(settings, "compare", quick, catalogs["model"]).cells
        found.append([latest[cell.key] for cell in cells if cell.key in latest])
        missing += len(cells) - len(found[-1])
    in_quick, in_full = found
    return report.forms.Forms(name, settings.measure, in_quick, in_full, missing)


def _runs(path: Path, chosen: Chosen, console: Console) -> list[tuple[str, str, RunResult]]:
    """Context, time and result of what is meant."""
    ledger = open_ledger(path, existing=True, reading=True)
    with _uncollected():
        runs = [run for run in ledger if (run[1], run[2].cell) in chosen]
    tell_of_unread(ledger, console)
    ledger.close()
    return runs


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which took a third of the time that ten thousand rows take.

    It looks at all of them again and again, and rows refer to nothing in a circle.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def tell_of_unread(ledger: Ledger, console: Console) -> None:
    """Name the rows that were left out."""
    for name, why in list(ledger.unread.items())[:5]:
        console.once(f"{ledger.path}: row {name} is left out: {why}")
    if len(ledger.unread) > 5:
        more = f"{len(ledger.unread) - 5} more rows are left out"
        console.once(f"{ledger.path}: {more} (relubench ledger check)")
