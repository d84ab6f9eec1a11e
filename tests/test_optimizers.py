"""Optimizers take torch's own steps, beneath the marks that import torch's compiler."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from relubench.training.optimizers import OPTIMIZERS
from relubench.training.uncompiled import uncompiled

TORCHS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "sgd": (torch.optim.SGD, {"fused": True}),
    "sgd:momentum=0.9:nesterov=true": (
        torch.optim.SGD,
        {"fused": True, "momentum": 0.9, "nesterov": True},
    ),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop:momentum=0.5:centered=true": (
        torch.optim.RMSprop,
        {"momentum": 0.5, "centered": True},
    ),
    "muon": (torch.optim.AdamW, {"fused": True}),  # of what it is not told to be hidden
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


def test_every_optimizer_is_held_to_torchs() -> None:
    assert {name.partition(":")[0] for name in TORCHS} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", TORCHS)
def test_steps_are_torchs_bit_for_bit(name: str) -> None:
    ours, theirs = network(), network()
    kind, options = TORCHS[name]
    made: Any = kind
    optimizer = OPTIMIZERS.choose(name)(ours.parameters(), 0.01, 0.1)
    steps(ours, optimizer, 5)
    peer = made(theirs.parameters(), 0.01, weight_decay=0.1, **options)
    steps(theirs, peer, 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    state, its = optimizer.state_dict(), peer.state_dict()
    assert state["param_groups"] == its["param_groups"]
    assert {n: set(tensors) for n, tensors in state["state"].items()} == {
        n: set(tensors) for n, tensors in its["state"].items()
    }


@pytest.mark.parametrize("name", TORCHS)
def test_a_state_that_is_loaded_goes_on_as_it_would_have(name: str) -> None:
    model = network()
    optimizer = OPTIMIZERS.choose(name)(model.parameters(), 0.01, 0.0)
    steps(model, optimizer, 3)
    other = copy.deepcopy(model)
    resumed = OPTIMIZERS.choose(name)(other.parameters(), 0.01, 0.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3, begin=3)
    steps(other, resumed, 3, begin=3)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_gradient_that_does_not_fit_is_torchs_to_refuse() -> None:
    y = torch.ones(2, requires_grad=True) * 2
    for wrong in (torch.ones(3), torch.ones(2, dtype=torch.complex64)):
        with pytest.raises(RuntimeError, match=r"[Mm]ismatch|complex"):
            y.backward(wrong)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        y.backward()
    y.backward(torch.tensor([1.0, 2.0]))


def test_an_optimizer_without_marks_is_used_as_it_is() -> None:
    class Plain(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> Any:
            """Do nothing."""

    assert uncompiled(Plain) is Plain


def test_a_step_imports_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "import relubench.training.networks\n"
        "from relubench.training.optimizers import OPTIMIZERS\n"
        "for name in OPTIMIZERS:\n"
        "    layer = torch.nn.Linear(1, 1)\n"
        "    layer(torch.ones(1, 1)).backward(torch.ones(1, 1))\n"
        "    optimizer = OPTIMIZERS.choose(name)(layer.parameters(), 0.1, 0.0)\n"
        "    optimizer.step()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "torch.func.vjp(torch.tanh, torch.ones(2))[1](torch.ones(2))\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_compiler_is_there_for_who_asks_for_it() -> None:
    code = (
        "import sys, torch, relubench.training.networks\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert torch._dynamo.config.cache_size_limit\n"
        "compiled = torch.compile(torch.relu, backend='eager')\n"
        "assert compiled(torch.tensor([-1.0, 1.0])).tolist() == [0.0, 1.0]\n"
        "print(type(torch._dynamo).__name__)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "module"
