"""Unfinished trainings go on where they were, to the same bits."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import start

from relubench import datasets, libraries
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.libraries import TorchBuild
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult
from relubench.training import engine, examples, states
from relubench.training.checkpoints import Checkpoint, CheckpointStore
from relubench.training.context import context
from relubench.training.optimizers import OPTIMIZERS

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
BEST = tuple(
    dataclasses.replace(
        CELL, seed=seed, validation="0.2", recipe=Recipe(epochs=6, lr=0.3, report="best")
    )
    for seed in (0, 1)
)
CARRIED = tuple(
    dataclasses.replace(CELL, seed=seed, split=Split(folds=3)) for seed in (0, 1)
)  # from fold to fold


@pytest.mark.parametrize(
    ("optimizer", "cells"),
    [
        *itertools.product(OPTIMIZERS, [(CELL,), FOLDS]),
        *(("adam", cells) for cells in (SEEDS[:1], SEEDS, (MIRRORED,), CARRIED, BEST[:1], BEST)),
    ],
)
def test_an_interrupted_training_ends_in_the_same_bits(
    optimizer: str,
    cells: tuple[Cell, ...],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = dataclasses.replace(cells[0].recipe, optimizer=optimizer)
    stack = Stack(tuple(dataclasses.replace(cell, recipe=recipe) for cell in cells))
    undisturbed = engine.fit(stack, machine)

    unfinished, save, saved = CheckpointStore(tmp_path / "unfinished", 0.0), Checkpoint.save, []

    def killed_at_the_fourth(self: Checkpoint, state: dict[str, object]) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        engine.fit(stack, machine, checkpoints=unfinished)
    resumed = engine.fit(stack, machine, checkpoints=unfinished)
    passes = 6 * (3 if cells is CARRIED else 1)
    assert len(saved) == passes  # after epochs 1 to 4, then from 5 on: none was trained twice
    assert untimed(resumed) == untimed(undisturbed)
    assert resumed[0].seconds > 0
    unfinished.discard(stack)
    assert list((tmp_path / "unfinished").iterdir()) == []


Kept = dict[str, Any]


def interrupted(
    stack: Stack, machine: Machine, unfinished: CheckpointStore, saves: int = 4
) -> Path:
    """Train until so many states have been saved; the last one's file."""
    save, saved = Checkpoint.save, []

    def killed(self: Checkpoint, state: dict[str, object]) -> None:
        save(self, state)
        saved.append(self.path)
        if len(saved) == saves:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.fit(stack, machine, checkpoints=unfinished)
    assert saved[-1] is not None
    return saved[-1]


def forgotten() -> None:
    """Files are read again, as by a new command."""
    for cached in (datasets.load, examples._tensors):
        cached.cache_clear()
    datasets.FIRST.clear()


UNIT = "import torch\n\n\ndef unit(x):\n    return torch.relu(x) * {}\n"
NET = """import torch.nn as nn


def net(shape, classes, activation):
    return nn.Sequential(nn.Linear(shape[0], 4), activation(4), nn.Linear(4, classes), {})
"""


def table(first: str) -> str:
    """Two classes apart; which of them comes first."""
    other = {"a": "b", "b": "a"}[first]
    lines = [f"{n % 7},{n % 5},{first if n % 2 else other}" for n in range(60)]
    return "\n".join(["x,y,label", *lines]) + "\n"


