"""Interventions: which units begin anew, and what becomes of the weights around them alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_checkpoints import interrupted
from torch import Tensor

from relubench.cli import main
from relubench.models import layers
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult
from relubench.training import between, building, engine, learning, recycling
from relubench.training.checkpoints import CheckpointStore
from relubench.training.cuda_graph import GraphedStep
from relubench.training.interventions import INTERVENTIONS
from relubench.training.recycling import Recycler
from relubench.training.tracking import Looked

CELL = Cell(
    dataset="digits",
    model="ffnn:hidden=25x17",
    activation="relu",
    recipe=Recipe(epochs=3, lr=0.05, batch_size=128, revive="redo"),
)
SEEDS = tuple(dataclasses.replace(CELL, seed=seed) for seed in range(3))
CNN = dataclasses.replace(
    CELL,
    dataset="digits:images=true",
    model="cnn:filters=4x6:dense=10:padding=1",
    preparation=Preparation(limit=150),
)
IRIS = dataclasses.replace(CELL, dataset="iris", model="ffnn:hidden=9x7")
FOLDS = tuple(
    dataclasses.replace(IRIS, split=Split(folds=7, fold=fold)) for fold in (0, 5, 6)
)  # of two sizes, with batches of 128: one steps once an epoch, the others twice


def with_recipe(cells: Sequence[Cell], **changes: Any) -> tuple[Cell, ...]:
    return tuple(
        dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, **changes))
        for cell in cells
    )


def untimed(result: RunResult) -> RunResult:
    return dataclasses.replace(result, seconds=0.0)


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


@dataclasses.dataclass
class Change:
    """One intervention: what it looked at, and the pass before and after it."""

    looked: Sequence[Looked]
    reset: Sequence[Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    moments_before: list[tuple[str, Tensor]]
    moments_after: list[tuple[str, Tensor]]
    links: Sequence[recycling.Link]


def changes(cells: Sequence[Cell], machine: Machine) -> list[Change]:
    """Every intervention of a training."""
    found: list[Change] = []
    recycle = Recycler.recycle

    def tensors(recycler: Recycler) -> dict[str, Tensor]:
        names = recycler.networks.parameters
        return {name: recycler._stacked(name).detach().clone() for name in names}

    def moments(recycler: Recycler, groups: Any, optimizer: Any) -> list[tuple[str, Tensor]]:
        kept = []
        for name in recycler.networks.parameters:
            # Rows of all step groups, in the order of the cells.
            parts = [part.clone() for _, part in groups.moments(name, optimizer)]
            each = len(parts) // len(groups.groups)
            kept += [(name, torch.cat(parts[at::each])) for at in range(each)]
        return kept

    def seen(
        self: Recycler, epoch: int, looked: Sequence[Looked], groups: Any, optimizer: Any
    ) -> list[Tensor]:
        before, kept = tensors(self), moments(self, groups, optimizer)
        reset = recycle(self, epoch, looked, groups, optimizer)
        after = moments(self, groups, optimizer)
        found.append(Change(looked, reset, before, tensors(self), kept, after, self.links))
        for key, (tensor, copy) in groups.padded.items():
            assert torch.equal(tensor, copy.part), key
        return reset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recycler, "recycle", seen)
        engine.fit(Stack(tuple(cells)), machine)
    return found


@pytest.mark.parametrize(
    ("cells", "optimizer"),
    [
        *itertools.product([SEEDS, SEEDS[:1], FOLDS], ["adam", "sgd:momentum=0.9"]),
        ((CNN,), "adam"),
        (tuple(dataclasses.replace(cell, activation="prelu") for cell in SEEDS), "rmsprop"),
        (tuple(dataclasses.replace(cell, activation="maxout") for cell in SEEDS), "adamw"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0].model} {len(value)}",
)
def test_redo_draws_what_comes_in_and_silences_what_goes_out(
    cells: tuple[Cell, ...], optimizer: str, machine: Machine
) -> None:
    tau = "redo:tau=0.9"  # so that there are some
    every = changes(with_recipe(cells, optimizer=optimizer, revive=tau), machine)
    assert len(every) == 2  # after epochs 1 and 2: never at the end
    assert sum(int(reset.sum()) for change in every for reset in change.reset)
    for change in every:
        touched = {name: torch.zeros_like(t, dtype=torch.bool) for name, t in change.before.items()}
        silent = {name: mask.clone() for name, mask in touched.items()}
        for number, link in enumerate(change.links):
            for part in change.looked:
                counter = part.counters[number]
                scores = counter.magnitude / counter.magnitude.mean(dim=1, keepdim=True)
                for place, cell in enumerate(part.cells):
                    units = (scores[place] <= 0.9).nonzero().flatten().tolist()
                    assert len(units) == change.reset[number][cell]
                    width = counter.units
                    for unit in units:
                        rows = [unit + piece * width for piece in range(link.pieces)]
                        for name in link.incoming:
                            touched[name][cell, rows] = True
                        for name in link.own:
                            touched[name][cell, unit] = True
                        begin = unit * link.each
                        silent[link.outgoing][cell, :, begin : begin + link.each] = True
        for name, before in change.before.items():
            after = change.after[name]
            assert (after[silent[name]] == 0).all()
            drawn = touched[name] & ~silent[name]
            left = ~touched[name] & ~silent[name]
            assert torch.equal(after[left], before[left])
            if name.endswith("bias"):
                assert (after[drawn] == 0).all()
            elif "learned" not in name and drawn.any():
                assert not torch.isclose(after[drawn], before[drawn]).any()
        for (name, before), (_, after) in zip(
            change.moments_before, change.moments_after, strict=True
        ):
            forgotten = touched[name] | silent[name]
            assert (after[forgotten] == 0).all()
            assert torch.equal(after[~forgotten], before[~forgotten])
            assert before.any()
        kept = {name for name, _ in change.moments_before}
        assert kept == set(change.before)


def test_what_is_drawn_is_from_the_initial_distribution(machine: Machine) -> None:
    """He's standard deviation of a relu layer: √(2 / fan-in); units of a seed are drawn alike."""
    wide = with_recipe(
        [dataclasses.replace(CELL, model="ffnn:hidden=400x200", init="he")],
        revive="redo:tau=100",
        epochs=2,
    )
    (change,) = changes(wide, machine)
    drawn = change.after["dense1.weights.weight"]
    assert float(drawn.std()) == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert abs(float(drawn.mean())) < 0.01
    other = tuple(dataclasses.replace(cell, activation="leaky_relu") for cell in wide)
    (beside,) = changes(other, machine)
    assert torch.equal(drawn, beside.after["dense1.weights.weight"])


