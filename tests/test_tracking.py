"""Histories of hidden units: what they count, and that counting changes nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_checkpoints import interrupted
from torch import Tensor

from relubench import report, seeds
from relubench.cli import main
from relubench.formats import render
from relubench.models import layers
from relubench.plan import Cell, Machine, Plan, Preparation, Recipe, Split, Stack
from relubench.results import LayerHistory, RunResult
from relubench.training import engine, tracking
from relubench.training.building import build
from relubench.training.checkpoints import CheckpointStore
from relubench.training.context import context
from relubench.training.examples import Tensors, tensors
from relubench.training.networks import Networks

# A rate at which units die, and some come back.
CELL = Cell(
    dataset="digits",
    model="ffnn:hidden=24x16",
    activation="relu",
    recipe=Recipe(epochs=4, lr=0.05, batch_size=128),
)
SEEDS = tuple(dataclasses.replace(CELL, seed=seed) for seed in range(3))
CNN = dataclasses.replace(
    CELL,
    dataset="digits:images=true",
    model="cnn:filters=4x6:dense=10:padding=1",
    recipe=Recipe(epochs=2, lr=0.02),
    preparation=Preparation(limit=150),
)
NORMED = dataclasses.replace(CNN, model="resnet18:filters=4x4x4x4")


def untracked(result: RunResult) -> RunResult:
    return dataclasses.replace(result, seconds=0.0, history=())


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


@pytest.mark.parametrize(
    "cells",
    [
        *(SEEDS[:1], SEEDS, (CNN,), (NORMED,)),
        tuple(dataclasses.replace(cell, activation="rrelu") for cell in SEEDS),
        tuple(dataclasses.replace(cell, activation="prelu") for cell in SEEDS),
        tuple(dataclasses.replace(cell, model="ffnn:hidden=9:dropout=0.3") for cell in SEEDS),
    ],
    ids=lambda cells: f"{cells[0].model} {cells[0].activation} {len(cells)}",
)
def test_tracking_changes_no_bit(cells: tuple[Cell, ...], machine: Machine) -> None:
    plain = engine.fit(Stack(cells), machine)
    tracked = engine.fit(Stack(cells, track=1), machine)
    assert [untracked(result) for result in tracked] == [untracked(result) for result in plain]
    assert all(
        result.history and not other.history for result, other in zip(tracked, plain, strict=True)
    )


def weights_after(
    cell: Cell, epochs: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> torch.nn.Module:
    """The network that a training of so many epochs ends with."""
    kept: list[torch.nn.Module] = []
    evaluate = engine.evaluate

    def seen(
        results: Sequence[RunResult], networks: Networks, data: Sequence[Tensors]
    ) -> list[RunResult]:
        kept.extend(networks.modules)
        return evaluate(results, networks, data)

    monkeypatch.setattr(engine, "evaluate", seen)
    recipe = dataclasses.replace(cell.recipe, epochs=epochs)
    engine.fit(Stack((dataclasses.replace(cell, recipe=recipe),)), machine)
    return kept[0].eval()


def pre_activations(network: torch.nn.Module, x: Tensor) -> dict[str, Tensor]:
    """(examples, units, …) by layer."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, act in layers.activations(network):
        hooks.append(
            act.register_forward_hook(
                lambda _, inputs, __, name=name: seen.update({name: inputs[0]})
            )
        )
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return seen


def probe_rows(cell: Cell, count: int) -> Tensor:
    order = torch.randperm(count, generator=seeds.stream(cell, "probe"))
    return torch.tensor(sorted(order[:512].tolist()))