@pytest.mark.parametrize(
    "change", ["data", "unit", "model", "dtype", "threads", "engine", "torch", "nothing"]
)
def test_a_state_is_gone_on_with_in_its_own_context_only(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else decides the numbers, as the ledger has it: another one begins anew."""
    monkeypatch.chdir(tmp_path)
    machine = Machine(data_dir=str(tmp_path), threads=1)
    Path("data.csv").write_text(table("a"))
    Path("unit.py").write_text(UNIT.format(1))
    Path("net.py").write_text(NET.format("nn.Identity()"))
    cell = dataclasses.replace(
        CELL,
        dataset="csv:data.csv:target=label",
        model="./net.py:net" if change == "model" else "ffnn:hidden=6",
        activation="./unit.py:unit" if change == "unit" else "relu",
    )
    stack, unfinished = Stack((cell,)), CheckpointStore(tmp_path / "unfinished", 0.0)
    forgotten()
    file = interrupted(stack, machine, unfinished)
    forgotten()
    if change == "data":
        Path("data.csv").write_text(table("b"))
    elif change == "unit":
        Path("unit.py").write_text(UNIT.format(2))
    elif change == "model":
        Path("net.py").write_text(NET.format("nn.Softsign()"))
    elif change == "dtype":
        machine = dataclasses.replace(machine, dtype="float64")
    elif change == "threads":
        machine = dataclasses.replace(machine, threads=2)
    elif change == "engine":
        monkeypatch.setattr("relubench.training.context.ENGINE", -1)
    elif change == "torch":
        other = TorchBuild("0.0", cuda=False, xpu=False)
        monkeypatch.setattr(libraries, "torch_build", lambda: other)
    undisturbed = engine.fit(stack, machine)
    saved: list[Kept] = []
    save = Checkpoint.save

    def kept(self: Checkpoint, state: Kept) -> None:
        saved.append(state)
        save(self, state)

    monkeypatch.setattr(Checkpoint, "save", kept)
    resumed = engine.fit(stack, machine, checkpoints=unfinished)
    assert untimed(resumed) == untimed(undisturbed)
    assert len(saved) == (2 if change == "nothing" else 6)
    assert file.exists()


OWN = ["train", "-d", "csv:data.csv:target=label", "--epochs", "6", "--lr", "0.01", "--quiet"]
OWN += ["--batch-size", "20", "--checkpoint", "0", "--stack", "1", "--format", "json"]
CHANGES = ["data", "activation", "model", "precision", "threads", "engine", "nothing"]


def run(flags: list[str], capsys: pytest.CaptureFixture[str]) -> Kept:
    """The one row of a command that ends well, but for its time."""
    forgotten()
    capsys.readouterr()
    assert main(flags) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return {key: value for key, value in row.items() if key != "seconds"}


@pytest.mark.parametrize("change", CHANGES)
def test_a_command_goes_on_from_nothing_but_its_own_state(
    change: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C after four of six epochs, one thing is changed, the same command again."""
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text(table("a"))
    Path("unit.py").write_text(UNIT.format(1))
    Path("net.py").write_text(NET.format("nn.Identity()"))
    own = {"activation": ["-a", "./unit.py:unit"], "model": ["-m", "./net.py:net"]}
    flags = [*OWN, *own.get(change, ["-m", "ffnn:hidden=6:dropout=0.2"])]
    threads, precision = ["--threads", "1"], ["--precision", "float32"]
    undisturbed = run([*flags, *threads, *precision, "--no-ledger"], capsys)

    save, saved = Checkpoint.save, list[Kept]()

    def kept(self: Checkpoint, state: Kept) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", kept)
    forgotten()
    assert main([*flags, *threads, *precision]) == 130
    (file,) = Path(os.environ["RELUBENCH_LEDGER"]).parent.glob("unfinished/*/*.pt")

    if change == "data":
        Path("data.csv").write_text(table("b"))
    elif change == "activation":
        Path("unit.py").write_text(UNIT.format(2))
    elif change == "model":
        Path("net.py").write_text(NET.format("nn.Softsign()"))
    elif change == "precision":
        precision = ["--precision", "float64"]
    elif change == "threads":
        threads = ["--threads", "2"]
    elif change == "engine":
        monkeypatch.setattr("relubench.training.context.ENGINE", -1)
    fresh = run([*flags, *threads, *precision, "--no-ledger"], capsys)
    again = run([*flags, *threads, *precision], capsys)
    assert again == fresh
    assert len(saved) == 4 + (2 if change == "nothing" else 6)  # epochs that were trained
    assert (again["curve"] == undisturbed["curve"]) == (change in ("threads", "engine", "nothing"))
    assert file.exists() == (change != "nothing")  # another's state is left to whom it belongs


def test_what_is_kept_under_another_context_is_not_forgotten(
    machine: Machine, tmp_path: Path
) -> None:
    stack, unfinished = Stack((CELL,)), CheckpointStore(tmp_path / "unfinished", 0.0)
    other = dataclasses.replace(machine, dtype="float64")
    kept = interrupted(stack, other, unfinished)
    engine.fit(stack, machine, checkpoints=unfinished)
    assert len(list(kept.parent.iterdir())) == 2
    unfinished.discard(stack, str(context(CELL, machine)))
    assert list(kept.parent.iterdir()) == [kept]
    unfinished.discard(stack, str(context(CELL, other)))
    assert list(unfinished.folder.iterdir()) == []


def first(state: Kept) -> tuple[str, torch.Tensor]:
    """A weight of it and the weight's name."""
    name, weight = next(iter(state["tensors"].items()))
    return name, weight


def corner(state: Kept) -> torch.Tensor:
    """The first number of that weight."""
    weight = first(state)[1]
    return weight[(0,) * weight.ndim]


def altered(change: Callable[[Kept], Any]) -> Callable[[Path], None]:
    """Damage inside a state that torch reads."""

    def damage(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


def emptied(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Something else in the file's place."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


class Payload:
    """What a pickle that is trusted would execute."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["RELUBENCH_PAYLOAD"],)


def linked(path: Path) -> None:
    path.rename(path.with_name("x"))
    path.symlink_to("x")


OUTSIDE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no torch file": lambda path: path.write_bytes(b"no torch file"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-500]),
    "a folder": emptied(Path.mkdir),
    "a full folder": emptied(lambda path: (path / "x").mkdir(parents=True)),
    "a pipe": emptied(os.mkfifo),
    "a link to nothing": emptied(lambda path: path.symlink_to("nowhere")),
    "a link": linked,
    "a loop": emptied(lambda path: path.symlink_to(path.name)),
    "a list": lambda path: torch.save([1, 2], path),
    "a payload": lambda path: path.write_bytes(pickle.dumps(Payload())),
    "a payload of torch": lambda path: torch.save(Payload(), path),
    "a payload inside": altered(lambda state: state.update(seconds=Payload())),
}
INSIDE: dict[str, Callable[[Kept], Any]] = {
    "nothing": dict.clear,
    "no weights": lambda state: state.pop("tensors"),
    "a weight missing": lambda state: state["tensors"].pop(first(state)[0]),
    "a weight more": lambda state: state["tensors"].update(more=torch.ones(1)),
    "another shape": lambda state: state["tensors"].update({first(state)[0]: torch.ones(1)}),
    "another type": lambda state: state["tensors"].update(
        {first(state)[0]: first(state)[1].double()}
    ),
    "no tensor": lambda state: state["tensors"].update({first(state)[0]: 1.0}),
    "a NaN weight": lambda state: corner(state).fill_(torch.nan),
    "an infinite weight": lambda state: corner(state).fill_(torch.inf),
    "tensors a list": lambda state: state.update(tensors=list(state["tensors"].values())),
    "a long curve": lambda state: state["curves"][0].extend(state["curves"][0] * 9),
    "an empty curve": lambda state: state["curves"][0].clear(),
    "no curve": lambda state: state["curves"].clear(),
    "a curve more": lambda state: state["curves"].append(state["curves"][0]),
    "a curve of words": lambda state: state.update(curves=[["x"]]),
    "curves a number": lambda state: state.update(curves=3),
    "an epoch more": lambda state: state["curves"][0][0].update(epoch=1),
    "a NaN loss": lambda state: state["curves"][0][0].update(loss=torch.nan),
    "a lost epoch between": lambda state: state["curves"][0][0].update(loss=None, accuracy=None),
    "all diverged": lambda state: state["curves"][0][-1].update(loss=None, accuracy=None),
    "an accuracy of 2": lambda state: state["curves"][0][0].update(accuracy=2.0),
    "an accuracy in words": lambda state: state["curves"][0][0].update(accuracy="0.5"),
    "no seconds": lambda state: state.pop("seconds"),
    "negative seconds": lambda state: state.update(seconds=-1.0),
    "NaN seconds": lambda state: state.update(seconds=torch.nan),
    "endless seconds": lambda state: state.update(seconds=torch.inf),
    "seconds in words": lambda state: state.update(seconds="1"),
    "no streams": lambda state: state["streams"].clear(),
    "a short stream": lambda state: state["streams"].__setitem__(0, state["streams"][0][:9]),
    "a broken stream": lambda state: state["streams"][0].fill_(255),
    "streams of words": lambda state: state.update(streams=["x"] * len(state["streams"])),
    "no optimizer": lambda state: state.update(optimizer={}),
    "an optimizer in words": lambda state: state.update(optimizer="adam"),
    "another rate": lambda state: state["optimizer"]["param_groups"][0].update(lr=1.0),
    "no group": lambda state: state["optimizer"]["param_groups"].clear(),
    "a moment's shape": lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.ones(3)),
    "a moment missing": lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
    "a NaN moment": lambda state: state["optimizer"]["state"][0]["exp_avg"].fill_(torch.nan),
    "steps below 0": lambda state: state["optimizer"]["state"][0]["step"].fill_(-1),
    "a parameter more": lambda state: state["optimizer"]["state"].update(
        {99: state["optimizer"]["state"][0]}
    ),
    "of another training": lambda state: state.update(belongs="x"),
    "of another engine": lambda state: state.update(engine=-1),
}


def forged(change: Callable[[Kept], Any]) -> Callable[[Path], None]:
    """Damage by somebody who makes the checksum fit."""

    def both(state: Kept) -> None:
        change(state)
        state.pop("checksum", None)
        state["checksum"] = states.checksum(state)

    return altered(both)


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(damage, id=name) for name, damage in OUTSIDE.items()),
        *(pytest.param(altered(change), id=name) for name, change in INSIDE.items()),
        *(pytest.param(forged(change), id=f"{name}, forged") for name, change in INSIDE.items()),
        pytest.param(altered(lambda s: corner(s).add_(1e-3)), id="another weight"),
        pytest.param(altered(lambda s: s["curves"][0][0].update(loss=0.5)), id="another loss"),
        pytest.param(altered(lambda s: s.pop("checksum")), id="no checksum"),
    ],
)
def test_a_damaged_state_is_set_aside_and_the_run_begins_anew(
    damage: Callable[[Path], None],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RELUBENCH_PAYLOAD", str(tmp_path / "executed"))
    notes: list[str] = []
    stack, unfinished = Stack((CELL,)), CheckpointStore(tmp_path / "unfinished", 0.0, notes.append)
    file = interrupted(stack, machine, unfinished)
    undisturbed = engine.fit(stack, machine)
    damage(file)
    resumed = engine.fit(stack, machine, checkpoints=unfinished)
    assert untimed(resumed) == untimed(undisturbed)
    assert 0 < resumed[0].seconds < 60
    (note,) = notes
    assert str(file) in note
    assert "set aside as" in note
    assert os.path.lexists(f"{file}.damaged")
    assert not (tmp_path / "executed").exists()
    assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == untimed(undisturbed)
    assert len(notes) == 1  # it is not in the way any more


def test_a_second_damage_leaves_the_first_where_it_is(machine: Machine, tmp_path: Path) -> None:
    stack, unfinished = Stack((CELL,)), CheckpointStore(tmp_path, 0.0)
    for _ in range(3):
        file = interrupted(stack, machine, unfinished, saves=1)
        file.write_bytes(b"x")
    engine.fit(stack, machine, checkpoints=unfinished)
    aside = [f"{file.name}.damaged{n or ''}" for n in range(3)]
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, *aside]


def test_a_run_that_diverges_beside_others_is_kept_with_them(
    machine: Machine, tmp_path: Path
) -> None:
    """Its weights are no numbers any more, and that is no damage."""
    recipe = Recipe(optimizer="sgd", lr=5.0, epochs=12, batch_size=50)
    wild = Cell(dataset="iris", model="ffnn:hidden=8", activation="identity", recipe=recipe)
    stack = Stack(tuple(dataclasses.replace(wild, seed=seed) for seed in (0, 5)))
    notes: list[str] = []
    unfinished = CheckpointStore(tmp_path, 0.0, notes.append)
    undisturbed = engine.fit(stack, machine)
    assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == untimed(undisturbed)
    (file,) = unfinished.path(stack).iterdir()
    over = [curve[-1]["loss"] is None for curve in torch.load(file, weights_only=True)["curves"]]
    assert sorted(over) == [False, True]
    assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == untimed(undisturbed)
    assert notes == []


def test_a_state_that_cannot_be_written_ends_no_training(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    stack, unfinished = Stack((CELL,)), CheckpointStore(tmp_path, 0.0, notes.append)
    undisturbed = engine.fit(stack, machine)
    unfinished.path(stack).write_text("in the way")
    assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == untimed(undisturbed)
    assert {note.split(": ")[1] for note in notes} == {"the unfinished run cannot be kept"}
    unfinished.path(stack).unlink()
    notes.clear()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == untimed(undisturbed)
    assert notes[0].startswith(str(unfinished.path(stack)))
    assert notes[0].endswith("No space left on device")
    assert list(unfinished.path(stack).iterdir()) == []


def test_what_nobody_goes_on_with_is_swept_one_day(machine: Machine, tmp_path: Path) -> None:
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    assert unfinished.sweep() == 0
    other = dataclasses.replace(CELL, seed=3)
    old, new = (interrupted(Stack((cell,)), machine, unfinished) for cell in (CELL, other))
    aside = new.with_name(f"{new.name}.damaged")
    aside.write_text("")
    assert unfinished.sweep() == 0
    for path in (old, aside):
        os.utime(path, (0, time.time() - 31 * 24 * 3600))
    assert unfinished.sweep() == 2
    assert list(unfinished.folder.rglob("*")) == [new.parent, new]


TINY = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "3", "--threads", "1"]
TINY += ["--checkpoint", "0", "--stack", "1", "--ledger", "ledger.db"]


def stacks(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Stack]:
    """Those of TINY with two seeds, as a command has them."""
    found: list[Stack] = []
    monkeypatch.chdir(tmp_path)
    fit = engine.fit

    def noted(stack: Stack, **named: Any) -> list[RunResult]:
        found.append(stack)
        return fit(stack, machine)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "fit", noted)
        assert main([*TINY, "--seeds", "2", "--no-ledger", "--quiet"]) == 0
    return found


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_what_is_damaged_or_cannot_be_kept_is_told_wherever_it_is_trained(
    jobs: list[str],
    quiet: list[str],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, second = stacks(machine, tmp_path, monkeypatch)
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    file = interrupted(first, machine, unfinished, saves=1)
    file.write_text("no state")
    unfinished.path(second).write_text("in the way")
    capfd.readouterr()
    assert main([*TINY, "--seeds", "2", *jobs, *quiet]) == 0
    said = capfd.readouterr().err.splitlines()
    damaged = [line for line in said if f"{file}: it cannot be read; set aside as" in line]
    unkept = [line for line in said if "the unfinished run cannot be kept" in line]
    assert (len(damaged), len(unkept)) == ((0, 0) if quiet else (1, 1)), said


def test_what_is_left_of_a_finished_run_is_removed_and_the_old_too(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after a kill between the ledger's write and the end of the state."""
    first, _ = stacks(machine, tmp_path, monkeypatch)
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    assert main([*TINY, "--seeds", "2"]) == 0
    interrupted(first, machine, unfinished, saves=1)
    old = unfinished.folder / "0123" / "4567.pt"
    old.parent.mkdir()
    old.write_text("of code that was edited")
    os.utime(old, (0, 0))
    capsys.readouterr()
    assert main([*TINY, "--seeds", "2"]) == 0
    assert f"1 unfinished run in {unfinished.folder} removed" in capsys.readouterr().err
    assert list(unfinished.folder.iterdir()) == []


@pytest.mark.slow
def test_no_damage_makes_a_figure_or_a_fault(machine: Machine, tmp_path: Path) -> None:
    """200 states with bytes flipped, cut out, swapped, or with parts of them altered."""
    stack, unfinished = Stack((CELL,)), CheckpointStore(tmp_path, 0.0)
    whole = interrupted(stack, machine, unfinished).read_bytes()
    undisturbed = untimed(engine.fit(stack, machine))
    for number in range(200):
        draw = random.Random(number)
        unfinished.discard(stack)
        file = interrupted(stack, machine, unfinished, saves=1)
        if number % 2:
            draw.choice([altered, forged])(draw.choice(list(INSIDE.values())))(file)
        else:
            file.write_bytes(scrambled(whole, draw))
        assert untimed(engine.fit(stack, machine, checkpoints=unfinished)) == undisturbed, number


def scrambled(data: bytes, draw: random.Random) -> bytes:
    """Some bytes flipped, cut out or put elsewhere."""
    found = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 30])):
        at, size = draw.randrange(len(found)), draw.choice([1, 4, 64])
        kind = draw.randrange(3)
        if kind == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[at : at + size]
        else:
            found[at : at + size] = draw.randbytes(size)
    return bytes(found)


