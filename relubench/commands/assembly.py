"""From a request to the work: settings, plan, machine; what can be refused is refused here."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import config, execution, models, user_code
from relubench.activations import ACTIVATIONS
from relubench.catalog import Choice, Entry
from relubench.commands.request import CATALOGS, Request
from relubench.config.options import MODEL, RECIPE, declared
from relubench.errors import BadValue
from relubench.execution import executors
from relubench.execution.progress import Console
from relubench.execution.tuning import Tuning
from relubench.models import MODELS
from relubench.models.initialisation import INITS, scheme
from relubench.plan import Cell, Machine, Plan, Stack
from relubench.wording import counted

if TYPE_CHECKING:
    from relubench.config import Settings

REPEATING = {"seed", "seeds", "seed_base"}  # how often something is trained, not what
GROWING = {"until_decided", "max_seeds"}  # begin with few seeds
NAMELESS = ("compare", "suggest")  # commands that have a benchmark where none is named
HURRIED = 2.0  # seconds that measuring for a quick run may take


def read(request: Request, console: Console) -> Settings:
    """The settings: the benchmark's table with the flags on top; says whose table it is."""
    benchmarks = config.Benchmarks("", {})
    # Other commands without a benchmark read no file.
    if request.benchmark is not None or request.config or request.command in NAMELESS:
        benchmarks = config.read(request.config, CATALOGS)
    name = request.benchmark
    if name is None and request.command == "compare":
        name = _nameless(benchmarks.tables, request.flags)
    if name is None and request.command == "suggest":
        name = "suggest"
        if name not in benchmarks.tables:  # a file of one's own need not have it
            benchmarks = config.read(config.shipped(), CATALOGS)
    if name is not None and benchmarks.note:
        console.once(benchmarks.note)
    return config.resolve(benchmarks, name, request.flags, CATALOGS, request.quick)


def _nameless(tables: Collection[str], flags: Collection[str]) -> str | None:
    """The benchmark of a compare without a name: `default` where flags say what to train."""
    # Flags that say what is trained or how; how often does not count, nor a
    # beginning with few seeds.
    asked = {option.key for option in declared() if option.panel in (MODEL, RECIPE)}
    other = (asked - REPEATING | GROWING) & set(flags)
    wanted = ("default",) if other else ("first", "default")
    return next((name for name in wanted if name in tables), None)


def prepare(request: Request, console: Console) -> execution.work.Work:
    """The work; whatever can be refused is refused here, before training."""
    return assemble(read(request, console), request, console)


def assemble(
    settings: Settings,
    request: Request,
    console: Console,
    plan: Plan | None = None,
    retrain: bool = False,
    measuring: float = math.inf,
) -> execution.work.Work:
    """The work that these settings ask for; `plan` takes the place of theirs.

    retrain    everything is to be trained, whatever the ledger has
    measuring  seconds that measuring speed may take at most
    Where the ledger has all of it, nothing is checked or measured, and torch is not imported.
    """
    work = _untuned(settings, request, console, plan)
    work = replace(work, rerun=request.rerun or retrain)
    # 1. Is all of it finished? Then nothing that takes a second is needed.
    if work.machine.threads and (finished := _answered(work, settings.threads, _width(settings))):
        return finished
    machine = work.machine
    # 2. Check everything; only then make a ledger, and measure how to train.
    console.phase("importing torch, reading data")
    if not settings.threads:
        threads = _share(execution.machines.threads(), work.executor)
        machine = replace(machine, threads=threads)
    check(work.plan, machine, console, settings.strict_swap)
    tell_of_starts(work.plan, console)
    if request.ledger and not work.ledger:  # a new one, now that nothing has been refused
        work = replace(work, ledger=_begun(request.ledger, console))
    most = min(HURRIED if request.quick else math.inf, measuring)
    console.phase("measuring speed")
    tuned = tune(work.plan, machine, settings, console, most)
    return _spread(replace(work, machine=machine, tuned=tuned), settings, console)