@pytest.mark.parametrize("cell", [CELL, CNN], ids=["dense", "convolutional"])
def test_a_history_is_what_counting_by_hand_finds(
    cell: Cell, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relu: dead and inactive where no pre-activation is above 0. Trainings are prefixes."""
    (result,) = engine.fit(Stack((cell,), track=1), machine)
    x_train = tensors(cell, machine).x_train
    x = x_train[probe_rows(cell, len(x_train))]
    before: dict[str, set[int]] = {}
    for epoch in range(cell.recipe.epochs + 1):
        seen = pre_activations(weights_after(cell, epoch, machine, monkeypatch), x)
        for layer in result.history:
            z = seen[layer.layer].transpose(0, 1).flatten(1)  # (units, examples · positions)
            outputs = z.clamp(min=0).mean(dim=1)
            dead = set((z <= 0).all(dim=1).nonzero().flatten().tolist())
            assert layer.epochs[epoch] == epoch
            assert layer.dead[epoch] == layer.inactive[epoch] == len(dead)
            assert layer.dormant[epoch] == int((outputs <= 0.025 * outputs.mean()).sum())
            share = float((z <= 0).double().mean())
            assert layer.sparsity[epoch] == pytest.approx(share, abs=1e-9)
            assert layer.mean_activation[epoch] == pytest.approx(float(outputs.mean()), rel=1e-4)
            was = before.get(layer.layer, set())
            assert set(layer.died[epoch]) == dead - was
            assert set(layer.revived[epoch]) == was - dead
            assert layer.examples == len(x)
            before[layer.layer] = dead
    assert cell is CNN or any(layer.dead[-1] for layer in result.history)


def test_all_activations_of_a_seed_are_looked_at_on_the_same_examples(machine: Machine) -> None:
    probes = []
    for activation in ("relu", "gelu"):
        cell = dataclasses.replace(CELL, activation=activation)
        data = tensors(cell, machine)
        network = build(cell, tuple(data.x_train.shape[1:]), machine)
        probes.append(tracking.Probe([cell], Networks([network]), [data.x_train]).parts[0].x)
    assert probes[0].shape == (1, 512, 64)
    assert torch.equal(*probes)
    other = dataclasses.replace(CELL, seed=1)
    data = tensors(other, machine)
    network = build(other, tuple(data.x_train.shape[1:]), machine)
    assert not torch.equal(
        probes[0], tracking.Probe([other], Networks([network]), [data.x_train]).parts[0].x
    )


@pytest.mark.parametrize("activation", ["relu", "gelu", "maxout", "prelu"])
def test_a_history_in_a_stack_is_that_of_the_cell_alone(activation: str, double: Machine) -> None:
    """Law 3, in float64; folds of 134 and 135 examples have probe sets of two sizes."""
    folds = [
        dataclasses.replace(
            CELL,
            dataset="iris",
            activation=activation,
            split=Split(folds=7, fold=fold),
            recipe=Recipe(epochs=3, lr=0.05),
        )
        for fold in (0, 5, 6)
    ]
    together = engine.fit(Stack(tuple(folds), track=1), double)
    assert len({result.n_train for result in together}) > 1
    assert {result.environment.stack for result in together} == {3}
    for result in together:
        (alone,) = engine.fit(Stack((result.cell,), track=1), double)
        for one, other in zip(result.history, alone.history, strict=True):
            assert counts(one) == counts(other)
            assert one.sparsity == pytest.approx(other.sparsity, abs=1e-9)


def counts(history: LayerHistory) -> dict[str, object]:
    inexact = ("sparsity", "mean_activation")
    return {key: value for key, value in vars(history).items() if key not in inexact}


def test_the_last_epoch_is_counted_whatever_n(machine: Machine) -> None:
    recipe = dataclasses.replace(CELL.recipe, epochs=5)
    cell = dataclasses.replace(CELL, recipe=recipe)
    (every,) = engine.fit(Stack((cell,), track=1), machine)
    (second,) = engine.fit(Stack((cell,), track=2), machine)
    assert second.history[0].epochs == (0, 2, 4, 5)
    for one, other in zip(every.history, second.history, strict=True):
        assert [one.dead[epoch] for epoch in (0, 2, 4, 5)] == list(other.dead)
        assert one.dead_units() == other.dead_units()


def test_the_history_of_a_diverged_run_ends_with_it(machine: Machine) -> None:
    recipe = Recipe(epochs=6, lr=1e12, optimizer="sgd")
    diverging = dataclasses.replace(CELL, recipe=recipe)
    (result,) = engine.fit(Stack((diverging,), track=1), machine)
    assert result.failed
    assert len(result.history[0].epochs) == len(result.curve)  # epoch 0, not the last
    assert result.tracked(1)


def test_counts_that_wait_are_read_in_parts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.fit(Stack(SEEDS, track=1), machine)
    monkeypatch.setattr(tracking, "PENDING", 2)
    parted = engine.fit(Stack(SEEDS, track=1), machine)
    assert [result.history for result in parted] == [result.history for result in whole]


@pytest.mark.parametrize("cells", [SEEDS[:1], SEEDS], ids=["alone", "stack"])
def test_an_interrupted_history_goes_on(
    cells: tuple[Cell, ...], machine: Machine, tmp_path: Path
) -> None:
    stack = Stack(cells, track=1)
    undisturbed = engine.fit(stack, machine)
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    interrupted(stack, machine, unfinished, saves=2)
    resumed = engine.fit(stack, machine, checkpoints=unfinished)
    assert [result.history for result in resumed] == [result.history for result in undisturbed]
    assert [untracked(result) for result in resumed] == list(map(untracked, undisturbed))
    decides = str(context(cells[0], machine))
    unfinished.discard(stack, decides)
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_state_without_histories_is_not_taken_for_one_with(
    machine: Machine, tmp_path: Path
) -> None:
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    interrupted(Stack(SEEDS), machine, unfinished, saves=2)
    (result, *_) = engine.fit(Stack(SEEDS, track=1), machine, checkpoints=unfinished)
    assert result.history[0].epochs == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "spoilt",
    [
        "no list",
        [],
        [[{"layer": "dense1"}]],
        [[3]],
    ],
)
def test_what_is_no_history_is_refused(spoilt: object) -> None:
    with pytest.raises(ValueError, match=r"a layer's|each run"):
        tracking.histories(spoilt, 1)


# --- rows and the ledger --------------------------------------------------------------------------


def test_rows_carry_histories_and_give_them_back(machine: Machine) -> None:
    results = engine.fit(Stack(SEEDS, track=1), machine)
    table = report.runs(results, Plan(cells=SEEDS))
    for row, result in zip(json.loads(render([table], "json")), results, strict=True):
        entries = row["history"]
        assert [entry["layer"] for entry in entries[:2]] == ["dense1", "dense2"]
        assert len(entries) == 2 * 5
        assert entries[-1]["dead"] == result.history[1].dead[-1] / 16
    again = report.results_of(render([table], "jsonl"))
    assert [result.history for result in again] == [result.history for result in results]


ARGUMENTS = ["train", "-d", "iris", "-m", "ffnn:hidden=6", "--epochs", "4", "-f", "json"]


def rows(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[list[dict[str, Any]], str]:
    assert main([*ARGUMENTS, *more]) == 0
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_a_tracked_run_answers_an_untracked_request_and_not_the_other_way_round(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (plain,), _ = rows(capsys)
    assert plain["history"] is None
    (coarse,), said = rows(capsys, "--track-neurons", "2")
    assert "taken from" not in said
    assert {entry["epoch"] for entry in coarse["history"]} == {0, 2, 4}
    assert coarse["key"] == plain["key"]
    (again,), said = rows(capsys)
    assert "taken from" in said
    assert again == coarse
    (fine,), said = rows(capsys, "--track-neurons", "1")
    assert "taken from" not in said
    (again,), said = rows(capsys, "--track-neurons", "2")
    assert "taken from" in said
    assert again == fine
    numbers = ("accuracy", "loss", "curve", "dead")
    assert [fine[key] for key in numbers] == [plain[key] for key in numbers]


def test_a_history_is_not_lost_where_the_same_run_is_trained_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tracked,), _ = rows(capsys, "--track-neurons", "1")
    rows(capsys, "--rerun")
    (again,), said = rows(capsys)
    assert "taken from" in said
    assert again["history"] == tracked["history"]
    one, other = str(tmp_path / "one.db"), str(tmp_path / "other.db")
    rows(capsys, "--ledger", one)
    rows(capsys, "--ledger", other, "--track-neurons", "1")
    assert main(["ledger", "merge", other, "--ledger", one]) == 0
    capsys.readouterr()
    (merged,), said = rows(capsys, "--ledger", one, "--track-neurons", "1")
    assert "taken from" in said
    assert merged["history"] == tracked["history"]


def test_trials_of_rates_are_not_tracked(capsys: pytest.CaptureFixture[str]) -> None:
    (row,), _ = rows(capsys, "--lr", "0.01,0.1", "--best-lr", "--track-neurons", "1")
    assert len(row["history"]) == 5
