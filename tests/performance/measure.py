"""How contestants are timed, and what is said of them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import relubench
from relubench.table import Column, Table

Seconds = dict[str, list[float]]

IDLE = 0.05  # seconds between turns: OpenMP's threads spin for some 10 ms after they had work


def measure(
    contestants: Mapping[str, Callable[[], object]], rounds: int, warm: bool = True
) -> Seconds:
    """Every contestant's seconds, one per round.

    They take turns, every other round in reverse, so that what else the machine does meets all of
    them alike; with `warm` after one turn each that does not count.
    """
    if warm:
        for run in contestants.values():
            run()
    seconds: Seconds = {name: [] for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            time.sleep(IDLE)
            start = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def fastest(runs: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """The fastest of several ways to do the same."""
    return min(runs, key=lambda run: min(measure({"": run}, rounds=2)[""]))


def on(threads: int, run: Callable[[], object]) -> Callable[[], object]:
    """`run` on so many threads, torch's and those of numpy's products alike."""

    def limited() -> None:
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            run()

    return limited


def best_threads(run: Callable[[], object]) -> int:
    """Which of 1 thread and all of them suits `run` best; it is set when this returns."""

    def seconds(threads: int) -> float:
        return min(measure({"": on(threads, run)}, rounds=2)[""])

    best = min(sorted({1, os.cpu_count() or 1}), key=seconds)
    torch.set_num_threads(best)
    return best


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    values       what is judged, one per round
    least, most  what it should reach, as the median; neither: it is only told
    own, peer    seconds per round, of relubench and of who it is measured against
    """

    row: int
    task: str
    against: str
    values: Sequence[float]
    unit: str
    least: float | None = None
    most: float | None = None
    own: Sequence[float] = ()
    peer: Sequence[float] = ()

    @property
    def target(self) -> str:
        """'≥ 5 × faster'."""
        bounds = (("≥", self.least), ("≤", self.most))
        return next((f"{sign} {at:g} {self.unit}" for sign, at in bounds if at is not None), "")

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        median = statistics.median(self.values)
        if self.least is not None:
            return median >= self.least
        return None if self.most is None else median <= self.most

    def as_row(self) -> dict[str, Any]:
        """The figure for a table."""
        return {
            "row": self.row,
            "task": self.task,
            "against": self.against,
            "seconds": statistics.median(self.own) if self.own else None,
            "peer_seconds": statistics.median(self.peer) if self.peer else None,
            "median": statistics.median(self.values),
            "low": min(self.values),
            "high": max(self.values),
            "unit": self.unit,
            "target": self.target,
            "reached": self.reached,
        }


def faster(
    row: int, task: str, against: str, seconds: Seconds, least: float | None, called: str = ""
) -> Figure:
    """The peer's seconds in units of relubench's; `called` is what the table calls the peer."""
    own, peer = seconds["relubench"], seconds[against]
    return Figure(
        row=row,
        task=task,
        against=called or against,
        values=[theirs / mine for mine, theirs in zip(own, peer, strict=True)],
        unit="× faster",
        least=least,
        own=own,
        peer=peer,
    )


def as_slow(row: int, task: str, against: str, seconds: Seconds, most: float) -> Figure:
    """relubench's seconds in units of the peer's."""
    own, peer = seconds["relubench"], seconds[against]
    return Figure(
        row=row,
        task=task,
        against=against,
        values=[mine / theirs for mine, theirs in zip(own, peer, strict=True)],
        unit="× its time",
        most=most,
        own=own,
        peer=peer,
    )


def machine() -> str:
    """This machine and what runs on it, on one line."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return " · ".join(
        [
            f"{name}, {os.cpu_count()} cores",
            f"torch {torch.__version__}",
            f"Python {platform.python_version()}",
            f"relubench {relubench.__version__}",
        ]
    )


def table(figures: Sequence[Figure], rounds: int) -> Table[Any]:
    """The figures as a table, the machine above it."""

    def number(key: str) -> Callable[[Any], str]:
        return lambda row: "" if row[key] is None else f"{row[key]:.3g}"

    def judged(row: Any) -> str:
        return f"{row['median']:.3g} [{row['low']:.3g}, {row['high']:.3g}] {row['unit']}"

    columns = [
        Column("", lambda row: str(row["row"])),
        Column("task", lambda row: row["task"], left=True),
        Column("against", lambda row: row["against"], left=True),
        Column("relubench s", number("seconds")),
        Column("peer s", number("peer_seconds")),
        Column("measured", judged, left=True),
        Column("target", lambda row: row["target"], left=True),
        Column("reached", lambda row: {True: "yes", False: "no", None: ""}[row["reached"]]),
    ]
    return Table(
        [figure.as_row() for figure in figures],
        columns,
        f"{machine()} · n = {rounds} rounds",
        ["Medians over the rounds; what is measured is a round's own ratio, [least, most]."],
        group=lambda row: row["row"],
    )
