"""Other people's networks: what is an activation, where its units are; nothing else changes.

A spelling is taken from public code; what it must come to is computed here with plain torch.
"""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.errors import BadValue
from relubench.models import analysis, layers, weights
from relubench.models.analysis import analysed
from relubench.models.swapping import Swapped, swapped
from relubench.neurons.statistics import Counter
from relubench.training.networks import Networks

Function = Callable[[Tensor], Tensor]


def swap(
    network: nn.Module, activation: str, shape: tuple[int, ...], unit_axis: int | None = None
) -> Swapped:
    network = copy.deepcopy(network)
    choice = ACTIVATIONS.choose(activation)
    made = swapped("it", network, choice, analysed("it", network, shape), unit_axis)
    for _, act in layers.activations(made):
        act.reset_parameters()
    return made


def units(network: nn.Module) -> dict[str, int]:
    return {name: act.units for name, act in layers.activations(network)}


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


class Between(nn.Module):
    """A function, or a module, between two layers."""

    def __init__(self, act: Any, width: int = 6) -> None:
        super().__init__()
        self.before, self.after, self.act = nn.Linear(4, width), nn.Linear(width, 3), act

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.after(self.act(self.before(x)))
        return outputs


# --- what is an activation ------------------------------------------------------------------------


class Swish(torch.autograd.Function):
    """The memory-efficient one of many EfficientNets: torch does not show its call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        open_ = torch.sigmoid(x)
        slope: Tensor = open_ * (1 + x * (1 - open_))
        return gradient * slope


class EfficientSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = Swish.apply(x)
        return value


class LearnedSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


class HardSigmoid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.six = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.six(x + 3) / 6
        return value


class HardSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = HardSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = x * self.gate(x)
        return value


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x) * 1.7015


class Parametric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((6,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


def masked(h: Tensor) -> Tensor:
    value = h.clone()
    value[value < 0] = 0
    return value


def stated(change: Callable[[Tensor], Any]) -> Function:
    """An activation that is called for its effect."""

    def function(h: Tensor) -> Tensor:
        change(h)
        return h

    return function


SPELLINGS: dict[str, Any] = {
    "x * sigmoid(x)": lambda h: h * torch.sigmoid(h),
    "sigmoid times x": lambda h: F.sigmoid(h) * h,
    "mul(x, expit)": lambda h: torch.mul(h, torch.special.expit(h)),
    "mul_": lambda h: h.mul_(h.sigmoid()),
    "addcmul": lambda h: torch.addcmul(torch.zeros_like(h), h, torch.sigmoid(h)),
    "x / (1 + exp(-x))": lambda h: h / (1 + torch.exp(-h)),
    "1 / (1 + exp(-x))": lambda h: 1 / (1 + torch.exp(-h)),
    "quick gelu": lambda h: h * torch.sigmoid(1.702 * h),
    "clamp(0)": lambda h: torch.clamp(h, 0),
    "clamp(min=0)": lambda h: h.clamp(min=0),
    "clamp_min": lambda h: h.clamp_min(0),
    "clip": lambda h: torch.clip(h, min=0.0),
    "clamp_": lambda h: h.clamp_(min=0),
    "clamp on both sides": lambda h: h.clamp(-1, 1),
    "max of a zero": lambda h: torch.max(h, torch.zeros(1)),
    "maximum of zeros": lambda h: torch.maximum(h, torch.zeros_like(h)),
    "maximum of a line": lambda h: torch.maximum(h, 0.1 * h),
    "fmax": lambda h: torch.fmax(h, h * 0),
    "-fmin(-x)": lambda h: -torch.fmin(-h, torch.zeros(())),
    "threshold": lambda h: F.threshold(h, 0, 0),
    "where": lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
    "where of a number": lambda h: torch.where(h > 0, h, 0.0),
    "a mask": lambda h: h * (h > 0),
    "a mask as numbers": lambda h: (h > 0).to(h.dtype) * h,
    "masked_fill": lambda h: h.masked_fill(h < 0, 0),
    "set by a mask": masked,
    "(x + |x|) / 2": lambda h: (h + h.abs()) / 2,
    "heaviside": lambda h: h * torch.heaviside(h, torch.zeros(1)),
    "softsign": F.softsign,
    "x / (1 + |x|)": lambda h: h / (1 + h.abs()),
    "logsigmoid": F.logsigmoid,
    "hardtanh": F.hardtanh,
    "sigmoid": torch.sigmoid,
    "gelu by erf": lambda h: 0.5 * h * (1 + torch.erf(h / math.sqrt(2))),
    "gelu by tanh": lambda h: (
        0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * torch.pow(h, 3))))
    ),
    "relu6(x + 3) / 6": lambda h: F.relu6(h + 3) / 6,
    "x * relu6(x + 3) / 6": lambda h: h * F.relu6(h + 3) / 6,
    "keras' hard sigmoid": lambda h: (h * 0.2 + 0.5).clamp(0, 1),
    "mish": lambda h: h * torch.tanh(F.softplus(h)),
    "mish by log": lambda h: h * torch.tanh(torch.log(1 + torch.exp(h))),
    "softplus by log1p": lambda h: torch.log1p(torch.exp(h)),
    "logaddexp": lambda h: torch.logaddexp(h, torch.zeros_like(h)),
    "elu by where": lambda h: torch.where(h > 0, h, torch.expm1(h)),
    "elu as a sum": lambda h: F.relu(h) + torch.expm1(torch.clamp(h, max=0)),
    "prelu of two relus": lambda h: F.relu(h) - 0.25 * F.relu(-h),
    "squared relu": lambda h: F.relu(h) ** 2,
    "relu times relu": lambda h: F.relu(h) * F.relu(h),
    "square": lambda h: h * h,
    "abs": torch.abs,
    "sin": torch.sin,
    "snake": lambda h: h + torch.sin(h) ** 2,
    "gaussian": lambda h: torch.exp(-(h**2)),
    "relu, then a cap": lambda h: F.relu(h).clamp(max=6),
    "behind dropout that is off": lambda h: F.dropout(F.relu(h), 0.9, training=False),
    "straight through": lambda h: h + (h.relu() - h).detach(),
    "an operator": lambda h: torch.ops.aten.relu(h),
    "a guard before": lambda h: F.relu(h.clamp(-1e4, 1e4)),
    "a statement, relu_": stated(torch.relu_),
    "a statement, method": stated(lambda h: h.relu_()),
    "a statement, inplace": stated(lambda h: F.relu(h, inplace=True)),
    "a statement, module": stated(nn.ELU(inplace=True)),
    "a statement, clamp_": stated(lambda h: h.clamp_(min=0)),
    "a statement, mul_": stated(lambda h: h.mul_(torch.sigmoid(h))),
    "module EfficientSwish": EfficientSwish(),
    "module LearnedSwish": LearnedSwish(),
    "module HardSwish": HardSwish(),
    "set by index_put": lambda h: h.index_put((h < 0,), torch.tensor(0.0)),
    "module Parametric": Parametric(),
    "nn.PReLU": nn.PReLU(6),
    "nn.Tanhshrink": nn.Tanhshrink(),
    "nn.Sequential": nn.Sequential(nn.Hardtanh(), nn.Identity()),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_however_it_is_spelt_it_is_one_activation(spelling: str) -> None:
    network = Between(SPELLINGS[spelling])
    ours = swap(network, "mish", (4,))
    assert list(units(ours).values()) == [6]
    x = drawn(5, 4)
    for training in (True, False):
        wanted = network.after(F.mish(network.before(x)))
        assert_close(ours.train(training)(x), wanted)
    own = {id(p) for p in network.act.parameters()} if isinstance(network.act, nn.Module) else ()
    learned = sum(p.numel() for p in network.parameters() if id(p) not in own)
    assert layers.parameter_count(ours) == learned  # what only the old activation took is none


KEPT: dict[str, tuple[Callable[[Tensor], Tensor], Function]] = {
    "a scale behind": (lambda h: F.relu(h) * 0.5, lambda h: F.mish(h) * 0.5),
    "numbers around": (
        lambda h: 1.7159 * torch.tanh(2 / 3 * h),
        lambda h: 1.7159 * F.mish(2 / 3 * h),
    ),
    "a frequency": (lambda h: torch.sin(30 * h), lambda h: F.mish(30 * h)),
    "a shortcut": (lambda h: h + F.relu(h), lambda h: h + F.mish(h)),
    "the other sign": (
        lambda h: torch.cat([F.relu(h[:, :3]), F.relu(-h[:, :3])], 1),
        lambda h: torch.cat([F.mish(h[:, :3]), F.mish(-h[:, :3])], 1),
    ),
    "a norm": (
        lambda h: F.relu((h - h.mean(1, True)) / torch.sqrt(h.var(1, keepdim=True) + 1e-5)),
        lambda h: F.mish((h - h.mean(1, True)) / torch.sqrt(h.var(1, keepdim=True) + 1e-5)),
    ),
    "a guarded length": (
        lambda h: F.relu(h / h.norm(dim=1, keepdim=True).clamp(min=1e-6)),
        lambda h: F.mish(h / h.norm(dim=1, keepdim=True).clamp(min=1e-6)),
    ),
    "a gate": (
        lambda h: F.relu(h) * torch.sigmoid(h.mean(1, keepdim=True)),
        lambda h: F.mish(h) * torch.sigmoid(h.mean(1, keepdim=True)),
    ),
    "a gate that is written out": (
        lambda h: F.relu(h) * (F.relu6(h.mean(1, keepdim=True) + 3) / 6),
        lambda h: F.mish(h) * (F.relu6(h.mean(1, keepdim=True) + 3) / 6),
    ),
    "a gate that is a module": (
        lambda h: F.relu(h) * HardSigmoid()(h.mean(1, keepdim=True)),
        lambda h: F.mish(h) * HardSigmoid()(h.mean(1, keepdim=True)),
    ),
    "a highway": (
        lambda h: (lambda t: t * F.relu(h.flip(1)) + (1 - t) * h.flip(1))(torch.sigmoid(h)),
        lambda h: (lambda t: t * F.mish(h.flip(1)) + (1 - t) * h.flip(1))(torch.sigmoid(h)),
    ),
    "attention": (
        lambda h: F.relu(torch.softmax(h.unsqueeze(2) * h.unsqueeze(1), 2) @ h.unsqueeze(2))[
            ..., 0
        ],
        lambda h: F.mish(torch.softmax(h.unsqueeze(2) * h.unsqueeze(1), 2) @ h.unsqueeze(2))[
            ..., 0
        ],
    ),
    "two in a row": (lambda h: torch.tanh(F.relu(h)), lambda h: F.mish(F.mish(h))),
    "two modules": (nn.Sequential(nn.ReLU(), nn.Tanh()), lambda h: F.mish(F.mish(h))),
}


class Shortcut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(x)


class Shifted(nn.Module):
    """As FusedLeakyReLU: a bias of its own, a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.linspace(-1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias, 0.2) * 1.4


