"""The work of one command: what the ledger lacks is trained, and nothing finished is lost."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from relubench import plan, user_code
from relubench.catalog import Choice, Entry
from relubench.errors import Stopped
from relubench.execution.executors import EXECUTORS, Done
from relubench.execution.ledger import Ledger, LedgerError, Unwritten
from relubench.execution.progress import Console
from relubench.execution.tuning import Tuning
from relubench.plan import Cell, Machine, Plan, Stack
from relubench.results import Context, RunResult
from relubench.training import engine
from relubench.training.checkpoints import DAYS, Unfinished
from relubench.wording import counted


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a training command is to do, checked.

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

    def seeds(self, wanted: Container[int]) -> Work:
        """The same work on some of its seeds."""
        cells = tuple(cell for cell in self.plan.cells if cell.seed in wanted)
        tuned = [([c for c in unit if c.seed in wanted], how) for unit, how in self.tuned]
        return replace(self, plan=replace(self.plan, cells=cells), tuned=tuned)

    def with_untrained(self) -> Work:
        """The same work, then every network of it as it begins, once for all ways to train it."""
        planned, tuned = [*self.plan.cells], [*self.tuned]
        for cells, how in self.tuned:
            begun = dict.fromkeys(cell.untrained for cell in cells)
            new = [cell for cell in begun if cell not in planned]
            planned += new
            tuned += [(new, how)] if new else []
        return replace(self, plan=replace(self.plan, cells=tuple(planned)), tuned=tuned)

    def context(self, stack: Stack) -> Context:
        """What else decides the numbers of a stack's cells."""
        threads = stack.threads or self.machine.threads
        return engine.context(stack.cells[0], replace(self.machine, threads=threads))

    def known(self, stack: Stack) -> dict[Cell, RunResult]:
        """What the ledger has of a stack."""
        if self.ledger is None or self.rerun:
            return {}
        return self.ledger.find(stack.cells, self.context(stack))

    def run(self, console: Console, save: Path | None = None) -> list[RunResult]:
        """The results of the plan's cells, in its order: from the ledger, the rest trained.

        With `save` everything is trained, since the ledger keeps no weights.
        """
        work = replace(self, rerun=True) if save else self
        units = [(cells, how.stack, how.threads, how.abreast) for cells, how in self.tuned]
        done: dict[Cell, RunResult] = {}
        left = []
        unfinished = self.unfinished(console)
        begun = unfinished.keys if unfinished else set()
        for stack in plan.stacks(units):
            known = work.known(stack)
            if unfinished and begun and stack.key in begun and len(known) == len(stack.cells):
                unfinished.forget(stack, str(self.context(stack)))  # killed in between
            done.update(known)
            left.extend(_part(stack, [cell for cell in stack.cells if cell not in known]))
        total = counted(len(self.plan.cells), "run")
        if self.ledger and self.ledger.unread:
            left_out = f"{counted(len(self.ledger.unread), 'row')} of {self.ledger.path} cannot be"
            console.once(f"{left_out} read and are trained again (relubench ledger check)")
        if self.ledger and done:
            taken = f"{len(done)} of {total} taken from {self.ledger.path}"
            console.note(f"{taken} (--rerun trains again)")
        try:
            trained = work.train(left, console, save)
            for stack, results in console.track(trained, sum(len(s.cells) for s in left)):
                done.update({result.cell: result for result in results})
                if len(stack.cells) > stack.abreast and {r.environment.stack for r in results} == {
                    1
                }:
                    cell = stack.cells[0]
                    console.once(
                        f"{cell.model}, {cell.activation}: no vectorised pass, trained one by one"
                    )
        except KeyboardInterrupt:
            kept = f"; they are in {self.ledger.path}" if self.ledger else ""
            raise Stopped(f"interrupted after {len(done)} of {total}{kept}") from None
        finally:
            if self.ledger:
                with suppress(LedgerError):  # nobody else is kept waiting for more than a lease
                    self.ledger.release()
        return [done[cell] for cell in self.plan.cells]

    def train(
        self, stacks: Sequence[Stack], console: Console, save: Path | None = None
    ) -> Iterator[Done]:
        """Each stack with its results as it finishes; by then they are in the ledger.

        What other processes train is waited for, and trained here if they give it up.
        """
        unfinished = None if save else self.unfinished(console)
        fit = partial(engine.fit, machine=self.machine, save=save, unfinished=unfinished)
        same = partial(user_code.as_held, user_code.held_digests(), fit)
        kept = Kept(self, unfinished, console)
        while stacks:
            shares = Shares(self, kept)
            try:
                for stack, results in self.executor(shares.mine(stacks), same):
                    kept.keep(stack, results)
                    yield stack, results
            except engine.Unsaved as unsaved:
                kept.keep(stacks[0], unsaved.results)
                raise
            yield from shares.known
            stacks = shares.theirs
            if stacks:
                for host, process in self.holders(stacks):
                    console.once(f"waiting for what process {process} on {host} trains")
                time.sleep(1)
        if unfinished and (removed := unfinished.sweep()):
            gone = f"{counted(removed, 'unfinished run')} in {unfinished.folder} removed"
            console.note(f"{gone}: nobody has gone on with them for {DAYS} days")

    def holders(self, stacks: Iterable[Stack]) -> list[tuple[str, int]]:
        """Host and process of those who train these stacks meanwhile."""
        if not self.ledger:
            return []
        each = (self.ledger.holders(stack.cells, self.context(stack)) for stack in stacks)
        return list(dict.fromkeys(holder for found in each for holder in found))

    def unfinished(self, console: Console) -> Unfinished | None:
        """Where trainings are kept until they end: beside the ledger, but on no other's disk."""
        if not self.ledger or self.executor.entry.name == "dask":
            return None
        folder = self.ledger.path.resolve().parent / "unfinished"
        return Unfinished(folder, self.checkpoint, console.note)


