"""Recorded steps: what is replayed is, to the bit, what the steps would have done."""

from __future__ import annotations

import dataclasses
import gc
import types
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_models import TINY
from torch import Tensor, library

from relubench.activations import ACTIVATIONS
from relubench.plan import Cell, Machine, Recipe
from relubench.training import building, recorded_step
from relubench.training.examples import Examples, Part
from relubench.training.heads import HEADS
from relubench.training.learning import Learner
from relubench.training.networks import CannotStack, Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.recorded_step import RecordedStep

SHAPE, SIZES = (1, 16, 16), [11, 9, 6]  # batches of 4: a full one, a padded one, one of two cells
CELL = Cell(
    dataset="iris", model="ffnn:hidden=8x4", activation="relu", recipe=Recipe(batch_size=4, lr=0.01)
)


def learned(cell: Cell, machine: Machine, recorded: bool) -> list[Tensor]:
    """Weights and curves of three cells, or of one where they do not stack, after four epochs."""
    generator, n = torch.Generator().manual_seed(0), max(SIZES)
    x, y = torch.randn(n, *SHAPE, generator=generator), torch.arange(n) % 3
    x = x.to(getattr(torch, machine.storage))
    if HEADS.choose(cell.head).entry.task == "regression":
        y = x.flatten(1)[:, 0]
    cells, sizes = [dataclasses.replace(cell, seed=seed) for seed in range(len(SIZES))], SIZES
    bf16 = machine.dtype == "bf16"
    networks = Networks([building.build(each, SHAPE, machine) for each in cells], bf16)
    try:
        networks.probe(x[:2].expand(len(cells), 2, *SHAPE))
    except CannotStack:
        cells, sizes = cells[:1], SIZES[:1]
        networks = Networks([building.build(cells[0], SHAPE, machine)], bf16)
    part = Part(Examples.of([x[:n] for n in sizes], [y[:n] for n in sizes]))
    learner = Learner(cells, networks, sizes)
    step = partial(learner.step, part.examples)
    replayed = RecordedStep(step, warmup_steps=2)
    for _ in range(4):
        learner.learn(part, replayed if recorded else step)
    assert len(replayed.replays) == (min(len(sizes) + 1, 3) if recorded else 0)
    curves = [[(epoch.loss, epoch.accuracy or 0.0) for epoch in curve] for curve in learner.curves]
    return [*networks.tensors.values(), torch.tensor(curves, dtype=torch.float64)]


@pytest.mark.parametrize(
    "cell",
    [
        *(dataclasses.replace(CELL, activation=activation) for activation in ACTIVATIONS),
        *(dataclasses.replace(CELL, model=model) for model in TINY.values()),
        *(
            dataclasses.replace(
                CELL, head=name, dataset="diabetes" if head.task == "regression" else "iris"
            )
            for name, head in HEADS.items()
            if head.task != "language"  # of a text: tests/test_language.py
        ),
        *(
            dataclasses.replace(
                CELL,
                model="cnn:filters=3x4:dense=5:dropout=0.2",
                recipe=dataclasses.replace(
                    CELL.recipe, optimizer=optimizer, weight_decay=0.1, augment="flip,crop"
                ),
            )
            for optimizer in [
                *OPTIMIZERS,
                "sgd:momentum=0.9:nesterov=true",
                "rmsprop:momentum=0.9:centered=true",
            ]
        ),
    ],
    ids=lambda cell: f"{cell.model} {cell.activation} {cell.head} {cell.recipe.optimizer}",
)
def test_replayed_steps_are_the_steps(cell: Cell, machine: Machine) -> None:
    assert_replayed(cell, machine)


@pytest.mark.parametrize("dtype", ["bf16", "float64"])
def test_replayed_steps_are_the_steps_in_other_types(dtype: str, machine: Machine) -> None:
    assert_replayed(CELL, dataclasses.replace(machine, dtype=dtype))


