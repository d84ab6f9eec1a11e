"""The work of one command: what the ledger lacks is trained, and nothing finished is lost."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from relubench import events, plan, training, user_code
from relubench.catalog import Choice, Entry
from relubench.datasets import in_memory
from relubench.errors import Stopped
from relubench.events import Event
from relubench.execution.executors import EXECUTORS, Done
from relubench.execution.ledger import Ledger, LedgerError, Unwritten
from relubench.execution.progress import Console, Outlook, Tabled
from relubench.execution.tuning import Tuning
from relubench.grouping import joined
from relubench.plan import Cell, Machine, Plan, Stack
from relubench.results import Context, RunResult
from relubench.training.checkpoints import DAYS, CheckpointStore
from relubench.training.context import context
from relubench.wording import counted


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a training command, checked.

    tuned       the plan's set-ups, each with the stack width and the threads to train it with
    rerun       train what is finished too
    checkpoint  seconds from one save of an unfinished training to the next
    """

    plan: Plan
    machine: Machine
    tuned: Sequence[tuple[Sequence[Cell], Tuning]]
    ledger: Ledger | None = None
    rerun: bool = False
    executor: Choice[Entry] = field(default_factory=lambda: EXECUTORS.choose("serial"))
    checkpoint: float = 60.0

    def seeds(self, chosen: Container[int]) -> Work:
        """The same work on some of its seeds."""
        tuned = []
        for cells, tuning in self.tuned:
            tuned.append(([cell for cell in cells if cell.seed in chosen], tuning))
        cells_of_plan = tuple(cell for cell in self.plan.cells if cell.seed in chosen)
        return replace(self, plan=replace(self.plan, cells=cells_of_plan), tuned=tuned)

    def with_untrained(self) -> Work:
        """The same work, then every network of it as it begins, once for all ways to train it."""
        planned = [*self.plan.cells]
        tuned = [*self.tuned]
        for cells, tuning in self.tuned:
            # Once each: cells that differ in their recipe alone begin as the same network.
            untrained = dict.fromkeys(cell.untrained for cell in cells)
            new = [cell for cell in untrained if cell not in planned]
            if new:
                planned += new
                tuned.append((new, tuning))
        return replace(self, plan=replace(self.plan, cells=tuple(planned)), tuned=tuned)

    def context(self, stack: Stack) -> Context:
        """Everything besides the cells that decides the numbers of a stack."""
        # The threads that it will be trained on decide last bits: they are in the context.
        threads = stack.threads or self.machine.threads
        return context(stack.cells[0], replace(self.machine, threads=threads))

    def finished(self, stack: Stack) -> dict[Cell, RunResult]:
        """The results that the ledger has of a stack; none of them with `rerun`."""
        if self.ledger is None or self.rerun:
            return {}
        found = self.ledger.find(stack.cells, self.context(stack))
        return {cell: run for cell, run in found.items() if run.tracked(self.plan.track)}

    def run(
        self, console: Console, save: Path | None = None, table: Tabled | None = None
    ) -> list[RunResult]:
        """The results of the plan's cells, in its order: from the ledger, the rest trained.

        With `save` everything is trained, since the ledger keeps no weights.
        table  of results so far, for who watches
        """
        work = replace(self, rerun=True) if save else self
        results, missing = work._divided(console)
        total = counted(len(self.plan.cells), "run")
        self._tell_of_ledger(len(results), total, console)
        trained = work.train(missing, console, save)
        where = str(self.ledger.path) if self.ledger else ""
        cells = joined(stack.cells for stack in missing)
        outlook = Outlook(cells, list(results.values()), where, table)
        # The last state that each unfinished run has left, for what is said after an interrupt.
        kept: dict[str, Event] = {}

        def hear(event: Event) -> None:
            console.hear(event)
            if event.kind in ("kept", "resumed"):
                kept[event.key] = event

        try:
            with events.heard_by(hear):
                for stack, of_stack in console.track(trained, outlook):
                    results.update({result.cell: result for result in of_stack})
                    # What is finished has no state any more to go on from.
                    for cell in stack.cells:
                        kept.pop(cell.key, None)
                    _tell_if_not_stacked(stack, of_stack, console)
        except KeyboardInterrupt:
            said = f"interrupted after {len(results)} of {total}"
            raise Stopped(f"{said}{self._kept(results, kept.values())}") from None
        finally:
            if self.ledger:
                with suppress(LedgerError):  # nobody else is kept waiting for more than a lease
                    self.ledger.release()
        return [results[cell] for cell in self.plan.cells]

    def _kept(self, results: Mapping[Cell, RunResult], kept: Iterable[Event]) -> str:
        """What an interrupted command leaves behind, and how to go on with it."""
        if not self.ledger:
            return "; nothing is kept without a ledger"
        parts = [f"they are in {self.ledger.path}"] if results else []
        for event in kept:
            parts.append(f"{event.name}: state kept at epoch {event.epoch} of {event.epochs}")
        if not parts:
            return (
                f"; nothing was kept yet (--checkpoint {self.checkpoint:g}: every so many seconds)"
            )
        return f"; {'; '.join(parts)}; the same command goes on from there"

    def _divided(self, console: Console) -> tuple[dict[Cell, RunResult], list[Stack]]:
        """The results that the ledger has, and the stacks that are still to be trained."""
        results: dict[Cell, RunResult] = {}
        missing: list[Stack] = []
        checkpoints = self.checkpoints(console)
        begun = checkpoints.keys if checkpoints else set()
        setups = [(cells, how.stack, how.threads, how.n_parallel) for cells, how in self.tuned]
        for stack in plan.stacks(setups, self.plan.track):
            finished = self.finished(stack)
            # A process that was killed between its last write and this had no time to do it.
            if checkpoints and stack.key in begun and len(finished) == len(stack.cells):
                checkpoints.discard(stack, str(self.context(stack)))
            results.update(finished)
            missing += _part(stack, [cell for cell in stack.cells if cell not in finished])
        return results, missing

    def _tell_of_ledger(self, n_finished: int, total: str, console: Console) -> None:
        if not self.ledger:
            return
        if self.ledger.unread:
            rows = f"{counted(len(self.ledger.unread), 'row')} of {self.ledger.path}"
            console.once(f"{rows} cannot be read and are trained again (relubench ledger check)")
        if n_finished:
            taken = f"{n_finished} of {total} taken from {self.ledger.path}"
            console.note(f"{taken} (--rerun trains again)")

    def train(
        self, stacks: Sequence[Stack], console: Console, save: Path | None = None
    ) -> Iterator[Done]:
        """Each stack with its results as it finishes; by then they are in the ledger.

        What other processes train is waited for, and trained here if they give it up.
        """
        checkpoints = None if save else self.checkpoints(console)
        keeper = Keeper(self, checkpoints, console)
        while stacks:
            # In a worker a user's file may have been edited since this command read it.
            fit = partial(
                training.engine.fit, machine=self.machine, save=save, checkpoints=checkpoints
            )
            fit_as_held = partial(user_code.as_held, user_code.held_digests(), fit)
            # Data that lie in memory only go to a worker with the task: it has no file to read.
            cells = chain.from_iterable(stack.cells for stack in stacks)
            lent = in_memory.used([cell.dataset for cell in cells])
            fit_here = partial(in_memory.as_lent, lent, fit_as_held) if lent else fit_as_held
            claimed = ClaimedStacks(self, keeper)
            try:
                for stack, results in self.executor(claimed.claimed(stacks), fit_here):
                    # First the file, then the caller: what has been shown is not lost any more.
                    keeper.keep(stack, results)
                    yield stack, results
            # --save trains one stack; that its weights cannot be written must not cost its results.
            except training.engine.Unsaved as unsaved:
                keeper.keep(stacks[0], unsaved.results)
                raise
            yield from claimed.finished
            # What others train comes round again: theirs once it is finished, ours if they die.
            stacks = claimed.elsewhere
            if stacks:
                for host, process in self.holders(stacks):
                    console.once(f"waiting for what process {process} on {host} trains")
                # Nobody tells when another process has finished: the file is
                # asked again every second.
                time.sleep(1)
        if checkpoints and (removed := checkpoints.sweep()):
            gone = f"{counted(removed, 'unfinished run')} in {checkpoints.folder} removed"
            console.note(f"{gone}: nobody has gone on with them for {DAYS} days")

    def holders(self, stacks: Iterable[Stack]) -> list[tuple[str, int]]:
        """Host and process of those who train these stacks meanwhile, each once."""
        holders: dict[tuple[str, int], None] = {}
        if self.ledger:
            for stack in stacks:
                of_stack = self.ledger.holders(stack.cells, self.context(stack))
                holders.update(dict.fromkeys(of_stack))
        return list(holders)

    def checkpoints(self, console: Console) -> CheckpointStore | None:
        """The store of unfinished trainings: beside the ledger, but on no other's disk."""
        if not self.ledger or self.executor.entry.name == "dask":
            return None  # a dask worker may have another disk
        folder = self.ledger.path.resolve().parent / "unfinished"
        return CheckpointStore(folder, self.checkpoint, console.note)


