"""Where progress goes while a command works: the caller decides what a user gets to see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from relubench.execution.executors import Done


@dataclass(frozen=True)
class Console:
    """Notes for the user, and a bar around finished results.

    detail  takes notes for those who ask for more
    """

    note: Callable[[str], None]
    detail: Callable[[str], None]
    track: Callable[[Iterable[Done], int], Iterator[Done]]
    said: set[str] = field(default_factory=set)

    def once(self, text: str) -> None:
        """A note that is not said again."""
        if text not in self.said:
            self.said.add(text)
            self.note(text)
