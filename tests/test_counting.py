"""Units counted in any network: every call is seen, dead units are found, none is invented."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_neurons import count
from torch import Tensor, nn
from torch.nn import functional as F

import relubench
from relubench import results
from relubench.activations import ACTIVATIONS
from relubench.errors import BadValue, RelubenchError
from relubench.models import MODELS, weights
from relubench.neurons.definitions import DEFINITIONS
from relubench.neurons.formulas import derivative_at
from relubench.neurons.slopes import kernel_of
from relubench.report.dead_count import DeadCount
from relubench.training.networks import Networks
from relubench.user_code import UserCodeError

DEAD = -1e3  # a bias that no input of ours lifts


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(network: nn.Module) -> nn.Module:
    """The network with weights from a stream of its own."""
    generator = stream()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return network


def killed(layer: nn.Module, count: int) -> None:
    layer.get_parameter("bias").data[:count] = DEAD
    layer.get_parameter("weight").data[:count] /= 10


class Functional(nn.Module):
    """One layer of 8 units, and an activation that is a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.last(self.activation(self.first(x)))
        return value


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "relu_": torch.relu_,
    "F.relu in place": lambda z: F.relu(z, inplace=True),
    "clamp": lambda z: z.clamp(min=0),
    "clamp_": lambda z: z.clamp_(min=0),
    "maximum": lambda z: torch.maximum(z, torch.zeros_like(z)),
    "where": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "times its mark": lambda z: z * (z > 0),
    "masked": lambda z: z.masked_fill(z < 0, 0.0),
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardswish in place": lambda z: F.hardswish(z, inplace=True),
    "hardsigmoid": F.hardsigmoid,
    "squared": lambda z: F.relu(z) ** 2,
    "clipped far out": lambda z: z.clamp(0, 20),
    "both ends far out": lambda z: F.hardtanh(z, -300, 40),
    "threshold far out": lambda z: F.threshold(z, -50, 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_activation_is_seen_however_it_is_spelt(form: str) -> None:
    network = drawn(Functional(FORMS[form]))
    killed(network.get_submodule("first"), 3)
    network.get_submodule("first").get_parameter("bias").data[3] = 1e3  # dead where it is clipped
    x = torch.randn(50, 5, generator=stream(1))
    found = relubench.deadcount(network, x.split(7))
    (row,) = found.layers
    assert (row.units, row.unit, row.examples, row.can_die) == (8, "neuron", 50, True)
    assert set(found.units()[row.layer]) >= {0, 1, 2}
    z = network.get_submodule("first")(x).detach().requires_grad_()
    value = FORMS[form](z.clone())
    (slope,) = torch.autograd.grad(value.sum(), z)
    value = value.detach()
    assert found.units() == {row.layer: (slope == 0).all(0).nonzero().flatten().tolist()}
    assert row.sparsity == pytest.approx(float((value == 0).double().mean()))
    assert row.mean_activation == pytest.approx(float(value.double().mean()), rel=1e-5)


@pytest.mark.parametrize("form", ["gelu", "silu", "elu", "tanh", "leaky_relu", "softplus"])
def test_what_cannot_die_is_said_so(form: str) -> None:
    found = relubench.deadcount(drawn(Functional(getattr(F, form))), torch.randn(50, 5))
    (row,) = found.layers
    assert (row.can_die, row.dead, row.function) == (False, None, form)
    assert found.total.dead is None
    assert "cannot" in str(found)


class Reused(nn.Module):
    """One module that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.act = nn.ReLU(inplace=True)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.act(layer(x))
        value: Tensor = self.out(x)
        return value


def test_a_module_that_is_called_again_has_a_row_for_each_call() -> None:
    network = Reused()
    for number, layer in enumerate(network.layers, start=1):
        killed(layer, number)
        layer.get_parameter("weight").data /= 100
        layer.get_parameter("bias").data[number:] = 30.0
    found = relubench.deadcount(network, torch.randn(20, 6))
    assert found.units() == {"act": [0], "act_2": [0, 1], "act_3": [0, 1, 2]}
    assert found.total.dead == pytest.approx(6 / 18)


class Residual(nn.Module):
    """The relu of a sum, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        y = self.second(y)
        y += x
        value: Tensor = self.head(y.relu_().mean((2, 3)))
        return value


def test_channels_are_counted_over_all_positions() -> None:
    network = Residual()
    killed(network.first, 1)
    killed(network.second, 2)
    x = torch.zeros(9, 3, 4, 4)
    x[3, :, 2, 1] = 1.0
    network.first.weight.data[1:] = 1.0
    network.get_parameter("first.bias").data[1:] = -0.5  # active around one place
    network.get_parameter("second.bias").data[2] = 1e3
    found = relubench.deadcount(network, x.split(2))
    assert found.units() == {"relu": [0], "relu_2": [0, 1]}
    assert [row.unit for row in found.layers] == ["channel", "channel"]
    positions = relubench.deadcount(network, x, unit="position")
    assert [row.units for row in positions.layers] == [48, 48]
    assert positions.layers[0].dead == pytest.approx((48 - 2 * 9) / 48)


class Gated(nn.Module):
    """A feed-forward block of SwiGLU's kind."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return value


def test_the_gate_of_a_swiglu_is_a_row() -> None:
    network = Gated()
    killed(network.gate, 2)
    found = relubench.deadcount(network, torch.randn(20, 4))
    assert found.units("inactive") == {"silu": [0, 1]}
    assert found.layers[0].dead == pytest.approx(2 / 6)  # e^-1000 is 0 in float32


class Feed(nn.Module):
    """Llama's feed-forward part: silu(gate) · up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False)
        self.down, self.act = nn.Linear(6, 4, bias=False), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.down(self.act(self.gate(x)) * self.up(x))
        return value


class Blocks(nn.Module):
    """Two blocks of it, the second of which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Feed(), Feed()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        x = x + self.second(x)
        value: Tensor = x + self.second(x)
        return value


def test_every_gate_of_llamas_kind_equals_brute_force() -> None:
    network = Blocks()
    drawn(network)
    with torch.no_grad():
        network.second.gate.weight[:2] = 0.0  # the gate gives 0, whatever the token
    x = torch.randn(9, 5, 4, generator=stream(3))
    found = relubench.deadcount(network, x.split(4), definitions=["all"])
    with torch.no_grad():
        inputs = [x, x + network.first(x)]
        inputs.append(inputs[1] + network.second(inputs[1]))
        gates = [network.first.gate(inputs[0]), *(network.second.gate(z) for z in inputs[1:])]
    assert [row.function for row in found.layers] == ["silu"] * 3
    for row, z in zip(found.layers, gates, strict=True):
        expected = brute_force(z.flatten(0, 1), F.silu)
        for name in ("dead", "inactive", "rare", "dormant", "saturated", "constant", "always_on"):
            assert torch.equal(found.masks[name][row.layer], expected[name]), (row.layer, name)
        assert row.mean_activation == pytest.approx(float(expected["mean_activation"]), rel=1e-5)


class GatesInside(nn.Module):
    """Gates that torch computes inside of one call, beside a relu."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.last, self.kind = nn.Linear(4, 8), nn.Linear(8, 2), kind
        cells: dict[str, nn.Module] = {
            "gru": nn.GRU(8, 8, batch_first=True),
            "lstm": nn.LSTM(8, 8, batch_first=True),
        }
        cells |= {"gru_cell": nn.GRUCell(8, 8), "lstm_cell": nn.LSTMCell(8, 8)}
        self.inner = cells.get(kind, nn.Linear(8, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        if self.kind.endswith("cell"):
            x = x[:, 0]
        made = self.inner(x)
        made = F.glu(made) if self.kind == "glu" else made
        value: Tensor = self.last(made[0] if isinstance(made, tuple) else made)
        return value


@pytest.mark.parametrize("scale", [1, 100])  # by 100 all of them have levelled off
@pytest.mark.parametrize("kind", ["glu", "gru", "lstm", "gru_cell", "lstm_cell"])
def test_gates_inside_of_one_call_are_named_and_the_rest_is_counted(
    kind: str, scale: float
) -> None:
    network = GatesInside(kind)
    for parameter in network.inner.parameters():
        parameter.data *= scale
    killed(network.first, 2)
    network.get_parameter("first.bias").data[2:] = 50.0
    found = relubench.deadcount(network, torch.randn(9, 3, 4))
    assert found.units() == {"relu": [0, 1]}
    (note,) = [note for note in found.notes if "not counted" in note]
    assert kind.partition("_")[0] in note.lower()


class PassedThrough(torch.autograd.Function):
    """relu forward, and the identity's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class OwnBackward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = PassedThrough.apply(x)
        return value


def test_a_derivative_is_not_guessed_where_a_function_has_its_own() -> None:
    network = nn.Sequential(
        nn.Linear(4, 6), OwnBackward(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    )
    killed(network[0], 2)
    killed(network[2], 1)
    network[2].get_parameter("bias").data[1:] = 50.0
    batch = torch.randn(50, 4)
    found = relubench.deadcount(network, batch)
    assert found.units() == {"3": [0]}
    assert any("backward of its own" in note for note in found.notes)
    named = relubench.deadcount(network, batch, activation_modules=["OwnBackward"])
    # The units that give 0 on every example still learn.
    assert named.units("inactive")["1"] == [0, 1]
    assert named.units() == {"1": [], "3": [0]}
    assert not any("backward of its own" in note for note in named.notes)


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.vmap(torch.relu)(self.first(x))
        value: Tensor = self.last(F.relu(self.second(hidden)))
        return value


def test_what_is_hidden_is_said() -> None:
    found = relubench.deadcount(Mapped(), torch.randn(9, 4))
    assert list(found.units()) == ["relu"]
    assert any("vmap" in note and "second" in note for note in found.notes)


class Attending(nn.Module):
    """Attention over tokens, and a layer of relu on its sum with them."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        attended, _ = self.attention(x, x, x, need_weights=False)
        value: Tensor = self.down(F.relu(self.up(x + attended)))
        return value


@pytest.mark.parametrize("training", [True, False])
def test_units_behind_attention_are_counted_over_all_tokens(training: bool) -> None:
    network = Attending().train(training)
    killed(network.up, 4)
    network.get_parameter("up.bias").data[4:] = 30.0
    found = relubench.deadcount(network, torch.randn(10, 5, 8).split(4))
    assert found.units() == {"relu": [0, 1, 2, 3]}
    assert (found.layers[0].unit, found.layers[0].examples) == ("feature", 10)


@pytest.mark.parametrize("kind", ["glu", "lstm"])
def test_gates_that_are_not_counted_are_named_where_there_is_nothing_else(kind: str) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.GLU()) if kind == "glu" else nn.LSTM(4, 6)
    with pytest.raises(BadValue, match=f"not counted: .*{kind}"):
        relubench.deadcount(network, torch.randn(9, 4))


@pytest.mark.parametrize("first", [True, False])
def test_a_transformer_encoder_is_seen_in_its_fast_path_too(first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
    network = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    for number in (0, 1):
        killed(network.get_submodule(f"layers.{number}.linear1"), number + 3)
        network.get_submodule(f"layers.{number}.linear1").get_parameter("bias").data[5:] = 50.0
    found = relubench.deadcount(network, torch.randn(6, 6, 8))
    units = found.units()
    assert set(units["layers.0.relu"]) >= {0, 1, 2}
    assert set(units["layers.1.relu"]) >= {0, 1, 2, 3}
    assert all(max(numbers) < 5 for numbers in units.values())
    assert [row.unit for row in found.layers] == ["feature", "feature"]


class Tokens(nn.Module):
    """A feed-forward layer over tokens, of which a mask says which are padding."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(5, 4), nn.Linear(4, 6), nn.Linear(6, 2)
        self.flat = flat

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        x = x.reshape(-1, 4) if self.flat else x
        value: Tensor = self.down(F.relu(self.up(x)))
        return value


@pytest.mark.parametrize("flat", [True, False])
def test_padding_wakes_no_unit(flat: bool) -> None:
    network = Tokens(flat)
    with torch.no_grad():
        network.embed.weight.fill_(0.0)[0, 0] = 1.0  # the token of padding, and no other
        network.up.weight.fill_(0.0)[:, 0] = 5.0
        network.up.bias.copy_(torch.tensor([-1.0, -1.0, -1.0, -9.0, 1.0, 1.0]))
    ids, mask = torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    assert relubench.deadcount(network, [batch]).units() == {"relu": [0, 1, 2, 3]}
    batch["attention_mask"] = torch.ones_like(mask)
    assert relubench.deadcount(network, [batch]).units() == {"relu": [3]}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("inplace", [True, False])
def test_torchscript_is_seen(inplace: bool) -> None:
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace), nn.Linear(6, 3), nn.GELU())
    killed(inner[0], 2)
    inner.get_parameter("0.bias").data[2:] = 50.0
    inner.get_parameter("2.weight").data /= 100
    network = nn.Sequential(nn.Linear(5, 6), torch.jit.script(inner), nn.Linear(3, 2))
    found = relubench.deadcount(network, torch.randn(30, 5).split(10))
    assert found.units() == {"relu": [0, 1], "gelu": []}
    assert found.layers[0].examples == 30


def test_a_compiled_network_is_seen_as_it_was_written() -> None:
    inner = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    killed(inner[0], 2)
    inner.get_parameter("0.bias").data[2:] = 50.0
    found = relubench.deadcount(torch.compile(inner), torch.randn(30, 5))  # type: ignore[arg-type]
    assert found.units() == {"1": [0, 1]}


def test_checkpointed_blocks_are_seen() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.out = nn.Sequential(nn.Linear(5, 6), nn.ReLU()), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Any:
            return self.out(torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False))

    network = Checkpointed()
    killed(network.block[0], 2)
    network.get_parameter("block.0.bias").data[2:] = 50.0
    assert relubench.deadcount(network, torch.randn(9, 5)).units() == {"block.1": [0, 1]}


class Own(nn.Module):
    """An activation that torch does not show: its kernel is numpy's."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.maximum(x.detach().numpy(), 0)) + 0 * x


def test_a_module_that_is_an_activation_can_be_named() -> None:
    network = nn.Sequential(nn.Linear(5, 6), Own(), nn.Linear(6, 2))
    killed(network[0], 2)
    found = relubench.deadcount(network, torch.randn(9, 5), activation_modules=["Own"])
    assert found.layers[0].function == "Own"
    assert set(found.units("inactive")["1"]) >= {0, 1}
    with pytest.raises(BadValue, match="no activation was seen"):
        relubench.deadcount(network, torch.randn(9, 5))
    with pytest.raises(RelubenchError, match="did you mean 'Own'"):
        relubench.deadcount(network, torch.randn(9, 5), activation_modules=["own"])


def test_a_named_module_that_is_no_activation_is_refused() -> None:
    with pytest.raises(BadValue, match=r"Linear \(first\) takes 5 numbers .* and gives 8"):
        relubench.deadcount(
            drawn(Functional(F.relu)), torch.randn(9, 5), activation_modules=["Linear"]
        )


class Funnel(nn.Module):
    """max(x, a convolution of x): an output hangs on its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.around = nn.Conv1d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.around(x))


@pytest.mark.parametrize(("act", "said"), [(Funnel(), True), (nn.PReLU(4), False)])
def test_a_named_module_whose_outputs_hang_on_several_numbers_gets_a_note(
    act: nn.Module, said: bool
) -> None:
    network = drawn(nn.Sequential(nn.Conv1d(2, 4, 3), act, nn.Flatten(), nn.Linear(28, 3)))
    name = type(act).__name__
    found = relubench.deadcount(network, torch.randn(5, 2, 9), activation_modules=[name])
    assert any("hangs on several pre-activations" in note for note in found.notes) == said


class Binary(nn.Module):
    """The sign of x, with a derivative that is handed straight through."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.sign(x) - x).detach()


class Careless(torch.autograd.Function):
    """relu whose backward writes to the gradient that it is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient[x < 0] = 0
        return gradient


class OwnRelu(nn.Module):
    """An activation that has to be named."""

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = Careless.apply(x)
        return value


class Kept(torch.autograd.Function):
    """relu whose backward gives a tensor of its module's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.slope = slope
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.slope, None


class OwnSlope(nn.Module):
    """An activation whose slope is 1 throughout, kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(8, 6))

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = Kept.apply(x, self.slope)
        return value


def test_a_derivative_is_no_memory_of_the_network() -> None:
    module = OwnSlope()
    derivative_at(module.forward, torch.randn(8, 6)).zero_()
    assert torch.equal(module.get_buffer("slope"), torch.ones(8, 6))


class WrittenOut(nn.Module):
    """relu as a formula of two calls."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x > 0)


@pytest.mark.parametrize("first", [Binary, OwnRelu])
def test_one_derivative_does_not_spoil_the_next(first: type[nn.Module]) -> None:
    before, between = nn.Linear(6, 6), nn.Linear(6, 6)
    network = drawn(nn.Sequential(before, first(), between, WrittenOut(), nn.Linear(6, 2)))
    between.bias.data[:2], between.bias.data[2:] = DEAD, 3.0
    x = torch.randn(48, 6, generator=stream(3))
    named = ["OwnRelu"] if first is OwnRelu else []
    for _ in range(3):
        found = relubench.deadcount(network, x.split(8), activation_modules=named)
        assert found.units()["3"] == found.units("saturated")["3"] == [0, 1]


def test_what_prepares_the_inputs_is_no_layer() -> None:
    network = drawn(Functional(lambda z: F.relu(z)))

    class Prepared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            value: Tensor = self.network((x.clamp(0, 1) - 0.5) / 0.25)
            return value

    found = relubench.deadcount(Prepared(), torch.randn(9, 5))
    assert [row.function for row in found.layers] == ["relu"]
    assert any("clamp" in note and "no layer comes before it" in note for note in found.notes)


class Positioned(nn.Module):
    """A bias that a small network makes of coordinates, as some vision transformers have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.out = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)
        self.bias = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 8))
        self.register_buffer("coordinates", torch.randn(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias(self.get_buffer("coordinates"))
        value: Tensor = self.out(self.act(self.first(x)) + bias)
        return value


def test_what_takes_nothing_of_the_examples_is_said() -> None:
    found = relubench.deadcount(drawn(Positioned()), torch.randn(9, 5))
    assert [row.layer for row in found.layers] == ["act"]
    assert "bias.1: not counted (nothing of the examples goes in)" in found.notes


class TwoHeads(nn.Module):
    """A mean, and a bounded logarithm of a deviation beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_sd = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x).relu()
        return torch.cat([self.mean(h), self.log_sd(h).clamp(-20, 2)], dim=-1)


def test_a_part_of_the_output_is_output() -> None:
    found = relubench.deadcount(drawn(TwoHeads()), torch.randn(9, 5))
    assert [row.function for row in found.layers] == ["relu"]
    assert any("clamp" in note and "output" in note for note in found.notes)


class Masked(nn.Module):
    """Tokens of number 0 are barred, as transformers bar padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.first, self.out = nn.Embedding(9, 5), nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        barred = torch.where(tokens != 0, torch.zeros(()), -1e4)
        hidden = F.relu(self.first(self.embedding(tokens)) + barred[..., None])
        value: Tensor = self.out(hidden).mean(1)
        return value


def test_a_function_of_whole_numbers_is_no_activation() -> None:
    tokens = torch.randint(0, 9, (12, 4), generator=stream(4))
    found = relubench.deadcount(drawn(Masked()), [tokens])
    assert [row.function for row in found.layers] == ["relu"]


class Mixture(nn.Module):
    """Experts whose weights are one tensor; every row has its own."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(experts, 5, 8))
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x[:, 0] > 0).long() % len(self.up)
        value: Tensor = self.out(torch.bmm(x[:, None], self.up[chosen])[:, 0].relu())
        return value


@pytest.mark.parametrize("experts", [1, 2])
def test_units_of_experts_that_are_called_together_are_said_to_be(experts: int) -> None:
    found = relubench.deadcount(drawn(Mixture(experts)), torch.randn(9, 5))
    assert any("if these are experts" in note for note in found.notes) == (experts > 1)


class Experts(nn.Module):
    """Each example goes to one of them, by the sign of its first number."""

    def __init__(self) -> None:
        super().__init__()
        made = (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2))
        self.experts = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        value = x.new_zeros(len(x), 3)
        for expert, chosen in zip(self.experts, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if chosen.any():
                value[chosen] = expert(x[chosen])
        return value


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_an_expert_is_called_the_same_whichever_examples_come_first(first: float) -> None:
    x = torch.randn(40, 5, generator=stream(2))
    x[:3, 0] = first
    found = relubench.deadcount(drawn(Experts()), x.split(10))
    assert {row.layer: row.units for row in found.layers} == {"experts.0.1": 8, "experts.1.1": 8}


def test_the_output_is_no_hidden_unit() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1), nn.Sigmoid())
    found = relubench.deadcount(network, torch.randn(9, 5))
    assert [row.layer for row in found.layers] == ["1"]
    assert any("sigmoid" in note and "output" in note for note in found.notes)


