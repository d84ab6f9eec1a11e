"""report: a page of what is finished; and what pages and pictures of the other commands tell of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench import config, datasets, execution, files, page, profiling, report
from relubench.activations import ACTIVATIONS
from relubench.catalog import Deferred
from relubench.commands.assembly import open_ledger
from relubench.commands.ledgers import Chosen, tell_of_unread
from relubench.commands.request import CATALOGS, Outcome
from relubench.errors import BadValue, RelubenchError
from relubench.execution.progress import Console
from relubench.grouping import grouped
from relubench.models import MODELS
from relubench.plan import Cell, Plan
from relubench.results import RunResult
from relubench.table import AnyTable
from relubench.wording import counted

if TYPE_CHECKING:
    from relubench import rows as row_types
    from relubench.config import Settings
    from relubench.execution.work import Work
    from relubench.report import ComparisonOptions
    from relubench.rows import ActivationProfileRow
else:
    row_types = Deferred("relubench.rows")

SQLITE = b"SQLite format 3\0"  # begins a ledger
NAMED = 3  # names in a title
MIXED = (
    "These runs were trained with several versions of torch, devices or float types (Environment "
    "has them): that may be part of their differences."
)


@dataclass(frozen=True)
class Asked:
    """What a report is asked.

    source    a ledger, a file of rows or a benchmark; None: the ledger
    chosen    which runs are meant
    flags     how they are compared, as of `compare`
    ledger    where finished runs are, unless `source` says otherwise
    """

    source: str | None
    chosen: Chosen
    flags: Mapping[str, Any]
    ledger: Path
    data_dir: Path | None
    config: Path | None


def report_page(asked: Asked, console: Console) -> Outcome:
    """What is finished, as it will be shown; nothing is trained.

    Raises BadValue where there is no such source, or no finished run in it.
    """
    # What is no file is a benchmark's name; a file that is no ledger holds rows.
    place = Path(asked.source) if asked.source else asked.ledger
    if asked.source and not place.exists():
        return _of_benchmark(asked.source, asked, console)
    if asked.source and not _is_ledger(place):
        results = _in_order(_rows(place), asked)
    else:
        results = _in_order(_finished(place, asked, console), asked)
    if not results:
        raise BadValue(f"{place} has no finished run that is meant (relubench ledger show)")
    settings = config.resolve(config.Benchmarks("", {}), None, asked.flags, CATALOGS)
    plan = Plan(cells=tuple(result.cell for result in results), reference=settings.reference)
    return _outcome(results, plan, settings, asked, [])


def _is_ledger(path: Path) -> bool:
    try:
        with files.regular(path, 2**63) as file:
            return file.read(len(SQLITE)) == SQLITE
    except BadValue:  # a pipe, from which rows are read
        return False
    except OSError as error:
        raise BadValue(f"{path}: {error.strerror}") from None


def _rows(path: Path) -> list[RunResult]:
    try:
        return report.results_of(files.text(path))
    except BadValue as error:
        raise BadValue(f"{path}: {error}") from None


def _finished(path: Path, asked: Asked, console: Console) -> list[RunResult]:
    """The latest run of every cell of a ledger that is meant."""
    ledger = open_ledger(path, existing=True, reading=True)
    latest = {}
    for _, when, result in ledger:
        if (when, result.cell) in asked.chosen:
            # Oldest first: a later context of the same cell takes the place of an earlier one.
            latest[result.cell.key] = result
    tell_of_unread(ledger, console)
    ledger.close()
    return list(latest.values())


def _in_order(results: Iterable[RunResult], asked: Asked) -> list[RunResult]:
    reference = asked.flags.get("reference", Plan.reference)
    return sorted(results, key=lambda result: _order(result.cell, reference))


def _order(cell: Cell, reference: str) -> tuple[Any, ...]:
    """By dataset, network, recipe and activation, the reference first, whenever it was trained."""
    names = (cell.dataset, cell.model, cell.head, cell.init or "")
    recipe = (cell.recipe.optimizer, cell.recipe.epochs, cell.recipe.lr)
    activation = (cell.activation != reference, cell.activation)
    return (*names, *recipe, *activation, cell.split.repeat, cell.split.fold or 0, cell.seed)


def _of_benchmark(name: str, asked: Asked, console: Console) -> Outcome:
    """What the ledger has of a benchmark's plan."""
    benchmarks = config.read(asked.config, CATALOGS)
    # It looks like a file: an error about benchmarks would lead astray.
    if name not in benchmarks.tables and ("/" in name or Path(name).suffix):
        raise BadValue(f"{name}: there is no such file, and no benchmark of this name")
    settings = config.resolve(benchmarks, name, asked.flags, CATALOGS)
    plan = config.plan(settings, "compare", False, MODELS)
    wanted = {cell.key for cell in plan.cells}
    found = []
    if asked.ledger.is_file():
        found = _finished(asked.ledger, asked, console)
    results = _in_order([run for run in found if run.cell.key in wanted], asked)
    if not results:
        raise BadValue(
            f"{asked.ledger} has no finished run of {name}: relubench compare {name} trains it"
        )
    notes = []
    if left := len(wanted) - len(results):
        notes.append(
            f"{left} of {counted(len(wanted), 'run')} of {name} are not finished (relubench "
            f"compare {name} goes on)."
        )
    outcome = _outcome(results, plan, settings, asked, notes)
    for note in notes:
        console.once(note)
    return outcome


