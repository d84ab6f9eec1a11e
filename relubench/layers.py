"""What networks are made of: Act, Dropout and Residual, and how their weights begin.

Nothing here touches torch's global random state: weights come from a generator of the cell, noise
from keys of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.noise import BEYOND, FIRST, Noise


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
DRAWING = RLock()  # passes abreast share torch's global generator
OUTPUT_SCHEME = "glorot"  # no activation follows the last layer
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that begin by a scheme


class Noisy(nn.Module):
    """A module that draws from its cell's noise while it trains."""

    noise: Noise | None = None


class Act(Noisy):
    """Applies one activation to the pre-activations of a layer of `width`.

    pieces  pre-activations per output: the layer has pieces · width, all first pieces first
    units   outputs, in dimension 1
    """

    def __init__(self, activation: Choice[Activation], width: int) -> None:
        super().__init__()
        entry = activation.entry
        self.activation = activation
        self.pieces = pieces(activation)
        self.units = width * entry.outputs
        self.fixed = dict(activation.parameters)
        learns = {name: self.fixed.pop(name) for name in entry.learns}
        values = 1 if self.fixed.pop("shared", False) else width
        self.learned: Any = nn.ParameterDict(  # a dict would be sorted
            [(name, nn.Parameter(torch.empty(values))) for name in learns]
        )
        if entry.module:
            self.learned = self._made()

    def forward(self, x: Tensor) -> Tensor:
        """As `activate`, or as what looks on has it."""
        look = LOOK.get()
        return look(self, x) if look else self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """(examples, pieces · width, …) to (examples, units, …)."""
        if self.activation.entry.module:
            own: Tensor = self.learned(x)
            return own
        shape = (-1,) + (1,) * (x.ndim - 2)
        if self.activation.entry.pieces > 1:
            x = x.unflatten(1, (self.pieces, -1)).movedim(1, 0)
        arguments = [parameter.view(shape) for parameter in self.learned.values()]
        noise = [self.noise if self.training else None] if self.activation.entry.noisy else []
        value: Tensor = self.activation.entry.function(x, *arguments, *noise, **self.fixed)
        return value

    def reset_parameters(self, stream: torch.Generator | None = None) -> None:
        """Give every unit the learned parameters' initial values.

        A user's own module is made anew, and may draw from `stream` what it would from torch's
        global generator.
        """
        if self.activation.entry.module:
            self.learned = self._made(stream)
            return
        for name, parameter in self.learned.items():
            nn.init.constant_(parameter, self.activation.parameters[name])

    def _made(self, stream: torch.Generator | None = None) -> nn.Module:
        make = self.activation.entry.module
        assert make is not None
        with drawing_from(stream), torch.device("cpu"):
            return make(**self.fixed)


LOOK: ContextVar[Callable[[Act, Tensor], Tensor] | None] = ContextVar("LOOK", default=None)


@contextmanager
def drawing_from(stream: torch.Generator | None) -> Iterator[None]:
    """What is drawn here from torch's global generator comes from `stream`, or leaves no trace."""
    with DRAWING, torch.random.fork_rng(devices=[]):
        if stream is None:
            yield
            return
        torch.random.set_rng_state(stream.get_state())
        yield
        stream.set_state(torch.random.get_rng_state())


