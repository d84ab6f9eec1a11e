"""What happens while runs train, for whoever listens: epochs, kept states, workers that are lost.

The listeners are those of this process, in all its threads. A worker process sends its events to
its parent, which tells its own listeners.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from relubench.plan import Cell, Stack
from relubench.results import Epoch

EVERY = 0.1  # seconds between two epochs of a pass that are told
Kind = Literal["begun", "epoch", "kept", "resumed", "worker lost"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened.

    key            of the first cell of the stack or pass
    name           of it, for people: dataset, model, activation
    runs           that train together
    epoch, epochs  how many are done, of how many
    loss, accuracy, held_out  means over the runs, of this epoch
    why            a worker was lost
    """

    kind: Kind
    key: str
    name: str
    runs: int
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    held_out: float | None = None
    why: str = ""


Listener = Callable[[Event], None]
_LISTENERS: list[Listener] = []
_TOLD: dict[tuple[int, str], float] = {}  # when a pass told of an epoch, by thread and key


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within, the listener hears every event of this process and its workers."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def tell(event: Event) -> None:
    """Tell everybody."""
    # A copy: a listener may be taken away by another thread meanwhile.
    for listener in list(_LISTENERS):
        listener(event)


def begun(stack: Stack) -> None:
    """A stack is given to whoever trains it."""
    # Without epochs where steps are counted: only the data tell how many these are.
    tell(_of("begun", stack.cells, 0, stack.cells[0].recipe.epochs))


def kept(cells: Sequence[Cell], epoch: int, epochs: int) -> None:
    """The state of a pass is in its file."""
    tell(_of("kept", cells, epoch, epochs))


def resumed(cells: Sequence[Cell], epoch: int, epochs: int) -> None:
    """A pass goes on from what was kept, if anything was."""
    if epoch:
        tell(_of("resumed", cells, epoch, epochs))


def worker_lost(stack: Stack, why: str) -> None:
    """A worker is gone, and another takes its stack."""
    tell(replace(_of("worker lost", stack.cells, 0, 0), why=why))


def epoch_ended(cells: Sequence[Cell], curves: Sequence[Sequence[Epoch]], epochs: int) -> None:
    """A pass has ended an epoch; told every EVERY seconds, and of the last."""
    if not _LISTENERS:
        return
    done = max(map(len, curves))
    # By thread, too: passes of one stack train side by side.
    place = threading.get_ident(), cells[0].key
    now = time.monotonic()
    if now - _TOLD.get(place, 0.0) < EVERY and done < epochs:
        return
    _TOLD[place] = now
    last = [curve[-1] for curve in curves if curve]
    tell(
        replace(
            _of("epoch", cells, done, epochs),
            loss=_mean([epoch.loss for epoch in last]),
            accuracy=_mean([epoch.accuracy for epoch in last]),
            held_out=_mean([epoch.held_out for epoch in last]),
        )
    )


def _of(kind: Kind, cells: Sequence[Cell], epoch: int, epochs: int) -> Event:
    first = cells[0]
    name = f"{first.dataset}, {first.model}, {first.activation}"
    return Event(kind=kind, key=first.key, name=name, runs=len(cells), epoch=epoch, epochs=epochs)


def _mean(figures: Sequence[float | None]) -> float | None:
    """Of those that are defined: a run that diverged has no further figure."""
    defined = [figure for figure in figures if figure is not None]
    return sum(defined) / len(defined) if defined else None
