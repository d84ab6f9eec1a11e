"""Progress of a command: the caller decides what a user gets to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from relubench.events import Event
from relubench.execution.executors import Done
from relubench.plan import Cell
from relubench.results import RunResult
from relubench.table import AnyTable

Tabled = Callable[[Sequence[RunResult]], AnyTable]


@dataclass(frozen=True)
class Outlook:
    """What a command is about to train.

    missing   runs that are to be trained
    finished  results that are there already
    ledger    where they are kept; "": nowhere
    table     of results so far, as the command will show them; None: it has no use for one
    """

    missing: Sequence[Cell]
    finished: Sequence[RunResult] = ()
    ledger: str = ""
    table: Tabled | None = None


def nothing(text: str) -> None:
    """Nobody is told."""


def unheard(event: Event) -> None:
    """Nobody hears it."""


@dataclass(frozen=True)
class Console:
    """Notes for the user, and what is shown around finished results.

    detail  takes notes for those who ask for more
    track   passes results on as they finish
    steps   passes batches on, of which there are so many; None: nobody knows
    phase   takes what is being done now, in a few words
    hear    takes what happens in training
    shown   notes that are not to be repeated
    """

    note: Callable[[str], None]
    detail: Callable[[str], None]
    track: Callable[[Iterable[Done], Outlook], Iterator[Done]]
    steps: Callable[[Iterable[Any], int | None], Iterator[Any]] = lambda batches, total: iter(
        batches
    )
    phase: Callable[[str], None] = nothing
    hear: Callable[[Event], None] = unheard
    shown: set[str] = field(default_factory=set)

    def once(self, text: str) -> None:
        """Show a note, unless it has been shown."""
        if text not in self.shown:
            self.shown.add(text)
            self.note(text)
