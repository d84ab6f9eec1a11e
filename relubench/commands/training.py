"""The commands that train: one table of runs, folds or layers; or the plan alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import config, datasets, execution, report, training
from relubench.catalog import Deferred
from relubench.commands.assembly import assemble, outline, read
from relubench.commands.reporting import published, respected, study
from relubench.commands.request import Outcome, Request, exit_code
from relubench.errors import BadValue
from relubench.execution.progress import Console
from relubench.models import MODELS
from relubench.plan import Stack
from relubench.results import RunResult
from relubench.table import AnyTable, Table

if TYPE_CHECKING:
    from relubench import rows
    from relubench.config import Settings
    from relubench.execution.work import Work
    from relubench.page import Study
else:
    rows = Deferred("relubench.rows")


def train(
    request: Request,
    console: Console,
    confusion: bool,
    curve: bool,
    save: Path | None,
    called: Path | None = None,
) -> Outcome:
    """Train each cell once and score it on the test set.

    save, called  where the weights are written, and what the user calls it
    """
    work = assemble(read(request, console), request, console, retrain=save is not None)
    # After the plan is made: how many runs there are follows from flags and benchmark together.
    if save and len(work.plan.cells) > 1:
        count = len(work.plan.cells)
        raise BadValue(f"--save keeps the weights of one run, but this plan has {count}")
    if save and work.executor.entry.name == "dask":
        raise BadValue("--save would write on a dask worker's disk: train this run with --jobs 1")
    _check_confusion(confusion, work)
    request.check(work.plan, lambda results: report.runs(results, work.plan))
    problems, code = [], 0
    try:
        results = work.run(console, save, partial(report.runs, plan=work.plan))
    except training.engine.Unsaved as unsaved:
        results, code = unsaved.results, 2
        problems.append(f"--save {called or save}: cannot be written: {unsaved.why}")
    if save and request.ledger and not problems and results[0].finished:
        execution.kept_weights.remember(request.ledger, results[0].cell, save, called or save)
    tables: list[AnyTable] = [
        report.runs(results, work.plan, _classes(work)),
        *report.means(results),
    ]
    for result in results:
        if confusion and result.confusion:
            tables.append(report.confusion(result, _classes(work)[result.cell.dataset]))
        if curve:
            tables.append(report.curve(result))
    if curve:
        # One picture for all curves, under the last of the tables.
        tables[-1] = replace(tables[-1], picture=report.curves(results))
    told = partial(_told, results, work)
    return Outcome(tables, code or exit_code(results), problems=problems, study=told)


def _check_confusion(asked: bool, work: Work) -> None:
    for name in {cell.dataset for cell in work.plan.cells} if asked else ():
        if datasets.task_of(name) != "classes":
            raise BadValue(f"--confusion counts classes, and {name} has none")


def _told(results: Sequence[RunResult], work: Work, tables: Sequence[AnyTable] = ()) -> Study:
    """What a page tells of a command that does not compare."""
    options = report.ComparisonOptions(published=published(work), respected=respected(work))
    return study(results, work.plan, options, work.machine.data_dir, tables)


def _classes(work: execution.work.Work) -> dict[str, Sequence[str]]:
    """The names of the classes of each dataset."""
    names = dict.fromkeys(cell.dataset for cell in work.plan.cells)
    return {name: datasets.facts(name, work.machine.data_dir).classes for name in names}


def cv(request: Request, console: Console) -> Outcome:
    """Stratified K-fold cross-validation: every fold has its own scaler, weights and optimiser."""
    settings = read(request, console)
    work = assemble(settings, request, console)
    request.check(work.plan, lambda results: report.runs(results, work.plan))
    # Both: below, `results` may grow by runs that are no folds of this plan.
    results = folds = work.run(console, table=report.folds)
    tables: list[AnyTable] = [
        report.runs(results, work.plan, _classes(work)),
        _with_respected(report.folds(results, work.plan), work),
    ]
    if settings.protocol == "published":
        results, protocols = leak(settings, request, console, results)
        tables.append(protocols)
    return Outcome(tables, exit_code(results), study=partial(_told, folds, work, tables[1:]))


def _with_respected(table: Table[rows.FoldRow], work: Work) -> Table[rows.FoldRow]:
    return replace(table, notes=[*table.notes, *report.respected(respected(work))])


def leak(
    settings: Settings, request: Request, console: Console, finished: Sequence[RunResult]
) -> tuple[list[RunResult], AnyTable]:
    """Cross-validation as it should be beside one whose weights are carried from fold to fold.

    finished  results of this command that are not to be trained again
    """
    plan = config.protocols(settings, request.command, request.quick, MODELS)
    by_cell = {result.cell: result for result in finished}
    missing = tuple(cell for cell in plan.cells if cell not in by_cell)
    work = assemble(settings, request, console, replace(plan, cells=missing))
    by_cell |= {result.cell: result for result in work.run(console)}
    results = [by_cell[cell] for cell in plan.cells]
    return [*by_cell.values()], report.protocols.table(
        results, plan, settings.published, report.respected(respected(work), always=True)
    )


def deadcount(
    request: Request, console: Console, layers: bool = False, history: bool = False
) -> Outcome:
    """Count dead units over the whole training set, before training and after it.

    history  what became of them over the epochs instead, counted on a probe set
    """
    if history:
        return histories(request, console)
    settings = read(request, console)
    work = assemble(settings, request, console)
    request.check(work.plan, lambda results: report.deadcount(results, work.plan)[0])
    results = work.with_untrained().run(console)
    # `with_untrained` adds its cells behind the plan's.
    trained = results[: len(work.plan.cells)]
    tables = report.deadcount(trained, work.plan, results, layers)
    why_not = config.changed(request.flags, request.quick)
    tables += report.published.of_units(settings.published, trained, why_not)
    return Outcome(tables, exit_code(results), study=partial(_told, trained, work, tables[1:]))


def histories(request: Request, console: Console) -> Outcome:
    """What became of hidden units over the epochs: counted after each, unless it is said."""
    settings = read(request, console)
    if settings.track_neurons is None:
        settings = settings.model_copy(update={"track_neurons": 1})
    work = assemble(settings, request, console)
    request.check(work.plan, lambda results: report.histories(results, work.plan)[0])
    results = work.run(console)
    tables = report.histories(results, work.plan)
    return Outcome(tables, exit_code(results), study=partial(_told, results, work))


def dry_run(request: Request, console: Console) -> Outcome:
    """The plan, what of it is finished, and how long the rest may take; nothing is trained."""
    settings = read(request, console)
    planned: list[rows.PlanRow] = []
    work = outline(settings, request, console)
    if settings.protocol == "published":
        more = config.protocols(settings, request.command, request.quick, MODELS)
        both = tuple(dict.fromkeys((*work.plan.cells, *more.cells)))
        work = outline(settings, request, console, replace(more, cells=both))
    if request.command == "deadcount":
        work = work.with_untrained()
    for cells, tuned in work.tuned:
        finished = work.finished(Stack(tuple(cells), tuned.threads))
        missing = len(cells) - len(finished)
        steps = execution.tuning.steps(
            cells[0], datasets.facts(cells[0].dataset, work.machine.data_dir)
        )
        planned.append(
            rows.PlanRow(
                **vars(report.setup_row(cells[0])),
                weights="carried" if cells[0].split.carried else "fresh",
                runs=len(cells),
                finished=len(finished),
                stacks=math.ceil(missing / tuned.stack),
                stack=tuned.stack,
                threads=tuned.threads,
                seconds_left=None if tuned.seconds is None else tuned.seconds * steps * missing,
            )
        )
    return Outcome([report.dry_run(planned)])
