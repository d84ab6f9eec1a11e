"""What each command does: settings in, tables out. What needs torch is imported when it is needed.

Nothing here prints: progress and notes go through the Console that the caller brings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench import datasets, executors
from relubench.activations import ACTIVATIONS
from relubench.activations.unit import FAMILIES
from relubench.augmentations import AUGMENTATIONS
from relubench.catalog import Catalog
from relubench.console import Console
from relubench.datasets import DATASETS
from relubench.errors import BadValue, NotComparable, UnknownName, suggestion
from relubench.executors import EXECUTORS
from relubench.formats import FORMATS, Table, counted
from relubench.heads import HEADS
from relubench.metrics import METRICS
from relubench.models import MODELS
from relubench.optimizers import OPTIMIZERS
from relubench.perturbations import PERTURBATIONS
from relubench.pictures import MOST
from relubench.plan import Asked, Cell, Machine, Plan, Split, Stack
from relubench.results import RunResult, lost

if TYPE_CHECKING:
    from relubench.config import Settings
    from relubench.ledger import Ledger
    from relubench.report import Arrangement, Terms
    from relubench.tuning import Tuning
    from relubench.work import Work

CATALOGS: dict[str, Catalog[Any]] = {
    catalog.kind: catalog
    for catalog in (
        ACTIVATIONS,
        MODELS,
        DATASETS,
        HEADS,
        OPTIMIZERS,
        METRICS,
        AUGMENTATIONS,
        PERTURBATIONS,
        EXECUTORS,
        FORMATS,
    )
}
QUICK_ELEMENTS = 2**12
FORMULAS = ("activation", "head")  # kinds whose docstring is a formula


@dataclass(frozen=True)
class Outcome:
    """What a command ends with: tables for stdout and the exit code.

    files     texts by the flag that names their file
    problems  what stderr says even under --quiet
    summary   Markdown for a CI step's page; None: this command has none
    """

    tables: Sequence[Table]
    exit_code: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    annotations: Sequence[str] = ()
    summary: str | None = None


@dataclass(frozen=True)
class Request:
    """What a training command was asked: a benchmark by name, the flags that were given."""

    command: str
    benchmark: str | None
    flags: Mapping[str, Any]
    config: Path | None = None
    data_dir: Path | None = None
    quick: bool = False
    ledger: Path | None = None
    rerun: bool = False
    arranged: Arrangement | None = None

    def check(self, plan: Plan, table: Callable[[Sequence[RunResult]], Table]) -> None:
        """Refuse keys that the command's rows will not have, before anything is trained."""
        if self.arranged:
            self.arranged.apply(table([lost(cell, "") for cell in plan.cells]))


def train(
    request: Request, console: Console, confusion: bool, curve: bool, save: Path | None
) -> Outcome:
    """Train each cell once and score it on the test part."""
    from relubench import report

    work = prepare(request, console)
    if save and len(work.plan.cells) > 1:
        count = len(work.plan.cells)
        raise BadValue(f"--save keeps the weights of one run, but this plan has {count}")
    if save and work.executor.entry.name == "dask":
        raise BadValue("--save would write on a dask worker's disk: train this run with --jobs 1")
    request.check(work.plan, lambda results: report.runs(results, work.plan))
    results = work.run(console, save)
    tables = [report.runs(results, work.plan)]
    for result in results:
        if confusion and result.confusion:
            names = datasets.load(result.cell.dataset, work.machine.data_dir).classes
            tables.append(report.confusion(result, names))
        if curve:
            tables.append(report.curve(result))
    return Outcome(tables, _exit_code(results))


def cv(request: Request, console: Console) -> Outcome:
    """Stratified K-fold cross-validation: every fold has its own scaler, weights and optimiser."""
    from relubench import report

    settings = read(request)
    work = assemble(settings, request, console)
    request.check(work.plan, lambda results: report.runs(results, work.plan))
    results = work.run(console)
    tables = [report.runs(results, work.plan), report.folds(results, work.plan)]
    if settings.protocol == "published":
        results, told = leak(settings, request, console, results)
        tables.append(told)
    return Outcome(tables, _exit_code(results))


