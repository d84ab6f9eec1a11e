"""Perturbations: what they do to inputs, and that they do nothing to training."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from relubench import seeds
from relubench.cli import main
from relubench.datasets.preprocessing import moments, prepare
from relubench.plan import Cell, Machine, Preparation, Recipe, Stack
from relubench.training import engine
from relubench.training.examples import tensors
from relubench.training.perturbations import PERTURBATIONS, perturbed

NAMES = ("gaussian:0.1", "dropout:0.5", "shift:0.2")
X = torch.full((400, 50), 3.0)
CELL = Cell(
    dataset="wine",
    model="ffnn:hidden=8",
    activation="relu",
    recipe=Recipe(epochs=5, lr=0.01),
    perturb=",".join(NAMES),
)


def apply(name: str, unit: float = 1.0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(0)
    found: torch.Tensor = PERTURBATIONS.choose(name)(X, torch.tensor(unit), stream)
    return found


def test_every_perturbation_is_here() -> None:
    assert {name.split(":")[0] for name in NAMES} == set(PERTURBATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_a_perturbation_keeps_shape_and_type_and_its_input(name: str) -> None:
    found = apply(name)
    assert found.shape == X.shape
    assert found.dtype == X.dtype
    assert (X == 3).all()
    assert not torch.equal(found, X)
    assert torch.equal(found, apply(name))


def test_amounts_are_in_training_standard_deviations() -> None:
    noise = apply("gaussian:0.1", unit=20.0) - X
    assert noise.std() == pytest.approx(2, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert torch.equal(apply("shift:-0.2", unit=20.0), X - 4)
    dropped = apply("dropout:0.25", unit=20.0)
    assert (dropped == 0).double().mean() == pytest.approx(0.25, abs=0.01)
    assert set(dropped.unique().tolist()) == {0, 3}


@pytest.mark.parametrize("name", ["gaussian:0", "dropout:0", "shift:0"])
def test_nothing_of_it_is_nothing(name: str) -> None:
    assert torch.equal(apply(name), X)


def test_the_unit_is_that_of_the_training_inputs() -> None:
    train = torch.randn(999, 50, generator=torch.Generator().manual_seed(0)) * 5
    raw = dataclasses.replace(CELL, preparation=Preparation(standardise=False))
    assert float((perturbed(raw, "shift:1", train, X) - X).mean()) == pytest.approx(5, rel=0.01)
    assert torch.equal(perturbed(CELL, "shift:1", train, X), X + 1)


@pytest.mark.parametrize("shape", [(300, 6), (300, 2, 3, 3)], ids=["table", "images"])
@pytest.mark.parametrize("name", ["gaussian:0.5", "shift:1", "shift:-0.3"])
def test_a_perturbation_means_the_same_before_and_after_standardisation(
    name: str, shape: tuple[int, ...]
) -> None:
    """To perturb and then to standardise is to standardise and then to perturb."""
    stream = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.01, 1, 50, 3, 700, 0])[: shape[1]].view(-1, *[1] * (len(shape) - 2))
    x = torch.randn(shape, generator=stream).double() * scale + 7
    raw = dataclasses.replace(CELL, preparation=Preparation(standardise=False))
    mean, spread = map(torch.as_tensor, moments(x.numpy()))
    scaled = (x - mean) / spread
    after = perturbed(CELL, name, scaled, scaled)
    before = (perturbed(raw, name, x, x) - mean) / spread
    assert torch.allclose(before, after, atol=1e-9)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("pca", [2, 3, 8])
def test_after_components_the_unit_is_theirs(standardise: bool, pca: int) -> None:
    """Each moves by its own standard deviation in the training set."""
    x = load_digits().data
    preparation = Preparation(standardise=standardise, pca=pca)
    train, test = map(
        torch.as_tensor, prepare(x, np.arange(1000), np.arange(1000, 1100), preparation)
    )
    cell = dataclasses.replace(CELL, preparation=preparation)
    moved = perturbed(cell, "shift:1", train, test) - test
    assert moved.numpy() == pytest.approx(np.tile(train.numpy().std(axis=0), (100, 1)))


def test_a_cell_has_its_own_noise_and_every_activation_the_same() -> None:
    def noise(cell: Cell, name: str = "gaussian:0.1") -> torch.Tensor:
        return perturbed(cell, name, X, X)

    assert torch.equal(noise(CELL), noise(dataclasses.replace(CELL, activation="tanh")))
    fewer = dataclasses.replace(CELL, perturb="gaussian:0.1")
    assert torch.equal(noise(CELL), noise(fewer))  # whatever else is asked for
    assert not torch.equal(noise(CELL), noise(dataclasses.replace(CELL, seed=1)))
    stream = seeds.stream(CELL, "perturb gaussian:0.1")
    expected = X + 0.1 * torch.randn(X.shape, generator=stream)
    assert torch.equal(noise(CELL), expected)


def test_training_and_the_clean_scores_are_as_without(machine: Machine) -> None:
    plain = dataclasses.replace(CELL, perturb=None)
    (first,), (second,) = (engine.fit(Stack((cell,)), machine) for cell in (CELL, plain))
    asked = {f"accuracy {name}" for name in NAMES}
    assert first.scores.keys() - second.scores.keys() == asked
    assert {k: v for k, v in first.scores.items() if k not in asked} == second.scores
    assert first.curve == second.curve
    assert first.layers == second.layers
    assert first.cell.key != second.cell.key


@pytest.mark.parametrize("dtype", ["float32", "float64", "bf16"])
def test_nothing_of_it_changes_no_accuracy_in_any_precision(dtype: str, machine: Machine) -> None:
    """In a stack as alone: both scores come from the same pass, in the same type."""
    cells = [
        Cell(
            dataset="digits",
            model="ffnn:hidden=32x32",
            activation="relu",
            recipe=Recipe(epochs=1),
            perturb="gaussian:0,dropout:0",
            seed=seed,
        )
        for seed in range(6)
    ]
    for stack in (Stack(tuple(cells)), Stack(tuple(cells[:1]))):
        for result in engine.fit(stack, dataclasses.replace(machine, dtype=dtype)):
            assert result.scores["accuracy gaussian:0"] == result.scores["accuracy"]
            assert result.scores["accuracy dropout:0"] == result.scores["accuracy"]


def test_a_score_is_that_of_the_network_on_the_perturbed_inputs(machine: Machine) -> None:
    cell = dataclasses.replace(CELL, perturb="gaussian:0,dropout:1")
    cells = tuple(dataclasses.replace(cell, seed=seed) for seed in range(3))
    for result in engine.fit(Stack(cells), machine):
        assert result.scores["accuracy gaussian:0"] == result.scores["accuracy"]
        data = tensors(result.cell, machine)
        shares = data.y_test.bincount() / len(data.y_test)  # of inputs 0 it says one class
        assert any(result.scores["accuracy dropout:1"] == pytest.approx(s) for s in shares.tolist())


ARGUMENTS = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "2", "--perturb", ",".join(NAMES)]


def test_train_and_cv_print_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train"], ["cv", "--folds", "3"]):
        assert main([*command, *ARGUMENTS, "--format", "json"]) == 0
        row = json.loads(capsys.readouterr().out)[0]
        assert row["perturb"] == ",".join(NAMES)
        assert list(row["perturbed"]) == list(NAMES)
        assert all(0 <= accuracy <= 1 for accuracy in row["perturbed"].values())
        assert main([*command, *ARGUMENTS]) == 0
        out = capsys.readouterr().out
        assert all(f" {name} " in out for name in NAMES)
    assert "accuracy gaussian:0.1 %" in out  # mean ± sd over the folds


def test_compare_prints_means(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ["--seeds", "3", "--lr", "0.002", "--batch-size", "128"]  # as compare's own
    arguments = ["compare", *ARGUMENTS, "-a", "relu,gelu", *recipe]
    assert main([*arguments, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row["perturbed"]) == list(row["perturbed_sd"]) == list(NAMES) for row in rows)
    train = ["train", *ARGUMENTS, "-a", "gelu", *recipe, "--format", "json"]
    assert main(train) == 0
    runs = json.loads(capsys.readouterr().out)
    (gelu,) = (row for row in rows if row["activation"] == "gelu")
    for name in NAMES:
        known = torch.tensor([run["perturbed"][name] for run in runs], dtype=torch.float64)
        assert gelu["perturbed"][name] == pytest.approx(float(known.mean()))
        assert gelu["perturbed_sd"][name] == pytest.approx(float(known.std()))
    assert main(arguments) == 0
    assert "gaussian:0.1 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gaussian", "gaussian needs a sd: gaussian:SD"),
        ("gaussian:-1", "sd must be at least 0"),
        ("dropout:1.5", "share must be from 0 to 1"),
        ("gauss:1", "did you mean 'gaussian'?"),
        ("shift:inf", "'inf' is not a number"),
    ],
)
def test_what_is_no_perturbation_is_one_line(
    given: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *ARGUMENTS[:-1], given, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
