"""Plans and their units of work."""

from __future__ import annotations

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
    found: list[Cell], width: int, n_parallel: int
) -> None:
    plan = Plan(cells=tuple(found))
    units = stacks([(setup, width, None, n_parallel) for setup in plan.setups()])
    assert sorted(cell.key for unit in units for cell in unit.cells) == sorted(
        cell.key for cell in found
    )
    for unit in units:
        assert 1 <= len(unit.cells) <= width * n_parallel == width * unit.n_parallel
        assert len({(c.dataset, c.activation, c.recipe) for c in unit.cells}) == 1


def test_set_ups_take_turns() -> None:
    plan = Plan(
        cells=tuple(
            Cell(dataset="iris", model="ffnn", activation=activation, seed=seed)
            for activation in ("relu", "gelu")
            for seed in range(4)
        )
    )
    units = stacks([(setup, 2, 1, 1) for setup in plan.setups()])
    assert [unit.cells[0].activation for unit in units] == ["relu", "gelu", "relu", "gelu"]
    assert [[cell.seed for cell in unit.cells] for unit in units] == [
        [0, 1],
        [0, 1],
        [2, 3],
        [2, 3],
    ]