def leak(
    settings: Settings, request: Request, console: Console, known: Sequence[RunResult]
) -> tuple[list[RunResult], Table]:
    """Cross-validation as it should be beside one whose weights are carried from fold to fold.

    known  results of this command that are not to be trained again
    """
    from relubench import config, published

    plan = config.protocols(settings, request.command, request.quick, MODELS)
    found = {result.cell: result for result in known}
    left = replace(plan, cells=tuple(cell for cell in plan.cells if cell not in found))
    work = assemble(settings, request, console, left)
    found.update({result.cell: result for result in work.run(console)})
    results = [found[cell] for cell in plan.cells]
    return [*found.values()], published.protocols(results, plan, settings.published)


def compare(request: Request, console: Console, explain: bool, asked: Asked) -> Outcome:
    """Train every activation on the same seeds or folds and say what the differences allow.

    A benchmark's published figures stand beside the measured ones in a table of their own. Raises
    NotComparable, before anything is trained, where there is a baseline of something else.
    """
    from relubench import ci, config, gatekeeper, published

    settings = read(request)
    gatekeeper.check(asked, settings, request.quick)
    base = gatekeeper.known(asked, console)
    work = assemble(settings, request, console)
    if base:  # what was finished before says nothing of the code that is under test now
        work = replace(work, rerun=True)
    terms = _terms(settings, work, explain)
    request.check(work.plan, lambda results: gatekeeper.shown(asked, results, work.plan, terms))
    new = gatekeeper.planned(work, asked, base)
    if settings.until_decided and not request.quick:
        results, compared = until_decided(work, terms, settings.first_seeds("compare"), console)
    else:
        results, compared = at_once(work, terms, console)
    held = gatekeeper.held(asked, base, new, results, work.plan)
    held.tell(console)
    if settings.protocol == "published":
        results, told = leak(settings, request, console, results)
        compared.append(told)
    if settings.published:
        why_not = config.changed(request.flags, request.quick)
        compared.append(published.table(settings.published, compared[0].rows, why_not))
    tables = held.tables(compared)
    return Outcome(
        tables,
        held.exit_code(_exit_code(results)),
        held.files(compared[0]),
        held.problems(),
        ci.errors(held.rows),
        ci.summary(tables, held.heading),
    )


def _terms(settings: Settings, work: Work, explain: bool) -> Terms:
    """What the comparison is asked."""
    from relubench import datasets, report

    names = {cell.dataset for cell in work.plan.cells}
    published = {name for name in names if datasets.load(name, work.machine.data_dir).n_test}
    return report.Terms(
        measure=settings.measure,
        margin=settings.margin.get(settings.measure.name),
        rope=settings.region,
        every_pair=settings.pairs == "all",
        published=frozenset(published),
        explain=explain,
    )


def at_once(work: Work, terms: Terms, console: Console) -> tuple[list[RunResult], list[Table]]:
    """Train the whole plan and compare; what its design can show at best is said before."""
    from relubench import report

    for line in report.outlook(work.plan, terms):
        console.note(line)
    results = work.run(console)
    return results, report.comparisons(results, work.plan, terms)


def until_decided(
    work: Work, terms: Terms, first: int, console: Console
) -> tuple[list[RunResult], list[Table]]:
    """Look after so many seeds, and after more, each look at its level of alpha, until all is said.

    What an earlier look trained is not trained again.
    """
    from relubench import report, stats

    last = 1 + max(cell.seed for cell in work.plan.cells)
    looks = stats.looks(first, last, terms.alpha)
    levels = ", ".join(f"{look.seeds} seeds at {look.alpha:.2g}" for look in looks)
    console.note(f"{counted(len(looks), 'look')}: {levels}")
    results: list[RunResult] = []
    for number, look in enumerate(looks, start=1):
        plan = work.seeds(range(look.seeds)).plan
        seen = 1 + max((result.cell.seed for result in results), default=-1)
        at_look = replace(terms, alpha=look.alpha, look=number)
        for line in report.outlook(plan, at_look):
            console.note(f"look {number}: {line}")
        results += work.seeds(range(seen, look.seeds)).run(console)
        decided = report.decided(results, plan, at_look)
        if decided:
            break
    why = "every comparison is decided" if decided else "the last look; not all is decided"
    stopped = f"Stopped at look {number} of {len(looks)}, {look.seeds} seeds: {why}."
    return results, report.comparisons(results, plan, replace(at_look, stopped=stopped))


