"""A time by which a command is to have ended: what is left of it, and what training will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from relubench import datasets, events
from relubench.events import Event
from relubench.execution import tuning
from relubench.execution.work import Work
from relubench.plan import Stack

# Seconds that follow training: a table and a page, which grows with the runs.
LAST, LAST_PER_RUN = 2.0, 0.01
# Times what the steps of relu take: other activations, evaluation, counting.
SLOWER = 2.0
PER_TRAINING = 0.02  # seconds besides the steps: weights are drawn, data prepared, units counted
MEASURING = 3.0  # seconds that the steps of a network may be timed for


class OutOfTime(Exception):
    """The time is up in the middle of training; what had finished is in the ledger."""


@dataclass(frozen=True)
class Clock:
    """A budget of seconds, and when it began by the monotonic clock."""

    began: float
    budget: float

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def left(self, runs: int) -> float:
        """Seconds that training may still take, where so many runs are to be shown after it."""
        return self.budget - self.spent - LAST - LAST_PER_RUN * runs

    @contextmanager
    def running(self, runs: int) -> Iterator[None]:
        """Within, training ends with OutOfTime at the first epoch or stack after its time."""

        def hear(event: Event) -> None:
            if event.kind in ("begun", "epoch") and self.left(runs) < 0:
                raise OutOfTime

        with events.heard_by(hear):
            yield


def forecast(work: Work) -> float:
    """About how many seconds the work will take that its ledger does not have."""
    seconds = 0.0
    timed: dict[object, float] = {}  # set-ups that differ in what costs no time take as long
    for cells, how in work.tuned:
        finished = work.finished(Stack(tuple(cells), how.threads))
        missing = [cell for cell in cells if cell not in finished]
        if missing:
            key = cells[0].timing_key, len(missing)
            if key not in timed:
                timed[key] = tuning.step_seconds(missing, work.machine, how, MEASURING)
            facts = datasets.facts(cells[0].dataset, work.machine.data_dir)
            trainings = 1 + len(cells[0].recipe.candidates)
            steps = tuning.steps(cells[0], facts)
            seconds += (timed[key] * steps + PER_TRAINING * trainings) * len(missing)
    jobs: int = work.executor.parameters.get("jobs", 1)
    return SLOWER * seconds / jobs
