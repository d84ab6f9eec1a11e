"""How a network's weights begin: normal numbers, scaled for the activation that follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from relubench.activations import Activation
from relubench.activations.moments import Hold, among, hold, standard_normal
from relubench.catalog import Choice
from relubench.models.attention import FeedForward, RootMeanSquareNorm, Transformer
from relubench.models.initialisation import INITS, OUTPUT, Layer, even, scheme
from relubench.models.layers import Act, Ordered, activations, drawing_from
from relubench.noise import Noise

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # layers that begin by a scheme
NEIGHBOURS = 64  # neurons of a layer where one takes in others' pre-activations
REPEATS = 4  # draws of noise at each point
HELD: dict[tuple[str, str], Hold] = {}  # by spelling and digest


def holding(choice: Choice[Activation]) -> Hold:
    """What initial weights hold the second moment of this activation, as it begins.

    A noisy one is looked at as it trains, with noise; float64, found once.
    """
    # With the digest: a user's file may be edited and read again under the same name.
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
        # Each point several times, with a draw of its own: an average over the noise as well.
        points, weights = points.repeat(REPEATS, 1), weights.repeat(REPEATS) / REPEATS

    def second(sd: float) -> float:
        # The same noise for every sd, so that this is a function of it.
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
        # Otherwise the weight is computed from other parameters, and is written through them.
        plain = "weight" in module._parameters
        whole = module.weight.detach() if plain else module.weight.detach().clone()
        part = self._part(whole, first)
        # In float64 whatever the weights are: float32 and float64 runs begin alike.
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
        # The older weight_norm: its hook computes the weight from these before every forward.
        norms = (h for h in module._forward_pre_hooks.values() if hasattr(h, "compute_weight"))
        module.weight_g.copy_(torch.norm_except_dim(weight, 2, next(norms).dim))
        module.weight_v.copy_(weight)
    elif hasattr(module, "weight_orig"):  # prune, and the older spectral_norm
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
    # What an activation holds begins as it says itself: layers inside of it are not drawn here.
    acts = [act for _, act in activations(network)]
    own: set[nn.Module] = set()
    for act in acts:
        own.update(act.learned.modules())
    starts, pending = _starts(network, init, own)
    starts = list(_drawn(network, starts))
    # First pieces of all layers, then the rest: an activation with two pieces begins with the same
    # numbers as one with one.
    for first in (True, False):
        parts = [start for start in starts if first or start.pieces > 1]
        for start in parts:
            start.draw(first, stream)
        for start in parts:
            # The very last layer alone: another's network may end in several heads.
            middle = output_bias if start.module in pending[-1:] else 0.0
            start.draw_bias(first, stream, middle)
    for act in acts:
        act.reset_parameters(stream)


def _starts(
    network: nn.Module, init: str | None, own: Set[nn.Module]
) -> tuple[list[Start], list[nn.Module]]:
    """How every layer begins, and the layers after the last activation.

    own  modules of activations, which are not drawn here
    """
    attending = isinstance(network, Transformer)
    widening = {m.widen for m in network.modules() if isinstance(m, FeedForward)}
    pending: list[nn.Module] = []
    starts: list[Start] = []
    # Which activation follows which layer: layers wait until the next Act comes by.
    for module in network.order if isinstance(network, Ordered) else network.modules():
        if isinstance(module, Act):
            for layer in pending:
                start = _before(module, layer, init, not starts)
                # What attends is no piece of an activation, though one comes next.
                single = attending and layer not in widening
                starts.append(replace(start, pieces=1) if single else start)
            pending.clear()
        elif isinstance(module, WEIGHTED) and module not in own:
            pending.append(module)
    # What still waits is the output layer: no activation follows it.
    last = init if init in ("torch", "gpt2") else OUTPUT
    starts += [Start(layer, last, 1, Layer(*_fans(layer, 1))) for layer in pending]
    return starts, pending


def _drawn(network: nn.Module, starts: Iterable[Start]) -> Iterator[Start]:
    """The same, each with what of it is kept, or drawn with an earlier layer."""
    names = kept(network)
    # By identity: a tensor that two layers share has two names.
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
        moments = holding(act.activation)
        # The first layer sees data of second moment 1, later ones what the activation gives.
        variance = moments.first if sees_data else moments.variance
    fans = _fans(module, act.pieces)
    return Start(module, name, act.pieces, Layer(*fans, variance, sees_data, act.activation))


def _fans(module: nn.Module, pieces: int) -> tuple[int, int]:
    """Inputs of an output, and outputs of an input: those of what follows, not its pieces."""
    weight: Any = module.weight  # of a parameter, or computed from others
    receptive = weight[0, 0].numel()
    # All pieces together make one output: they are one fan-out, not several.
    width = weight.shape[0] // pieces
    return weight.shape[1] * receptive, width * receptive // getattr(module, "groups", 1)


def reset_norms(network: nn.Module) -> None:
    """Let normalisation begin at scale 1, shift 0 and no statistics."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | RootMeanSquareNorm):
            module.reset_parameters()