def refused(reasons: Sequence[str]) -> Outcome:
    """What CI is told of a run that cannot be held against its baseline."""
    from relubench import ci

    return Outcome(
        [],
        NotComparable.exit_code,
        {"--junit": ci.junit_of_refusal(reasons)},
        reasons,
        [ci.annotation("relubench: not comparable", reason) for reason in reasons],
        ci.summary([], "not comparable") + "".join(f"- {reason}\n" for reason in reasons),
    )


def deadcount(request: Request, console: Console) -> Outcome:
    """Count dead units over the whole training set, before training and after it."""
    from relubench import report

    work = prepare(request, console)
    request.check(work.plan, lambda results: report.deadcount(results, work.plan)[0])
    results = work.with_untrained().run(console)
    trained = results[: len(work.plan.cells)]
    return Outcome(report.deadcount(trained, work.plan, results), _exit_code(results))


def list_kind(
    kind: str | None, config_file: Path | None, family: str | None, search: str | None
) -> Outcome:
    """What there is to name: one catalogue, or the kinds."""
    from relubench import listing

    kinds = {f"{name}s": name for name in (*CATALOGS, "benchmark")}
    if kind is None:
        if family or search:
            raise BadValue("--family and --search need a kind, such as activations")
        return Outcome([listing.kinds(kinds)])
    singular = kinds.get(kind, kind)
    if singular not in kinds.values():
        raise UnknownName("kind", kind, known=kinds)
    table = _listed(singular, config_file)
    if family is not None:
        _check_family(singular, family)
        table = listing.only(table, lambda row, _: row["family"] == family, f"in {family}")
    if search is not None:
        found = search.casefold()
        table = listing.only(
            table, lambda _, texts: found in "\n".join(texts).casefold(), f"with {search!r}"
        )
    return Outcome([table])


def _listed(singular: str, config_file: Path | None) -> Table:
    from relubench import listing

    if singular == "benchmark":
        from relubench import config

        found = config.read(config_file, CATALOGS)
        settings = {name: config.settings(found, name, {}, CATALOGS) for name in found.tables}
        runs = {
            name: len(config.plan(each, "compare", False, MODELS).cells)
            for name, each in settings.items()
        }
        return listing.benchmarks(found.tables, runs)
    described = "formula" if singular in FORMULAS else "description"
    return listing.catalog(CATALOGS[singular], described)


def _check_family(singular: str, family: str) -> None:
    if singular != ACTIVATIONS.kind:
        raise BadValue(f"--family: only activations have families, not {singular}s")
    if family not in FAMILIES:
        hint = suggestion(family, FAMILIES) or f"known: {', '.join(FAMILIES)}"
        raise BadValue(f"unknown family {family!r}: {hint} (relubench list activations)")


def show_activation(names: Sequence[str]) -> Outcome:
    """Formula, facts, figures and curves of activations."""
    from relubench import listing, portrait

    choices = {str(choice): choice for choice in map(ACTIVATIONS.choose, _split(names))}
    if len(choices) > MOST:
        raise BadValue(f"got {len(choices)} activations: a picture holds at most {MOST}")
    x = portrait.window(choices.values())
    return Outcome([listing.units([asdict(portrait.portray(c, x)) for c in choices.values()])])


def cost(
    flags: Mapping[str, Any], sizes: Sequence[str], rounds: int, quick: bool, console: Console
) -> Outcome:
    """Time units in interleaved rounds; `quick` times them once, at few elements."""
    import torch

    from relubench import bill, config
    from relubench import cost as costs

    settings = config.settings(config.Benchmarks("", {}), None, flags, CATALOGS)
    names = settings.activation or tuple(ACTIVATIONS)
    choices = [ACTIVATIONS.choose(name) for name in dict.fromkeys((bill.REFERENCE, *names))]
    counts = list(dict.fromkeys(elements(size) for size in _split(sizes)))
    if rounds < 1:
        raise BadValue(f"--rounds: got {rounds}, must be at least 1")
    if quick:
        rounds, counts = 1, [min(QUICK_ELEMENTS, *counts)]
    machine = Machine(
        data_dir="", device=device(settings.device, console), threads=settings.threads or 1
    )
    torch.set_num_threads(machine.threads)

    def announce(seconds: float) -> None:
        what = f"{counted(len(choices), 'unit')}, {counted(rounds, 'round')}"
        console.note(f"{what}: about {seconds:.0f} s")

    timings = costs.measure(choices, counts, rounds, machine.device, announce)
    return Outcome([bill.table(timings, machine, torch.__version__, quick)])