def _tell_if_not_stacked(stack: Stack, results: Sequence[RunResult], console: Console) -> None:
    """Note that cells were trained one by one, where a pass was meant to hold several."""
    several = len(stack.cells) > stack.n_parallel
    alone = {result.environment.stack for result in results} == {1}
    if several and alone:
        cell = stack.cells[0]
        console.once(f"{cell.model}, {cell.activation}: no vectorised pass, trained one by one")


@dataclass(frozen=True)
class Keeper:
    """Writes what is finished to the ledger; where that fails, it is tried again with the next.

    pending  what is not there yet
    """

    work: Work
    checkpoints: CheckpointStore | None
    console: Console
    pending: list[Done] = field(default_factory=list)

    def keep(self, stack: Stack, results: list[RunResult]) -> None:
        """Write a finished stack, and what has been left over."""
        ledger = self.work.ledger
        if not ledger:
            return
        # Behind those that could not be written before: the oldest goes first.
        self.pending.append((stack, results))
        try:
            while self.pending:
                stack, results = self.pending[0]
                context = self.work.context(stack)
                ledger.write(results, context)
                # Only now: what is dropped from here is in the file.
                self.pending.pop(0)
                if self.checkpoints:
                    self.checkpoints.discard(stack, str(context))
        # A disk may be full, a file locked: training goes on, and the next stack tries again.
        except Unwritten as error:
            self.tell(error)

    def claim(self, stack: Stack) -> set[Cell]:
        """The cells of a stack that no other process trains, as far as that can be said."""
        assert self.work.ledger
        try:
            return self.work.ledger.claim(stack.cells, self.work.context(stack))
        except Unwritten as error:
            self.tell(error)
            # Without claims two processes may train the same cell, which costs time and no result.
            return set(stack.cells)

    def tell(self, error: Unwritten) -> None:
        """Tell the user, once."""
        self.console.once(f"{error}: what is trained is printed, and kept once it can be")