@contextmanager
def drawing_after(number: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """What is drawn here from torch's global generators follows from `number` and leaves no trace.

    Gives a function that says whether anything was drawn so far. Threads wait for each other.
    """
    cuda: list[int] = []
    if device.type == "cuda":
        cuda = [torch.cuda.current_device() if device.index is None else device.index]
    with DRAWING, torch.random.fork_rng(devices=cuda):
        generators = [torch.default_generator]
        generators += [torch.cuda.default_generators[index] for index in cuda]
        for generator in generators:
            generator.manual_seed(number)
        before = [generator.get_state() for generator in generators]
        yield (
            lambda: (
                not all(
                    torch.equal(state, generator.get_state())
                    for state, generator in zip(before, generators, strict=True)
                )
            )
        )


class _Undrawn(TorchFunctionMode):
    """What torch.nn.init is given, it leaves as it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if "tensor" in given and getattr(func, "__module__", "") == nn.init.__name__:
            return given["tensor"]
        return func(*args, **given)


@contextmanager
def weightless() -> Iterator[None]:
    """What is built here has no memory for its weights; to draw them all the same takes longest."""
    with torch.device("meta"), _Undrawn():
        yield


def pieces(activation: Choice[Activation]) -> int:
    """How many pre-activations make one output; raises BadValue below 1."""
    count: int = activation.parameters.get("pieces", activation.entry.pieces)
    if count < 1:
        raise BadValue(f"{activation.entry.name}: pieces must be at least 1, got {count}")
    return count


class Dropout(Noisy):
    """Zeroes each element with probability `share` while training and scales the rest up.

    What is trained elsewhere than in relubench's loop draws from torch's global generator.

    whole  what is zeroed at once: 0 an element, 1 an example, 2 a channel
    """

    def __init__(self, share: float, whole: int = 0) -> None:
        super().__init__()
        self.share, self.whole = share, whole
        least = FIRST + round(share * 2**32)  # of what stays, among the integers drawn
        number = torch.tensor(min(least, BEYOND - 1), dtype=torch.int32, device="cpu")
        self.least = number if least < BEYOND else None  # a tensor, which is compared with faster

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training:
            return x
        if self.least is None:
            return x * 0
        shape = x.shape[: self.whole] + (1,) * (x.ndim - self.whole) if self.whole else x.shape
        noise = self.noise or Noise.of(None)
        return x * (noise.integers(shape, x.device) >= self.least) / (1 - self.share)


class Residual(nn.Module):
    """The activation of the sum of two convolutions and a shortcut past them."""

    def __init__(
        self, conv1: nn.Module, conv2: nn.Module, shortcut: nn.Module, activation: Act
    ) -> None:
        super().__init__()
        self.conv1, self.conv2, self.shortcut = conv1, conv2, shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(examples, channels, height, width) to (examples, units, …)."""
        value: Tensor = self.activation(self.conv2(self.conv1(x)) + self.shortcut(x))
        return value


def activations(network: nn.Module) -> Iterator[tuple[str, Act]]:
    """Every Act with the name of the layer it ends, in the order of the network."""
    for path, module in network.named_modules():
        if isinstance(module, Act):
            yield path.removesuffix(".activation"), module


def noisy(network: nn.Module) -> list[Noisy]:
    """What draws while it trains, in the order of the network."""
    return [
        module
        for module in network.modules()
        if isinstance(module, Dropout)
        or (isinstance(module, Act) and module.activation.entry.noisy)
    ]


def draw_noise_from(network: nn.Module, units: torch.Generator, dropout: torch.Generator) -> None:
    """Let noisy activations and dropout draw what follows from these streams.

    They are two, so that a noisy activation gets the same dropout as another.
    """
    for module in noisy(network):
        module.noise = Noise.of(dropout if isinstance(module, Dropout) else units)


@contextmanager
def drawing_by(
    drawing: Sequence[Noisy], keys: Sequence[Tensor], places: dict[tuple[int, ...], Tensor]
) -> Iterator[None]:
    """Let these layers draw by their keys, two for each; `places` are kept from pass to pass."""
    before = [module.noise for module in drawing]
    try:
        for module, first, second in zip(drawing, keys[::2], keys[1::2], strict=True):
            module.noise = Noise(first, second, places)
        yield
    finally:
        for module, noise in zip(drawing, before, strict=True):
            module.noise = noise


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


def parameter_count(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def initialise(network: nn.Module, stream: torch.Generator, output_bias: float = 0.0) -> None:
    """Draw all weights from `stream`; biases are 0, those of the output layer `output_bias`.

    A layer's weights are standard normal numbers, the same for every activation, times the
    standard deviation of the scheme of the activation that follows it. Further pieces are drawn
    after everything else, so that the first ones and the other layers get the same numbers too.
    What is neither a dense nor a convolutional layer is left as it is.
    """
    acts = [act for _, act in activations(network)]
    own = {module for act in acts for module in act.learned.modules()}
    pending: list[nn.Module] = []
    drawn: list[tuple[nn.Module, str, int]] = []
    for module in network.modules():
        if isinstance(module, Act):
            scheme = module.activation.entry.init
            drawn += [(layer, scheme, module.pieces) for layer in pending]
            pending.clear()
        elif isinstance(module, WEIGHTED) and module not in own:
            pending.append(module)
    drawn += [(layer, OUTPUT_SCHEME, 1) for layer in pending]
    for layer, scheme, count in drawn:
        _draw(layer, scheme, count, True, stream)
    for layer, scheme, count in drawn:
        if count > 1:
            _draw(layer, scheme, count, False, stream)
    for layer in pending[-1:]:
        _fill_bias(layer, output_bias)
    for act in acts:
        act.reset_parameters(stream)


def reset_norms(network: nn.Module) -> None:
    """Let batch normalisation begin at scale 1, shift 0 and no statistics."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def _draw(layer: nn.Module, scheme: str, pieces: int, first: bool, stream: torch.Generator) -> None:
    """Draw a layer's first pieces, or the others; all of them feed as many outputs."""
    weight = layer.get_parameter("weight")
    receptive = weight[0, 0].numel()
    width = weight.shape[0] // pieces
    fan_out = width * receptive // getattr(layer, "groups", 1)
    std = SCHEMES[scheme](weight.shape[1] * receptive, fan_out)
    with torch.no_grad():
        part = weight[:width] if first else weight[width:]
        part.copy_(torch.randn(part.shape, generator=stream, dtype=torch.float64) * std)
    _fill_bias(layer, 0.0)


def _fill_bias(layer: nn.Module, value: float) -> None:
    if layer.bias is not None:
        nn.init.constant_(layer.get_parameter("bias"), value)
