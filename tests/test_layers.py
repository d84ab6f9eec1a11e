"""Initial weights, dropout and parameter groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS
from relubench.models import MODELS, layers, weights
from relubench.noise import Noise


def network(activation: str, model: str = "ffnn:hidden=300x200") -> nn.Module:
    built: nn.Module = MODELS.choose(model)((400,), 10, ACTIVATIONS.choose(activation))
    weights.initialise(built, torch.Generator().manual_seed(3))
    return built


def weight(built: nn.Module, layer: str) -> torch.Tensor:
    return built.get_parameter(f"{layer}.weights.weight")


# He et al. 2015: var = 2/fan_in; LeCun 1998: 1/fan_in, which also holds tanh in the first layer
@pytest.mark.parametrize(
    ("activation", "variance"), [("relu", 2 / 400), ("tanh", 1 / 400), ("selu", 1 / 400)]
)
def test_first_layer_has_the_variance_of_its_scheme(activation: str, variance: float) -> None:
    drawn = weight(network(activation), "dense1")
    assert drawn.var().item() == pytest.approx(variance, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=5 * math.sqrt(variance / drawn.numel()))


def test_convolutions_count_their_receptive_field() -> None:
    built: nn.Module = MODELS.choose("cnn")((1, 28, 28), 10, ACTIVATIONS.choose("relu"))
    weights.initialise(built, torch.Generator().manual_seed(3))
    drawn = weight(built, "conv4")
    assert drawn.var().item() == pytest.approx(2 / (64 * 9), rel=0.03)


def test_every_activation_gets_the_same_draw_scaled_by_its_scheme() -> None:
    draws = {name: weight(network(name), "dense2") for name in ("relu", "tanh", "selu", "prelu")}
    normal = {name: drawn / drawn.std() for name, drawn in draws.items()}
    for other in normal.values():
        assert_close(other, normal["relu"])
    outputs = [network(name).get_parameter("output.weight") for name in draws]
    assert all(torch.equal(drawn, outputs[0]) for drawn in outputs)


def test_biases_begin_at_zero_and_learned_slopes_at_their_initial_value() -> None:
    built = network("prelu:a=0.125")
    for name, parameter in built.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        if "learned" in name:
            assert (parameter == 0.125).all()


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    dropout = layers.Dropout(0.25)
    dropout.noise = Noise.of(torch.Generator().manual_seed(0))
    x = torch.ones(200_000)
    dropped = dropout(x)
    assert (dropped == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropout.eval()(x), x)


def test_weight_decay_spares_what_activations_learn() -> None:
    built = network("prelu")
    groups = layers.parameter_groups(dict(built.named_parameters()), 0.1)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in built.named_parameters():
        assert (id(parameter) in decayed) == ("learned" not in name)


def test_nothing_touches_the_global_random_state() -> None:
    before = torch.random.get_rng_state()
    with torch.device("meta"):
        built = MODELS.choose("ffnn")((4,), 3, ACTIVATIONS.choose("rrelu"))
    weights.initialise(built.to_empty(device="cpu"), torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.random.get_rng_state())
