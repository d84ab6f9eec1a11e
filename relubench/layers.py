"""What networks are made of: Act and Dropout, and how their weights begin.

Nothing here touches torch's global random state: weights come from one generator, noise from
another, both of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from relubench.activations import Activation
from relubench.catalog import Choice


def he(fan_in: int, fan_out: int) -> float:
    """√(2 / fan-in)"""
    return math.sqrt(2 / fan_in)  # arXiv:1502.01852


def glorot(fan_in: int, fan_out: int) -> float:
    """√(2 / (fan-in + fan-out))"""
    return math.sqrt(2 / (fan_in + fan_out))  # AISTATS 2010


def lecun(fan_in: int, fan_out: int) -> float:
    """√(1 / fan-in)"""
    return math.sqrt(1 / fan_in)  # Efficient BackProp, 1998


# Standard deviation of a layer's normal initial weights, from its fan-in and fan-out.
SCHEMES: dict[str, Callable[[int, int], float]] = {
    scheme.__name__: scheme for scheme in (he, glorot, lecun)
}
OUTPUT_SCHEME = "glorot"  # no activation follows the last layer


class Noisy(nn.Module):
    """A module that draws from its cell's noise stream while it trains."""

    noise: torch.Generator | None = None


class Act(Noisy):
    """Applies one activation to pre-activations with `units` units in dimension 1."""

    def __init__(self, activation: Choice[Activation], units: int) -> None:
        super().__init__()
        self.activation, self.units = activation, units
        self.learned = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(units)) for name in activation.entry.learns}
        )
        self.fixed = {k: v for k, v in activation.parameters.items() if k not in self.learned}

    def forward(self, x: Tensor) -> Tensor:
        """(examples, units, …) to the same shape."""
        shape = (-1,) + (1,) * (x.ndim - 2)
        arguments = [parameter.view(shape) for parameter in self.learned.values()]
        noise = [self.noise if self.training else None] if self.activation.entry.noisy else []
        value: Tensor = self.activation.entry.function(x, *arguments, *noise, **self.fixed)
        return value

    def reset_parameters(self) -> None:
        """Give every unit the learned parameters' initial values."""
        for name, parameter in self.learned.items():
            nn.init.constant_(parameter, self.activation.parameters[name])


class Dropout(Noisy):
    """Zeroes each element with probability `share` while training and scales the rest up."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training:
            return x
        draw = torch.rand(x.shape, generator=self.noise, dtype=x.dtype, device=x.device)
        return x * (draw >= self.share) / (1 - self.share)


def activations(network: nn.Module) -> Iterator[tuple[str, Act]]:
    """Every Act with the name of the layer it ends, in the order of the network."""
    for path, module in network.named_modules():
        if isinstance(module, Act):
            yield path.removesuffix(".activation"), module


def draw_noise_from(network: nn.Module, units: torch.Generator, dropout: torch.Generator) -> None:
    """Let noisy activations and dropout draw from their streams.

    They are two, so that a noisy activation gets the same dropout as another.
    """
    for module in network.modules():
        if isinstance(module, Noisy):
            module.noise = dropout if isinstance(module, Dropout) else units


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """An optimizer's groups of the parameters of a network, by name: activations' are not decayed.

    Decay would pull a learned slope to 0, that is, to ReLU (He et al. 2015).
    """
    learned = [p for name, p in parameters.items() if ".learned." in name]
    weights = [p for name, p in parameters.items() if ".learned." not in name]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": learned, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def initialise(network: nn.Module, stream: torch.Generator, output_bias: float = 0.0) -> None:
    """Draw all weights from `stream`; biases are 0, those of the output layer `output_bias`.

    A layer's weights are standard normal numbers, the same for every activation, times the
    standard deviation of the scheme of the activation that follows it.
    """
    pending: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, Act):
            for layer in pending:
                _draw(layer, module.activation.entry.init, stream)
            pending.clear()
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Conv2d):
            pending.append(module)
    for layer in pending:
        _draw(layer, OUTPUT_SCHEME, stream)
        nn.init.constant_(layer.get_parameter("bias"), output_bias)


def _draw(layer: nn.Module, scheme: str, stream: torch.Generator) -> None:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    receptive = weight[0, 0].numel()
    std = SCHEMES[scheme](weight.shape[1] * receptive, weight.shape[0] * receptive)
    draw = torch.randn(weight.shape, generator=stream, dtype=torch.float64)
    with torch.no_grad():
        weight.copy_(draw * std)
        bias.zero_()