def hooked() -> nn.Module:
    act = nn.ReLU()
    act.register_forward_hook(lambda module, given, value: value * 2)
    return act


def gru(act: Function) -> Callable[[Any, Tensor], Tensor]:
    """Two steps by hand, from a state of zeros."""

    def forward(s: Any, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 6)
        for _ in range(2):
            z = torch.sigmoid(s.i(x) + s.j(h))
            h = (1 - z) * act(s.k(h) + s.i(x)) + z * h
        outputs: Tensor = s.o(h)
        return outputs

    return forward


class Written(nn.Module):
    """A network by its forward: i and o from 4 to 6 and from 6 to 3, j and k between."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.i, self.j, self.k = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.o, self.vector = nn.Linear(6, 3), nn.Parameter(drawn(6))
        self.register_buffer("mean", torch.zeros(6))
        self.body = forward

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def normalised(act: Function) -> Callable[[Any, Tensor], Any]:
    def forward(s: Any, x: Tensor) -> Any:
        gate = torch.sigmoid(s.j(s.i(x)))
        return s.o(gate / gate.sum(1, keepdim=True) * act(s.i(x)))

    return forward


class ChannelGate(nn.Module):
    """As in MobileNetV3: layers, relu, layers and a hard sigmoid of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6), HardSigmoid())

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = x * self.layers(x)
        return value


