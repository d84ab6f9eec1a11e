"""What is planned, done, running and to come: painted on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from relubench import screen
from relubench.events import Event
from relubench.execution.executors import Done
from relubench.execution.progress import Outlook
from relubench.formats import render
from relubench.plan import Cell
from relubench.printable import plain
from relubench.report.figures import bar, sparkline
from relubench.results import RunResult
from relubench.table import AnyTable
from relubench.wording import counted

T = TypeVar("T")
LINE_EVERY = 30.0  # seconds without a word after which a plain line says that something goes on
LINES_APART = 1.0  # seconds between plain lines at the least: stacks in between share one
PHASE_SEEN = 1.0  # seconds after which a phase's own are shown
TABLE_SHARE = 0.05  # of the time may go into the table that fills
BAR, SPARKS = 24, 16  # columns
MOST_RUNNING = 6  # lines of stacks that train


@dataclass
class Running:
    """A stack or pass that trains: its last epoch, and the losses of this training so far.

    trainings  of each run: one at each rate that it tries, then one at the best
    learned    how many runs' worth of epochs each of these has behind it, by its key
    """

    event: Event
    trainings: int = 1
    losses: list[float] = field(default_factory=list)
    learned: dict[str, float] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Take in an epoch."""
        if event.key not in self.learned:  # another training begins
            self.losses.clear()
        self.event = event
        self.learned[event.key] = event.runs * event.epoch / max(1, event.epochs)
        if event.loss is not None:
            self.losses.append(event.loss)

    @property
    def done(self) -> float:
        """How many of its runs are trained, in parts of runs."""
        return sum(self.learned.values()) / self.trainings

    def text(self, shared: str = "") -> str:
        """In words, without what every name begins with."""
        event = self.event
        own = event.name.removeprefix(shared)
        parts = [f"{own} × {event.runs}" if event.runs > 1 else own]
        if event.epoch:
            parts.append(f"epoch {event.epoch} of {event.epochs}")
        if event.loss is not None:
            parts.append(f"loss {event.loss:.3g}")
        if event.accuracy is not None:
            parts.append(f"accuracy {100 * event.accuracy:.1f} %")
        if event.held_out is not None:
            parts.append(f"held out {100 * event.held_out:.1f} %")
        return ", ".join(parts)


@dataclass
class State:
    """Where a command is: its phase, and the training as far as it is known."""

    plan: str = ""
    phase: str = "reading the plan"
    began: float = field(default_factory=time.monotonic)
    training: float = 0.0  # when training began
    outlook: Outlook = field(default_factory=lambda: Outlook(()))
    done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    trainings: dict[str, int] = field(default_factory=dict)  # of each planned run, by its key
    to_come: list[str] = field(default_factory=list)
    before: float = 0.0  # runs' worth of epochs that an earlier process trained
    shared: str = ""  # with which every name begins
    lock: threading.RLock = field(default_factory=threading.RLock)

    def enter(self, phase: str) -> None:
        """Another phase begins."""
        with self.lock:
            self.phase, self.began = phase, time.monotonic()

    def expect(self, outlook: Outlook) -> None:
        """Training begins."""
        with self.lock:
            self.outlook, self.done, self.training = outlook, 0, time.monotonic()
            self.before = 0.0
            names = list(dict.fromkeys(map(name, outlook.missing)))
            self.shared = shared_beginning(names)
            self.to_come = names
            self.running.clear()
            self.trainings = {cell.key: 1 + len(cell.recipe.candidates) for cell in outlook.missing}
        self.enter("training")

    def hear(self, event: Event) -> None:
        """Take in what happens in training."""
        with self.lock:
            if event.kind == "begun":
                self.running[event.key] = Running(event, self.trainings.get(event.key, 1))
            elif event.kind == "resumed":
                self.before += event.runs * event.epoch / max(1, event.epochs)
            elif event.kind == "epoch":
                self._training(event).hear(event)

    def _training(self, event: Event) -> Running:
        """What an epoch is of: a planned run, or one that tries a rate out."""
        if event.key not in self.trainings:
            for running in self.running.values():
                if running.event.name == event.name:
                    return running
        new = Running(event, self.trainings.get(event.key, 1))
        return self.running.setdefault(event.key, new)

    def count(self, batches: Iterable[T], total: int | None) -> Iterator[T]:
        """Pass batches on, and say how many of them there were."""
        self.enter("counting")
        of = "" if total is None else f" of {total}"
        for number, batch in enumerate(batches):
            self.phase = f"counting, {number}{of} batches"
            yield batch

    def finish(self, done: Done) -> None:
        """A stack is done."""
        stack, results = done
        with self.lock:
            self.done += len(results)
            for cell in stack.cells:
                self.running.pop(cell.key, None)

    @property
    def total(self) -> int:
        """Runs that are to be trained."""
        return len(self.outlook.missing)

    @property
    def fraction(self) -> float:
        """Of the runs that are to be trained, those that train by their epochs."""
        running = sum(running.done for running in self.running.values())
        return min(1.0, (self.done + running) / max(1, self.total))

    @property
    def left(self) -> str:
        """How long it will take, "" where that cannot be said yet."""
        # By what this process has trained: states that an earlier one left took none of its time.
        spent = time.monotonic() - self.training
        fresh = self.fraction - self.before / max(1, self.total)
        # Too little to tell from, or nothing left to tell of.
        if fresh < 0.01 or spent < 1 or self.fraction >= 1:
            return ""
        return f"about {clock(spent * (1 - self.fraction) / fresh)} left"

    @property
    def waiting(self) -> list[str]:
        """Names of what is still to come."""
        with self.lock:
            running = {each.event.name for each in self.running.values()}
            return [name for name in self.to_come if name not in running]


