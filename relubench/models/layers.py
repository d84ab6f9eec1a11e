"""What networks are made of: Act, Dropout and Residual, and how their weights begin.

Nothing here touches torch's global random state: weights come from a generator of the cell, noise
from keys of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.inits import INITS, OUTPUT, Layer, even, scheme
from relubench.moments import Hold, among, hold, standard_normal
from relubench.noise import BEYOND, FIRST, Noise
from relubench.own_imports import DRAWING

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that begin by a scheme
NEIGHBOURS = 64  # among which a unit is looked at that takes in others' pre-activations
REPEATS = 4  # draws of noise at each point


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


class _UndrawnLayers(TorchFunctionMode):
    """The weights of dense and convolutional layers stay as memory had them; the rest is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensor = args[0] if args else given.get("tensor")
        name = getattr(func, "__name__", "")
        drawing = name.endswith("_") and not name.startswith("__") and id(tensor) in self.weights
        return tensor if drawing else func(*args, **given)

    def note(self, module: nn.Module, name: str, parameter: Any) -> None:
        """A parameter is registered: whether it is such a weight."""
        if isinstance(module, WEIGHTED) and name == "weight" and parameter is not None:
            self.weights[id(parameter)] = parameter


@contextmanager
def undrawn_layers() -> Iterator[None]:
    """What is built here has layers whose weights are not drawn: `initialise` does that anyway."""
    mode = _UndrawnLayers()
    hook = nn.modules.module.register_module_parameter_registration_hook(mode.note)
    try:
        with mode:
            yield
    finally:
        hook.remove()


@torch.no_grad()
def sketch(network: nn.Module) -> None:
    """Give dense and convolutional layers weights that are good enough to look at, in no time."""
    numbers = torch.randn(2**12 + 1, generator=torch.Generator().manual_seed(0))
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            weight = module.get_parameter("weight")
            drawn = numbers * math.sqrt(1 / max(1, weight[0].numel()))
            flat = weight.view(-1)
            rows = flat.numel() // len(drawn)
            flat[: rows * len(drawn)].view(rows, len(drawn)).copy_(drawn)
            flat[rows * len(drawn) :].copy_(drawn[: flat.numel() - rows * len(drawn)])


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


class Ordered(nn.Module):
    """A network that says in which order its layers are called."""

    @property
    def order(self) -> list[nn.Module]:
        """Layers with weights and activations, as they are called."""
        raise NotImplementedError

    def own_state(self) -> dict[str, Any]:
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


def narrowest(network: nn.Module) -> float:
    """The fewest channels that a convolution gives; infinite where there is none."""
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    widths = (m.out_channels for m in network.modules() if isinstance(m, kinds))
    return min(widths, default=math.inf)


def own_state(network: nn.Module) -> dict[str, Any]:
    """The state dict as the network's author would load it."""
    return network.own_state() if isinstance(network, Ordered) else network.state_dict()