def test_a_gate_of_modules_stays_and_its_inside_is_a_layer() -> None:
    network = nn.Sequential(nn.Linear(4, 6), HardSwish(), ChannelGate(), nn.Linear(6, 3))
    ours = swap(network, "mish", (4,))
    assert units(ours) == {"1": 6, "2.layers.1": 3}
    assert len(ours.notes) == 1
    assert "(a gate)" in ours.notes[0]


# each by an activation: with relu it is the network, with mish what it must become
WRITTEN: dict[str, Callable[[Function], Callable[[Any, Tensor], Any]]] = {
    "a gru's gates": gru,
    "gates that add up to 1": normalised,
    "a highway to a vector": lambda act: (
        lambda s, x: (lambda t, h: s.o(t * act(s.j(h)) + (1 - t) * s.vector))(
            torch.sigmoid(s.k(s.i(x))), s.i(x)
        )
    ),
    "a sum of gates": lambda act: (
        lambda s, x: s.o(act(s.i(x)) * (torch.sigmoid(s.j(s.i(x))) + torch.sigmoid(s.k(s.i(x)))))
    ),
    "a capped output": lambda act: lambda s, x: 30 * torch.tanh(s.o(act(s.i(x))) / 30),
    "a scaled output": lambda act: lambda s, x: torch.sigmoid(s.o(act(s.i(x)))) * 10 - 5,
    "a shortcut with a scale": lambda act: (
        lambda s, x: (lambda h: s.o(h + 0.5 * act(2 * h)))(s.i(x))
    ),
    "a shortcut with a learned scale": lambda act: (
        lambda s, x: (lambda h: s.o(h + s.vector * act(h * s.vector)))(s.i(x))
    ),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_gates_outputs_and_shortcuts_stay(written: str) -> None:
    network = Written(WRITTEN[written](F.relu))
    ours, x = swap(network, "mish", (4,)), drawn(5, 4)
    network.body = WRITTEN[written](F.mish)
    for training in (True, False):
        assert_close(ours.train(training)(x), network(x))


@pytest.mark.parametrize("act", [Shortcut(), Shifted(), hooked(), Scaled()])
def test_the_activation_of_a_module_swapped_for_itself_changes_nothing(act: nn.Module) -> None:
    network, x = Between(act), drawn(5, 4)
    own = {"Shifted": "leaky_relu:negative_slope=0.2", "Scaled": "gelu"}
    ours = swap(network, own.get(type(act).__name__, "relu"), (4,))
    assert_close(ours(x), network(x))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert layers.parameter_count(ours) == count


def test_what_only_training_calls_is_another_layer() -> None:
    def forward(act: Function) -> Callable[[Any, Tensor], Any]:
        def body(s: Any, x: Tensor) -> Any:
            h = s.i(x)
            if s.training:
                h = h + 0.1 * s.j(act(s.k(h)))
            return s.o(act(s.j(h)))

        return body

    network = Written(forward(F.relu))
    ours, x = swap(network, "prelu", (4,)), drawn(5, 4)
    counted = {name: act for name, act in layers.activations(ours) if act.counted}
    assert len(counted) == 1
    assert len(ours.acts) == 2
    for _, act in layers.activations(ours):
        nn.init.constant_(act.learned["a"], 1.0 if act.counted else 0.0)
    h = network.i(x) + 0.1 * network.j(network.k(network.i(x)).relu())
    assert_close(ours.train()(x), network.o(network.j(h)))
    assert_close(ours.eval()(x), network.o(network.j(network.i(x))))


def sliced(s: Any, x: Tensor) -> Any:
    h = s.i(x) * 1
    h[:, :3] = F.relu(h[:, :3])
    return s.o(h)


def emptied(s: Any, x: Tensor) -> Any:
    h = s.i(x)
    value = torch.sigmoid(h)
    h.zero_()
    return s.o(value)


def added(s: Any, x: Tensor) -> Any:
    value = F.gelu(s.i(x))
    value += 1
    return s.o(value)


@pytest.mark.parametrize("activation", ["mish", "tanh", "relu", "elu", "prelu"])
@pytest.mark.parametrize("forward", [sliced, emptied, added])
def test_what_is_written_to_later_has_its_gradient(forward: Any, activation: str) -> None:
    ours = swap(Written(forward), activation, (4,))
    ours(drawn(5, 4)).square().sum().backward()
    gradient = ours.network.get_parameter("i.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()


def test_dropout_that_is_drawn_again_is_refused() -> None:
    checkpoint = torch.utils.checkpoint.checkpoint
    for reentrant in (True, False):

        def forward(s: Any, x: Tensor, reentrant: bool = reentrant) -> Any:
            def dropping(h: Tensor) -> Tensor:
                return F.dropout(s.j(h), 0.5, s.training)

            return s.o(F.relu(checkpoint(dropping, s.i(x), use_reentrant=reentrant)))

        with pytest.raises(BadValue, match="is done again in the backward pass"):
            swap(Written(forward), "relu", (4,))


def test_lazy_old_normed_and_pruned_layers_are_swapped() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy layers and the older weight_norm say so
        lazy = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3))
        normed = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3))
    pruned = Between(nn.ReLU())
    prune.l1_unstructured(pruned.before, "weight", amount=0.5)
    for network in (lazy, normed, pruned):
        made = swapped("it", network, ACTIVATIONS.choose("mish"), analysed("it", network, (4,)))
        assert list(units(made).values()) == [6]
        weights.initialise(made, torch.Generator().manual_seed(0))
        assert made(drawn(5, 4)).shape == (5, 3)
    assert (pruned.before.weight == 0).sum() == 12  # pruned weights stay so


