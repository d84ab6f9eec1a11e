"""What compare does about baselines: one is read, refused or held against the run, one is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from relubench import report
from relubench.baselines import ci, gate, record
from relubench.baselines.options import BaselineOptions
from relubench.baselines.record import Record
from relubench.errors import BadValue, NotComparable
from relubench.execution.progress import Console
from relubench.execution.work import Work
from relubench.plan import Plan, Stack
from relubench.results import RunResult
from relubench.rows import GateRow
from relubench.table import AnyTable

if TYPE_CHECKING:
    from relubench.config import Settings
    from relubench.report import ComparisonOptions

# Of exit codes; else 0. A regression (3) was measured, whatever else is incomplete (4). Runs that
# diverged (1) come last: the gate has judged them.
PRECEDENCE = (3, 4, 1)


def check(options: BaselineOptions, settings: Settings, quick: bool) -> None:
    """Refuse what is no baseline and cannot be held against one: it is figures of known seeds."""
    if options.save and quick:
        raise BadValue("--save-baseline: a --quick run is a smoke run and never a baseline")
    flag = "--baseline" if options.baseline else "--save-baseline"
    if options.records:
        if settings.until_decided:
            raise BadValue(f"{flag}: the seeds are fixed beforehand, so not with --until-decided")
        if settings.folds:
            raise BadValue(f"{flag}: a baseline is paired by seed, so not with --folds")


def load(options: BaselineOptions, console: Console) -> Record | None:
    """The baseline that was asked for; None, with the command that makes one, if there is none.

    Raises NotComparable where it is damaged, or must be there and is not.
    """
    base = record.read(options.baseline) if options.baseline else None
    if options.baseline and base is None:
        missing = f"{options.baseline}: there is no baseline yet; this makes one: {options.remedy}"
        if options.require:
            raise NotComparable(missing)
        console.note(missing)
    return base


def planned(work: Work, options: BaselineOptions, base: Record | None) -> Record:
    """The record that the work is to fill; its machine is unknown if part of it was filled before.

    Raises NotComparable, with a line for each field, where the baseline is of something else.
    """
    stacks = [Stack(tuple(cells), tuned.threads) for cells, tuned in work.tuned]
    setups = [(record.setup(stack.cells[0]), work.context(stack)) for stack in stacks]
    # What the ledger has was timed some time ago, perhaps elsewhere: no
    # machine can be named for it.
    before = any(work.finished(stack) for stack in stacks)
    machine = None if before else record.machine_class(work.machine.device)
    new = record.planned(setups, machine)
    if base is None:
        return new
    metrics = (*work.plan.margins,)
    # Before any training: a run that cannot be compared must not be paid for.
    if differ := record.differences(base, new) or record.lacking(base, metrics):
        raise NotComparable(*(f"{options.baseline}: {line}" for line in differ))
    return new


def preview(
    options: BaselineOptions,
    results: Sequence[RunResult],
    plan: Plan,
    comparison: ComparisonOptions,
) -> AnyTable:
    """compare's table with the keys that its rows will have."""
    table = report.compare(results, plan, comparison)
    return gate.with_gate(table, []) if options.baseline else table


@dataclass(frozen=True)
class BaselineCheck:
    """A run beside its baseline, if it has one: what compare adds to its table."""

    options: BaselineOptions
    base: Record | None
    new: Record
    plan: Plan

    @cached_property
    def rows(self) -> list[GateRow]:
        """The gate's rows; none without a baseline."""
        return gate.judge(self.base, self.new, self.plan.margins) if self.base else []

    @property
    def heading(self) -> str:
        """The gate in one line."""
        return f"gate: {gate.summary(self.rows)}" if self.base else "compare"

    @property
    def unsaved(self) -> str | None:
        """Reason why the run cannot be saved as a baseline, or None."""
        return record.unfit(self.new) if self.options.save else None

    @property
    def gate_code(self) -> int:
        """0, 3 or 4: what the gate says."""
        return gate.exit_code(self.rows, self.options.strict) if self.base else 0

    def exit_code(self, runs: int) -> int:
        """The code of the whole, `runs` being that of the runs alone."""
        codes = (self.gate_code, 4 if self.unsaved else 0, runs)
        return next((code for code in PRECEDENCE if code in codes), 0)

    def tables(self, compared: Sequence[AnyTable]) -> list[AnyTable]:
        """compare's tables, the rows of the first with the gate's words; then the gate's."""
        if not self.options.baseline:
            return list(compared)
        first, *others = compared
        tables = [gate.with_gate(first, self.rows), *others]
        if self.base:
            tables.append(gate.table(self.rows, self.base, self.new, str(self.options.baseline)))
        return tables

    def files(self, table: AnyTable) -> dict[str, str]:
        """Texts by the flag that asks for them."""
        setup = list(self.new.rows[0].setup)
        return {
            "--junit": ci.junit(self.rows) if self.base else ci.junit_of_runs(table.rows, setup),
            "--export-benchmark": ci.history(table.rows, setup),
            **({} if record.unfit(self.new) else {"--save-baseline": record.write(self.new)}),
        }

    def problems(self) -> list[str]:
        """Lines that --quiet does not suppress."""
        problems = [self.heading] if self.gate_code else []
        if self.unsaved:
            problems.append(f"--save-baseline: nothing written: {self.unsaved}")
        return problems

    def report_notes(self, console: Console) -> None:
        """Print the notes that --quiet suppresses."""
        if self.base and not self.gate_code:
            console.note(self.heading)
        if self.options.save and self.new.machine is None:
            console.note("--save-baseline: no seconds to compare, some runs were finished before")


def hold(
    options: BaselineOptions,
    base: Record | None,
    new: Record,
    results: Sequence[RunResult],
    plan: Plan,
) -> BaselineCheck:
    """The planned record filled with results, where one is wanted, beside its baseline."""
    return BaselineCheck(
        options, base, record.measured(new, results) if options.records else new, plan
    )
