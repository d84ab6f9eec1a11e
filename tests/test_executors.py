"""Laws over the catalogue of executors, with a fake `fit`; deaths of real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relubench import events
from relubench.catalog import Choice, Entry
from relubench.errors import BadValue
from relubench.events import Event
from relubench.execution import executors
from relubench.execution.executors import EXECUTORS, Done, Fit
from relubench.plan import Cell, Stack
from relubench.results import Environment, Epoch, RunResult

STACKS = [
    Stack(
        tuple(
            Cell(dataset="iris", model="ffnn", activation=f"unit{number}", seed=seed)
            for seed in range(2)
        )
    )
    for number in range(5)
]


def fake(stack: Stack) -> list[RunResult]:
    """A result per cell, without training."""
    here = Environment(relubench="1", torch="2", device="cpu", threads=1, dtype="x", stack=2)
    return [
        RunResult(
            cell=cell,
            environment=here,
            n_train=1,
            n_test=1,
            parameters=1,
            seconds=float(cell.seed),
            curve=(),
        )
        for cell in stack.cells
    ]


def deadly(stack: Stack, folder: Path, deaths: int) -> list[RunResult]:
    """Dies by SIGKILL on unit2, so many times."""
    if stack.cells[0].activation == "unit2":
        died = folder / str(time.monotonic_ns())
        if len(list(folder.iterdir())) < deaths:
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return fake(stack)


def faulty(stack: Stack) -> list[RunResult]:
    """Raises on unit2."""
    if stack.cells[0].activation == "unit2":
        raise ValueError("no such unit")
    return fake(stack)


NAMES = [*EXECUTORS, "fork"]
SURVIVORS = sorted(set(NAMES) - {"serial"})


@pytest.fixture
def executor(name: str, request: pytest.FixtureRequest) -> Choice[Entry]:
    if name == "fork":
        return executors.forked(2)
    if name == "dask":
        file = request.getfixturevalue("scheduler_file")
        return executors.choose(name, scheduler_file=str(file))
    return executors.choose(name)


def run(executor: Choice[Entry], fit: Fit) -> list[Done]:
    finished: Iterator[Done] = executor(iter(STACKS), fit)
    return list(finished)


@pytest.mark.parametrize("name", NAMES)
def test_every_executor_trains_every_stack_once(executor: Choice[Entry]) -> None:
    finished = run(executor, fake)
    assert len(finished) == len(STACKS)
    assert dict(finished) == {stack: fake(stack) for stack in STACKS}


@pytest.mark.parametrize("name", NAMES)
def test_what_fit_raises_is_raised(executor: Choice[Entry]) -> None:
    with pytest.raises(ValueError, match="no such unit"):
        run(executor, faulty)


@pytest.mark.parametrize("name", NAMES)
def test_stacks_are_taken_as_late_as_possible(executor: Choice[Entry]) -> None:
    taken = []

    def source() -> Iterator[Stack]:
        for stack in STACKS:
            taken.append(stack)
            yield stack

    finished = executor(source(), fake)
    next(finished)
    assert len(taken) <= 2
    finished.close()


@pytest.mark.parametrize("name", SURVIVORS)
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_is_replaced_and_its_stack_tried_again(
    executor: Choice[Entry], deaths: int, tmp_path: Path
) -> None:
    finished = run(executor, partial(deadly, folder=tmp_path, deaths=deaths))
    assert dict(finished) == {stack: fake(stack) for stack in STACKS}
    assert len(finished) == len(STACKS)
    assert len(list(tmp_path.iterdir())) == deaths


def telling(stack: Stack) -> list[RunResult]:
    """Ends an epoch."""
    events.epoch_ended(stack.cells, [[Epoch(loss=0.5)] for _ in stack.cells], 1)
    return fake(stack)


@pytest.mark.parametrize("name", ["pool", "fork"])
def test_what_happens_in_a_worker_is_heard(executor: Choice[Entry], tmp_path: Path) -> None:
    heard: list[Event] = []
    with events.heard_by(heard.append):
        run(executor, telling)
        assert sorted(e.key for e in heard) == sorted(s.cells[0].key for s in STACKS)
        assert {event.loss for event in heard} == {0.5}
        heard.clear()
        run(executor, partial(deadly, folder=tmp_path, deaths=2))
    assert [event.kind for event in heard] == ["worker lost"] * 2


@pytest.mark.parametrize("name", SURVIVORS)
def test_a_stack_that_kills_three_workers_is_given_up_and_the_rest_goes_on(
    executor: Choice[Entry], tmp_path: Path
) -> None:
    finished = dict(run(executor, partial(deadly, folder=tmp_path, deaths=99)))
    assert set(finished) == set(STACKS)
    for stack, results in finished.items():
        if stack == STACKS[2]:
            assert [result.cell for result in results] == list(stack.cells)
            assert not any(result.finished for result in results)
            assert re.fullmatch(
                r"lost: its worker died( \(exit code -9\))?, 3 times", str(results[0].failed)
            )
        else:
            assert results == fake(stack)
    assert len(list(tmp_path.iterdir())) == 3


ORPHANS = """
import os, sys, time
from relubench.execution import executors
from relubench.plan import Cell, Stack

def fit(stack):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(0.5)
    return []

stacks = [Stack((Cell(dataset="iris", model="ffnn", activation=name),)) for name in "abcd"]
list(executors.forked(2)(iter(stacks), fit))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux alone")
def test_copies_end_when_their_parent_is_killed() -> None:
    command = [sys.executable, "-c", ORPHANS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = {int(parent.stdout.readline()), int(parent.stdout.readline())}
        parent.kill()
        assert len(pids) == 2
        parent.stdout.read()  # ends when nobody holds its other end any more, or the test hangs


ADDRESS = "tcp://host:8786"


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({}, "serial"),
        ({"jobs": 1}, "serial"),
        ({"jobs": 3}, "pool:jobs=3"),
        ({"name": "pool", "jobs": 3}, "pool:jobs=3"),
        ({"name": "pool", "jobs": 1}, "pool:jobs=1"),
        ({"name": "serial", "jobs": 1}, "serial"),
        ({"name": "pool:jobs=3"}, "pool:jobs=3"),
        ({"scheduler": ADDRESS}, f"dask:scheduler={ADDRESS}"),
        ({"name": "dask", "scheduler": ADDRESS, "jobs": 1}, f"dask:scheduler={ADDRESS}"),
    ],
)
def test_parameters_imply_their_executor(given: dict[str, Any], means: str) -> None:
    assert str(executors.choose(**{"name": None} | given)) == means


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"jobs": 2, "name": "serial"}, "--jobs 2 does not go with --executor serial"),
        ({"jobs": 2, "name": "pool:jobs=3"}, "--jobs 2 does not go with --executor pool:jobs=3"),
        ({"jobs": 2, "scheduler": ADDRESS}, "--jobs 2 does not go with --executor dask"),
        ({"scheduler": ADDRESS, "name": "pool"}, f"--scheduler {ADDRESS} does not go with"),
        ({"scheduler": ADDRESS, "scheduler_file": "f"}, "--scheduler or --scheduler-file, not"),
        ({"name": "dask"}, "--executor dask: give --scheduler tcp://host:8786 or"),
        ({"name": "pool:jobs=0"}, "--executor pool:jobs=0: jobs must be at least 1"),
        ({"scheduler_file": "no/file"}, "--scheduler-file no/file: No such file or directory"),
        ({"scheduler_file": __file__}, "no dask scheduler wrote this file"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadValue, match=re.escape(says)):
        executors.choose(**{"name": None} | given)
