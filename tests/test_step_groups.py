"""What an optimizer steps: a cell's numbers do not depend on where in the stack it stands."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from relubench.training.networks import Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.step_groups import StepGroups

CELLS, TIMES = 10, 1000


def layer() -> nn.Module:
    made = nn.Linear(3, 5)  # 15 and 5 numbers, neither of which fills a vector
    with torch.no_grad():
        for parameter in made.parameters():
            stream = torch.Generator().manual_seed(parameter.ndim)
            parameter.copy_(torch.randn(parameter.shape, generator=stream))
    return made


def learned(optimizer: str, cells: int, per_epoch: list[int]) -> list[torch.Tensor]:
    """Each parameter of every cell after the same gradients."""
    networks = Networks([layer() for _ in range(cells)])
    groups = StepGroups(networks, per_epoch)
    steps = OPTIMIZERS.choose(optimizer)([{"params": [*groups.parameters.values()]}], 0.01, 0.01)
    stream = torch.Generator().manual_seed(1)
    shapes = [parameter.shape for parameter in layer().parameters()]
    for _ in range(TIMES):
        size = 10 ** (-4 * torch.rand(1, generator=stream))
        for shape, parameter in zip(shapes, networks.parameters.values(), strict=True):
            gradient = size * torch.randn(shape, generator=stream)
            parameter.grad = gradient.expand(parameter.shape).clone()
        groups.assign_gradients(cells)
        steps.step()
        groups.copy_back(cells)
    networks.write_back()
    return [
        torch.stack(each) for each in zip(*(m.parameters() for m in networks.modules), strict=True)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("per_epoch", [[2] * CELLS, [3] * 7 + [2] * 3], ids=["even", "uneven"])
def test_a_step_is_the_same_bits_in_every_place(optimizer: str, per_epoch: list[int]) -> None:
    alone = learned(optimizer, 1, [1])
    together = learned(optimizer, CELLS, per_epoch)
    for found, wanted in zip(together, alone, strict=True):
        assert torch.equal(found, wanted.expand(found.shape))
