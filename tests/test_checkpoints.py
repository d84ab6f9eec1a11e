"""Unfinished trainings go on where they were, to the same bits."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import time
from pathlib import Path

import pytest
import torch
from processes import start

from relubench import engine
from relubench.activations import ACTIVATIONS
from relubench.checkpoints import Checkpoint, Unfinished
from relubench.optimizers import OPTIMIZERS
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult

CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6:dropout=0.2",
    activation=next(entry.name for entry in ACTIVATIONS.values() if entry.noisy),
    recipe=Recipe(epochs=6, batch_size=50, lr=0.01),
)
FOLDS = tuple(
    dataclasses.replace(CELL, seed=fold, split=Split(folds=7, fold=fold)) for fold in (0, 6)
)  # 128 and 129 examples


def untimed(results: list[RunResult]) -> list[RunResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in results]


NORMED = Path(__file__).parent / "normed.py"
MIRRORED = dataclasses.replace(
    CELL,
    dataset="digits:images=true",
    recipe=Recipe(epochs=6, augment="flip,crop:padding=1"),
    preparation=Preparation(limit=100),
)
SEEDS = tuple(
    dataclasses.replace(CELL, model=f"{NORMED}:net", activation="relu", seed=seed)
    for seed in (0, 1)
)
CARRIED = tuple(
    dataclasses.replace(CELL, seed=seed, split=Split(folds=3)) for seed in (0, 1)
)  # from fold to fold


@pytest.mark.parametrize(
    ("optimizer", "cells"),
    [
        *itertools.product(OPTIMIZERS, [(CELL,), FOLDS]),
        *(("adam", cells) for cells in (SEEDS[:1], SEEDS, (MIRRORED,), CARRIED)),
    ],
)
def test_an_interrupted_training_ends_in_the_same_bits(
    optimizer: str,
    cells: tuple[Cell, ...],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = dataclasses.replace(CELL.recipe, optimizer=optimizer)
    stack = Stack(tuple(dataclasses.replace(cell, recipe=recipe) for cell in cells))
    undisturbed = engine.fit(stack, machine)

    unfinished, save, saved = Unfinished(tmp_path / "unfinished", 0.0), Checkpoint.save, []

    def killed_at_the_fourth(self: Checkpoint, state: dict[str, object]) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        engine.fit(stack, machine, unfinished=unfinished)
    resumed = engine.fit(stack, machine, unfinished=unfinished)
    passes = 6 * (3 if cells is CARRIED else 1)
    assert len(saved) == passes  # after epochs 1 to 4, then from 5 on: none was trained twice
    assert untimed(resumed) == untimed(undisturbed)
    assert resumed[0].seconds > 0
    unfinished.forget(stack)
    assert list((tmp_path / "unfinished").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"no torch file", None])
def test_a_damaged_state_is_trained_over(
    damage: bytes | None, machine: Machine, tmp_path: Path
) -> None:
    stack, unfinished = Stack((CELL,)), Unfinished(tmp_path, 0.0)
    undisturbed = engine.fit(stack, machine, unfinished=unfinished)
    (file,) = unfinished.of(stack).iterdir()
    file.write_bytes(file.read_bytes()[:-500] if damage is None else damage)
    assert untimed(engine.fit(stack, machine, unfinished=unfinished)) == untimed(undisturbed)


def test_saves_keep_their_distance(tmp_path: Path) -> None:
    assert not Checkpoint(None).due
    assert Checkpoint(tmp_path / "state", every=0.0).due
    assert not Checkpoint(tmp_path / "state", every=1e6).due


def test_a_killed_command_goes_on_inside_a_training(tmp_path: Path) -> None:
    """Law 5 for one long run: kill -9 in the middle, and no epoch before it is trained again."""
    arguments = ["train", "-d", "digits", "-m", "ffnn:hidden=64:dropout=0.1", "--epochs", "60"]
    arguments += ["--threads", "1", "--checkpoint", "0", "--format", "json"]
    arguments += ["--ledger", ".relubench/ledger.db"]
    process = start(*arguments, cwd=tmp_path)
    for _ in range(2400):  # a busy machine takes its time
        time.sleep(0.05)
        if list(tmp_path.glob(".relubench/unfinished/*/*.pt")):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (file,) = tmp_path.glob(".relubench/unfinished/*/*.pt")
    curve = torch.load(file, weights_only=True)["curves"][0]
    assert 0 < len(curve) < 60

    out, _ = start(*arguments, cwd=tmp_path).communicate(timeout=120)
    undisturbed, _ = start(*arguments, "--no-ledger", cwd=tmp_path).communicate(timeout=120)
    (resumed,), (alone,) = json.loads(out), json.loads(undisturbed)
    assert resumed | {"seconds": 0} == alone | {"seconds": 0}
    assert resumed["curve"][len(curve) - 1]["loss"] == curve[-1]["loss"]
    assert list(tmp_path.glob(".relubench/unfinished/*")) == []
