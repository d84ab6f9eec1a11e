"""Regression: numbers as targets, against scikit-learn's and a plain loop in torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets as sklearn_datasets
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from torch import nn

import relubench
from relubench import datasets
from relubench.cli import main
from relubench.datasets import folds
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.training import engine, examples
from relubench.training.splits import split

MACHINE = Machine(data_dir="unused", threads=1)
EXACT = dataclasses.replace(MACHINE, dtype="float64")
CELL = Cell(
    dataset="diabetes",
    model="ffnn:hidden=16x8",
    activation="relu",
    head="mse",
    recipe=Recipe(lr=0.01, epochs=30, batch_size=32),
)
SYNTHETIC = dataclasses.replace(CELL, dataset="synthetic_regression:samples=600")


def fit(*cells: Cell, machine: Machine = MACHINE) -> list[Any]:
    return engine.fit(Stack(cells), machine)


def rows(cell: Cell) -> tuple[np.ndarray, ...]:
    """Standardised inputs and numbers as measured, of the cell's training and test set."""
    dataset = datasets.load(cell.dataset, "unused")
    train, test = split(cell, dataset)
    scaler = StandardScaler().fit(dataset.x[train])
    x_train, x_test = (scaler.transform(dataset.x[part]) for part in (train, test))
    return x_train, dataset.y[train], x_test, dataset.y[test]


def test_diabetes_is_scikit_learns() -> None:
    ours = datasets.load("diabetes", "unused")
    theirs = sklearn_datasets.load_diabetes(scaled=False)
    assert np.array_equal(ours.x, theirs.data)
    assert np.array_equal(ours.y, theirs.target)


def test_linnerud_is_scikit_learns() -> None:
    theirs = sklearn_datasets.load_linnerud()
    for name in theirs.target_names:
        ours = datasets.load(f"linnerud:target={name.lower()}", "unused")
        assert np.array_equal(ours.x, theirs.data)
        assert np.array_equal(ours.y, theirs.target[:, theirs.target_names.index(name)])


def test_synthetic_regression_is_friedmans_function() -> None:
    data = datasets.load("synthetic_regression:noise=0:samples=50:features=7", "unused")
    x, y = sklearn_datasets.make_friedman1(50, 7, noise=0, random_state=0)
    assert data.x.shape == x.shape
    # The formula is theirs; the draws are not.
    expected = 10 * np.sin(np.pi * data.x[:, 0] * data.x[:, 1]) + 20 * (data.x[:, 2] - 0.5) ** 2
    assert data.y == pytest.approx(expected + 10 * data.x[:, 3] + 5 * data.x[:, 4])
    assert y == pytest.approx(
        10 * np.sin(np.pi * x[:, 0] * x[:, 1])
        + 20 * (x[:, 2] - 0.5) ** 2
        + 10 * x[:, 3]
        + 5 * x[:, 4]
    )


def test_targets_are_standardised_by_the_training_set_alone() -> None:
    x_train, y_train, _, y_test = rows(CELL)
    data = examples.tensors(CELL, EXACT)
    scaler = StandardScaler().fit(y_train[:, None])
    assert data.x_train.numpy() == pytest.approx(x_train)
    assert data.y_train.numpy() == pytest.approx(scaler.transform(y_train[:, None])[:, 0])
    assert data.y_test.numpy() == pytest.approx(scaler.transform(y_test[:, None])[:, 0])