def elements(text: str) -> int:
    """A number of elements: 65536, 1e6, 64Ki or 1Mi; raises BadValue."""
    number, scale = text.strip(), 1
    for suffix, factor in (("Ki", 2**10), ("Mi", 2**20)):
        if number.endswith(suffix):
            number, scale = number.removesuffix(suffix), factor
    try:
        count = float(number) * scale
        if not (64 <= count <= 2**31 and count.is_integer()):
            raise ValueError(text)
    except ValueError:
        raise BadValue(
            f"--sizes: got {text!r}, must be whole numbers of elements from 64, such as 16Ki,1e6"
        ) from None
    return int(count)


def _split(names: Sequence[str]) -> list[str]:
    return [part for name in names for part in name.split(",")]


def read(request: Request) -> Settings:
    """The settings: the benchmark's table with the flags on top."""
    from relubench import config

    benchmarks = config.Benchmarks("", {})
    if request.benchmark is not None or request.config or request.command == "compare":
        benchmarks = config.read(request.config, CATALOGS)
    name = request.benchmark
    if name is None and request.command == "compare" and "default" in benchmarks.tables:
        name = "default"
    return config.settings(benchmarks, name, request.flags, CATALOGS, request.quick)


def prepare(request: Request, console: Console) -> Work:
    """The work; whatever can be refused is refused here, before training."""
    return assemble(read(request), request, console)


