"""Executors: which stacks run where.

An executor is a function (stacks, fit) that yields each stack with its results as it finishes;
`fit` trains one stack. Stacks are taken as late as possible.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Literal

from relubench import events, screen
from relubench.catalog import Catalog, Choice, Entry
from relubench.errors import BadValue
from relubench.execution import cluster
from relubench.plan import Stack
from relubench.results import RunResult, lost_run

Fit = Callable[[Stack], list[RunResult]]
Done = tuple[Stack, list[RunResult]]
Start = Literal["spawn", "fork"]  # of a process; macOS and Windows have the first alone

TRIES = 3  # of a stack whose worker dies

EXECUTORS: Catalog[Entry] = Catalog("executor", Entry)


@EXECUTORS.add()
def serial(stacks: Iterable[Stack], fit: Fit) -> Iterator[Done]:
    """One stack after the other, in this process"""
    for stack in stacks:
        yield stack, fit(stack)


@EXECUTORS.add()
def pool(stacks: Iterable[Stack], fit: Fit, *, jobs: int = 2) -> Iterator[Done]:
    """Worker processes, `jobs` at a time; a worker that dies is replaced and its stack tried again

    `fit` must be picklable. What it raises is raised here; a stack whose worker has died three
    times is given up, with the reason in its results.
    """
    yield from _pooled(stacks, fit, jobs, "spawn")


def fork(stacks: Iterable[Stack], fit: Fit, *, jobs: int = 2) -> Iterator[Done]:
    """Copies of this process, `jobs` at a time, which have imported torch already

    For one CPU thread a stack, on a machine without accelerators: a copy has none of the threads
    that torch keeps for more, and no device. It is in no catalogue, since a command alone can tell
    whether it may be copied.
    """
    yield from _pooled(stacks, fit, jobs, "fork")


def forked(jobs: int) -> Choice[Entry]:
    """The executor `fork` with so many jobs."""
    return Choice(Entry("fork", fork), {"jobs": jobs})


def _pooled(stacks: Iterable[Stack], fit: Fit, jobs: int, start: Start) -> Iterator[Done]:
    # By hand, since concurrent.futures breaks the whole pool when one worker dies: every stack that
    # is in flight would be lost with it. multiprocessing.Pool does not notice the death at all.
    # One iterator for all workers: it claims a stack as it is asked for it.
    source = iter(stacks)
    deaths = Counter[Stack]()
    again: list[Stack] = []
    workers: list[Worker] = []
    try:
        for _ in range(jobs):
            workers.append(Worker(fit, start, workers))
        while True:
            # A stack is taken when a worker is free and not before, since taking it claims it.
            for number, worker in enumerate(workers):
                if worker.stack is not None:
                    continue
                # A stack whose worker died comes first: it has been claimed for the longest.
                stack = again.pop() if again else next(source, None)
                if stack is not None:
                    alive = worker.alive()
                    workers[number] = worker if alive else Worker(fit, start, workers)
                    workers[number].start(stack)
            busy = [worker for worker in workers if worker.stack is not None]
            if not busy:
                return
            # A pipe is ready with results, and also when its worker dies: its end is then closed.
            wait([worker.results for worker in busy])
            for worker in busy:
                if not worker.results.poll():
                    continue
                finished = worker.finish()
                # An event: the worker trains on.
                if finished is None:
                    continue
                stack, results, why = finished
                if results is not None:
                    yield stack, results
                    continue
                deaths[stack] += 1
                if deaths[stack] < TRIES:
                    again.append(stack)
                    events.worker_lost(stack, why)
                else:
                    yield stack, _all_lost(stack, f"{why}, {TRIES} times")
    finally:
        # Also where the caller stops in the middle: a generator that is closed comes by here.
        for worker in workers:
            worker.stop()


@EXECUTORS.add()
def dask(stacks: Iterable[Stack], fit: Fit, *, scheduler: str = "") -> Iterator[Done]:
    """Workers of a dask cluster, a stack at a time each; what a lost worker had goes to another

    `fit` must be picklable. What it raises is raised here; a stack is given up, with the reason in
    its results, when it has lost more workers than the scheduler's setting allowed-failures.
    Raises BadValue where the cluster cannot be used, ClusterError where it is lost.
    """
    with cluster.connect(scheduler) as client:
        for stack, results in cluster.run_stacks(client, stacks, fit):
            if isinstance(results, str):
                results = _all_lost(stack, results)
            yield stack, results


def _all_lost(stack: Stack, reason: str) -> list[RunResult]:
    return [lost_run(cell, reason) for cell in stack.cells]


class Worker:
    """One process that trains one stack at a time.

    start   spawn, or fork, which torch's threads and a CUDA device do not survive
    others  the workers that there are already
    """

    def __init__(self, fit: Fit, start: Start = "spawn", others: Sequence[Worker] = ()) -> None:
        self.results, tasks = multiprocessing.Pipe()
        self.stack: Stack | None = None
        # A copy of this process has our ends of the pipes too. While it holds them, no worker would
        # see that we are gone.
        ours = [self.results, *(other.results for other in others)] if start == "fork" else []
        arguments = (tasks, fit, os.getcwd(), ours)
        self.process = _process(start, arguments)
        with _no_main(), warnings.catch_warnings(action="ignore"):  # of a fork beside threads
            self.process.start()
        tasks.close()  # so that its death is seen as the end of the pipe

    def alive(self) -> bool:
        """Whether it can be given another stack."""
        return self.process.is_alive()

    def start(self, stack: Stack) -> None:
        """Give it a stack to train."""
        self.stack = stack
        with suppress(OSError):  # it has just died: `finish` sees the end of the pipe
            self.results.send(stack)

    def finish(self) -> tuple[Stack, list[RunResult] | None, str] | None:
        """Its stack with the results, or with None and the reason if it died.

        None where it has an event to tell, and trains on.
        """
        stack = self.stack
        assert stack is not None
        # Nothing typed comes out of a pipe: results, an event, or what `fit` has raised.
        try:
            outcome: list[RunResult] | BaseException | events.Event = self.results.recv()
            if isinstance(outcome, events.Event):
                events.tell(outcome)
                return None
            self.stack = None
        except (EOFError, OSError):
            self.stack = None
            self.process.join()
            return stack, None, f"its worker died (exit code {self.process.exitcode})"
        # What `fit` raised there is raised here, as if it had run in this process.
        if isinstance(outcome, BaseException):
            raise outcome
        return stack, outcome, ""

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.terminate()
        self.process.join()
        self.results.close()


def _process(start: Start, arguments: tuple[object, ...]) -> BaseProcess:
    # multiprocessing ends a daemon where this process exits and nobody has called `stop`.
    if start == "fork":
        copies = multiprocessing.get_context("fork")
        return copies.Process(target=_work, args=arguments, daemon=True)
    return multiprocessing.get_context("spawn").Process(target=_work, args=arguments, daemon=True)


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep the script that runs here from being run again in a process that starts.

    multiprocessing would run it there, up to the call that started the process: a worker needs
    nothing of it, and a script that calls relubench without asking for its __name__ would not end.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(tasks: Connection, fit: Fit, folder: str, ours: Sequence[Connection]) -> None:
    for end in ours:
        end.close()
    screen.leave()
    if ours:
        # A stream's lock may have been held by another thread when this process was copied.
        sys.stderr = os.fdopen(2, "w", 1, closefd=False, errors="backslashreplace")
    sys.stdout = sys.stderr  # what a user's own code prints is no result
    os.chdir(folder)  # where ./file.py is; a spawned process starts elsewhere
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            stack = tasks.recv()
        except EOFError:
            os._exit(0)  # the parent is gone; so below
        try:
            with events.heard_by(tasks.send):
                outcome: list[RunResult] | Exception = fit(stack)
        except Exception as error:
            outcome = error
        try:
            tasks.send(outcome)
        except OSError:
            os._exit(0)


def choose(
    name: str | None,
    jobs: int | None = None,
    scheduler: str | None = None,
    scheduler_file: str | None = None,
) -> Choice[Entry]:
    """The executor `name` with these parameters, or the one that they imply.

    Raises BadValue where they contradict each other.
    """
    if scheduler and scheduler_file:
        raise BadValue("give --scheduler or --scheduler-file, not both")
    scheduler = cluster.address(scheduler_file) if scheduler_file else scheduler
    chosen = EXECUTORS.choose(name or _implied(jobs, scheduler))
    # One job is what every executor without the parameter does anyway.
    if jobs == 1 and "jobs" not in chosen.entry.parameters:
        jobs = None
    flags: dict[str, object] = {"jobs": jobs, "scheduler": scheduler}
    flags = {key: value for key, value in flags.items() if value is not None}
    # Refused where the executor has no such parameter, or `--executor pool:jobs=2` has said it.
    for key, value in flags.items():
        if key not in chosen.entry.parameters or key in chosen.given:
            raise BadValue(f"--{key} {value} does not go with --executor {chosen}")
    chosen = Choice(chosen.entry, {**chosen.given, **flags})
    if chosen.parameters.get("scheduler") == "":
        remedy = "give --scheduler tcp://host:8786 or --scheduler-file FILE"
        raise BadValue(f"--executor {chosen}: {remedy}")
    if chosen.parameters.get("jobs", 1) < 1:
        raise BadValue(f"--executor {chosen}: jobs must be at least 1")
    return chosen


def _implied(jobs: int | None, scheduler: str | None) -> str:
    """The executor that flags imply where none is named."""
    if scheduler:
        return "dask"
    if jobs and jobs > 1:
        return "pool"
    return "serial"