def name(cell: Cell) -> str:
    """A run, as events name it."""
    return f"{cell.dataset}, {cell.model}, {cell.activation}"


def shared_beginning(names: Sequence[str]) -> str:
    """What every name begins with, up to a comma; of each its last part stays."""
    shared = ""
    # Part by part, not letter by letter: "ffnn:hidden=1" begins no name.
    for same in zip(*(each.split(", ")[:-1] for each in names), strict=False):
        if len(set(same)) > 1:
            break
        shared += f"{same[0]}, "
    return shared


def clock(seconds: float) -> str:
    """'12 s', '3:05 min', '2:10 h'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


# --- on a terminal --------------------------------------------------------------------------------


class Live:
    """The state of a command as the last lines of a terminal."""

    def __init__(self) -> None:
        self.state = State()
        self.results: list[RunResult] = []
        self.table: AnyTable | None = None
        self.drawn: list[str] = []
        self.drawn_for = 0  # columns
        self.next_table = 0.0
        screen.show(self.lines)

    def phase(self, text: str) -> None:
        """What is being done now; the first is the plan."""
        if text.startswith("plan: "):
            self.state.plan = plain(text.removeprefix("plan: "))
        else:
            self.state.enter(plain(text))

    def steps(self, batches: Iterable[T], total: int | None) -> Iterator[T]:
        """Say how many batches there were."""
        return self.state.count(batches, total)

    def track(self, finished: Iterable[Done], outlook: Outlook) -> Iterator[Done]:
        """Show results as they finish."""
        self.results = list(outlook.finished)
        self.state.expect(outlook)
        for done in finished:
            self.state.finish(done)
            self.results += done[1]
            self._tabulate()
            self.state.to_come = self._unfinished()
            yield done
        self.table = None
        self.state.enter("comparing" if outlook.table else "finishing")

    def _unfinished(self) -> list[str]:
        done = {result.cell for result in self.results}
        missing = [cell for cell in self.state.outlook.missing if cell not in done]
        return list(dict.fromkeys(map(name, missing)))

    def _tabulate(self) -> None:
        """The table of what is there, if that does not cost too much."""
        show, now = self.state.outlook.table, time.monotonic()
        if show is None or now < self.next_table or not self._unfinished():
            return
        table = show(self.results).for_people
        self.table = replace(table, title="", notes=(), answers=(), picture=None)
        self.drawn_for = 0
        spent = time.monotonic() - now
        # A table that took 0.1 s is not made again for 2 s.
        self.next_table = now + spent / TABLE_SHARE

    def _table_lines(self, width: int, room: int) -> list[str]:
        """Its heads and rows, the last ones where there is no room for all; drawn once a width."""
        if self.table is None or room < 3:
            return []
        if self.drawn_for != width:
            lines = render([self.table], "text", width, screen.colour()).splitlines()
            # Rows alone are indented: headings and blank lines go. A row may begin with a colour.
            self.drawn = [line for line in lines if screen.without_styles(line).startswith("  ")]
            self.drawn_for = width
        heads, *rows = self.drawn
        # The heads and a blank line take two of the lines that there are.
        return [heads, *rows[-(room - 2) :], ""]

    def lines(self, width: int, height: int) -> list[str]:
        """What is painted on a terminal so wide and high."""
        state = self.state
        with state.lock:
            lines = [state.plan] if state.plan else []
            if state.phase != "training":
                spent = time.monotonic() - state.began
                seconds = f", {clock(spent)}" if spent > PHASE_SEEN else ""
                return [*lines, f"{state.phase}{seconds} …"]
            lines += [_bar_line(state), *_running_lines(state, width)]
            if waiting := state.waiting:
                short = [plain(each.removeprefix(state.shared)) for each in waiting]
                lines.append(f"to come: {_listed(short, width - 10)}")
            if state.outlook.ledger:
                lines.append(f"ledger: {plain(state.outlook.ledger)}")
            # The table on top, as far as there is room above the lines.
            return [*self._table_lines(width - 1, height - 1 - len(lines)), *lines]


def _bar_line(state: State) -> str:
    drawn = f"{bar(state.fraction, BAR):·<{BAR}}"
    parts = [f"{state.done} of {counted(state.total, 'run')}"]
    if already := len(state.outlook.finished):
        parts.append(f"{already} from the ledger")
    spent = time.monotonic() - state.training
    parts += [clock(spent)] + ([state.left] if state.left else [])
    return f"{drawn}  {', '.join(parts)}"


def _running_lines(state: State, width: int) -> list[str]:
    """A line per stack that trains, its losses drawn at the end."""
    lines = []
    for running in list(state.running.values())[:MOST_RUNNING]:
        drawn = sparkline(running.losses, SPARKS)
        text = screen.cut(plain(running.text(state.shared)), width - SPARKS - 4)
        lines.append(f"{text}  {drawn}".rstrip())
    return lines


def _listed(names: Sequence[str], width: int) -> str:
    """As many names as there is room for, and how many more there are."""
    for count in range(len(names), 0, -1):
        more = len(names) - count
        text = ", ".join(names[:count]) + (f" and {more} more" if more else "")
        if screen.columns(text) <= width:
            return text
    return counted(len(names), "more")


# --- elsewhere ------------------------------------------------------------------------------------


class Lines:
    """The state of a command as plain lines: one per stack, at least one every LINE_EVERY."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.note = note
        self.state = State()
        self.last = time.monotonic()

    def phase(self, text: str) -> None:
        """What is being done now."""
        if not text.startswith("plan: "):
            self.state.enter(text)

    def steps(self, batches: Iterable[T], total: int | None) -> Iterator[T]:
        """Say how many batches there were."""
        return self.state.count(batches, total)

    def track(self, finished: Iterable[Done], outlook: Outlook) -> Iterator[Done]:
        """Say what finishes."""
        self.state.expect(outlook)
        stopped = threading.Event()
        # Who reads a log is to see that something goes on.
        threading.Thread(target=self._beat, args=[stopped], daemon=True).start()
        try:
            for done in finished:
                self.state.finish(done)
                if time.monotonic() - self.last >= LINES_APART:
                    self._say(f"{_name(done)} done")
                yield done
        finally:
            stopped.set()

    def _beat(self, stopped: threading.Event) -> None:
        """Say something where nothing has been said for long."""
        while not stopped.wait(1.0):
            if time.monotonic() - self.last >= LINE_EVERY:
                first = list(self.state.running.values())[:MOST_RUNNING]
                running = [each.text() for each in first]
                self._say("; ".join(running) or self.state.phase)

    def _say(self, what: str) -> None:
        self.last = time.monotonic()
        state = self.state
        left = f", {state.left}" if state.left else ""
        self.note(f"{state.done} of {counted(state.total, 'run')}{left}: {what}")


def _name(done: Done) -> str:
    cells = done[0].cells
    return f"{name(cells[0])} × {len(cells)}" if len(cells) > 1 else name(cells[0])


def told(event: Event) -> str:
    """What is said of an event, wherever it is; "": nothing."""
    if event.kind == "resumed":
        return f"{event.name}: goes on after epoch {event.epoch} of {event.epochs}"
    if event.kind == "worker lost":
        return f"{event.name}: {event.why}; another worker takes it over"
    return ""