def _spread(work: execution.work.Work, settings: Settings, console: Console) -> execution.work.Work:
    """The work over all cores, unless a flag says how it is to be arranged."""
    # Whoever says how it is to be arranged gets it so.
    if (settings.executor, settings.jobs, settings.threads) != (None, None, None):
        return work
    if settings.stack != "auto" or settings.scheduler or settings.scheduler_file:
        return work
    spread = execution.spreading.spread(work)
    if spread is not work:
        console.detail(f"stacks are spread over {spread.executor.parameters['jobs']} processes")
    return spread


def outline(
    settings: Settings, request: Request, console: Console, plan: Plan | None = None
) -> execution.work.Work:
    """The work that is not to be done: nothing is measured, no network of relubench's is built."""
    work = _untuned(settings, request, console, plan)
    machine = work.machine
    if not machine.threads:  # not known without torch
        threads = _share(execution.machines.threads(), work.executor)
        machine = replace(machine, threads=threads)
    for cell in work.plan.shapes():
        own = not MODELS.choose(cell.model).entry.code
        if own and not ACTIVATIONS.choose(cell.activation).entry.sha256:
            notes = execution.data_checks.check_data(cell, machine.data_dir).notes
        else:
            notes = tuple(execution.checks.check_cell(cell, machine, settings.strict_swap))
        for note in notes:
            console.once(note)
    return replace(work, machine=machine, tuned=tune(work.plan, machine, settings, console, 0.0))


def _untuned(
    settings: Settings, request: Request, console: Console, plan: Plan | None
) -> execution.work.Work:
    """The work before anything is checked or tuned; 0 threads where torch alone knows them."""
    plan = plan or config.plan(settings, request.command, request.quick, MODELS)
    console.phase(f"plan: {plan_line(plan)}")
    console.phase("looking for finished runs")
    executor = executors.choose(
        settings.executor, settings.jobs, settings.scheduler, settings.scheduler_file
    )
    _check_reach(plan, executor)
    machine = Machine(
        data_dir=str((request.data_dir or execution.machines.data_dir()).absolute()),
        device=execution.machines.device(settings.device, console),
        threads=settings.threads or _share(execution.machines.remembered_threads(), executor),
        dtype=settings.precision,
    )
    execution.machines.check_precision(machine)
    return execution.work.Work(
        plan=plan,
        machine=machine,
        tuned=(),
        ledger=_there(request.ledger),
        rerun=request.rerun,
        executor=executor,
        checkpoint=settings.checkpoint,
    )


def _check_reach(plan: Plan, executor: Choice[Entry]) -> None:
    """Refuse objects of this process where others are to train with them."""
    if executor.entry.name == "serial":
        return
    for name in {cell.model for cell in plan.cells} | {cell.activation for cell in plan.cells}:
        if user_code.OBJECT.match(name):
            raise BadValue(
                f"--executor {executor}: {name} is an object of this process, which others have "
                "not: write it to a file, ./FILE.py:NAME, or train with one job"
            )


def plan_line(plan: Plan) -> str:
    """What is planned, in one line: the names, or how many there are."""
    cells = plan.cells
    parts = []
    for noun in ("dataset", "model", "activation"):
        names = list(dict.fromkeys(getattr(cell, noun) for cell in cells))
        parts.append(", ".join(names) if len(names) < 4 else counted(len(names), noun))
    seeds = {cell.seed for cell in cells}
    return " · ".join([*parts, counted(len(seeds), "seed"), counted(len(cells), "run")])