def assemble(
    settings: Settings, request: Request, console: Console, plan: Plan | None = None
) -> Work:
    """The work that these settings ask for; `plan` takes the place of theirs."""
    from relubench import config
    from relubench.work import Work

    plan = plan or config.plan(settings, request.command, request.quick, MODELS)
    executor = executors.choose(
        settings.executor, settings.jobs, settings.scheduler, settings.scheduler_file
    )
    jobs = executor.parameters.get("jobs", 1)
    machine = Machine(
        data_dir=str((request.data_dir or data_dir()).absolute()),
        device=device(settings.device, console),
        threads=settings.threads or max(1, threads() // jobs),
        dtype=settings.precision,
    )
    _check_precision(machine)
    check(plan, machine)
    width = None if settings.stack == "auto" else int(settings.stack)
    ledger = open_ledger(request.ledger) if request.ledger else None
    return Work(
        plan=plan,
        machine=machine,
        tuned=tune(plan, machine, settings.threads, width, console),
        ledger=ledger,
        rerun=request.rerun,
        executor=executor,
        checkpoint=settings.checkpoint,
    )


def tune(
    plan: Plan, machine: Machine, pinned: int | None, width: int | None, console: Console
) -> list[tuple[list[Cell], Tuning]]:
    """How to train each set-up; what `--threads` or `--stack` do not fix is measured."""
    from relubench import tuning

    counts = [pinned] if pinned else sorted({1, machine.threads})
    if machine.device != "cpu":
        counts = counts[-1:]
    known: dict[Cell, Tuning] = {}
    tuned = []
    for cells in plan.setups():
        recipe = replace(cells[0].recipe, lr=1.0, weight_decay=0.0)
        alike = replace(cells[0], activation="", head="", seed=0, split=Split(), recipe=recipe)
        if alike not in known:
            known[alike] = tuning.tune(cells, machine, counts, width)
            console.detail(f"{alike.dataset}, {alike.model}: {known[alike]}")
        tuned.append((cells, known[alike]))
    return tuned


def dry_run(request: Request, console: Console) -> Outcome:
    """The plan, what of it is finished, and how long the rest may take; nothing is trained."""
    from relubench import config, report, tuning

    settings, rows = read(request), []
    work = assemble(settings, request, console)
    if settings.protocol == "published":
        more = config.protocols(settings, request.command, request.quick, MODELS)
        both = tuple(dict.fromkeys((*work.plan.cells, *more.cells)))
        work = assemble(settings, request, console, replace(more, cells=both))
    if request.command == "deadcount":
        work = work.with_untrained()
    for cells, tuned in work.tuned:
        unit = Stack(tuple(cells), tuned.threads)
        known = work.known(unit)
        left = len(cells) - len(known)
        steps = tuning.steps(cells[0], datasets.load(cells[0].dataset, work.machine.data_dir))
        rows.append(
            report.setup_row(cells[0])
            | {
                "runs": len(cells),
                "finished": len(known),
                "stacks": -(-left // tuned.stack),
                "stack": tuned.stack,
                "threads": tuned.threads,
                "seconds_left": None if tuned.seconds is None else tuned.seconds * steps * left,
            }
        )
    return Outcome([report.dry_run(rows)])


def ledger_show(path: Path) -> Outcome:
    """What a ledger holds, a row per set-up."""
    from relubench import report

    return Outcome([report.ledger([(when, r) for _, when, r in open_ledger(path, existing=True)])])


def ledger_export(path: Path) -> Outcome:
    """Every finished run of a ledger, as `train` prints it."""
    from relubench import report

    results = [result for _, _, result in open_ledger(path, existing=True)]
    return Outcome([report.runs(results, Plan(cells=()))])


def ledger_merge(path: Path, others: Sequence[Path], console: Console) -> Outcome:
    """Add other ledgers' runs to one."""
    ledger = open_ledger(path)
    for other in others:
        added = ledger.merge(open_ledger(other, existing=True))
        console.note(f"{counted(added, 'run')} of {other} added to {path}")
    return ledger_show(path)


def open_ledger(path: Path, existing: bool = False) -> Ledger:
    """A ledger; with `existing` one that is there."""
    from relubench.ledger import Ledger

    if existing and not path.is_file():
        raise BadValue(f"--ledger {path}: there is no such file")
    return Ledger(path)


def check(plan: Plan, machine: Machine) -> None:
    """Refuse a plan with a network that cannot be built or a split that cannot be cut."""
    from relubench import checks

    for model in dict.fromkeys(cell.model for cell in plan.cells):
        MODELS.choose(model).entry.check()  # before data are fetched
    first_splits = (
        replace(cell.split, repeat=0, fold=None if cell.split.fold is None else 0)
        for cell in plan.cells
    )
    alike = (
        replace(cell, seed=0, recipe=replace(cell.recipe, lr=1.0), split=split)
        for cell, split in zip(plan.cells, first_splits, strict=True)
    )
    for cell in dict.fromkeys(alike):  # the plan's order, each kind once
        checks.check(cell, machine)


def device(wanted: str, console: Console) -> str:
    """The torch device for `--device`; `auto` takes the first accelerator and says so."""
    import torch

    known = ["cpu"]
    if torch.cuda.is_available():
        known = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *known]
    known += ["mps"] * torch.backends.mps.is_available() + ["xpu"] * torch.xpu.is_available()
    if wanted == "auto":
        chosen = known[0] if known[0] != "cpu" else known[-1]
        console.note(f"device: {chosen}")
        return chosen
    if wanted not in known:
        raise BadValue(f"--device {wanted}: this machine has {', '.join(known)} (or --device auto)")
    return wanted


def _check_precision(machine: Machine) -> None:
    kind = machine.device.split(":")[0]
    if machine.dtype == "tf32" and kind != "cuda":
        raise BadValue(f"--precision tf32: only CUDA devices have it, and this is {kind}")
    if machine.dtype == "float64" and kind == "mps":
        raise BadValue("--precision float64: mps does not have it")


def threads() -> int:
    """CPU threads that torch would use."""
    import torch

    return torch.get_num_threads()


def data_dir() -> Path:
    """RELUBENCH_DATA, else a folder in the platform's user cache."""
    import platformdirs

    return Path(os.environ.get("RELUBENCH_DATA") or platformdirs.user_cache_dir("relubench"))


def _exit_code(results: Sequence[RunResult]) -> int:
    return 1 if any(result.failed for result in results) else 0
