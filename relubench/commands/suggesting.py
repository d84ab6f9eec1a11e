"""suggest: a study of its own, which says which activation to use on a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from relubench import config, datasets, execution, report, stats
from relubench.commands.assembly import assemble, read
from relubench.commands.comparing import so_far
from relubench.commands.reporting import comparison_options, published, respected, study
from relubench.commands.request import Outcome, Request, exit_code
from relubench.errors import BadValue, Incomplete
from relubench.execution.budget import Clock, OutOfTime, forecast
from relubench.execution.progress import Console, Tabled
from relubench.metrics.measures import UNTIL
from relubench.models import MODELS
from relubench.plan import Plan
from relubench.report import Ended
from relubench.results import RunResult
from relubench.stats import Look
from relubench.wording import counted

if TYPE_CHECKING:
    from relubench.config import Settings
    from relubench.execution.work import Work
    from relubench.page import Study
    from relubench.report import ComparisonOptions

# A look after half of the seeds and one after all. Fewer show nothing: with 5 of 20 the sign-flip
# test cannot rule out one activation of eight, and Student's limits are 1.9 times those of 10.
PARTS = (2, 1)
FEWEST = 500  # examples that a training set is cut to at the least
MEASURING = 0.1  # of the budget that measuring speed may take
SHARED = ("seconds", "parameters", *UNTIL)  # runs of one pass have one figure, or all of them


def suggest(request: Request, console: Console, began: float) -> Outcome:
    """Train a declared plan until it is decided which activation to use, or the budget is spent.

    began  when the command began, by the monotonic clock: the budget is for all of it
    Raises BadValue where the budget does not hold the first look, Incomplete where its time came
    before that look had ended.
    """
    settings = declared(request, console)
    clock = Clock(began, settings.budget)
    plan = config.plan(settings, "suggest", request.quick, MODELS)
    measuring = MEASURING * settings.budget
    looks = declared_looks(plan)

    def assembled(plan: Plan) -> Work:
        return assemble(settings, request, console, plan, measuring=measuring)

    work = within(clock, looks[0], assembled(plan), assembled, console)
    options = comparison_options(settings, published(work), respected(work))
    results, ended = until_decided(work, looks, options, clock, console)
    at_look = replace(options, alpha=ended.alpha, look=ended.look, family="all")
    suggestion = report.suggestion(results, work.plan, options, ended)
    shown = replace(work.plan, cells=tuple(result.cell for result in results))

    def told() -> Study:
        whole = study(results, shown, at_look, work.machine.data_dir)
        return replace(whole, suggestion=suggestion)

    return Outcome([suggestion], exit_code(results), study=told)


def declared(request: Request, console: Console) -> Settings:
    """The plan's settings: every run chooses among the rates, whatever the table says."""
    settings = read(request, console)
    if len(settings.dataset) > 1:
        raise BadValue("suggest speaks of one table: give one -d, or compare several datasets")
    if settings.measure.name in SHARED:
        raise BadValue(f"--metric {settings.measure.name}: suggest compares scores, as accuracy is")
    return settings.model_copy(update={"best_lr": len(settings.lr) > 1})


def declared_looks(plan: Plan) -> list[Look]:
    """The looks of a plan, which hang on its seeds alone and not on a budget."""
    most = 1 + max(cell.seed for cell in plan.cells)
    seeds = [most // part for part in PARTS if most // part > 1]
    return stats.spent(seeds or [most], report.ALPHA)


# --- the budget -----------------------------------------------------------------------------------


def within(
    clock: Clock,
    first: Look,
    work: Work,
    assembled: Callable[[Plan], Work],
    console: Console,
) -> Work:
    """The work as it is if its first look ends in time; else on as many examples as do.

    Raises BadValue where that would be too few.
    """
    console.phase("estimating")
    look = work.seeds(range(first.seeds))
    runs = len(look.plan.cells)
    seconds, left = forecast(look), clock.left(runs)
    if seconds > left:  # a second opinion: the machine may have been busy while steps were timed
        seconds, left = min(seconds, forecast(look)), clock.left(runs)
    if seconds <= left:
        return work
    limit = _limit(look, seconds, left)
    if limit is None:
        need = seconds + clock.budget - left
        raise BadValue(
            f"--budget {clock.budget:g}s: the first look, {counted(runs, 'run')}, would end after "
            f"about {need:.0f} s: give --budget {1.2 * need:.0f}s, or fewer -m, -a or --lr"
        )
    console.note(
        f"about {seconds:.0f} s for the first look on all examples: {limit} of them are trained "
        f"on (--limit {limit}; a larger --budget takes more)"
    )
    return assembled(limited(work.plan, limit))


def _limit(look: Work, seconds: float, left: float) -> int | None:
    """How many training examples leave the first look in time: halved until they do."""
    cell = look.plan.cells[0]
    facts = datasets.facts(cell.dataset, look.machine.data_dir)
    whole = execution.tuning.steps(cell, facts)
    size = min(facts.n_train, cell.preparation.limit or facts.n_train)
    while size >= 2 * FEWEST:
        size //= 2
        fewer = limited(look.plan, size).cells[0]
        if seconds * execution.tuning.steps(fewer, facts) / whole <= left:
            return size
    return None


def limited(plan: Plan, limit: int) -> Plan:
    """The plan, with so many training examples."""
    cells = [
        replace(cell, preparation=replace(cell.preparation, limit=limit)) for cell in plan.cells
    ]
    return replace(plan, cells=tuple(cells))


# --- the looks ------------------------------------------------------------------------------------


def until_decided(
    work: Work, looks: Sequence[Look], options: ComparisonOptions, clock: Clock, console: Console
) -> tuple[list[RunResult], Ended]:
    """Look after so many seeds, and after more, until it is decided or time is up.

    A look that would not end in time is not begun, and one that does not end leaves the study at
    the look before it.
    """
    results: list[RunResult] = []
    ended, pace, seen = Ended(looks, 0, "budget"), 0.0, 0
    for number, look in enumerate(looks, start=1):
        further = work.seeds(range(seen, look.seeds))
        trained = _in_time(
            further, len(results), pace, clock, console, partial(so_far, work.plan, options)
        )
        if trained is None:
            break
        results, pace, seen = results + trained[0], trained[1], look.seeds
        ended = Ended(looks, number, "last look" if number == len(looks) else "budget")
        if report.suggestion_decided(report.suggest_rows(results, work.plan, options, ended)):
            return results, replace(ended, why="decided")
    if not ended.look:
        raise Incomplete(
            f"the budget of {clock.budget:g} s was spent before the first look, {looks[0].seeds} "
            "seeds, had ended: the same command goes on from here, or give a larger --budget"
        )
    return results, ended


def _in_time(
    further: Work, before: int, pace: float, clock: Clock, console: Console, table: Tabled
) -> tuple[list[RunResult], float] | None:
    """The results of a look, and how many times its forecast it took; None: there is no time.

    before  runs of the looks before
    pace    how many times its forecast the look before took
    """
    runs = before + len(further.plan.cells)
    expected, left = forecast(further), clock.left(runs)
    if pace * expected > left:
        console.note(
            f"the next look would take about {pace * expected:.0f} s, and {max(0.0, left):.0f} s "
            "are left"
        )
        return None
    began = clock.spent
    try:
        with clock.running(runs):
            results = further.run(console, table=table)
    except OutOfTime:
        return None
    console.detail(f"forecast {expected:.1f} s, took {clock.spent - began:.1f} s")
    return results, (clock.spent - began) / expected if expected else pace
