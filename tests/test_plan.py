"""Plans and their stacks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relubench.plan import Cell, Plan, Recipe, Split, stacks

cells = st.builds(
    Cell,
    dataset=st.sampled_from(["iris", "wine"]),
    model=st.just("ffnn"),
    activation=st.sampled_from(["relu", "gelu"]),
    recipe=st.builds(Recipe, lr=st.sampled_from([0.1, 0.2])),
    split=st.builds(Split, folds=st.just(3), fold=st.integers(0, 2)),
    seed=st.integers(0, 3),
)


@given(st.lists(cells, unique=True, max_size=30), st.integers(1, 5), st.integers(1, 3))
def test_stacks_hold_every_cell_once_and_only_alike_ones(
    planned: list[Cell], width: int, n_parallel: int
) -> None:
    plan = Plan(cells=tuple(planned))
    by_turn = stacks([(setup, width, None, n_parallel) for setup in plan.setups()])
    assert sorted(cell.key for stack in by_turn for cell in stack.cells) == sorted(
        cell.key for cell in planned
    )
    for stack in by_turn:
        assert 1 <= len(stack.cells) <= width * n_parallel == width * stack.n_parallel
        assert len({(c.dataset, c.activation, c.recipe) for c in stack.cells}) == 1


def test_set_ups_take_turns() -> None:
    plan = Plan(
        cells=tuple(
            Cell(dataset="iris", model="ffnn", activation=activation, seed=seed)
            for activation in ("relu", "gelu")
            for seed in range(4)
        )
    )
    by_turn = stacks([(setup, 2, 1, 1) for setup in plan.setups()])
    assert [stack.cells[0].activation for stack in by_turn] == ["relu", "gelu", "relu", "gelu"]
    assert [[cell.seed for cell in stack.cells] for stack in by_turn] == [
        [0, 1],
        [0, 1],
        [2, 3],
        [2, 3],
    ]


CELL = Cell(dataset="iris", model="ffnn", activation="relu")


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "gelu"},
        {"head": "relu"},
        {"init": "he"},
        {"seed": 3},
        {"split": Split(folds=4, fold=1)},
        {"recipe": Recipe(lr=0.1, weight_decay=0.2)},
    ],
)
def test_what_takes_no_time_is_not_timed_again(changes: dict[str, Any]) -> None:
    assert replace(CELL, **changes).timing_key == CELL.timing_key


@pytest.mark.parametrize(
    "changes", [{"dataset": "wine"}, {"model": "mlp"}, {"recipe": Recipe(batch_size=8)}]
)
def test_what_takes_time_is_timed(changes: dict[str, Any]) -> None:
    assert replace(CELL, **changes).timing_key != CELL.timing_key


def test_cells_are_checked_once_for_all_seeds_folds_and_rates() -> None:
    cells = [
        replace(CELL, activation=activation, seed=seed, split=split, recipe=Recipe(lr=lr))
        for activation, seed, split, lr in itertools.product(
            ("gelu", "relu"),
            (2, 1),
            (Split(), Split(folds=3, fold=2), Split(folds=3, fold=1, repeat=1)),
            (0.1, 0.2),
        )
    ]
    shapes = Plan(cells=tuple(cells)).shapes()
    assert [(cell.activation, cell.split, cell.seed, cell.recipe.lr) for cell in shapes] == [
        (activation, split, 2, 0.1)  # the first of each kind, as it is trained
        for activation in ("gelu", "relu")
        for split in (Split(), Split(folds=3, fold=2))
    ]