def _share(threads: int | None, executor: Choice[Entry]) -> int:
    """Each worker's part of the CPU threads; 0 where it is not known how many there are."""
    jobs = executor.parameters.get("jobs", 1)
    return max(1, threads // jobs) if threads else 0


def _answered(
    work: execution.work.Work, pinned: int | None, width: int | None
) -> execution.work.Work | None:
    """The work where its ledger has the results of the whole plan; else None."""
    if work.ledger is None or work.rerun:
        return None
    tuned = []
    for cells in work.plan.setups():
        counts = _counts(work.machine, pinned)
        threads = execution.tuning.known_threads(cells, work.machine, counts)
        # Unknown threads are an unknown context: a row cannot be looked up.
        if threads is None or len(work.finished(Stack(tuple(cells), threads))) < len(cells):
            return None
        # In the stacks of the command that trained them, as far as can be known.
        how = execution.tuning.tune(cells, work.machine, counts, width, most=0.0)
        tuned.append((cells, how))
    return replace(work, tuned=tuned)


def _there(path: Path | None) -> execution.ledger.Ledger | None:
    """The ledger of a command, if there is one already."""
    return open_ledger(path) if path and path.exists() else None


def _begun(path: Path, console: Console) -> execution.ledger.Ledger:
    """A new ledger; a note says where it is."""
    ledger = open_ledger(path)
    console.note(f"ledger: {path} is new; finished runs are kept there (--no-ledger: are not)")
    return ledger


def tune(
    plan: Plan, machine: Machine, settings: Settings, console: Console, most: float
) -> list[tuple[list[Cell], Tuning]]:
    """How to train each set-up; what `--threads` or `--stack` do not fix is measured.

    most  seconds that measuring may take in all
    """
    counts = _counts(machine, settings.threads)
    width = _width(settings)
    measured: dict[object, Tuning] = {}
    tuned = []
    for cells in plan.setups():
        cell = cells[0]
        # Set-ups that differ in what costs no time, as in the rate, are measured once.
        if cell.timing_key not in measured:
            start = time.perf_counter()
            measured[cell.timing_key] = execution.tuning.tune(cells, machine, counts, width, most)
            # What one set-up has used up is not there for the next.
            most = max(0.0, most - (time.perf_counter() - start))
            console.detail(f"{cell.dataset}, {cell.model}: {measured[cell.timing_key]}")
        tuned.append((cells, measured[cell.timing_key]))
    return tuned


def _width(settings: Settings) -> int | None:
    """The cells in a pass that `--stack` fixes."""
    return None if settings.stack == "auto" else int(settings.stack)


def _counts(machine: Machine, pinned: int | None) -> list[int]:
    """The numbers of CPU threads that a set-up may be trained on."""
    counts = [pinned] if pinned else sorted({1, machine.threads})
    # On an accelerator there is nothing to choose.
    return counts if machine.device == "cpu" else counts[-1:]


def open_ledger(
    path: Path, existing: bool = False, reading: bool = False
) -> execution.ledger.Ledger:
    """A ledger; with `existing` one that is there, with `reading` one that need not be writable."""
    if existing and not path.is_file():
        raise BadValue(f"--ledger {path}: there is no such file")
    return execution.ledger.Ledger(path, reading)


def check(plan: Plan, machine: Machine, console: Console, strict: bool) -> None:
    """Refuse a plan with a network that cannot be built or a split that cannot be cut.

    strict  whether to refuse a network too of which something that is not linear would stay
    """
    for model in dict.fromkeys(cell.model for cell in plan.cells):
        MODELS.choose(model).entry.check()  # before data are fetched
    for cell in plan.shapes():
        for note in execution.checks.check_cell(cell, machine, strict):
            console.once(note)


def tell_of_starts(plan: Plan, console: Console) -> None:
    """Say of which activations no initial weights hold the second moment, where they should."""
    adrift, undefined = [], []
    # One cell for each: a plan has thousands of cells, and a few activations.
    for cell in {(cell.activation, cell.init): cell for cell in plan.cells}.values():
        choice = ACTIVATIONS.choose(cell.activation)
        own = MODELS.choose(cell.model).entry.init
        if not INITS[scheme(cell.init, choice.entry, own)].takes_gain:
            continue
        start = models.weights.holding(choice)
        if not start.defined:
            undefined.append(cell.activation)
        elif not start.steady:
            adrift.append(f"{cell.activation} ({start.growth:.1f} times)")
    if adrift:
        console.once(
            "no initial weights hold the second moment of these from layer to layer; a small "
            f"deviation grows in each: {', '.join(dict.fromkeys(adrift))}"
        )
    if undefined:
        console.once(
            "begin as relu does, since E f(z)² is 0 or not finite, z standard normal: "
            f"{', '.join(dict.fromkeys(undefined))}"
        )