def plain(cell: Cell, seed: int) -> float:
    """R² on the test set of a loop in torch of a few lines, with weights of its own."""
    x_train, y_train, x_test, y_test = rows(cell)
    mean, deviation = y_train.mean(), y_train.std()
    x, y = torch.tensor(x_train).float(), torch.tensor((y_train - mean) / deviation).float()
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for width, outputs in ((x.shape[1], 16), (16, 8), (8, 1)):
        layer = nn.Linear(width, outputs)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=cell.recipe.lr)
    for _ in range(cell.recipe.epochs):
        for batch in torch.randperm(len(y), generator=generator).split(cell.recipe.batch_size):
            loss = nn.functional.mse_loss(network(x[batch]).squeeze(1), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        said = network(torch.tensor(x_test).float()).squeeze(1).numpy() * deviation + mean
    return float(r2_score(y_test, said))


def of_scikit_learn(cell: Cell, seed: int) -> float:
    x_train, y_train, x_test, y_test = rows(cell)
    scaler = StandardScaler().fit(y_train[:, None])
    network = MLPRegressor(
        hidden_layer_sizes=(16, 8),
        alpha=0.0,
        batch_size=cell.recipe.batch_size,
        learning_rate_init=cell.recipe.lr,
        max_iter=cell.recipe.epochs,
        n_iter_no_change=cell.recipe.epochs,
        random_state=seed,
    )
    network.fit(x_train, scaler.transform(y_train[:, None])[:, 0])
    said = scaler.inverse_transform(network.predict(x_test)[:, None])[:, 0]
    return float(r2_score(y_test, said))


@pytest.mark.filterwarnings("ignore:.*Maximum iterations.*")
@pytest.mark.parametrize("cell", [CELL, SYNTHETIC], ids=lambda cell: cell.dataset)
def test_r2_is_that_of_scikit_learn_and_of_a_plain_loop(cell: Cell) -> None:
    """Over 8 splits, the same for all three; within four standard errors of the differences."""
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(8)]
    ours = np.array([result.scores["r2"] for result in fit(*cells)])
    for other in (plain, of_scikit_learn):
        theirs = np.array([other(each, each.seed) for each in cells])
        difference = ours - theirs
        assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(len(cells)) + 0.01


@pytest.mark.parametrize("head", ["mse", "huber", "huber:delta=0.5"])
def test_a_stack_of_numbers_equals_its_cells_alone(head: str) -> None:
    """Folds of several sizes too, whose targets have other means and deviations."""
    cells = [
        dataclasses.replace(CELL, head=head, seed=seed, split=Split(folds=5, fold=fold))
        for seed, fold in ((0, 0), (0, 3), (1, 4))
    ]
    together = fit(*cells, machine=EXACT)
    for cell, stacked in zip(cells, together, strict=True):
        (alone,) = fit(cell, machine=EXACT)
        assert stacked.scores == pytest.approx(alone.scores, rel=1e-9)
        losses = [epoch.loss for epoch in stacked.curve]
        assert losses == pytest.approx([epoch.loss for epoch in alone.curve], rel=1e-9)


def test_a_run_of_numbers_has_no_score_of_classes_nor_the_other_way_round() -> None:
    numbers, classes = (
        relubench.train(dataset=name, model="ffnn:hidden=4", epochs=1, no_ledger=True)
        .rows[0]
        .record()
        for name in ("diabetes", "iris")
    )
    of_numbers = ("rmse", "mae", "r2", "train_r2")
    of_classes = ("accuracy", "precision", "recall", "f1", "macro_f1", "train_accuracy")
    assert all(numbers[name] is not None for name in (*of_numbers, "loss", "train_loss"))
    assert all(numbers[name] is None for name in (*of_classes, "silent", "confusion", "classes"))
    assert all(classes[name] is None for name in of_numbers)
    assert all(classes[name] is not None for name in ("accuracy", "loss", "confusion"))
    curve: Any = numbers["curve"]
    assert [epoch["accuracy"] for epoch in curve] == [None]


def test_folds_of_numbers_are_plain_and_whole() -> None:
    dataset = datasets.load("diabetes", "unused")
    tested = []
    for fold in range(4):
        cell = dataclasses.replace(CELL, split=Split(folds=4, fold=fold))
        train, test = split(cell, dataset)
        assert set(train) | set(test) == set(range(442))
        tested += test.tolist()
    assert sorted(tested) == list(range(442))


