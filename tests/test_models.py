"""Laws over the catalogue of models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from relubench import layers
from relubench.activations import ACTIVATIONS
from relubench.errors import BadValue
from relubench.models import MODELS

STRUCTURAL = (
    nn.Sequential,
    nn.Linear,
    nn.Conv2d,
    nn.MaxPool2d,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.ParameterDict,
    layers.Act,
    layers.Dropout,
)


def build(model: str, shape: tuple[int, ...], outputs: int, activation: str = "relu") -> nn.Module:
    built: nn.Module = MODELS.choose(model)(shape, outputs, ACTIVATIONS.choose(activation))
    layers.initialise(built, torch.Generator().manual_seed(0))
    return built


# Agarap 2018: parameter counts of the published notebooks
@pytest.mark.parametrize(
    ("model", "shape", "outputs", "count"),
    [
        ("ffnn:hidden=512x512x512:dropout=0.1", (256,), 10, 662_026),
        ("ffnn:hidden=128x64x32:dropout=0.1", (30,), 2, 14_370),
        ("cnn", (256,), 10, 84_202),
    ],
)
def test_parameter_counts_are_those_of_the_study(
    model: str, shape: tuple[int, ...], outputs: int, count: int
) -> None:
    assert sum(p.numel() for p in build(model, shape, outputs).parameters()) == count


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_model_takes_every_activation(model: str, activation: str) -> None:
    built = build(model, (1, 16, 16), 3, activation).eval()
    x = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    outputs = built(x)
    assert outputs.shape == (5, 3)
    assert outputs.isfinite().all()
    assert all(isinstance(module, STRUCTURAL) for module in built.modules())


def test_cnn_has_the_layers_of_the_study() -> None:
    names = [name for name, _ in layers.activations(build("cnn", (256,), 10))]
    assert names == ["conv1", "conv2", "conv3", "conv4", "dense1"]
    shares = [m.share for m in build("cnn", (256,), 10).modules() if isinstance(m, layers.Dropout)]
    assert shares == [0.25, 0.25, 0.5]


def test_cnn_takes_components_as_a_square_image() -> None:
    flat = torch.randn(4, 256, generator=torch.Generator().manual_seed(1))
    from_flat, from_image = build("cnn", (256,), 10).eval(), build("cnn", (1, 16, 16), 10).eval()
    assert torch.equal(from_flat(flat), from_image(flat.reshape(4, 1, 16, 16)))


@pytest.mark.parametrize(
    ("model", "shape", "says"),
    [
        ("cnn", (30,), "no square image"),
        ("cnn", (1, 8, 8), "too small"),
        ("ffnn:hidden=0", (4,), "at least 1"),
        ("ffnn:dropout=1", (4,), "dropout"),
        ("cnn:padding=2", (1, 28, 28), "padding"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(
    model: str, shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(BadValue, match=says):
        build(model, shape, 2)