def test_a_long_way_to_the_last_layer_is_no_deep_recursion() -> None:
    def forward(s: Any, x: Tensor) -> Any:
        h = s.i(x)
        for _ in range(400):
            h = h + x[:, :1] * 0.01
        return s.o(F.relu(h))

    assert units(swap(Written(forward), "mish", (4,))) == {"relu": 6}


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_no_activation_stays(kept: str) -> None:
    theirs, wanted = KEPT[kept]
    network = Between(theirs)
    ours = swap(network, "mish", (4,))
    x = drawn(5, 4)
    assert_close(ours(x), network.after(wanted(network.before(x))))


@pytest.mark.parametrize(
    ("act", "what", "reason"),
    [
        (lambda h: F.relu(h) * torch.sigmoid(h.mean(1, True)), "sigmoid", "a gate"),
        (lambda h: F.glu(torch.cat([F.relu(h), h], 1)), "glu", "glu"),
        (lambda h: F.relu(h) * F.hardsigmoid(h.flip(1)), "hardsigmoid", "a gate"),
        (lambda h: F.relu(torch.softmax(torch.tanh(h / 5) * 5, 1)), "tanh", "softmax"),
        (lambda h: torch.einsum("bi,bi->bi", F.relu(h), torch.sigmoid(h)), "sigmoid", "a gate"),
    ],
    ids=["mean", "glu", "hard", "cap", "einsum"],
)
def test_what_stays_is_named(act: Function, what: str, reason: str) -> None:
    (note,) = swap(Between(act), "mish", (4,)).notes
    assert what in note
    assert reason in note


def test_the_network_s_output_is_no_unit() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.Sigmoid())
    ours = swap(network, "tanh", (4,))
    assert units(ours) == {"1": 6}
    assert ours.notes == ["sigmoid (the network's output)"]


def test_out_of_sight_is_refused() -> None:
    with pytest.raises(BadValue, match=r"inside a torch\.autograd\.Function"):
        swap(Between(lambda h: Swish.apply(h)), "relu", (4,))
    with pytest.raises(BadValue, match="no activation that could be swapped"):
        swap(Between(lambda h: F.softmax(h, 1)), "relu", (4,))
    checkpointed = Between(
        lambda h: torch.utils.checkpoint.checkpoint(torch.relu, h, use_reentrant=False)
    )
    with pytest.raises(BadValue, match="does it again in the backward pass"):
        swap(checkpointed, "relu", (4,))