def test_a_limit_of_numbers_is_drawn_from_all() -> None:
    limited = dataclasses.replace(CELL, preparation=Preparation(limit=40))
    train, test = split(limited, datasets.load("diabetes", "unused"))
    assert len(train) == 40
    assert not set(train) & set(test)


def test_strata_of_numbers_are_one() -> None:
    dataset = datasets.load("diabetes", "unused")
    rng = np.random.default_rng(0)
    assert len(folds.sample(dataset.strata, 7, rng)) == 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train -d diabetes --head softmax", "diabetes has numbers, not classes: known for these"),
        ("train -d iris --head mse", "--head mse: iris has classes: known for these: softmax"),
        ("compare -d diabetes --metric accuracy", "its own are rmse, mae, r2, train_r2"),
        ("compare -d iris --metric rmse", "--metric rmse: iris has classes"),
        ("compare -d iris,diabetes", "no score in common"),
        ("compare -d diabetes --margin accuracy=1%", "--margin accuracy: of no data here"),
        ("cv -d diabetes --protocol published", "is of classes alone, and diabetes has numbers"),
        ("train -d diabetes --until train_error=0.1", "is of classes alone"),
        ("train -d diabetes --perturb gaussian:0.1", "is of classes alone"),
        ("train -d diabetes --label-smoothing 0.1", "is of classes alone"),
        ("train -d diabetes --confusion", "--confusion counts classes, and diabetes has none"),
        ("cv -d linnerud --folds 21", "linnerud has only 20 examples"),
        ("train -d linnerud:target=age", "known: weight, waist, pulse"),
        ("train -d synthetic_regression:features=4", "features must be at least 5"),
    ],
)
def test_what_makes_no_sense_of_numbers_is_one_line(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments.split(), "--no-ledger", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1


def saved(folder: Path, target: list[object]) -> str:
    path = folder / "t.csv"
    lines = [f"{number % 7},{-number},{value}" for number, value in enumerate(target)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    return f"csv:{path}:target=y"


def test_a_csv_of_measurements_says_how_it_is_read(tmp_path: Path) -> None:
    name = saved(tmp_path, [0.5 * number for number in range(60)])
    with pytest.raises(relubench.errors.DataError, match="task=regression if they are measured"):
        datasets.load(name, "unused")
    dataset = datasets.load(f"{name}:task=regression", "unused")
    assert dataset.task == "regression"
    assert dataset.y.tolist() == [0.5 * number for number in range(60)]
    assert "60 examples of a number from 0 to 29.5" in dataset.notes[0]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (["1", "2", "high"] * 5, "the target holds"),
        ([3] * 9, "one value only"),
        ([1.5, 1e300] * 5, "beyond"),
    ],
)
def test_a_target_that_is_no_number_is_one_line(
    target: list[object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(relubench.errors.DataError, match=says):
        datasets.load(f"{saved(tmp_path, target)}:task=regression", "unused")


def test_floats_that_are_many_are_numbers_to_a_python_call() -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=(90, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 7
    result = relubench.train(
        dataset=(x, y), model="ffnn:hidden=16", lr=0.02, epochs=60, no_ledger=True
    )
    (row,) = result.rows
    assert row.get("head") == "mse"
    assert row.get("dataset").endswith(":task=regression")
    assert row.get("r2") > 0.8
    few = relubench.train(dataset=(x, np.sign(y - 7)), epochs=1, no_ledger=True).rows[0]
    assert few.head == "softmax"


def test_numbers_are_in_the_ledger_and_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = str(tmp_path / "l.db")
    command = ["train", "-d", "diabetes", "--epochs", "2", "--ledger", ledger, "--format", "jsonl"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert main(["ledger", "show", "--ledger", ledger, "--format", "jsonl"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["r2"] == pytest.approx(first["r2"])
    assert shown["accuracy"] is None
