"""Tables from made-up results: golden text, and what they may not claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from fabricated import BASE, FIXED, LAYERS, plan, result, runs

from relubench import report
from relubench.formats import render
from relubench.plan import Split
from relubench.results import Epoch, RunResult
from relubench.table import Table

COMPARED = [
    *runs("relu", 0.0),
    *runs("gelu", 0.02),
    *runs("tanh", -0.03),
    *(result("elu", s, a + (0.01 if s % 2 else -0.01)) for s, a in enumerate(BASE)),
    *(result("selu", s, None if s < 2 else a) for s, a in enumerate(BASE)),
    *(result("silu", s, None) for s, a in enumerate(BASE)),
]


def rows(table: Table[Any]) -> dict[str, dict[str, object]]:
    return {str(row["activation"]): dict(row) for row in table.records}


def test_tables_read_as_they_should(golden: Callable[[str, str], None]) -> None:
    folds = [
        result("relu", seed, 0.9 + 0.01 * fold + 0.002 * seed, Split(folds=3, fold=fold))
        for fold in range(3)
        for seed in range(2)
    ]
    few = [*runs("relu", 0.0, n=3), *runs("gelu", 0.02, n=3)]
    sweep = [result("relu", 0, 0.9, lr=lr) for lr in (0.1, 0.3)] + [result("relu", 0, None, lr=1.0)]
    born = (dataclasses.replace(LAYERS[0], dead=0), dataclasses.replace(LAYERS[1], dead=1))
    begun = dataclasses.replace(sweep[0], cell=sweep[0].cell.untrained, layers=born)
    tables: list[Table[Any]] = [
        report.compare(COMPARED, plan(COMPARED), FIXED),
        report.compare(few, plan(few, quick=True), FIXED),
        report.runs(COMPARED[18:22], plan(COMPARED)),
        report.runs(folds, plan(folds)),
        report.folds(folds, plan(folds)),
        *report.deadcount(sweep, plan(sweep), [begun]),
        report.confusion(COMPARED[0], ["ill", "well"]),
        report.curve(COMPARED[0]),
    ]
    golden("tables.txt", render(tables, "text"))


@pytest.mark.parametrize(
    ("shift", "says"),
    [
        (-0.05, "No activation beat relu on iris; any gain is unlikely; gelu loses to it; keep"),
        (0.0009, "No activation beat relu on iris; gains above 0.0"),
        (0.05, "gelu beat relu on iris by 4.9"),
    ],
)
def test_the_answer_comes_first(shift: float, says: str) -> None:
    shaken = [result("gelu", s, a + shift + (1e-4 if s % 2 else -1e-4)) for s, a in enumerate(BASE)]
    compared = [*runs("relu", 0.0), *shaken]
    assert report.compare(compared, plan(compared), FIXED).answers[0].startswith(says)


def test_verdicts_say_what_the_numbers_allow() -> None:
    found = rows(report.compare(COMPARED, plan(COMPARED), FIXED))
    verdicts = {activation: row["verdict"] for activation, row in found.items()}
    assert verdicts == {
        "relu": "reference",
        "gelu": "better",
        "tanh": "worse",
        "elu": "undecided",
        "selu": "diverged",
        "silu": "diverged",
    }
    # gelu: all ten differences positive, 2/2^10, Holm over all five comparisons planned
    assert found["gelu"]["p"] == pytest.approx(5 * 2 / 2**10)
    assert found["gelu"]["p_unadjusted"] == pytest.approx(2 / 2**10)


def test_diverged_runs_are_counted_and_never_averaged() -> None:
    found = rows(report.compare(COMPARED, plan(COMPARED), FIXED))
    assert (found["selu"]["n"], found["selu"]["diverged"], found["selu"]["pairs"]) == (8, 2, 8)
    assert found["selu"]["difference"] == pytest.approx(
        -0.001 * (2 + 0 + 1 + 2 + 0 + 1 + 2 + 0) / 8
    )
    assert found["selu"]["seconds"] == 0.5
    assert (found["silu"]["n"], found["silu"]["diverged"]) == (0, 10)
    for key in ("accuracy", "accuracy_sd", "difference", "p", "dead", "f1", "seconds"):
        assert found["silu"][key] is None


def test_survivors_prove_nothing() -> None:
    """Neither an activation nor the reference wins by the runs it did not lose."""
    lucky = [result("gelu", s, a + 0.05 if s > 1 else None) for s, a in enumerate(BASE)]
    table = report.compare([*runs("relu", 0.0), *lucky], plan(lucky), FIXED)
    assert rows(table)["gelu"]["verdict"] == "diverged"
    unsteady = [result("relu", s, a if s > 1 else None) for s, a in enumerate(BASE)]
    table = report.compare([*unsteady, *runs("gelu", 0.05)], plan(unsteady), FIXED)
    assert rows(table)["gelu"]["verdict"] == "undecided"
    assert not any(note.startswith("better") for note in table.notes)


def test_a_mean_of_undefined_figures_is_undefined() -> None:
    results = runs("relu", 0.0)
    results[3] = dataclasses.replace(results[3], scores={**results[3].scores, "precision": None})
    (row,) = report.compare(results, plan(results), FIXED).records
    assert row["precision"] is None
    assert row["accuracy"] is not None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_seeds_decide_nothing_and_the_table_says_so(n: int) -> None:
    few = [*runs("relu", 0.0, n), *runs("gelu", 0.05, n)]
    table = report.compare(few, plan(few), FIXED)
    assert rows(table)["gelu"]["verdict"] == "undecided"
    assert any(f"{n} paired seeds can show no difference here" in note for note in table.notes)


def test_quick_runs_are_marked() -> None:
    few = runs("relu", 0.0, 2)
    for table in (
        report.compare(few, plan(few, quick=True), FIXED),
        report.runs(few, plan(few, quick=True)),
        report.deadcount(few, plan(few, quick=True))[0],
    ):
        assert report.QUICK_NOTE in table.notes
        assert all(row["quick"] for row in table.records)


def test_seeds_of_a_fold_are_averaged_before_the_spread() -> None:
    accuracies = {(0, 0): 0.8, (0, 1): 1.0, (1, 0): 0.7, (1, 1): 0.9}
    results = [
        result("relu", seed, accuracy, Split(folds=2, fold=fold))
        for (fold, seed), accuracy in accuracies.items()
    ]
    (row,) = report.folds(results, plan(results)).rows
    assert row.folds == 2
    assert row.means["accuracy"] == pytest.approx(0.85)
    assert row.spreads["accuracy"] == pytest.approx(0.1 / 2**0.5)  # of the fold means 0.9 and 0.8


def test_deadcount_weighs_units_in_the_total() -> None:
    (table,) = report.deadcount([COMPARED[0]], plan(COMPARED))
    assert [row["layer"] for row in table.records] == ["dense1", "dense2", "total"]
    assert [row["dead"] for row in table.records] == [1 / 8, 1.0, 5 / 12]
    assert "derivative exactly 0 on every example" in str(table.records[0]["definition"])


@pytest.mark.parametrize(
    ("spread", "decimals"),
    [(0.0003, 2), (0.003, 1), (0.007, 1), (0.011, 1), (0.019, 1), (0.023, 0), (0.2, 0), (None, 1)],
)
def test_no_more_decimals_than_the_spread_deserves(spread: float | None, decimals: int) -> None:
    assert report.meaningful_decimals([spread]) == decimals


# --- training that had not come to its end --------------------------------------------------------


def learning(
    activation: str, losses: list[float], accuracy: float = 0.8, lr: float = 0.1
) -> list[RunResult]:
    """Three seeds with this training loss epoch by epoch."""
    curve = tuple(Epoch(loss=loss, accuracy=accuracy) for loss in losses)
    made = (result(activation, seed, BASE[seed], lr=lr) for seed in range(3))
    return [dataclasses.replace(run, curve=curve) for run in made]


def told(results: list[RunResult], quick: bool = False) -> list[str]:
    """The line of train and compare about runs that had not converged, the same in both."""
    asked = plan(results, quick)
    tables = report.runs(results, asked), report.compare(results, asked, FIXED)
    lines = [[n for n in table.notes if n.startswith("not converged")] for table in tables]
    assert lines[0] == lines[1]
    return lines[0]


FLAT = [0.5] * 30
STEEP = [1.0] * 24 + [0.8] * 3 + [0.6] * 3
SLOW = [1.0] * 24 + [0.8] * 3 + [0.79] * 3


def test_training_that_still_gains_is_named() -> None:
    runs = [*learning("relu", STEEP), *learning("gelu", FLAT), *learning("tanh", SLOW)]
    assert told(runs) == [
        "not converged: relu: train loss still falls by 25 % over the last 3 of 30 epochs; "
        "more --epochs would change these figures."
    ]
    runs += learning("elu", [1.0, 0.9])
    assert told(runs) == [
        "not converged: relu, elu: train loss still falls by 10 to 25 % over the last tenth of "
        "the epochs; more --epochs would change these figures."
    ]


def test_training_for_steps_is_told_to_take_more_steps() -> None:
    runs = []
    for run in learning("relu", STEEP):
        recipe = dataclasses.replace(run.cell.recipe, epochs=0, steps=300)
        cell = dataclasses.replace(run.cell, recipe=recipe)
        runs.append(dataclasses.replace(run, cell=cell))
    (line,) = told(runs)
    assert "more --steps would change" in line


@pytest.mark.parametrize("losses", [FLAT, SLOW, [1.0], [], FLAT[::-1], [0.1, 0.5]])
def test_training_that_came_to_its_end_is_not(losses: list[float]) -> None:
    assert not told([*learning("relu", losses), *learning("gelu", losses)])


def test_a_loss_that_falls_where_nothing_is_left_to_learn_is_not_said() -> None:
    assert not told(learning("relu", STEEP, accuracy=0.995))
    assert not told(learning("relu", STEEP), quick=True)


def test_it_is_one_line_over_all_set_ups() -> None:
    names = ["relu", "gelu", "tanh", "elu", "selu", "silu"]
    runs = [run for name in names for run in learning(name, STEEP)]
    (line,) = told([*runs, *learning("relu", FLAT, lr=0.2), *learning("gelu", FLAT, lr=0.2)])
    assert "not converged: relu, gelu, tanh, elu and 2 others in 1 of 2 set-ups: train" in line


def test_compare_names_the_largest_class_that_nothing_exceeds() -> None:
    """Four of the 50 that these runs are said to be tested on are of either class."""
    runs = [
        dataclasses.replace(run, scores={**run.scores, "accuracy": 0.07, "train_accuracy": 0.07})
        for run in [*learning("relu", FLAT), *learning("gelu", FLAT)]
    ]
    first, *_ = report.compare(runs, plan(runs), FIXED).answers
    assert "8.0 % accuracy, and nothing here has more, not even in training" in first
