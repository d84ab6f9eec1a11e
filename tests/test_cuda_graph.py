"""Captured training steps: which batches are captured, which are taken as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training import engine
from relubench.training.cuda_graph import WARMUP_STEPS, GraphedStep


class FakeGraph:
    """Does what a graph does: the captured step on the captured tensors, whatever they hold."""

    def __init__(self, step: Callable[..., None], inputs: Sequence[Tensor]) -> None:
        self.step, self.inputs, self.replays = step, inputs, 0

    def replay(self) -> None:
        self.replays += 1
        self.step(*self.inputs)


@pytest.fixture(params=[True, False], ids=["captured", "not captured"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    def capture(self: GraphedStep) -> FakeGraph | None:
        return FakeGraph(self.step, self.inputs) if request.param else None

    monkeypatch.setattr(GraphedStep, "_run_on_side_stream", lambda self, inputs: self.step(*inputs))
    monkeypatch.setattr(GraphedStep, "_capture", capture)
    return bool(request.param)


def test_every_batch_is_learned_once_and_in_its_order(fake: bool) -> None:
    learned: list[list[int]] = []
    replayed = GraphedStep(lambda rows: learned.append(rows.tolist()))
    batches = [batch for epoch in range(3) for batch in (torch.arange(11) + 100 * epoch).split(3)]
    for batch in batches:
        replayed(batch)
    assert learned == [batch.tolist() for batch in batches]
    whole = sum(len(batch) == 3 for batch in batches)
    if fake:
        graph: Any = replayed.graph
        assert graph.replays == whole - WARMUP_STEPS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd:momentum=0.9", "rmsprop"])
@pytest.mark.parametrize("activation", ["relu", "rrelu"])
def test_replayed_training_is_training(
    activation: str, optimizer: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=4, batch_size=16, lr=0.01, optimizer=optimizer)
    cell = Cell(
        dataset="iris", model="ffnn:hidden=8:dropout=0.1", activation=activation, recipe=recipe
    )
    stack = Stack(tuple(dataclasses.replace(cell, seed=seed) for seed in range(3)))
    cuda = dataclasses.replace(machine, device="cuda")
    replayed = engine.fit(stack, cuda)
    monkeypatch.setattr(GraphedStep, "_capture", lambda self: None)
    plain = engine.fit(stack, cuda)
    for mine, theirs in zip(replayed, plain, strict=True):
        assert mine.failed is theirs.failed is None
        assert [epoch.loss for epoch in mine.curve] == pytest.approx(
            [epoch.loss for epoch in theirs.curve], rel=1e-4
        )
