"""What a call tells while it works: notes for Python's log, and in a notebook a bar."""

from __future__ import annotations

import html
import importlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relubench.execution.progress import Console, Outlook
from relubench.printable import plain

if TYPE_CHECKING:
    from relubench.execution.executors import Done

LOG = logging.getLogger("relubench")


@dataclass(frozen=True)
class Notes:
    """What takes notes: they are kept in `lines` and logged. A worker process can be sent one."""

    lines: list[str]

    def __call__(self, text: str) -> None:
        """Take one, as one line."""
        self.lines.append(plain(text))
        LOG.info(plain(text))


def detail(text: str) -> None:
    """Log what only those want to know who ask."""
    LOG.debug(plain(text))


def console(notes: list[str], quiet: bool) -> Console:
    """Notes are kept; a bar is shown in a notebook, unless quiet is wanted."""
    shown = display() if not quiet else None
    track = _Bar(shown).track if shown else lambda finished, outlook: iter(finished)
    return Console(note=Notes(notes), detail=detail, track=track)


def display() -> Any | None:
    """IPython's display module, in a notebook that can show HTML; else None."""
    # Without importing it: whoever is in a notebook has it loaded.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    # A terminal's IPython has a shell, but no kernel that could show HTML.
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return importlib.import_module("IPython.display")


class _Bar:
    """A bar below the cell; it goes when the work has come to its end."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def track(self, finished: Iterable[Done], outlook: Outlook) -> Iterator[Done]:
        """Hand on what is finished, and show how much that is."""
        total = len(outlook.missing)
        if not total:
            yield from finished
            return
        start, done = time.monotonic(), 0
        handle = self.shown.display(self._drawn(0, total, ""), display_id=True)
        for stack, results in finished:
            done += len(results)
            left = (time.monotonic() - start) * (total - done) / done if done else 0.0
            words = f"{stack.cells[0].activation}, about {left:.0f} s left"
            handle.update(self._drawn(done, total, words if done < total else ""))
            yield stack, results
        handle.update(self.shown.HTML(""))

    def _drawn(self, done: int, total: int, words: str) -> Any:
        bar = f'<progress value="{done}" max="{total}"></progress>'
        return self.shown.HTML(f"{bar} {done} of {total} runs {html.escape(plain(words))}")