# --- where units are ------------------------------------------------------------------------------

DEAD, ALIVE = 18, 6  # units whose bias keeps them below 0, or above


class Features(nn.Module):
    """A body that ends in 24 features, and an output layer."""

    def __init__(self, body: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.body, self.out = body, nn.Linear(24, 3)
        self.bias = nn.Parameter(torch.tensor([-1000.0] * DEAD + [1000.0] * ALIVE))
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.body(self, x))
        return outputs


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(drawn(*shape))


def column(bias: Tensor, axes: int) -> Tensor:
    return bias.view(-1, *[1] * axes)


# (examples, 8 tokens, 8 numbers) to (examples, 24); `relu` of what has the bias added
BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "x @ w": (lambda s, x: F.relu(x @ s.w + s.bias).mean(1), {"w": parameter(8, 24)}),
    "matmul": (lambda s, x: F.relu(torch.matmul(x, s.w) + s.bias).mean(1), {"w": parameter(8, 24)}),
    "w @ x": (
        lambda s, x: F.relu(s.w @ x.mT + column(s.bias, 1)).mean(2),
        {"w": parameter(24, 8)},
    ),
    "F.linear": (lambda s, x: F.relu(F.linear(x, s.w, s.bias)).mean(1), {"w": parameter(24, 8)}),
    "einsum": (
        lambda s, x: F.relu(torch.einsum("btf,fh->bth", x, s.w) + s.bias).mean(1),
        {"w": parameter(8, 24)},
    ),
    "einsum with dots": (
        lambda s, x: F.relu(torch.einsum("...f,hf->...h", x, s.w) + s.bias).mean(1),
        {"w": parameter(24, 8)},
    ),
    "tensordot": (
        lambda s, x: F.relu(torch.tensordot(x, s.w, 1) + s.bias).mean(1),
        {"w": parameter(8, 24)},
    ),
    "bmm": (
        lambda s, x: F.relu(torch.bmm(x, s.w.expand(len(x), 8, 24)) + s.bias).mean(1),
        {"w": parameter(8, 24)},
    ),
    "addmm of all tokens": (
        lambda s, x: F.relu(torch.addmm(s.bias, x.reshape(-1, 8), s.w)).view(-1, 8, 24).mean(1),
        {"w": parameter(8, 24)},
    ),
    "a dense layer of all tokens": (
        lambda s, x: F.relu(s.l(x.reshape(-1, 8)) + s.bias).view(len(x), 8, 24).mean(1),
        {"l": nn.Linear(8, 24)},
    ),
    "gru": (
        lambda s, x: F.relu(s.g(x)[0] + s.bias).mean(1),
        {"g": nn.GRU(8, 24, batch_first=True)},
    ),
    "gru, examples second": (
        lambda s, x: F.relu(s.g(x.transpose(0, 1))[0] + s.bias).mean(0),
        {"g": nn.GRU(8, 24)},
    ),
    "lstm's last": (
        lambda s, x: F.relu(s.g(x)[0][:, -1] + s.bias),
        {"g": nn.LSTM(8, 24, batch_first=True)},
    ),
    "layer norm": (
        lambda s, x: F.relu(s.n(s.l(x)) + s.bias).mean(1),
        {"l": nn.Linear(8, 24), "n": nn.LayerNorm(24)},
    ),
    "layer norm alone": (
        lambda s, x: F.relu(F.layer_norm(x.repeat(1, 1, 3), (24,)) + s.bias).mean(1),
        {},
    ),
    "conv1d": (
        lambda s, x: F.relu(s.c(x.transpose(1, 2)) + column(s.bias, 1)).mean(2),
        {"c": nn.Conv1d(8, 24, 3)},
    ),
    "conv1d and back": (
        lambda s, x: F.relu(s.c(x.transpose(1, 2)).transpose(1, 2) + s.bias).mean(1),
        {"c": nn.Conv1d(8, 24, 3)},
    ),
    "channels last by permute": (
        lambda s, x: F.relu(s.c(x[:, None]).permute(0, 2, 3, 1) + s.bias).mean((1, 2)),
        {"c": nn.Conv2d(1, 24, 3)},
    ),
    "channels last by movedim": (
        lambda s, x: F.relu(s.c(x[:, None]).movedim(1, -1) + s.bias).mean((1, 2)),
        {"c": nn.Conv2d(1, 24, 3)},
    ),
    "patches as tokens": (
        lambda s, x: F.relu(s.c(x[:, None]).flatten(2).transpose(1, 2) + s.bias).mean(1),
        {"c": nn.Conv2d(1, 24, 2, 2)},
    ),
    "maps by view": (
        lambda s, x: s.c(F.relu(s.l(x.flatten(1)).view(-1, 24, 3, 3) + column(s.bias, 2))).flatten(
            1
        ),
        {"l": nn.Linear(64, 216), "c": nn.Conv2d(24, 24, 3)},
    ),
    "maps by Unflatten": (
        lambda s, x: s.c(
            F.relu(s.n(nn.Unflatten(1, (24, 3, 3))(s.l(x.flatten(1)))) + column(s.bias, 2))
        ).flatten(1),
        {"l": nn.Linear(64, 216), "n": nn.BatchNorm2d(24), "c": nn.Conv2d(24, 24, 3)},
    ),
    "attention": (
        lambda s, x: F.relu(s.m(s.l(x), s.l(x), s.l(x))[0] + s.bias).mean(1),
        {"l": nn.Linear(8, 24), "m": nn.MultiheadAttention(24, 2, batch_first=True)},
    ),
    "a chunk": (
        lambda s, x: F.relu(s.l(x).chunk(2, -1)[1] + s.bias).mean(1),
        {"l": nn.Linear(8, 48)},
    ),
    "heads": (
        lambda s, x: F.relu((s.l(x) + s.bias).view(-1, 8, 4, 6)).flatten(2).mean(1),
        {"l": nn.Linear(8, 24)},
    ),
    "mixed tokens": (
        lambda s, x: s.o(F.relu(s.l(x.mT) + s.bias)).mean(1),
        {"l": nn.Linear(8, 24), "o": nn.Linear(24, 24)},
    ),
    "shuffled channels": (
        lambda s, x: F.relu(
            s.c(x[:, None]).view(-1, 2, 12, 6, 6).transpose(1, 2).flatten(1, 2) + column(s.bias, 2)
        ).mean((2, 3)),
        {"c": nn.Conv2d(1, 24, 3)},
    ),
    "two parts": (
        lambda s, x: F.relu(torch.cat([s.l(x), s.k(x)], -1) + s.bias).mean(1),
        {"l": nn.Linear(8, 10), "k": nn.Linear(8, 14)},
    ),
    "a shortcut": (
        lambda s, x: F.relu(s.l(x) + s.k(s.l(x)) + s.bias).mean(1),
        {"l": nn.Linear(8, 24), "k": nn.Linear(24, 24)},
    ),
    "a graph": (
        lambda s, x: F.relu(s.w @ s.l(x) + s.bias).mean(1),
        {"w": parameter(8, 8), "l": nn.Linear(8, 24)},
    ),
    "a graph by einsum": (
        lambda s, x: F.relu(torch.einsum("vw,bwf->bvf", s.w, s.l(x)) + s.bias).mean(1),
        {"w": parameter(8, 8), "l": nn.Linear(8, 24)},
    ),
    "heads of their own": (
        lambda s, x: F.relu((x[:, None] @ s.w) + s.bias.view(4, 1, 6)).mean(2).flatten(1),
        {"w": parameter(4, 8, 6)},
    ),
    "tokens normalised": (
        lambda s, x: F.relu(s.n(s.l(x)) + s.bias).mean(1),
        {"l": nn.Linear(8, 24), "n": nn.BatchNorm1d(8)},
    ),
    "a product by hand": (
        lambda s, x: F.relu((x[..., None] * s.w).sum(2) + s.bias).mean(1),
        {"w": parameter(8, 24)},
    ),
}


