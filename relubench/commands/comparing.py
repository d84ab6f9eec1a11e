"""compare: activations against a reference, a baseline, published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from relubench import baselines, config, report, stats
from relubench.baselines.options import BaselineOptions
from relubench.commands.assembly import assemble, read
from relubench.commands.reporting import comparison_options, published, respected, study
from relubench.commands.request import Outcome, Request, exit_code
from relubench.commands.training import leak
from relubench.errors import NotComparable
from relubench.execution.progress import Console
from relubench.formats import markdown
from relubench.plan import Plan
from relubench.results import RunResult
from relubench.table import AnyTable, Table
from relubench.wording import counted

if TYPE_CHECKING:
    from relubench.execution.work import Work
    from relubench.report import ComparisonOptions
    from relubench.rows import CompareRow


def compare(request: Request, console: Console, baseline: BaselineOptions) -> Outcome:
    """Train every activation on the same seeds or folds and say what the differences allow.

    A benchmark's published figures stand beside the measured ones in a table of their own. Raises
    NotComparable, before anything is trained, where there is a baseline of something else.
    """
    # 1. What can be refused without torch, then without training.
    settings = read(request, console)
    baselines.workflow.check(baseline, settings, request.quick)
    base = baselines.workflow.load(baseline, console)
    # What was finished before says nothing of the code that a baseline is to test now.
    work = assemble(settings, request, console, retrain=base is not None)
    options = comparison_options(settings, published(work), respected(work))
    # After the networks were checked and before anything is trained: a misspelt --columns is cheap.
    request.check(
        work.plan, lambda results: baselines.workflow.preview(baseline, results, work.plan, options)
    )
    # 2. Train, and compare.
    new = baselines.workflow.planned(work, baseline, base)
    if settings.until_decided and not request.quick:
        results, options = until_decided(work, options, settings.first_seeds("compare"), console)
    else:
        results = at_once(work, options, console)
    trained, compared = results, report.comparisons(results, work.plan, options)
    more: list[AnyTable] = []  # beside what a comparison says
    # 3. What stands beside: the gate, carried weights, published figures.
    check = baselines.workflow.hold(baseline, base, new, results, work.plan)
    check.report_notes(console)
    if carried := settings.protocol == "published":
        results, protocols = leak(settings, request, console, results)
        more.append(protocols)
    if settings.published:
        why_not = config.changed(request.flags, request.quick)
        # With --protocol published its own table has these figures already.
        entries = [e for e in settings.published if e.metric != "cv_accuracy" or not carried]
        more += report.published.of_comparison(
            entries, compared[0].rows, trained, work.plan, options, why_not
        )
    tables = check.tables([*compared, *more])
    return Outcome(
        tables,
        check.exit_code(exit_code(results)),
        check.files(compared[0]),
        check.problems(),
        baselines.ci.errors(check.rows),
        baselines.ci.summary(tables, check.heading),
        study=lambda: study(trained, work.plan, options, work.machine.data_dir, more),
    )


def at_once(work: Work, options: ComparisonOptions, console: Console) -> list[RunResult]:
    """Train the whole plan; what its design can show at best is said before."""
    for line in report.outlook(work.plan, options):
        console.note(line)
    return work.run(console, table=partial(so_far, work.plan, options))


def so_far(
    plan: Plan, options: ComparisonOptions, results: Sequence[RunResult]
) -> Table[CompareRow]:
    """The comparison of the runs that have finished: those of set-ups that have the reference."""
    # A set-up whose reference is still to come has nothing to be compared with.
    with_reference = {
        report.setup_row(result.cell).setup
        for result in results
        if result.cell.activation == plan.reference
    }
    there = [run for run in results if report.setup_row(run.cell).setup in with_reference]
    return report.compare(there, plan, options)


def until_decided(
    work: Work, options: ComparisonOptions, first: int, console: Console
) -> tuple[list[RunResult], ComparisonOptions]:
    """Look after so many seeds, and after more, each look at its level of alpha, until all is said.

    What an earlier look trained is not trained again. Returns the options of the last look, too.
    """
    # The looks are fixed before anything is trained: chosen by what was
    # seen, they would cost alpha.
    last = 1 + max(cell.seed for cell in work.plan.cells)
    looks = stats.looks(first, last, options.alpha)
    levels = ", ".join(f"{look.seeds} seeds at {look.alpha:.2g}" for look in looks)
    console.note(f"{counted(len(looks), 'look')}: {levels}")
    results: list[RunResult] = []
    at_look, taken, decided = options, 0, False
    while taken < len(looks) and not decided:
        look = looks[taken]
        taken += 1
        at_look = replace(options, alpha=look.alpha, look=taken)
        plan = work.seeds(range(look.seeds)).plan
        for line in report.outlook(plan, at_look):
            console.note(f"look {taken}: {line}")
        results += _new_seeds(work, results, look.seeds).run(console)
        decided = report.decided(results, plan, at_look)
    seeds = looks[taken - 1].seeds
    why = "every comparison is decided" if decided else "the last look; not all is decided"
    stopped = f"Stopped at look {taken} of {len(looks)}, {seeds} seeds: {why}."
    return results, replace(at_look, stopped=stopped)


def _new_seeds(work: Work, results: Sequence[RunResult], seeds: int) -> Work:
    """The seeds up to so many that are new since the last look."""
    # --no-ledger would train the others again.
    seen = 1 + max((result.cell.seed for result in results), default=-1)
    return work.seeds(range(seen, seeds))


def refused(reasons: Sequence[str]) -> Outcome:
    """The outcome, for CI too, of a run that is not comparable with its baseline."""
    return Outcome(
        [],
        NotComparable.exit_code,
        {"--junit": baselines.ci.junit_of_refusal(reasons)},
        reasons,
        [baselines.ci.annotation("relubench: not comparable", reason) for reason in reasons],
        baselines.ci.summary([], "not comparable")
        + "".join(f"- {markdown(reason)}\n" for reason in reasons),
    )