@dataclass(frozen=True)
class Kept:
    """What is finished goes into the ledger; where that fails, it is tried again with the next.

    pending  what is not there yet
    """

    work: Work
    unfinished: Unfinished | None
    console: Console
    pending: list[Done] = field(default_factory=list)

    def keep(self, stack: Stack, results: list[RunResult]) -> None:
        """Write a finished stack, and what has been left over."""
        ledger = self.work.ledger
        if not ledger:
            return
        self.pending.append((stack, results))
        try:
            while self.pending:
                stack, results = self.pending[0]
                context = self.work.context(stack)
                ledger.write(results, context)
                self.pending.pop(0)
                if self.unfinished:
                    self.unfinished.forget(stack, str(context))
        except Unwritten as error:
            self.tell(error)

    def claim(self, stack: Stack) -> set[Cell]:
        """What of a stack no other process trains, as far as that can be said."""
        assert self.work.ledger
        try:
            return self.work.ledger.claim(stack.cells, self.work.context(stack))
        except Unwritten as error:
            self.tell(error)
            return set(stack.cells)

    def tell(self, error: Unwritten) -> None:
        """Say it, once."""
        self.console.once(f"{error}: what is trained is printed, and kept once it can be")


@dataclass(frozen=True)
class Shares:
    """Stacks divided, as late as possible, between this process and others on the same ledger.

    known   what others have finished by now
    theirs  what others are training
    """

    work: Work
    kept: Kept
    known: list[Done] = field(default_factory=list)
    theirs: list[Stack] = field(default_factory=list)

    def mine(self, stacks: Iterable[Stack]) -> Iterator[Stack]:
        """What this process is to train."""
        for stack in stacks:
            ledger, known, cells = self.work.ledger, {}, set(stack.cells)
            if ledger and not self.work.rerun:
                cells = self.kept.claim(stack)
                known = self.work.known(stack)
            rest = [cell for cell in stack.cells if cell not in known]
            self.known.extend(
                (part, [known[c] for c in part.cells]) for part in _part(stack, known)
            )
            self.theirs.extend(_part(stack, [cell for cell in rest if cell not in cells]))
            yield from _part(stack, [cell for cell in rest if cell in cells])


def _part(stack: Stack, cells: Iterable[Cell]) -> list[Stack]:
    """The stack with some of its cells; nothing where there are none."""
    chosen = tuple(cells)
    return [replace(stack, cells=chosen)] if chosen else []
