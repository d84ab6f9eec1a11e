"""Lines to stderr, a progress bar, and what kind of terminal stdout is."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from relubench.execution.progress import Console
from relubench.formats import UNFOLDED
from relubench.printable import plain

if TYPE_CHECKING:
    from relubench.execution.executors import Done


def say(text: str) -> None:
    """A line to stderr, if it is open; it may hold anybody's text, and stays one line."""
    write(plain(text))


def unheard(text: str) -> None:
    """Nothing: the user wants no notes."""


def write(text: str) -> None:
    """A line to stderr as it is; one that cannot be written stops nothing."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def console(quiet: bool, verbose: bool = False) -> Console:
    """Notes and a progress bar on stderr; the bar on a terminal only.

    A worker process can be sent what takes the notes, and has the same stderr.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = terminal and not quiet and "CI" not in os.environ
    return Console(
        note=unheard if quiet else say,
        detail=say if verbose and not quiet else unheard,
        track=_bar if bar else lambda results, total: iter(results),
        steps=_steps if bar else lambda batches, total: iter(batches),
    )


def _bar(finished: Iterable[Done], total: int) -> Iterator[Done]:
    # Here: only a terminal shows a bar, and rich is slow to import.
    from rich import progress
    from rich.console import Console as Terminal

    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.description}", markup=False),
    )
    with progress.Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=total)
        for stack, results in finished:
            bars.update(task, advance=len(results), description=plain(stack.cells[0].activation))
            yield stack, results


def _steps(batches: Iterable[Any], total: int | None) -> Iterator[Any]:
    from rich import progress
    from rich.console import Console as Terminal

    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("batches"),
    )
    with progress.Progress(*columns, console=Terminal(stderr=True), transient=True) as bars:
        yield from bars.track(batches, total=total)


def width_and_colour() -> tuple[int, bool]:
    """How wide stdout is, and whether it shows colours."""
    if not sys.stdout.isatty():
        return UNFOLDED, False
    plain = os.environ.get("NO_COLOR") or "CI" in os.environ or os.environ.get("TERM") == "dumb"
    return shutil.get_terminal_size().columns, not plain
