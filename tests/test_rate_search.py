"""Each run at its own best rate, and what took part in the choice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from relubench import datasets
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult
from relubench.training import engine
from relubench.training.checkpoints import CheckpointStore
from relubench.training.splits import split

RATES = (0.0001, 0.01, 0.3)
RECIPE = Recipe(epochs=3, batch_size=16, lr=RATES[0], rates=",".join(map(str, RATES)))
CELL = Cell(dataset="iris", model="ffnn:hidden=8x6", activation="relu", recipe=RECIPE)
CELLS = (
    CELL,
    dataclasses.replace(CELL, seed=1),
    dataclasses.replace(CELL, split=Split(folds=4, fold=2)),
    dataclasses.replace(CELL, activation="tanh", preparation=Preparation(limit=60)),
)


def fit(cell: Cell, machine: Machine) -> RunResult:
    (result,) = engine.fit(Stack((cell,)), machine)
    return result


def at(cell: Cell, rate: float) -> Cell:
    return dataclasses.replace(cell, recipe=dataclasses.replace(RECIPE, lr=rate, rates=None))


@pytest.mark.parametrize("cell", CELLS)
def test_the_rate_is_the_best_of_all_tried_by_hand(cell: Cell, machine: Machine) -> None:
    apart = dataclasses.replace(cell.split, validation=True)
    tried = {
        rate: [
            epoch.held_out
            for epoch in fit(dataclasses.replace(at(cell, rate), split=apart), machine).curve
        ]
        for rate in RATES
    }
    best = max(RATES, key=lambda rate: np.mean(np.array(tried[rate], dtype=float)))
    chosen, there = fit(cell, machine), fit(at(cell, best), machine)
    assert (chosen.cell, chosen.lr) == (cell, best)
    assert (chosen.curve, chosen.scores) == (there.curve, there.scores)


def test_the_accuracy_held_out_is_that_of_the_network_after_the_epoch(machine: Machine) -> None:
    """The same training, one epoch shorter each time, is tested on the validation set."""
    cell = dataclasses.replace(at(CELL, 0.01), split=Split(validation=True))
    curve = fit(cell, machine).curve
    for epochs in (1, 2, 3):
        shorter = dataclasses.replace(cell.recipe, epochs=epochs)
        ended = fit(dataclasses.replace(cell, recipe=shorter), machine)
        assert ended.scores["accuracy"] == curve[epochs - 1].held_out


def test_the_choice_does_not_depend_on_company(machine: Machine) -> None:
    double = dataclasses.replace(machine, dtype="float64")
    together = engine.fit(Stack(CELLS[:3]), double)
    for mine, alone in zip(together, (fit(cell, double) for cell in CELLS[:3]), strict=True):
        assert mine.lr == alone.lr
        assert mine.scores["loss"] == pytest.approx(alone.scores["loss"], rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_what_tests_a_run_takes_no_part_in_its_choice(cell: Cell, machine: Machine) -> None:
    dataset = datasets.load(cell.dataset, machine.data_dir)
    train, test = split(cell, dataset)
    apart = dataclasses.replace(cell, split=dataclasses.replace(cell.split, validation=True))
    learned, held_out = split(apart, dataset)
    assert_array_equal(np.sort(np.concatenate([learned, held_out])), train)
    assert not {*learned, *held_out} & {*test}
    assert len(held_out) == np.ceil(len(train) / 10)


def test_a_rate_that_diverges_is_not_taken(machine: Machine) -> None:
    wild = dataclasses.replace(RECIPE, optimizer="sgd", rates="0.01,1e30")
    result = fit(dataclasses.replace(CELL, recipe=wild), machine)
    assert (result.lr, result.failed) == (0.01, None)


def test_nothing_stays_of_what_was_tried(tmp_path: Path, machine: Machine) -> None:
    unfinished, stack = CheckpointStore(tmp_path, 0.0), Stack((CELL,))
    engine.fit(stack, machine, checkpoints=unfinished)
    assert [*tmp_path.rglob("*.pt")]
    unfinished.discard(stack)
    assert not [*tmp_path.rglob("*")]