def test_where_units_are_is_said_where_nothing_tells() -> None:
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(torch.cdist(x, x[:, :1].expand(-1, 6, -1)) - 3).sum()

    x = torch.randn(4, 5, 6)
    with pytest.raises(BadValue, match="--unit channel"):
        relubench.deadcount(Bare(), x)
    assert relubench.deadcount(Bare(), x, unit="channel").total.units == 5
    assert relubench.deadcount(Bare(), x, unit="feature").total.units == 6
    assert relubench.deadcount(Bare(), x, unit="position").total.units == 30


# --- in parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["relu", "gelu", "hardswish", "prelu"])
@pytest.mark.parametrize("side", [3, 9])
def test_counts_in_parts_are_those_of_the_whole(
    form: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of images with few and with many positions, whose sums are taken in another order."""
    act = {"relu": nn.ReLU(), "gelu": nn.GELU(), "hardswish": nn.Hardswish(), "prelu": nn.PReLU(5)}
    first, last = nn.Conv2d(2, 5, 1), nn.Linear(5 * side**2, 3)
    network = drawn(nn.Sequential(first, act[form], nn.Flatten(), last))
    x = torch.randn(30, 2, side, side, generator=stream(4))
    killed(first, 2)
    whole = relubench.deadcount(network, x.split(13), definitions=["all"])
    monkeypatch.setattr("relubench.neurons.observe.PART", 4 * side * side)
    parts = relubench.deadcount(network, x.split(13), definitions=["all"])
    assert parts.layers[0].examples == 30
    for name, masks in whole.masks.items():
        assert all(torch.equal(mask, parts.masks[name][layer]) for layer, mask in masks.items())
    assert parts.layers[0].mean_activation == pytest.approx(whole.layers[0].mean_activation)
    with torch.no_grad():
        z = first(x).movedim(1, -1).flatten(0, 2)
    expected = brute_force(z, act[form].double())
    assert torch.equal(next(iter(whole.masks["dead"].values())), expected["dead"])


@pytest.mark.parametrize("activation", ["gelu", "silu", "elu", "hardswish", "mish", "softsign"])
def test_a_derivative_is_that_of_the_engine(activation: str) -> None:
    function = getattr(F, activation)
    x = torch.randn(50, 3, generator=stream(6))
    assert torch.equal(derivative_at(function, x), by_engine(function, x))


def by_engine(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    z = x.detach().clone().requires_grad_()
    value = function(z.clone())
    # Ones in memory: another path through the same formula may round otherwise.
    (slope,) = torch.autograd.grad(value, z, torch.ones_like(value))
    return slope


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(F, name) for name in ("gelu", "silu", "mish", "hardswish", "hardsigmoid")},
    **{name: getattr(F, name) for name in ("elu", "selu", "leaky_relu", "softplus")},
    **{name: getattr(torch, name) for name in ("tanh", "sigmoid")},
    "relu6": F.relu6,
    "hardtanh": lambda z: F.hardtanh(z, -0.5, 0.25),
    "gelu by tanh": lambda z: F.gelu(z, approximate="tanh"),
    "elu of another alpha": lambda z: F.elu(z, 0.3),
    "leaky_relu of another slope": lambda z: F.leaky_relu(z, negative_slope=0.3),
    "softplus of another beta": lambda z: F.softplus(z, beta=3, threshold=2),
    "hardswish in place": lambda z: F.hardswish(z.clone(), inplace=True),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_operator_stands_for_a_derivative_where_it_is_the_same(
    name: str, dtype: torch.dtype
) -> None:
    function = KERNELS[name]
    x = 4 * torch.randn(64, 5, 3, 3, generator=stream(6))
    x[0, 0, 0, 0] = 0.0
    for given in (x.to(dtype), x.to(dtype).to(memory_format=torch.channels_last)):
        kernel = kernel_of(function, given[:1], function(given[:1]))
        assert kernel is not None
        room = torch.empty_like(given)
        made = kernel(torch.ones_like(given), given, function(given), room)
        assert torch.equal(made, by_engine(function, given))


@pytest.mark.parametrize("activation", ["tanhshrink", "logsigmoid", "celu", "heaviside"])
def test_what_has_no_such_operator_has_its_derivative_by_the_engine(activation: str) -> None:
    step = torch.heaviside(torch.randn(4, 3), torch.zeros(()))
    function = getattr(F, activation, lambda z: torch.heaviside(z, step[0, 0]))
    x = torch.randn(4, 3)
    assert kernel_of(function, x, function(x)) is None


@pytest.mark.parametrize("form", ["relu", "gelu", "hardswish", "tanh", "relu6"])
def test_what_is_not_asked_changes_no_count(form: str) -> None:
    """One definition alone needs less: its units are those of all definitions together."""
    network = drawn(Functional(getattr(F, form)))
    killed(network.get_submodule("first"), 2)
    x = torch.randn(90, 5, generator=stream(5))
    every = relubench.deadcount(network, x.split(7), definitions=["all"])
    for name in DEFINITIONS:
        alone = relubench.deadcount(network, x.split(7), definitions=[name])
        figures = (alone.layers[0].get(name), every.layers[0].get(name))
        assert figures[0] == figures[1] or figures[0] == pytest.approx(figures[1], rel=1e-6), name
        assert alone.units(name) == every.units(name), name


@pytest.mark.parametrize("form", ["relu", "hardtanh"])
def test_the_last_example_may_move_the_last_unit(form: str) -> None:
    """Where all but one unit are known to move, that one is still looked at."""
    network = nn.Sequential(nn.Linear(4, 4), Named(form), nn.Linear(4, 1))
    with torch.no_grad():
        network.get_parameter("0.weight").copy_(torch.eye(4))
        network.get_parameter("0.bias").zero_()
    x = torch.full((3000, 4), -9.0)
    x[0, :3] = 0.5
    assert relubench.deadcount(network, x.split(100), definitions=["dead"]).total.dead == 0.25
    x[-1, 3] = 0.5
    assert relubench.deadcount(network, x.split(100), definitions=["dead"]).total.dead == 0.0


class Named(nn.Module):
    """A function of torch's as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = getattr(F, self.name)(x)
        return value


EDGES = {
    "all above 0": lambda z: F.softplus(z),
    "from 0": lambda z: F.relu(z) ** 2,
    "all below 0": lambda z: -F.softplus(z),
    "both": lambda z: F.hardswish(z),
    "-0": lambda z: -F.relu(z),
    "never 0": lambda z: F.elu(z) + 2,
}


@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_of_any_sign_are_counted(case: str, layout: torch.memory_format) -> None:
    first = drawn(nn.Conv2d(2, 5, 1))
    killed(first, 1)
    network = nn.Sequential(first, Sign(EDGES[case]), nn.Flatten(), nn.Linear(45, 3)).double()
    x = torch.randn(30, 2, 3, 3, generator=stream(4), dtype=torch.float64)
    x = x.to(memory_format=layout)
    found = relubench.deadcount(
        network, x.split(13), definitions=["all"], activation_modules=["Sign"]
    )
    with torch.no_grad():
        z = first(x).movedim(1, -1).flatten(0, 2)
    for name, expected in brute_force(z, EDGES[case]).items():
        if expected.dtype == torch.bool:
            assert torch.equal(found.masks[name]["1"], expected), name
        else:
            assert found.layers[0].get(name) == pytest.approx(float(expected), rel=1e-6), name


class Sign(nn.Module):
    """A function as a module that is one activation."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_what_is_no_number_is_active_and_not_counted_as_0() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        network.get_parameter("0.bias").copy_(torch.tensor([float("nan"), float("inf"), DEAD]))
    found = relubench.deadcount(network, torch.randn(8, 2))
    assert found.units("inactive") == {"1": [2]}
    assert found.layers[0].mean_activation is None


# --- figures --------------------------------------------------------------------------------------


def brute_force(z: Tensor, activation: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Every figure from all activations at once, in float64: (examples, units)."""
    z = z.double().requires_grad_()
    value = activation(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    value, steep = value.detach(), slope.abs()
    magnitude = value.abs().mean(0)
    singular = torch.linalg.svdvals(value)
    shares = singular / singular.sum()
    return {
        "dead": (steep == 0).all(0),
        "inactive": (value == 0).all(0),
        "rare": (value != 0).double().mean(0) < 0.01,
        "dormant": magnitude <= 0.025 * magnitude.mean(),
        "saturated": (steep < 0.01).double().mean(0) >= 0.99,
        "constant": (value == value[0]).all(0),
        "always_on": (steep == steep[0]).all(0) & (steep[0] != 0),
        "sparsity": (value == 0).double().mean(),
        "near_zero": (value <= 0.05).double().mean(),
        "mean_activation": value.mean(),
        "sd_activation": value.std(correction=0),
        "effective_rank": torch.exp(-(shares * shares.clamp(min=1e-300).log()).sum()),
    }


EVERY: tuple[str, ...] = (
    "relu",
    "hardtanh",
    "leaky_relu",
    "tanh",
    "relu6",
    "gelu",
    "silu",
    "hardswish",
    "elu",
)
EVERY += ("sigmoid", "hardsigmoid", "softplus", "selu", "celu", "mish", "softsign", "softshrink")


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("batch", [7, 300])
def test_every_definition_equals_brute_force(activation: str, batch: int) -> None:
    network = drawn(Functional(getattr(F, activation))).double()
    first = network.get_submodule("first")
    with torch.no_grad():
        bias = first.get_parameter("bias")
        bias[:5] = torch.tensor([DEAD, 40.0, -4.5, -5.5, 0.0])
        first.get_parameter("weight")[4] = 0.0
    x = torch.randn(300, 5, generator=stream(2), dtype=torch.float64)
    found = relubench.deadcount(network, x.split(batch), definitions=["all"])
    with torch.no_grad():
        z = first(x)
    for name, expected in brute_force(z, getattr(F, activation)).items():
        if expected.dtype == torch.bool:
            assert torch.equal(next(iter(found.masks[name].values())), expected), name
        else:
            figure = found.layers[0].get(name)
            assert figure == pytest.approx(float(expected), rel=1e-6), name
    assert DEFINITIONS.keys() - brute_force(z, F.relu).keys() == {"grama"}


def test_grama_is_the_gradient_of_pre_activations() -> None:
    network = drawn(Functional(F.relu)).double()
    first, last = network.get_submodule("first"), network.get_submodule("last")
    first.get_parameter("bias").data[0] = DEAD
    x = torch.randn(40, 5, generator=stream(2), dtype=torch.float64)
    y = torch.randint(3, (40,), generator=stream(3))
    given = [(x[:30], y[:30]), (x[30:], y[30:])]
    found = relubench.deadcount(network, given, definitions=["grama:tau=0.9"])
    sums = torch.zeros(8, dtype=torch.float64)
    for part, labels in given:
        z = first(part).detach().requires_grad_()
        loss = F.cross_entropy(last(z.relu()), labels)
        sums += torch.autograd.grad(loss, z)[0].abs().sum(0)
    assert found.units("grama") == {
        "relu": (sums <= 0.9 * sums.mean()).nonzero().flatten().tolist()
    }
    assert all(parameter.grad is None for parameter in network.parameters())
    without = relubench.deadcount(network, x, definitions=["grama"])
    assert without.layers[0].grama is None


def test_definitions_mean_what_a_run_says_of_them() -> None:
    for name in (*results.COUNTS, *results.MOMENTS):
        assert DEFINITIONS[name].description == results.DEFINITIONS[name]


def test_a_unit_that_is_active_once_is_not_dead() -> None:
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network.get_parameter("0.weight").fill_(1.0)
        network.get_parameter("0.bias").copy_(torch.tensor([0.0, DEAD]))
    x = torch.full((60_000, 1), -1.0)
    x[41_234] = 1e-30
    found = relubench.deadcount(network, x.split(512))
    assert found.units() == {"1": [1]}
    assert found.units("rare") == {"1": [0, 1]}
    assert found.total.active_below == pytest.approx(3 / 60_000, rel=0.01)


@pytest.mark.parametrize("activation", ["relu", "gelu", "maxout", "hardtanh"])
def test_a_network_of_relubench_counts_as_its_engine_counts(activation: str) -> None:
    built = MODELS.choose("cnn:filters=4x5:dense=6")((1, 16, 16), 3, ACTIVATIONS.choose(activation))
    weights.initialise(built, stream())
    for name, parameter in built.named_parameters():
        if name.endswith("weights.bias"):
            parameter.data[:2] = DEAD
    x = torch.randn(40, 1, 16, 16, generator=stream(1))
    expected = [counter.counts()[0] for counter in count(Networks([built.eval()]), x.split(9))]
    found = relubench.deadcount(built, x.split(9))
    assert [row.layer for row in found.layers] == [layer.layer for layer in expected]
    for row, layer in zip(found.layers, expected, strict=True):
        assert row.units == layer.units
        for name in results.COUNTS:
            mine = int(found.masks[name][row.layer].sum())
            assert mine == getattr(layer, name), (row.layer, name)
        for name in results.MOMENTS:
            assert row.get(name) == pytest.approx(getattr(layer, name), rel=1e-5)


# --- left as it was found -------------------------------------------------------------------------


class Stateful(nn.Module):
    """All that could be changed by looking."""

    calls: Tensor

    def __init__(self, raises: BaseException | None = None) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(6, 2)
        self.register_buffer("calls", torch.zeros(1))
        self.raises = raises
        self.first.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = F.relu(self.norm(self.first(x)))
        if self.raises and self.calls > 1:
            raise self.raises
        noise = random.random() + np.random.rand()  # noqa: NPY002
        value: Tensor = self.last(self.drop(x) + 0 * torch.rand(1) * noise)
        return value


def state(network: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {name: value.clone() for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        found[f"grad of {name}"] = None if parameter.grad is None else parameter.grad.clone()
        found[f"requires_grad of {name}"] = parameter.requires_grad
    for name, module in network.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        found[f"of {name}"] = (module.training, *map(dict, hooks), sorted(vars(module)))
    found["torch"], found["python"] = torch.get_rng_state(), random.getstate()
    found["numpy"] = str(np.random.get_state())  # noqa: NPY002
    found["grad"] = torch.is_grad_enabled()
    return found


@pytest.mark.parametrize("raises", [None, RuntimeError("no"), KeyboardInterrupt(), SystemExit(0)])
@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_left_as_it_was_found(raises: BaseException | None, training: bool) -> None:
    network = Stateful(raises).train(training)
    network.last.weight.requires_grad_(False)
    network.first.weight.grad = torch.ones_like(network.first.weight)
    network.drop.train()
    x, y = torch.randn(20, 5), torch.randint(2, (20,))
    before = state(network)
    told = KeyboardInterrupt if isinstance(raises, KeyboardInterrupt) else UserCodeError
    given = [(x, y), (x, y)]
    if raises is None:
        relubench.deadcount(network, given, definitions=["all"])
    else:
        with pytest.raises(told):
            relubench.deadcount(network, given, definitions=["all"])
    after = state(network)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = (
            torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        )
        assert same, name


def test_a_network_that_raises_is_told_in_one_line() -> None:
    with pytest.raises(UserCodeError) as told:
        relubench.deadcount(Stateful(RuntimeError("no\nway")), [torch.randn(4, 5)] * 3)
    assert str(told.value) == "Stateful raises in its forward: RuntimeError: no"


@pytest.mark.parametrize(("batches", "what"), [([], "no batch"), ([3], "type int"), ([[]], "list")])
def test_what_is_no_batch_is_refused(batches: list[Any], what: str) -> None:
    with pytest.raises(BadValue, match=what):
        relubench.deadcount(Stateful(), batches)


@pytest.mark.parametrize("labels", [torch.zeros(7), torch.full((20,), 9), torch.full((20,), -1)])
@pytest.mark.parametrize("asked", [{"definitions": ["grama"]}, {"ablate": True}])
def test_labels_that_do_not_fit_are_refused(labels: Tensor, asked: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(BadValue, match="do not fit outputs"):
        relubench.deadcount(network, [(torch.randn(20, 5), labels.long())], **asked)


def test_batches_of_nothing_are_passed_over() -> None:
    network, x = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(9, 5)
    found = relubench.deadcount(network, [x[:0], x, x[:0]])
    assert found.rows == relubench.deadcount(network, [x]).rows
    with pytest.raises(BadValue, match="no batch"):
        relubench.deadcount(network, [x[:0]])


def test_any_number_of_batches_is_taken_from_a_generator_and_limited() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.randn(8, 5)

    found = relubench.deadcount(Stateful(), endless(), limit=20)
    assert found.total.examples == 20


def test_train_and_test_stand_side_by_side() -> None:
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network.get_parameter("0.weight").fill_(1.0)
        network.get_parameter("0.bias").copy_(torch.tensor([0.0, DEAD]))
    found = relubench.deadcount(network, -torch.ones(9, 1), test=torch.ones(5, 1))
    row = found.layers[0]
    assert (row.dead, row.dead_test, row.dead_in_training_only) == (1.0, 0.5, 0.5)
    assert (row.examples, row.examples_test) == (9, 5)


def test_the_result_has_its_views() -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    found = relubench.deadcount(network, torch.randn(20, 5))
    assert isinstance(found, DeadCount)
    assert list(found.frame()["layer"]) == ["1", "total"]
    assert str(found).startswith("Sequential")
    assert "<table" in found._repr_html_()
    assert repr(found) == str(found)