@dataclass(frozen=True)
class ClaimedStacks:
    """Stacks divided, as late as possible, between this process and others on the same ledger.

    finished   what others have finished by now
    elsewhere  what others are training
    """

    work: Work
    keeper: Keeper
    finished: list[Done] = field(default_factory=list)
    elsewhere: list[Stack] = field(default_factory=list)

    def claimed(self, stacks: Iterable[Stack]) -> Iterator[Stack]:
        """Claim each stack when it is asked for; yields what this process is to train of it."""
        for stack in stacks:
            claimed = set(stack.cells)
            finished: dict[Cell, RunResult] = {}
            if self.work.ledger and not self.work.rerun:
                # In this order: what another finishes in between is claimed, and then found.
                claimed = self.keeper.claim(stack)
                finished = self.work.finished(stack)
            for part in _part(stack, finished):
                self.finished.append((part, [finished[cell] for cell in part.cells]))
            missing = [cell for cell in stack.cells if cell not in finished]
            self.elsewhere.extend(_part(stack, [cell for cell in missing if cell not in claimed]))
            for part in _part(stack, [cell for cell in missing if cell in claimed]):
                events.begun(part)
                yield part


def _part(stack: Stack, cells: Iterable[Cell]) -> list[Stack]:
    """The stack with some of its cells; nothing where there are none."""
    chosen = tuple(cells)
    return [replace(stack, cells=chosen)] if chosen else []