@pytest.mark.parametrize("body", BODIES)
def test_units_are_found_where_layers_have_them(body: str) -> None:
    function, parts = BODIES[body]
    network = swap(Features(function, **parts), "relu", (8, 8)).eval()
    assert list(units(network).values()) == [24]
    x = drawn(7, 8, 8)
    with torch.no_grad():
        _, ((value, slope),) = Networks([network]).observe(x.unsqueeze(0))
    assert value.shape[:3] == (1, 7, 24)
    still = (value[0].transpose(0, 1).flatten(1) == 0).all(dim=1)
    assert still.tolist() == [True] * DEAD + [False] * ALIVE
    counter = Counter("", 1, 24, value.device)
    counter.see(value, slope)
    assert torch.equal(counter.dead[0], still)
    learned = swap(Features(function, **parts), "prelu", (8, 8))
    assert [act.learned["a"].shape for _, act in layers.activations(learned)] == [(24,)]
    assert learned(x).shape == (7, 3)


def test_where_nothing_says_where_units_are_the_user_does() -> None:
    def body(s: Any, x: Tensor) -> Tensor:
        return F.relu(torch.fft.fft2(x).real).flatten(1).repeat(1, 3)[:, :24]

    with pytest.raises(BadValue, match=r"its input is examples x 8 x 8.*--unit-axis"):
        swap(Features(body), "relu", (8, 8))
    assert units(swap(Features(body), "relu", (8, 8), unit_axis=-1)) == {"relu": 8}
    with pytest.raises(BadValue, match="--unit-axis 3"):
        swap(Features(body), "relu", (8, 8), unit_axis=3)
    with pytest.raises(BadValue, match="is known"):
        swap(Between(nn.ReLU()), "relu", (4,), unit_axis=1)


# --- as it is written -----------------------------------------------------------------------------


class Flag(nn.Module):
    """What differs between training and evaluation."""

    mean: Tensor
    var: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.first, self.second = kind, nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("var", torch.ones(6))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.first(x)
        if self.kind == "norm":
            h = F.batch_norm(h, self.mean, self.var, training=self.training)
        if self.kind == "branch" and not self.training:
            h = h * 2
        if self.kind == "state" and self.training:
            self.mean.mul_(0.9).add_(0.1 * h.detach().mean(0))
        h = F.relu(h)
        if mask is not None:
            h = h * mask
        if self.kind == "more" and self.training:
            h = F.relu(h + 0.1)
        outputs: Tensor = self.second(h)
        return outputs * 0 if self.kind == "blind" and not self.training else outputs


