"""Progress of a command: the caller decides what a user gets to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from relubench.execution.executors import Done


@dataclass(frozen=True)
class Console:
    """Notes for the user, and a bar around finished results.

    detail  takes notes for those who ask for more
    steps   puts a bar around batches, of which there are so many; None: nobody knows
    shown   notes that are not to be repeated
    """

    note: Callable[[str], None]
    detail: Callable[[str], None]
    track: Callable[[Iterable[Done], int], Iterator[Done]]
    steps: Callable[[Iterable[Any], int | None], Iterator[Any]] = lambda batches, total: iter(
        batches
    )
    shown: set[str] = field(default_factory=set)

    def once(self, text: str) -> None:
        """Show a note, unless it has been shown."""
        if text not in self.shown:
            self.shown.add(text)
            self.note(text)