def _outcome(
    results: Sequence[RunResult],
    plan: Plan,
    settings: Settings,
    asked: Asked,
    notes: Sequence[str],
) -> Outcome:
    folder = str((asked.data_dir or execution.machines.data_dir()).absolute())

    def made() -> page.Study:
        known, missing = _known(results, folder)
        published = frozenset(name for name, data in known.items() if data.n_test)
        kept = {name: data.respected for name, data in known.items()}
        options = comparison_options(settings, published, kept)
        bare = _study(results, plan, options, known, [*notes, *missing])
        if not settings.published:
            return bare
        why_not = config.changed(asked.flags, False)
        tables = report.published.of_comparison(
            settings.published, bare.rows, results, plan, options, why_not
        )
        return replace(bare, tables=tables)

    return Outcome([], study=made)


def comparison_options(
    settings: Settings, published: frozenset[str], respected: Mapping[str, str]
) -> ComparisonOptions:
    """What a comparison is asked.

    published, respected  of the datasets, as ComparisonOptions has them
    """
    return report.ComparisonOptions(
        measure=settings.measure,
        margin=settings.margin.get(settings.measure.name),
        rope=settings.region,
        every_pair=settings.pairs == "all",
        family=settings.family,
        published=published,
        respected=respected,
    )


def published(work: Work) -> frozenset[str]:
    """The datasets of a plan that have a published test set."""
    names = {cell.dataset for cell in work.plan.cells}
    return frozenset(n for n in names if datasets.facts(n, work.machine.data_dir).n_test)


def respected(work: Work) -> dict[str, str]:
    """What splits respect, by dataset of a plan."""
    names = dict.fromkeys(cell.dataset for cell in work.plan.cells)
    return {name: datasets.facts(name, work.machine.data_dir).respected for name in names}


def study(
    results: Sequence[RunResult],
    plan: Plan,
    options: ComparisonOptions,
    data_dir: str,
    tables: Sequence[AnyTable] = (),
) -> page.Study:
    """What a page tells of these results; `tables` are those that it does not make itself."""
    known, missing = _known(results, data_dir)
    return replace(_study(results, plan, options, known, missing), tables=tables)


def _study(
    results: Sequence[RunResult],
    plan: Plan,
    options: ComparisonOptions,
    known: Mapping[str, datasets.Facts],
    notes: Sequence[str],
) -> page.Study:
    mixed = [MIXED] if len({_surroundings(result) for result in results}) > 1 else []
    return page.Study(
        results=results,
        plan=plan,
        options=options,
        title=_title(results),
        classes={name: data.classes for name, data in known.items()},
        profiles=_profiles(results),
        memory=_memory(results, known),
        notes=[*notes, *mixed],
    )


def _surroundings(result: RunResult) -> tuple[str, str, str]:
    """What may change figures, and by how much is not known."""
    return (result.environment.torch, result.environment.device, result.environment.dtype)


def _known(
    results: Sequence[RunResult], data_dir: str
) -> tuple[dict[str, datasets.Facts], list[str]]:
    """The datasets that can be had, and a note of each that cannot."""
    known, missing = {}, []
    for name in dict.fromkeys(result.cell.dataset for result in results):
        try:
            known[name] = datasets.facts(name, data_dir)
        except RelubenchError as error:
            missing.append(
                f"{name} is not to be had here ({error}): its classes are numbered, and its runs "
                "are taken for random splits."
            )
    return known, missing


def _profiles(results: Sequence[RunResult]) -> list[ActivationProfileRow]:
    """The curves of the activations that can be had: code of a user's own may be gone."""
    choices = []
    for name in dict.fromkeys(result.cell.activation for result in results):
        try:
            choices.append(ACTIVATIONS.choose(name))
        except RelubenchError:
            continue
    x = profiling.profiles.window(choices)
    return [profiling.profiles.profile(choice, x) for choice in choices]


def _memory(
    results: Sequence[RunResult], known: Mapping[str, datasets.Facts]
) -> list[row_types.MemoryRow]:
    """What training keeps in memory, where that can be measured."""
    rows: list[row_types.MemoryRow] = []
    by_dataset = grouped(results, lambda result: result.cell.dataset)
    for name, runs in by_dataset.items():
        first = {report.setup_row(run.cell): run.cell for run in runs}
        kept = profiling.memory.kept_bytes(first.values(), known[name]) if name in known else {}
        for row, cell in first.items():
            if cell in kept:
                rows.append(row_types.MemoryRow(**vars(row), kept_bytes=kept[cell]))
    return rows


def _title(results: Sequence[RunResult]) -> str:
    """'relu, gelu on digits': what was trained on what."""
    activations = dict.fromkeys(result.cell.activation for result in results)
    names = dict.fromkeys(result.cell.dataset for result in results)
    return f"{_few(list(activations), 'activation')} on {_few(list(names), 'dataset')}"


def _few(names: Sequence[str], noun: str) -> str:
    return ", ".join(names) if len(names) <= NAMED else counted(len(names), noun)