def parameter_count(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


HELD: dict[tuple[str, str], Hold] = {}  # by spelling and digest


def holding(choice: Choice[Activation]) -> Hold:
    """What initial weights hold the second moment of this activation, as it begins.

    A noisy one is looked at as it trains, with noise; float64, found once.
    """
    key = (str(choice), choice.entry.sha256)
    if key not in HELD:
        HELD[key] = hold(_second_moment(choice))
    return HELD[key]


def _second_moment(choice: Choice[Activation]) -> Callable[[float], float]:
    """E f(sd · z)² by sd, z standard normal, over all outputs."""
    entry = choice.entry
    act = Act(choice, NEIGHBOURS if entry.mixes else 1).double()
    points, weights = among(NEIGHBOURS) if entry.mixes else standard_normal(act.pieces)
    act.reset_parameters(torch.Generator("cpu").manual_seed(0))  # an own module may draw its own
    act.train(entry.noisy)
    if entry.noisy:
        points, weights = points.repeat(REPEATS, 1), weights.repeat(REPEATS) / REPEATS

    def second(sd: float) -> float:
        act.noise = Noise.of(torch.Generator("cpu").manual_seed(0))
        with torch.no_grad():
            values = act.activate(points * sd)
        return float((weights * values.square().mean(dim=1)).sum())

    return second


@dataclass(frozen=True)
class Start:
    """How one layer begins: by which scheme, and how many pre-activations make an output.

    kept  of its weight and bias, what is not drawn
    """

    module: nn.Module
    scheme: str
    pieces: int
    layer: Layer
    kept: frozenset[str] = frozenset()

    def draw(self, first: bool, stream: torch.Generator) -> None:
        """Draw the weights of the first pieces, or of the others; all feed as many outputs."""
        if "weight" in self.kept:
            return
        module: Any = self.module
        plain = "weight" in module._parameters
        whole = module.weight.detach() if plain else module.weight.detach().clone()
        part = self._part(whole, first)
        z = torch.randn(part.shape, generator=stream, dtype=torch.float64)
        part.copy_(INITS[self.scheme].function(z, self.layer))
        if not plain:
            write_weight(self.module, whole)

    def draw_bias(self, first: bool, stream: torch.Generator, middle: float) -> None:
        """Set the biases of the first pieces, or of the others, to `middle` or draw them around."""
        if self.module._parameters.get("bias") is None or "bias" in self.kept:
            return
        part = self._part(self.module.get_parameter("bias").detach(), first).fill_(middle)
        if INITS[self.scheme].draws_biases:
            z = torch.randn(part.shape, generator=stream, dtype=torch.float64)
            part.add_(even(z) * self.layer.fan_in**-0.5)

    def _part(self, whole: Tensor, first: bool) -> Tensor:
        width = len(whole) // self.pieces
        return whole[:width] if first else whole[width:]


@torch.no_grad()
def write_weight(module: Any, weight: Tensor) -> None:
    """Give a layer this weight where it is computed from others: weight_norm, spectral_norm, prune.

    What knows no way back from the weight stays as its code drew it.
    """
    if nn.utils.parametrize.is_parametrized(module, "weight"):
        with suppress(NotImplementedError):
            module.weight = weight
    elif hasattr(module, "weight_g"):
        norms = (h for h in module._forward_pre_hooks.values() if hasattr(h, "compute_weight"))
        module.weight_g.copy_(torch.norm_except_dim(weight, 2, next(norms).dim))
        module.weight_v.copy_(weight)
    elif hasattr(module, "weight_orig"):
        module.weight_orig.copy_(weight)


def initialise(
    network: nn.Module,
    stream: torch.Generator,
    output_bias: float = 0.0,
    init: str | None = None,
) -> None:
    """Draw all weights from `stream`; biases are 0, those of the output layer `output_bias`.

    A layer's weights are made of standard normal numbers, the same for every activation, by the
    scheme `init`, or else by that of the activation that follows it. Further pieces are drawn
    after everything else, so that the first ones and the other layers get the same numbers too.
    What is neither a dense nor a convolutional layer is left as it is, and so is what another's
    code brings along. A weight of two layers is drawn once, for the first.
    """
    acts = [act for _, act in activations(network)]
    own = {module for act in acts for module in act.learned.modules()}
    pending: list[nn.Module] = []
    starts: list[Start] = []
    for module in network.order if isinstance(network, Ordered) else network.modules():
        if isinstance(module, Act):
            for layer in pending:
                starts.append(_before(module, layer, init, not starts))
            pending.clear()
        elif isinstance(module, WEIGHTED) and module not in own:
            pending.append(module)
    last = "torch" if init == "torch" else OUTPUT
    starts += [Start(layer, last, 1, Layer(*_fans(layer, 1))) for layer in pending]
    starts = list(_drawn(network, starts))
    for first in (True, False):
        parts = [start for start in starts if first or start.pieces > 1]
        for start in parts:
            start.draw(first, stream)
        for start in parts:
            middle = output_bias if start.module in pending[-1:] else 0.0
            start.draw_bias(first, stream, middle)
    for act in acts:
        act.reset_parameters(stream)


def _drawn(network: nn.Module, starts: Iterable[Start]) -> Iterator[Start]:
    """The same, each with what of it is kept, or drawn with an earlier layer."""
    names = kept(network)
    done = {id(tensor) for name, tensor in network.named_parameters() if name in names}
    for start in starts:
        parts: dict[str, set[int]] = {"weight": set(), "bias": set()}
        for name, tensor in start.module.named_parameters():
            parts["bias" if name == "bias" else "weight"].add(id(tensor))
        yield replace(start, kept=frozenset(part for part, ids in parts.items() if ids <= done))
        done |= parts["weight"] | parts["bias"]


def kept(network: nn.Module) -> frozenset[str]:
    """The parameters that are not drawn: those that another's code brings along."""
    names: frozenset[str] = getattr(network, "kept_parameters", frozenset())
    return names


def redraw(network: nn.Module, stream: torch.Generator) -> None:
    """Let everything begin anew as torch has it, also what another's code brings along."""
    network.kept_parameters = frozenset()  # type: ignore[assignment]  # an attribute of ours
    with drawing_from(stream):
        for module in network.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if not isinstance(module, Act) and callable(reset):
                reset()


def _before(act: Act, module: nn.Module, init: str | None, sees_data: bool) -> Start:
    """How a layer before `act` begins."""
    name, variance = scheme(init, act.activation.entry), 1.0
    if INITS[name].takes_gain:
        held = holding(act.activation)
        variance = held.first if sees_data else held.variance
    fans = _fans(module, act.pieces)
    return Start(module, name, act.pieces, Layer(*fans, variance, sees_data, act.activation))


def _fans(module: nn.Module, pieces: int) -> tuple[int, int]:
    """Inputs of an output, and outputs of an input: those of what follows, not its pieces."""
    weight: Any = module.weight  # of a parameter, or computed from others
    receptive = weight[0, 0].numel()
    width = weight.shape[0] // pieces
    return weight.shape[1] * receptive, width * receptive // getattr(module, "groups", 1)


def reset_norms(network: nn.Module) -> None:
    """Let batch normalisation begin at scale 1, shift 0 and no statistics."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
