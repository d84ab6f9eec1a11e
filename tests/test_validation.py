"""--validation: what every epoch is scored on, and that it decides nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relubench import datasets
from relubench.cli import main
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import Epoch, RunResult
from relubench.training import engine
from relubench.training.splits import held_out, split

CELL = Cell(
    dataset="wine", model="ffnn:hidden=8", activation="relu", recipe=Recipe(epochs=3, lr=0.01)
)


def test_the_test_set_as_validation_changes_no_number(machine: Machine) -> None:
    plain, watched = engine.fit(Stack((CELL,)), machine), replace(CELL, validation="test")
    (seen,) = engine.fit(Stack((watched,)), machine)
    assert seen.scores == plain[0].scores
    assert [epoch.loss for epoch in seen.curve] == [epoch.loss for epoch in plain[0].curve]
    assert seen.curve[-1].held_out == pytest.approx(seen.scores["accuracy"])
    assert seen.curve[-1].held_out_loss == pytest.approx(seen.scores["loss"])
    assert {epoch.held_out for epoch in plain[0].curve} == {None}


@pytest.mark.parametrize("cut", [Split(), Split(folds=3, fold=1), Split(one_holdout=True)])
@pytest.mark.parametrize("limit", [None, 60])
def test_what_is_held_back_is_learned_from_and_tested_on_by_nobody(
    cut: Split, limit: int | None, tmp_path: Path
) -> None:
    dataset = datasets.load("wine", str(tmp_path))
    cell = replace(CELL, split=cut, validation="0.1", preparation=Preparation(limit=limit))
    whole, test = split(replace(cell, validation=None), dataset)
    train, same_test = split(cell, dataset)
    held = held_out(cell, dataset)
    assert np.array_equal(test, same_test)
    assert np.array_equal(np.sort(np.concatenate([train, held])), whole)
    assert len(held) == int(np.ceil(len(whole) * 0.1))
    assert len(held_out(replace(cell, validation=None), dataset)) == 0


def test_a_stack_holds_back_what_each_cell_would(machine: Machine) -> None:
    cells = tuple(replace(CELL, seed=seed, validation="0.2") for seed in range(3))
    together = engine.fit(Stack(cells), machine)
    for cell, result in zip(cells, together, strict=True):
        (alone,) = engine.fit(Stack((cell,)), machine)
        assert [e.held_out for e in alone.curve] == [e.held_out for e in result.curve]


# With its rate the loss rises again before the last of these epochs.
RISING = replace(CELL, recipe=Recipe(epochs=12, lr=0.1, report="best"), validation="0.2")


def best_of(result: RunResult) -> Epoch:
    return min(result.curve, key=lambda epoch: epoch.held_out_loss or 0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_best_epoch_is_reported_where_that_is_asked_for(seeds: int, machine: Machine) -> None:
    cells = [replace(RISING, seed=seed, validation="test") for seed in range(seeds)]
    found = engine.fit(Stack(tuple(cells)), machine)
    assert any(best_of(result) != result.curve[-1] for result in found)
    for cell, result in zip(cells, found, strict=True):
        best = best_of(result)
        assert result.scores["loss"] == pytest.approx(best.held_out_loss)
        assert result.scores["accuracy"] == pytest.approx(best.held_out)
        last = replace(cell, recipe=replace(cell.recipe, report=None))
        (to_the_end,) = engine.fit(Stack((last,)), machine)
        assert to_the_end.scores["loss"] == pytest.approx(result.curve[-1].held_out_loss)
        assert last.key != cell.key


def test_weights_of_the_best_epoch_are_those_of_a_training_that_ends_there(
    machine: Machine,
) -> None:
    (result,) = engine.fit(Stack((RISING,)), machine)
    epochs = 1 + result.curve.index(best_of(result))
    assert epochs < 12
    short = replace(RISING, recipe=replace(RISING.recipe, epochs=epochs, report=None))
    (ended,) = engine.fit(Stack((short,)), machine)
    assert ended.scores == result.scores
    assert ended.layers == result.layers


def test_the_best_epoch_of_a_stack_of_folds_is_that_of_each(machine: Machine) -> None:
    """Folds of 10, whose sizes differ: some stop learning before others in every epoch."""
    splits = [Split(folds=7, fold=fold) for fold in (0, 6)]
    cells = [replace(RISING, dataset="iris", split=each) for each in splits]
    for cell, result in zip(cells, engine.fit(Stack(tuple(cells)), machine), strict=True):
        (alone,) = engine.fit(Stack((cell,)), machine)
        own = {name: score for name, score in alone.scores.items() if score is not None}
        assert {name: result.scores[name] for name in own} == pytest.approx(own, rel=1e-4)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "--report best: say what is best on"),
        (["--validation", "10%", "--lr", "0.1,0.01", "--best-lr"], "give one --lr"),
        (["--validation", "10%", "--report", "first"], "last"),
    ],
    ids=str,
)
def test_a_best_epoch_that_nothing_chooses_is_refused(
    more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-d", "wine", "-q", "--report", "best", *more]) == 2
    assert says in capsys.readouterr().err


def test_a_row_says_that_its_best_epoch_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "-d", "wine", "-m", "ffnn:hidden=4", "--epochs", "2", "-q"]
    arguments += ["--report", "best", "--no-ledger"]
    for part, told in (("test", "too good for new data"), ("10%", "what --validation holds back")):
        assert main([*arguments, "--validation", part]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "best epoch reported" in printed
        assert told in printed
        assert main([*arguments, "--validation", part, "--json"]) == 0
        assert [row["report"] for row in json.loads(capsys.readouterr().out)] == ["best"]


def test_rows_and_tables_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "-d", "wine", "-m", "ffnn:hidden=4", "--epochs", "2", "-q"]
    arguments += ["-a", "relu,tanh", "--validation", "10%"]
    assert main([*arguments, "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert row["validation"] == "0.1"
        assert all(epoch["held_out_loss"] > 0 for epoch in row["curve"])
        assert len(row["classes"]) == len(row["confusion"]) == 3
    assert main([*arguments, "--curve"]) == 0
    printed = capsys.readouterr().out
    assert "validation accuracy %" in printed
    assert "held-out loss by epoch" in printed
    assert "o relu" in printed


def test_seeds_end_with_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "-d", "wine", "-m", "ffnn:hidden=4", "--epochs", "2", "-q"]
    assert main([*arguments, "--seeds", "3"]) == 0
    last = capsys.readouterr().out.split("mean ± sd over finished runs")[1]
    assert " ± " in last.splitlines()[-1]
    assert main(arguments) == 0
    assert "mean ± sd" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "100%", "1.5", "tests", "-10%"])
def test_what_is_no_part_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-d", "wine", f"--validation={text}", "-q"]) == 2
    assert "must be a part of the training set such as 10%, or test" in capsys.readouterr().err


def test_one_holdout_is_the_same_rows_for_every_seed(tmp_path: Path) -> None:
    dataset = datasets.load("wine", str(tmp_path))
    cells = [replace(CELL, seed=seed, split=Split(one_holdout=True)) for seed in range(3)]
    first, *others = (split(cell, dataset)[1] for cell in cells)
    assert all(np.array_equal(first, other) for other in others)
    drawn = split(replace(CELL, seed=1), dataset)[1]
    assert not np.array_equal(first, drawn)
    assert CELL.key == replace(CELL, split=Split(one_holdout=False)).key


def test_seed_base_and_one_holdout_are_in_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "-d", "wine", "-m", "ffnn:hidden=4", "--epochs", "1", "-q", "--json"]
    arguments += ["-a", "relu,tanh", "--seeds", "3", "--seed-base", "100", "--one-holdout"]
    assert main(arguments) == 0
    for row in json.loads(capsys.readouterr().out):
        assert (row["seeds"], row["one_holdout"]) == ([100, 101, 102], True)
        assert row["design"] == "paired seeds"
    for wrong in (["--seed", "3"], ["--folds", "3"]):
        with_it = [word for word in arguments if word not in ("--seeds", "3")]
        assert main([*with_it, *wrong]) == 2
