"""The commands as functions: the same options, the same ledger, the same rows, the same errors."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from relubench import commands, files, report
from relubench.baselines.options import BaselineOptions
from relubench.config.options import declared
from relubench.door import notebook
from relubench.door.given import Given, given
from relubench.door.result import Comparison, Result, Runs, Suggestion
from relubench.door.session import session
from relubench.errors import RelubenchError
from relubench.plan import Plan
from relubench.table import AnyTable

if TYPE_CHECKING:
    from typing import Unpack

    from relubench.commands import Outcome, Request
    from relubench.door.options import CompareOptions, CvOptions, SuggestOptions, TrainOptions
    from relubench.execution.progress import Console

F = TypeVar("F", bound=Callable[..., Any])
Where = str | os.PathLike[str]
RUN = ("data_dir", "config", "ledger")  # keywords of every training call that are paths …
SWITCHES = ("no_ledger", "rerun", "quick", "quiet")  # … and those that are on or off


def _called(function: F) -> F:
    """Decorator: the function's signature names the options that its command has."""
    own = inspect.signature(function)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    defaults: dict[str, object] = {
        option.key: option.default for option in declared() if function.__name__ in option.commands
    }
    defaults |= dict.fromkeys(RUN) | dict.fromkeys(SWITCHES, False)
    for key, default in defaults.items():
        parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default))
    # help() and completion read it; Python itself takes **options
    function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


@_called
def train(
    benchmark: str | None = None, *, save: Where | None = None, **options: Unpack[TrainOptions]
) -> Runs:
    """Train every run once and score it on the test set: `relubench train`.

    benchmark  a table of benchmarks.toml
    save       where the weights of a single run are written: a state dict
    options    those of the command, with _ for -; None: not given

    Raises RelubenchError, whose text is what the command prints, and KeyboardInterrupt.
    """
    path = Path(save) if save else None
    # As the shell does: the file appears whole, or not at all.
    with files.replacing(path, "--save") if path else nullcontext() as part:
        outcome, notes = _done(
            "train",
            benchmark,
            options,
            lambda request, console: commands.train(request, console, False, True, part, path),
        )
    _raise_problems(outcome)
    # The curves come last, a table per run.
    first = len(outcome.tables) - len(outcome.tables[0].rows)
    return Runs(outcome.tables[:first], notes, outcome.exit_code, outcome.tables[first:])


@_called
def cv(benchmark: str | None = None, **options: Unpack[CvOptions]) -> Result[Any]:
    """Cross-validate over stratified folds: `relubench cv`; see `train`."""
    outcome, notes = _done("cv", benchmark, options, commands.cv)
    return Result(outcome.tables, notes, outcome.exit_code)


@_called
def compare(
    benchmark: str | None = None, *, explain: bool = False, **options: Unpack[CompareOptions]
) -> Comparison:
    """Compare activations on paired seeds or folds: `relubench compare`; see `train`.

    explain  explain every verdict, and describe the methods
    """
    outcome, notes = _done(
        "compare",
        benchmark,
        options,
        lambda request, console: commands.compare(request, console, BaselineOptions()),
    )
    return Comparison(_explained(outcome, explain), notes, outcome.exit_code)


@_called
def suggest(
    benchmark: str | None = None, *, explain: bool = False, **options: Unpack[SuggestOptions]
) -> Suggestion:
    """Say which activation to use on one dataset, within a budget: `relubench suggest`.

    explain  describe the methods
    others   see `train`
    """
    began = time.monotonic()
    outcome, notes = _done(
        "suggest",
        benchmark,
        options,
        lambda request, console: commands.suggest(request, console, began),
    )
    return Suggestion(_explained(outcome, explain), notes, outcome.exit_code)


def _explained(outcome: Outcome, explain: bool) -> list[AnyTable]:
    """The tables of a command, with their asides where those are asked for."""
    return [table.explained if explain else table for table in outcome.tables]


def load(
    ledger: Where | None = None,
    *,
    dataset: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    activation: str | Sequence[str] = (),
    since: str | None = None,
) -> Runs:
    """The finished runs of a ledger, oldest first, with the rows of `train`.

    ledger  its file; by default the one that training calls here use
    others  only runs of these names, or finished since a date, a time (UTC) or an age as 7d

    Raises RelubenchError where there is none or it cannot be read.
    """
    notes: list[str] = []
    chosen = commands.Chosen(
        _names(dataset), _names(model), _names(activation), commands.since(since)
    )
    path = commands.usual_ledger(Path(ledger) if ledger else None)
    results = commands.ledger_runs(path, chosen, notebook.console(notes, quiet=True))
    runs = report.runs(results, Plan(cells=()))
    return Runs([runs], notes, 0, list(map(report.curve, results)))


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


# --- a training call ------------------------------------------------------------------------------


def _done(
    command: str,
    benchmark: str | None,
    options: Mapping[str, Any],
    run: Callable[[Request, Console], Outcome],
) -> tuple[Outcome, list[str]]:
    """What a command ends with, and its notes."""
    # A copy: what the command itself takes is taken out, and the rest are options of a benchmark.
    rest = dict(options)
    paths = {key: _path(rest.pop(key, None)) for key in RUN}
    switches = {key: bool(rest.pop(key, False)) for key in SWITCHES}
    what = given(command, rest)
    ledger = None if switches["no_ledger"] else commands.usual_ledger(paths["ledger"])
    request = commands.Request(
        command=command,
        benchmark=benchmark,
        flags=what.options,
        config=paths["config"],
        data_dir=paths["data_dir"],
        quick=switches["quick"],
        ledger=ledger,
        rerun=switches["rerun"],
    )
    notes: list[str] = []
    return _within(what, request, run, notes, switches["quiet"]), notes


def _within(
    what: Given,
    request: Request,
    run: Callable[[Request, Console], Outcome],
    notes: list[str],
    quiet: bool,
) -> Outcome:
    if request.ledger:
        what.check_ledger()
    with session(what):
        return run(request, notebook.console(notes, quiet))


def _path(given: Where | None) -> Path | None:
    return Path(given).expanduser() if given is not None else None


def _raise_problems(outcome: Outcome) -> None:
    """Raise what stderr says even under --quiet: weights that could not be written."""
    if outcome.problems:
        raise RelubenchError(*outcome.problems)