@pytest.mark.parametrize("kind", ["norm", "branch", "state", "more", "blind", ""])
def test_training_and_evaluation_are_as_written(kind: str) -> None:
    network = Flag(kind)
    ours, x = swap(network, "relu", (4,)), drawn(8, 4)
    for training in (True, False):
        assert_close(ours.train(training)(x), network.train(training)(x))
        assert_close(ours.network.mean, network.mean)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(self.act(x)) if x.sum() > 0 else self.layer(x)
        return outputs


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.times = nn.Linear(4, 4), nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.times += 1
        outputs: Tensor = self.out(F.relu(self.layer(x)) * self.times)
        return outputs


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out, self.aux = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.layer(x))
        return (self.out(h), self.aux(h)) if self.training else self.out(h)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Branching(), "what it calls depends on its examples"),
        (Remembering(), "with its own activations put back .* the first call that differs is"),
        (Head(), "2 outputs while training, as networks with an auxiliary head do"),
    ],
    ids=["branching", "remembering", "head"],
)
@pytest.mark.parametrize("heavy", [False, True])
def test_what_cannot_stay_as_it_is_is_refused(
    network: nn.Module, says: str, heavy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if heavy:
        monkeypatch.setattr(analysis, "HEAVY", 0)
    with pytest.raises(BadValue, match=says):
        swap(network, "relu", (4,))


def test_a_pass_that_turns_out_otherwise_is_refused() -> None:
    network = swap(Flag(""), "relu", (4,))
    network.network.kind = "branch"  # type: ignore[assignment]  # its calls are others now
    with pytest.raises(Exception, match="its calls are not the same in every pass"):
        network.eval()(drawn(5, 4))


class Residual(nn.Module):
    """The head of the branch works in place, so that the shortcut sees it."""

    def __init__(self, act: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.first, self.inner, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        outputs: Tensor = self.out(self.inner(self.act(h)) + h)
        return outputs


@pytest.mark.parametrize(
    "act",
    [
        nn.ReLU(inplace=True),
        torch.relu_,
        lambda h: F.relu(h, inplace=True),
        lambda h: h.relu_(),
        lambda h: h.clamp_(min=0),
        lambda h: F.relu_(h.view(-1, 6)),
    ],
    ids=["module", "relu_", "inplace", "method", "clamp_", "view"],
)
def test_an_effect_that_a_shortcut_sees_stays(act: Callable[[Tensor], Any]) -> None:
    network, x = Residual(act), drawn(5, 4)
    h = F.mish(network.first(x))
    assert_close(swap(network, "mish", (4,))(x), network.out(network.inner(h) + h))
    part = Residual(lambda h: (h[:, :3].relu_(), h)[1])
    h = part.first(x)
    h = torch.cat([F.mish(h[:, :3]), h[:, 3:]], 1)
    assert_close(swap(part, "mish", (4,))(x), part.out(part.inner(h) + h))


def test_gradients_are_those_of_the_other_activation() -> None:
    for act in (nn.ReLU(inplace=True), EfficientSwish(), HardSwish()):
        network, x = Between(act), drawn(5, 4)
        ours = swap(network, "mish", (4,))
        ours(x).square().sum().backward()
        network.after(F.mish(network.before(x))).square().sum().backward()
        weight = ours.network.get_parameter("before.weight")
        assert_close(weight.grad, network.before.weight.grad)


# --- from the command line ------------------------------------------------------------------------

NETWORKS = """
import pathlib
import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent

def loading():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    net.load_state_dict(torch.load(HERE / "w.pt"))
    return net

def factory(shape, classes, activation):
    net = nn.Sequential(nn.Linear(4, 6), activation(6), nn.Linear(6, 3))
    net.load_state_dict(torch.load(HERE / "w.pt"))
    return net

def backbone(shape, classes):
    net = loading()
    net[2] = nn.Linear(6, classes)
    return net

def frozen(shape, classes):
    net = loading()
    for parameter in net[0].parameters():
        parameter.requires_grad_(False)
    return net

def biased(shape, classes):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, classes))
    nn.init.constant_(net[0].bias, -5.0)
    return net

class Tied(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, classes)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.out(F.relu(self.b(F.relu(self.a(x)))))

def normed(shape, classes):
    norm = nn.utils.parametrizations
    return nn.Sequential(norm.weight_norm(nn.Linear(4, 6)), nn.ReLU(),
                         norm.spectral_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, classes))

SHARED = nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 3))

def shared(shape, classes):
    return SHARED

def zeroed(shape, classes):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, classes))
    nn.init.zeros_(net[2].weight)
    return net

class Unused(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.unused, self.a, self.out = nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(6, classes)

    def forward(self, x):
        return self.out(F.relu(self.a(x)))

class Assigning(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.out = nn.Linear(4, 6), nn.Linear(6, classes)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        h = self.a(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return self.out(F.relu(h - self.mean))

def gated(shape, classes):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.g, self.out = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, classes)
        def forward(self, x):
            return self.out(F.relu(self.a(x)) * torch.sigmoid(self.g(x)))
    return Gated()

ready = loading()
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A working folder with a user's networks, and the weights that they load."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORKS, encoding="utf-8")
    state = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).state_dict()
    torch.save(state, "w.pt")
    return state


def trained(
    capsys: pytest.CaptureFixture[str], name: str, *more: str
) -> tuple[dict[str, Any], str]:
    """The row of a run, and what was said."""
    arguments = ["train", "-d", "iris", "-m", f"./nets.py:{name}", "-a", "relu", "--device", "cpu"]
    assert main([*arguments, "--format", "json", "--save", "saved.pt", *more]) == 0
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    return row, captured.err


@pytest.mark.parametrize("name", ["loading", "ready", "factory"])
def test_weights_that_come_with_a_network_stay(
    name: str, nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = trained(capsys, name, "--epochs", "0")
    assert "2 tensors of weights as its code has them (--fresh draws them anew)" in said
    saved = torch.load("saved.pt", weights_only=True)
    assert {key: value.tolist() for key, value in saved.items()} == {
        key: value.tolist() for key, value in nets.items()
    }
    _, said = trained(capsys, name, "--epochs", "0", "--fresh")
    assert "2 tensors of weights drawn anew (--fresh)" in said
    anew = torch.load("saved.pt", weights_only=True)
    assert not any(torch.equal(anew[key], nets[key]) for key in nets)


def test_other_weights_are_another_run(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "-d", "iris", "-m", "./nets.py:loading", "--epochs", "1", "--device", "cpu"]
    assert main(command) == main(command) == 0
    assert "1 of 1 run taken" in capsys.readouterr().err
    torch.save({key: value + 1 for key, value in nets.items()}, "w.pt")
    from relubench.models import user_defined

    user_defined.invariants.cache_clear()  # as in another process
    assert main(command) == 0
    assert "taken" not in capsys.readouterr().err


def test_only_what_the_code_draws_is_drawn(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(capsys, "backbone", "--epochs", "0")
    one = torch.load("saved.pt", weights_only=True)
    trained(capsys, "backbone", "--epochs", "0", "--seed", "1")
    other = torch.load("saved.pt", weights_only=True)
    assert torch.equal(one["0.weight"], nets["0.weight"])
    assert not torch.equal(one["2.weight"], other["2.weight"])
    trained(capsys, "biased", "--epochs", "0")
    assert torch.load("saved.pt", weights_only=True)["0.bias"].tolist() == [-5.0] * 6


def test_frozen_tied_and_normed_weights_keep_their_meaning(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(capsys, "frozen", "--epochs", "2")
    saved = torch.load("saved.pt", weights_only=True)
    assert torch.equal(saved["0.weight"], nets["0.weight"])
    assert not torch.equal(saved["2.weight"], nets["2.weight"])
    row, _ = trained(capsys, "Tied", "--epochs", "2")
    saved = torch.load("saved.pt", weights_only=True)
    assert torch.equal(saved["a.weight"], saved["b.weight"])
    assert row["parameters"] == 4 * 4 + 4 + 4 + 4 * 3 + 3
    trained(capsys, "normed", "--epochs", "0")
    saved = torch.load("saved.pt", weights_only=True)
    scale, direction = (saved[f"0.parametrizations.weight.original{n}"] for n in (0, 1))
    assert_close(scale, direction.norm(dim=1, keepdim=True))  # as weight_norm begins


def test_a_gate_is_named_or_refused(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = trained(capsys, "gated", "--epochs", "1")
    assert "stay as they are: sigmoid (a gate)" in said
    command = ["train", "-d", "iris", "-m", "./nets.py:gated", "--strict-swap", "--device", "cpu"]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--strict-swap: in ./nets.py:gated would stay as they are: sigmoid (a gate)" in line


def test_networks_that_the_code_hands_out_again_are_copied(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-d", "iris", "-m", "./nets.py:shared", "--epochs", "3", "--device", "cpu"]
    rows = []
    for more in (["-a", "mish,relu"], ["-a", "relu"]):
        assert main(["train", *command, *more, "--no-ledger", "--format", "json"]) == 0
        rows.append(json.loads(capsys.readouterr().out)[-1])
    assert rows[0]["loss"] == rows[1]["loss"]


@pytest.mark.parametrize("name", ["zeroed", "Unused"])
def test_layers_without_gradient_at_the_start_are_no_fault(
    name: str, nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    row, _ = trained(capsys, name, "--epochs", "2")
    assert row["failed"] is None


def test_buffers_that_are_assigned_are_not_lost_in_a_stack(
    nets: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    losses = []
    for width in ("1", "3"):
        command = ["-d", "iris", "-m", "./nets.py:Assigning", "--epochs", "2", "--seeds", "3"]
        more = ["--stack", width, "--precision", "float64", "--no-ledger", "--format", "json"]
        assert main(["train", *command, *more, "--device", "cpu"]) == 0
        losses.append([row["loss"] for row in json.loads(capsys.readouterr().out)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
