"""Weights carried from fold to fold: only where it is asked for, and what that is worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated import result
from torch import nn

from relubench import config, seeds
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.config import Published
from relubench.datasets import folds
from relubench.models import MODELS
from relubench.plan import Cell, Machine, Plan, Recipe, Split, Stack
from relubench.report import protocols
from relubench.results import Epoch, RunResult
from relubench.training import building, engine
from relubench.training.examples import tensors

CARRIED = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6",
    activation="relu",
    recipe=Recipe(epochs=2, batch_size=16, lr=0.01),
    split=Split(folds=4),
)


def fit(cell: Cell, machine: Machine) -> RunResult:
    (result,) = engine.fit(Stack((cell,)), machine)
    return result


def test_it_is_a_plain_loop_over_the_folds_with_one_network(machine: Machine) -> None:
    """One scaler, one network and one optimiser; folds of the hold-out's training set."""
    double = dataclasses.replace(machine, dtype="float64")
    data, network = tensors(CARRIED, double), building.build(CARRIED, (4,), double)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    batches, accuracies = seeds.stream(CARRIED, "batches"), []
    for fold in range(4):
        rows = folds.stratified(data.y_train.numpy(), 4, fold, seeds.folds(CARRIED))
        train, held_out = map(torch.as_tensor, rows)
        for _ in range(2):
            order = train[torch.randperm(len(train), generator=batches)]
            for batch in order.split(16):
                optimizer.zero_grad()
                scores = network(data.x_train[batch])
                nn.functional.cross_entropy(scores, data.y_train[batch]).backward()
                optimizer.step()
        hits = network(data.x_train[held_out]).argmax(dim=1) == data.y_train[held_out]
        accuracies.append(hits.double().mean().item())
    found = fit(CARRIED, double)
    assert found.folds == pytest.approx(accuracies)
    loss = nn.functional.cross_entropy(network(data.x_test), data.y_test)
    assert found.scores["loss"] == pytest.approx(loss.item(), rel=1e-9)


def test_company_does_not_matter(machine: Machine) -> None:
    double = dataclasses.replace(machine, dtype="float64")
    cells = tuple(dataclasses.replace(CARRIED, seed=seed) for seed in range(3))
    for mine, cell in zip(engine.fit(Stack(cells), double), cells, strict=True):
        alone = fit(cell, double)
        assert mine.folds == alone.folds
        assert mine.scores["loss"] == pytest.approx(alone.scores["loss"], rel=1e-9)


def test_on_labels_of_chance_only_carried_weights_seem_to_know(
    tmp_path: Path, machine: Machine
) -> None:
    """Nothing can be known of these folds but by having learned them before."""
    rng = np.random.default_rng(0)
    lines = [",".join([*map(str, rng.normal(size=10)), rng.choice(["a", "b"])]) for _ in range(200)]
    path = tmp_path / "chance.csv"
    path.write_text("\n".join([",".join([*"abcdefghij", "y"]), *lines]), encoding="utf-8")
    recipe = Recipe(epochs=30, batch_size=16, lr=0.01)
    cell = dataclasses.replace(
        CARRIED, dataset=f"csv:{path}:target=y", model="ffnn:hidden=64x64", recipe=recipe
    )
    carried = fit(cell, machine)
    splits = [Split(folds=4, fold=fold) for fold in range(4)]
    fresh = [fit(dataclasses.replace(cell, split=split), machine) for split in splits]
    honest = np.mean([float(run.scores["accuracy"] or 0) for run in fresh])
    later = np.mean([float(accuracy or 0) for accuracy in carried.folds[1:]])
    assert 0.35 < honest < 0.65 < 0.75 < later
    assert float(carried.scores["accuracy"] or 0) < 0.7


@pytest.mark.parametrize("command", ["train", "cv", "compare", "deadcount"])
def test_nothing_but_the_flag_carries_weights(command: str) -> None:
    benchmarks = config.read(Path(__file__).parents[1] / "benchmarks.toml", CATALOGS)
    for name in benchmarks.tables:
        settings = config.resolve(benchmarks, name, {}, CATALOGS)
        plan = config.plan(settings, command, False, MODELS)
        assert not any(cell.split.carried for cell in plan.cells)


def test_the_plan_has_every_fold_one_run_through_them_and_one_on_the_whole() -> None:
    flags = {"dataset": ["iris"], "activation": ["relu", "elu"], "seeds": 2, "folds": 3}
    settings = config.resolve(config.Benchmarks("", {}), None, flags, CATALOGS)
    plan = config.protocols(settings, "cv", False, MODELS)
    splits = {
        *(Split(folds=3, fold=fold) for fold in range(3)), Split(folds=3), Split()
    }  # fmt: skip
    assert {cell.split for cell in plan.cells} == splits
    assert len(plan.cells) == len({*plan.cells}) == 2 * 2 * len(splits)
    assert sorted(map(len, plan.setups())) == [2, 2, 8, 8]  # what is carried shares no pass


def made_up(published: float | None) -> list[str]:
    fresh = [result("relu", 0, 0.90 + 0.01 * i, Split(folds=2, fold=i)) for i in (0, 1)]
    epochs = tuple(Epoch(loss=1.0, accuracy=0.5, held_out=h) for h in (0.3, 0.95, 0.4, 0.99))
    through = result("relu", 0, 0.93, Split(folds=2))
    recipe = dataclasses.replace(through.cell.recipe, epochs=2)
    cell = dataclasses.replace(through.cell, recipe=recipe)
    through = dataclasses.replace(through, curve=epochs, cell=cell)
    runs = [
        dataclasses.replace(run, cell=dataclasses.replace(run.cell, recipe=recipe))
        for run in (*fresh, result("relu", 0, 0.91))
    ]
    entry = Published(activation="relu", value=published, source="a paper", confirmed=True)
    table = protocols.table([*runs, through], Plan(cells=()), [entry])
    assert [row["metric"] for row in table.records] == ["cv_accuracy", "accuracy"]
    return list(table.notes)


def test_what_the_leak_is_worth_is_said() -> None:
    """Folds: 0.905 fresh, (0.95 + 0.99) / 2 carried. Test part: 0.91 and 0.93."""
    said = "relu: carrying weights from fold to fold is worth +6.50 points over folds and +2.00 "
    said += "on the test set"
    assert made_up(None)[0] == f"{said}."
    nearer = "2.00 nearer to the published 94.00 (1.00 from it instead of 3.00)"
    assert made_up(0.94)[0] == f"{said}, {nearer}."
    assert "2.00 farther from the published 90.00" in made_up(0.90)[0]


def test_cv_prints_both_protocols(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["-d", "iris", "-m", "ffnn:hidden=8", "-a", "relu", "--epochs", "2", "--folds", "3"]
    assert main(["cv", *tiny, "--no-ledger", "--quiet", "--protocol", "published"]) == 0
    assert "weights fresh in every fold, and carried" in capsys.readouterr().out
    assert main(["cv", *tiny, "--no-ledger", "--quiet"]) == 0
    assert "carried" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--protocol", "leaky"], "got leaky, must be 'fresh' or 'published'"),
        (["--protocol", "published", "--best-lr", "--lr", "0.1,0.2"], "give one --lr"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cv", "-d", "iris", "--no-ledger", *flags]) == 2
    assert said in capsys.readouterr().err
