"""Laws over the catalogue of executors, with a fake `fit`; deaths of real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from relubench.executors import EXECUTORS, Done, Fit
from relubench.plan import Cell, Stack
from relubench.results import Environment, RunResult

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


def run(name: str, fit: Fit) -> list[Done]:
    finished: Iterator[Done] = EXECUTORS.choose(name)(iter(STACKS), fit)
    return list(finished)


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_trains_every_stack_once(name: str) -> None:
    finished = run(name, fake)
    assert len(finished) == len(STACKS)
    assert dict(finished) == {stack: fake(stack) for stack in STACKS}


@pytest.mark.parametrize("name", EXECUTORS)
def test_what_fit_raises_is_raised(name: str) -> None:
    with pytest.raises(ValueError, match="no such unit"):
        run(name, faulty)


@pytest.mark.parametrize("name", EXECUTORS)
def test_stacks_are_taken_as_late_as_possible(name: str) -> None:
    taken = []

    def source() -> Iterator[Stack]:
        for stack in STACKS:
            taken.append(stack)
            yield stack

    finished = EXECUTORS.choose(name)(source(), fake)
    next(finished)
    assert len(taken) <= 2
    finished.close()


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_is_replaced_and_its_stack_tried_again(
    deaths: int, tmp_path: Path
) -> None:
    finished = run("pool", partial(deadly, folder=tmp_path, deaths=deaths))
    assert dict(finished) == {stack: fake(stack) for stack in STACKS}
    assert len(finished) == len(STACKS)
    assert len(list(tmp_path.iterdir())) == deaths


def test_a_stack_that_kills_three_workers_is_given_up_and_the_rest_goes_on(tmp_path: Path) -> None:
    finished = dict(run("pool", partial(deadly, folder=tmp_path, deaths=99)))
    assert set(finished) == set(STACKS)
    for stack, results in finished.items():
        if stack == STACKS[2]:
            assert [result.cell for result in results] == list(stack.cells)
            assert not any(result.finished for result in results)
            assert "its worker died (exit code -9), 3 times" in str(results[0].failed)
        else:
            assert results == fake(stack)
    assert len(list(tmp_path.iterdir())) == 3