@pytest.fixture(autouse=True)
def own_functions_are_called(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every op that torch has a function for is called by it, in whatever is recorded here."""
    met = set()
    callable_of = recorded_step.callable_of

    def seen(op: Any) -> Callable[..., Any]:
        met.add(op)
        return callable_of(op)

    monkeypatch.setattr(recorded_step, "callable_of", seen)
    yield
    for op in met:
        name = op.overloadpacket.__name__
        own = [getattr(torch, name, None), getattr(Tensor, name, None)]
        builtin = types.BuiltinFunctionType | types.MethodDescriptorType
        if op.namespace == "aten" and any(isinstance(each, builtin) for each in own):
            assert callable_of(op) in own, f"{op} belongs in FUNCTIONS or METHODS"


@pytest.mark.parametrize("overload", sorted(recorded_step.FUNCTIONS | recorded_step.METHODS))
def test_a_listed_op_has_a_function_of_torchs(overload: str) -> None:
    name, _, variant = overload.partition(".")
    op = getattr(getattr(torch.ops.aten, name), variant)
    assert recorded_step.callable_of(op) is not op


def test_what_an_op_raises_is_raised_once() -> None:
    """Also a TypeError, which once meant to try another function."""
    calls: list[int] = []

    @library.custom_op("raising::wrong", mutates_args=())
    def wrong(x: Tensor) -> Tensor:
        calls.append(len(x))
        raise TypeError("a fault of its own")

    recorded = RecordedStep(lambda x: wrong(x), warmup_steps=1)
    with pytest.raises(TypeError, match="a fault of its own"):
        recorded(torch.ones(3))
    assert calls == [3]


def assert_replayed(cell: Cell, machine: Machine) -> None:
    plain, replayed = learned(cell, machine, False), learned(cell, machine, True)
    for mine, theirs in zip(replayed, plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_a_step_that_reads_numbers_is_taken_as_it_is() -> None:
    total = torch.zeros(())

    def step(x: Tensor) -> None:
        total.add_(x.sum() if x.sum().item() > 0 else 10)

    recorded = RecordedStep(step, warmup_steps=1)
    for x in (1.0, 2.0, -1.0):
        recorded(torch.tensor([x]))
    assert not recorded.replays
    assert total.item() == 1 + 2 + 10


def test_a_step_whose_tensors_go_other_ways_is_taken_as_it_is() -> None:
    total = torch.zeros(1)

    def step(x: Tensor) -> None:
        total.add_(torch.from_numpy((2 * x).numpy()))  # torch sees a tensor that was not made

    recorded = RecordedStep(step, warmup_steps=1)
    for x in (1.0, 2.0, 3.0):
        recorded(torch.tensor([x]))
    assert not recorded.replays
    assert total.item() == 12


def test_a_large_step_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_step, "LARGE", 100)
    total = torch.zeros(())

    def step(x: torch.Tensor) -> None:
        total.add_((x * x).sum())

    recorded = RecordedStep(step, warmup_steps=1)
    for size in (3, 30, 3, 30):
        recorded(torch.ones(size))
    assert len(recorded.replays) == 1  # of 3 numbers
    assert total.item() == 66


def test_a_step_whose_shapes_follow_from_numbers_is_taken_as_it_is() -> None:
    total = torch.zeros(())

    def step(x: torch.Tensor) -> None:
        total.add_(x[x > 0].mean())

    recorded = RecordedStep(step, warmup_steps=1)
    for x in ([0.0, 1.0, 0.0], [2.0, 4.0, 0.0], [1.0, 2.0, 3.0]):
        recorded(torch.tensor(x))
    assert not recorded.replays
    assert total.item() == 1 + 3 + 2


def test_a_replay_lets_go_of_what_it_is_done_with() -> None:
    refs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    @library.custom_op("counting::seen", mutates_args=())
    def seen(x: Tensor) -> Tensor:
        alive.append(sum(ref() is not None for ref in refs))
        refs.append(weakref.ref(x))
        return x.clone()

    recorded = RecordedStep(lambda x: seen(seen(seen(seen(x)))), warmup_steps=1)
    recorded(torch.ones(3))
    refs.clear()
    alive.clear()
    recorded(torch.ones(3))
    assert alive == [0, 1, 1, 1]  # the input is the caller's


def test_results_go_to_memory_that_is_kept_and_used_again() -> None:
    """What a step still needs is not overwritten; what it is done with makes room."""
    total = torch.zeros(100)

    def step(x: Tensor) -> None:
        first = x + 1
        second = first * 2
        first = second.view(10, 10).mT.exp().mT.reshape(-1)  # `x + 1` is free from here on
        total.add_(first + second)

    recorded = RecordedStep(step, warmup_steps=1)
    for number in (0.0, 1.0, -1.0):
        total.zero_()
        x = torch.linspace(number, number + 1, 100)
        recorded(x)
        torch.testing.assert_close(total, (2 * (x + 1)).exp() + 2 * (x + 1))
    with recorded_step.Recorder([x]) as recorder:
        step(x)
    assert len(recorder.slots) < 4  # of five results


def test_results_beyond_what_is_kept_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_step, "KEPT", 300)
    total = torch.zeros(())

    def step(x: Tensor) -> None:
        total.add_(((x + 1) * (x + 2) * 3).sum())

    recorded = RecordedStep(step, warmup_steps=1)
    for number in (1.0, 2.0, 3.0):
        recorded(torch.full((50,), number))
    assert len(recorded.replays) == 1
    assert total.item() == 50 * 3 * (2 * 3 + 3 * 4 + 4 * 5)


def test_a_replay_ends_with_its_owner() -> None:
    recorded = RecordedStep(lambda x: x.add_(1), warmup_steps=1)
    recorded(torch.ones(3))
    (replay,) = map(weakref.ref, recorded.replays.values())
    gc.disable()
    try:
        del recorded
        assert replay() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "changes", [{"activation": "own.py:unit"}, {"model": "torchvision.squeezenet1_1"}]
)
def test_code_that_may_change_is_not_recorded(
    changes: dict[str, Any], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def unit(x):\n    return x.sin()\n", encoding="utf-8")
    cell, shape = dataclasses.replace(CELL, **changes), (3, 32, 32)
    learner = Learner([cell], Networks([building.build(cell, shape, machine)]), SIZES[:1])
    none = Examples(torch.empty(0, *shape), torch.empty(0), [0], [0])
    assert not isinstance(learner.step_on(none), RecordedStep)
    known = dataclasses.replace(CELL, model="cnn:filters=3x4")
    learner = Learner([known], Networks([building.build(known, shape, machine)]), SIZES[:1])
    assert isinstance(learner.step_on(none), RecordedStep)