def test_saves_keep_their_distance(tmp_path: Path) -> None:
    assert not Checkpoint(None).due
    assert Checkpoint(tmp_path / "state", every=0.0).due
    assert not Checkpoint(tmp_path / "state", every=1e6).due


DENSE = ["-d", "digits", "-m", "ffnn:hidden=64:dropout=0.1"]
GPT = ["-d", "text:t.txt:context=16:windows=64", "--validation", "test", "--report", "best"]
GPT += ["-m", "gpt:layers=2:heads=2:width=32:context=16:dropout=0.1", "--clip-norm", "1"]
GPT += ["--optimizer", "adamw:decay=matrices", "--schedule", "cosine", "--warmup", "20"]


@pytest.mark.parametrize("what", [DENSE, GPT], ids=["dense", "gpt"])
def test_a_killed_command_goes_on_inside_a_training(what: list[str], tmp_path: Path) -> None:
    """Law 5 for one long run: kill -9 in the middle, and no epoch before it is trained again."""
    (tmp_path / "t.txt").write_text("".join(chr(97 + n * n % 13) for n in range(3000)))
    arguments = ["train", *what, "--epochs", "60"]
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
    timed = {"seconds": 0, "tokens_per_second": 0}
    assert resumed | timed == alone | timed
    assert resumed["curve"][len(curve) - 1]["loss"] == curve[-1]["loss"]
    assert list(tmp_path.glob(".relubench/unfinished/*")) == []
