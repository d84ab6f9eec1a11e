"""Memory that training keeps: what is reckoned without memory is what a real pass keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from relubench.activations import ACTIVATIONS
from relubench.datasets import Facts
from relubench.models import MODELS
from relubench.plan import Cell, Preparation
from relubench.profiling import keeping, memory

SHAPES = {"ffnn:hidden=8x4": (5,), "lenet5": (1, 28, 28), "resnet18": (3, 32, 32)}
FACTS = Facts("digest", (5,), 100, 0, ("a", "b"))


def kept_in_a_pass(cell: Cell, shape: tuple[int, ...], examples: int) -> int:
    """Bytes of all storages that autograd keeps of real tensors, but for the weights."""
    network = MODELS.choose(cell.model)(shape, 3, ACTIVATIONS.choose(cell.activation)).train()
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.randn(examples, *shape))
    assert output.requires_grad
    own = {
        each.untyped_storage().data_ptr() for each in [*network.parameters(), *network.buffers()]
    }
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_dense_network_keeps_as_much_with_every_activation(activation: str) -> None:
    cell = Cell(dataset="iris", model="ffnn:hidden=8x4", activation=activation)
    found = keeping.kept_bytes(cell, (5,), 3)
    assert found == kept_in_a_pass(cell, (5,), 4) - kept_in_a_pass(cell, (5,), 3)
    assert found > 0


@pytest.mark.parametrize("activation", ["relu", "mish", "maxout"])
@pytest.mark.parametrize("model", SHAPES)
def test_other_networks_too(model: str, activation: str) -> None:
    cell, shape = Cell(dataset="iris", model=model, activation=activation), SHAPES[model]
    expected = kept_in_a_pass(cell, shape, 4) - kept_in_a_pass(cell, shape, 3)
    assert keeping.kept_bytes(cell, shape, 3) == expected


def test_what_was_measured_is_known_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(dataset="iris", model="ffnn:hidden=6", activation="gelu", seed=s) for s in (0, 1)]
    first = memory.kept_bytes(cells, FACTS)
    assert len(first) == 2
    monkeypatch.setattr(keeping, "kept_bytes", lambda *_: pytest.fail("measured again"))
    assert memory.kept_bytes(cells, FACTS) == first


def test_components_are_what_the_network_takes() -> None:
    cell = Cell(
        dataset="iris", model="ffnn:hidden=6", activation="relu", preparation=Preparation(pca=2)
    )
    assert memory.kept_bytes([cell], FACTS)[cell] == keeping.kept_bytes(cell, (2,), 2)


def test_what_cannot_be_measured_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(dataset="iris", model="lenet5", activation="relu")  # takes images alone
    assert memory.kept_bytes([cell], FACTS) == {}
