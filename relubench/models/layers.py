"""What networks are made of: Act, Dropout and Residual, and how their weights begin.

Nothing here touches torch's global random state: weights come from a generator of the cell, noise
from keys of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.noise import BEYOND, FIRST, Noise
from relubench.user_imports import DRAWING

ParameterGroup = dict[str, Any]  # as torch.optim takes it: tensors under "params", settings


class Noisy(nn.Module):
    """A module that draws from its cell's noise while it trains."""

    noise: Noise | None = None


class Act(Noisy):
    """Applies one activation to the pre-activations of a layer of `width`.

    pieces   pre-activations per output: the layer has pieces · width, all first pieces first
    units    outputs, in dimension 1
    place    the name of its layer, where that is not where it stands
    counted  whether it is called in evaluation, so that its units are counted
    """

    place = ""
    counted = True

    def __init__(self, activation: Choice[Activation], width: int) -> None:
        super().__init__()
        entry = activation.entry
        self.activation = activation
        self.pieces = pieces(activation)
        self.units = width * entry.outputs
        self.fixed = dict(activation.parameters)
        # What is learned starts from the same parameters: it is taken out of those that stay fixed.
        learns = {name: self.fixed.pop(name) for name in entry.learns}
        values = 1 if self.fixed.pop("shared", False) else width
        self.learned: Any = nn.ParameterDict(  # a dict would be sorted
            [(name, nn.Parameter(torch.empty(values))) for name in learns]
        )
        # An own module keeps what it learns itself; the dict above stays for functions.
        if entry.module:
            self.learned = self._made()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, or hand the input to the observer that is active."""
        look = ACTIVATION_OBSERVER.get()
        return look(self, x) if look else self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """(examples, pieces · width, …) to (examples, units, …)."""
        if self.activation.entry.module:
            own: Tensor = self.learned(x)
            return own
        # One learned number per unit, in dimension 1: (units, 1, …) is
        # broadcast over the positions.
        shape = (-1,) + (1,) * (x.ndim - 2)
        if self.activation.entry.pieces > 1:
            # Pieces come first, so that a function of several takes them apart by its first index.
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
        # On the CPU, even where the network around it is built on "meta", without memory.
        with drawing_from(stream), torch.device("cpu"):
            return make(**self.fixed)


# A context variable, not a hook on the module: threads that share a network observe it apart.
ACTIVATION_OBSERVER: ContextVar[Callable[[Act, Tensor], Tensor] | None] = ContextVar(
    "ACTIVATION_OBSERVER", default=None
)


@contextmanager
def drawing_from(stream: torch.Generator | None) -> Iterator[None]:
    """What is drawn here from torch's global generator comes from `stream`, or leaves no trace."""
    # The lock, since torch's global generator is one for all threads; fork_rng puts it back.
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

        def drew() -> bool:
            now = [generator.get_state() for generator in generators]
            return not all(map(torch.equal, before, now))

        yield drew


def pieces(activation: Choice[Activation]) -> int:
    """How many pre-activations make one output; raises BadValue below 1."""
    count: int = activation.parameters.get("pieces", activation.entry.pieces)
    if count < 1:
        raise BadValue(f"{activation.entry.name}: pieces must be at least 1, got {count}")
    return count


class Dropout(Noisy):
    """Zeroes each element with probability `fraction` while training and scales the rest up.

    What is trained elsewhere than in relubench's loop draws from torch's global generator.

    whole  what is zeroed at once: 0 an element, 1 an example, 2 a channel
    """

    def __init__(self, fraction: float, whole: int = 0) -> None:
        super().__init__()
        self.fraction, self.whole = fraction, whole
        # Compared as integers: no float of 24 bits comes between the draw and the fraction.
        least = FIRST + round(fraction * 2**32)  # of what stays, among the integers drawn
        number = torch.tensor(min(least, BEYOND - 1), dtype=torch.int32, device="cpu")
        self.least = number if least < BEYOND else None  # a tensor, which is compared with faster

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not self.training:
            return x
        # The fraction rounds to all of 2³²: nothing stays, and nothing is divided by 0.
        if self.least is None:
            return x * 0
        shape = tuple(x.shape)
        if self.whole:
            # One draw for a whole example or channel, broadcast over the rest of it.
            shape = shape[: self.whole] + (1,) * (x.ndim - self.whole)
        noise = self.noise or Noise.of(None)
        return x * (noise.integers(shape, x.device) >= self.least) / (1 - self.fraction)


class Ordered(nn.Module):
    """A network that says in which order its layers are called."""

    @property
    def order(self) -> list[nn.Module]:
        """Layers with weights and activations, as they are called."""
        raise NotImplementedError

    def own_state(self) -> dict[str, Tensor]:
        """The state dict under the network's own names."""
        raise NotImplementedError


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


class Widened(nn.Module):
    """A shortcut without weights: every `stride`-th pixel, and further channels of 0."""

    def __init__(self, stride: int, added: int) -> None:
        super().__init__()
        self.stride, self.before = stride, added // 2
        self.after = added - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(examples, channels, height, width) to (examples, channels + added, …)."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(kept, (0, 0, 0, 0, self.before, self.after))


class Preactivated(nn.Module):
    """Two convolutions, each after a normalised activation, added to what came in.

    first, second  normalisation and activation
    shortcut       of the first's outputs; None: what came in, as it is
    """

    def __init__(
        self,
        first: nn.Module,
        conv1: nn.Module,
        second: nn.Module,
        conv2: nn.Module,
        shortcut: nn.Module | None,
        dropout: Dropout | None,
    ) -> None:
        super().__init__()
        self.first, self.conv1, self.second, self.conv2 = first, conv1, second, conv2
        self.shortcut, self.dropout = shortcut, dropout

    def forward(self, x: Tensor) -> Tensor:
        """(examples, channels, height, width) to (examples, pre-activations, …)."""
        opened = self.first(x)
        inner = self.second(self.conv1(opened))
        if self.dropout is not None:
            inner = self.dropout(inner)
        value: Tensor = self.conv2(inner)
        return value + (x if self.shortcut is None else self.shortcut(opened))


def activations(network: nn.Module) -> Iterator[tuple[str, Act]]:
    """Every Act with the name of the layer it ends, in the order of the network."""
    for path, module in network.named_modules():
        if isinstance(module, Act):
            yield module.place or path.removesuffix(".activation"), module


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


def parameter_groups(parameters: Mapping[str, Tensor], weight_decay: float) -> list[ParameterGroup]:
    """An optimizer's groups of the parameters of a network, by name: activations' are not decayed.

    Decay would pull a learned slope below 0 to 0, that is, to ReLU (He et al. 2015).
    """
    # By name: tensors of a step group are views or copies, and know no module.
    learned = [p for name, p in parameters.items() if ".learned." in name]
    weights = [p for name, p in parameters.items() if ".learned." not in name]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": learned, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def narrowest(network: nn.Module) -> float:
    """The fewest channels that a convolution gives; infinite where there is none."""
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    widths = (m.out_channels for m in network.modules() if isinstance(m, kinds))
    return min(widths, default=math.inf)


def inputs_first(weights: Tensor) -> Tensor:
    """Dense weights (…, outputs, inputs) in the order in which a product gives their gradient.

    In another, every step would copy that gradient.
    """
    return weights.mT.contiguous().mT


def own_state(network: nn.Module) -> dict[str, Tensor]:
    """The state dict as the network's author would load it."""
    return network.own_state() if isinstance(network, Ordered) else network.state_dict()


def parameter_count(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