@pytest.mark.parametrize("cell", [CELL, CNN], ids=["dense", "convolutional"])
def test_to_reset_dead_units_changes_no_output(
    cell: Cell, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead relu gives 0, and one that begins anew is not listened to."""
    (cell,) = with_recipe([cell], revive="reset_dead", lr=0.1, epochs=3)
    recycle, seen = Recycler.recycle, []

    def outputs(recycler: Recycler) -> Tensor:
        x = torch.randn(1, 50, *SHAPES[cell.dataset], generator=torch.Generator().manual_seed(0))
        recycler.networks.train(False)
        found = recycler.networks(x)
        recycler.networks.train(True)
        return found

    def kill(recycler: Recycler) -> None:
        for name in recycler.networks.parameters:
            if name.endswith("weights.bias"):
                recycler._stacked(name)[:, ::2] = -1e3

    def checked(self: Recycler, epoch: int, *given: Any) -> list[Tensor]:
        before = outputs(self)
        reset = recycle(self, epoch, *given)
        seen.append(int(sum(reset)))
        assert torch.allclose(outputs(self), before, atol=1e-5)
        return reset

    look = between.Between.after

    def after(self: Any, epoch: int, *given: Any) -> None:
        if epoch:
            with torch.no_grad():
                kill(self.recycler)
            given[2].refresh_copies()
        look(self, epoch, *given)

    monkeypatch.setattr(Recycler, "recycle", checked)
    monkeypatch.setattr(between.Between, "after", after)
    engine.fit(Stack((cell,)), machine)
    units = sum(act.units for act in acts_of(cell, machine))
    assert all(count >= units // 2 - 2 for count in seen)
    assert len(seen) == 2


SHAPES = {"digits": (64,), "digits:images=true": (1, 8, 8)}


def acts_of(cell: Cell, machine: Machine) -> list[layers.Act]:
    network = building.build(cell, SHAPES[cell.dataset], machine)
    return [act for _, act in layers.activations(network)]


@pytest.mark.parametrize("revive", ["redo", "reset_dead", "shrink_perturb:every=1"])
def test_recorded_steps_go_on_with_changed_weights(
    revive: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = with_recipe(SEEDS, revive=revive, epochs=4)
    monkeypatch.setattr(learning, "WARMUP_STEPS", 2)
    recorded = engine.fit(Stack(cells), machine)
    monkeypatch.setattr(learning, "WARMUP_STEPS", 10**6)
    plain = engine.fit(Stack(cells), machine)
    assert list(map(untimed, recorded)) == list(map(untimed, plain))


@pytest.mark.parametrize("revive", ["redo:tau=0.3", "reset_dead", "shrink_perturb:every=2"])
@pytest.mark.parametrize("cells", [SEEDS, FOLDS], ids=["seeds", "folds"])
def test_a_stack_is_its_cells_alone(cells: tuple[Cell, ...], revive: str, double: Machine) -> None:
    """Law 3, in float64."""
    cells = with_recipe(cells, revive=revive, lr=0.01)
    for together in engine.fit(Stack(cells, track=1), double):
        (alone,) = engine.fit(Stack((together.cell,), track=1), double)
        for one, other in zip(together.curve, alone.curve, strict=True):
            assert one.loss == pytest.approx(other.loss, rel=1e-9)
        resets = [[layer.reset for layer in run.history] for run in (together, alone)]
        assert resets[0] == resets[1]


def test_tracking_changes_no_bit_of_an_intervention(machine: Machine) -> None:
    plain = engine.fit(Stack(SEEDS), machine)
    tracked = engine.fit(Stack(SEEDS, track=2), machine)
    bare = [dataclasses.replace(untimed(result), history=()) for result in tracked]
    assert bare == list(map(untimed, plain))
    # Where an intervention looks, the history has what it saw, too.
    assert tracked[0].history[0].epochs == (0, 1, 2, 3)


@pytest.mark.parametrize("cells", [SEEDS[:1], SEEDS], ids=["alone", "stack"])
def test_an_interrupted_training_begins_the_same_units_anew(
    cells: tuple[Cell, ...], machine: Machine, tmp_path: Path
) -> None:
    stack = Stack(with_recipe(cells, epochs=5, optimizer="adam"), track=1)
    undisturbed = engine.fit(stack, machine)
    assert any(sum(layer.reset) for layer in undisturbed[0].history)
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    interrupted(stack, machine, unfinished, saves=3)
    resumed = engine.fit(stack, machine, checkpoints=unfinished)
    assert list(map(untimed, resumed)) == list(map(untimed, undisturbed))


def test_nothing_done_is_no_intervention(machine: Machine) -> None:
    (none,) = with_recipe([CELL], revive=None)
    assert none.key != CELL.key
    assert "none" in INTERVENTIONS
    assert changes([none], machine) == []


@pytest.mark.parametrize("name", [name for name in INTERVENTIONS if name != "none"])
def test_every_intervention_trains(name: str, machine: Machine) -> None:
    (result,) = engine.fit(Stack(with_recipe([IRIS], revive=f"{name}:every=1")), machine)
    (plain,) = engine.fit(Stack(with_recipe([IRIS], revive=None)), machine)
    assert result.curve[0] == plain.curve[0]
    assert (result.curve == plain.curve) == (name == "reset_dead")  # nothing is dead there


REFUSED = {
    ("-m", "resnet18:filters=2x2x2x2", "-d", "digits:images=true"): "residual",
    ("-a", "crelu"): "several outputs",
    ("--revive", "redo:tau=-1"): "tau must be at least 0",
    ("--revive", "redo:every=0"): "every must be a whole number of epochs from 1",
    ("--revive", "shrink_perturb:shrink=2"): "shrink must be from 0 to 1",
    ("--revive", "reodo"): "did you mean 'redo'",
    ("-m", f"{Path(__file__).parent / 'normed.py'}:net"): "not relubench's own",
}


@pytest.mark.parametrize(("flags", "said"), REFUSED.items(), ids=str)
def test_what_cannot_begin_anew_is_refused_in_a_line(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [] if "--revive" in flags else ["--revive", "redo"]
    data = [] if "-d" in flags else ["-d", "digits"]
    assert main(["train", *data, "--epochs", "1", *own, *flags]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert not shown.out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("revive", [None, "redo:tau=0.3", "shrink_perturb:every=1"])
def test_a_gpus_graph_goes_on_with_changed_weights(
    revive: str | None, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = dataclasses.replace(machine, device="cuda")
    stack = Stack(with_recipe(SEEDS, revive=revive, lr=0.01, epochs=4), track=1)
    replayed = engine.fit(stack, cuda)
    monkeypatch.setattr(GraphedStep, "_capture", lambda self: None)
    for mine, theirs in zip(replayed, engine.fit(stack, cuda), strict=True):
        losses = [[epoch.loss for epoch in run.curve] for run in (mine, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        assert [layer.epochs for layer in mine.history] == [(0, 1, 2, 3, 4)] * 2


def test_with_and_without_are_two_set_ups(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-d", "iris", "-m", "ffnn:hidden=6", "--epochs", "2", "--revive", "none,redo"]
    assert main(["train", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "revive" in shown
    assert "redo" in shown
