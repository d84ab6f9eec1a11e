"""How weights begin: from standard normal numbers, the same for every activation.

A scheme is a function (z, layer) -> weights: z has the shape of the weights, outputs first.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Choice, Deferred, Entry

if TYPE_CHECKING:
    import torch as t
    from torch import Tensor

    from relubench.activations import Activation
else:
    t = Deferred("torch")

OUTPUT = "glorot"  # no activation follows the last layer
CUSTOM = {"saturating": "glorot"}  # by family; he where none stands here


@dataclass(frozen=True)
class Layer:
    """What a scheme needs to know of a layer.

    fan_in, fan_out  fan-out counts the outputs of what follows, not its pieces
    variance         gain² of the activation that follows: moments.Hold
    sees_data        whether it is the first
    activation       what follows; None after the output layer
    """

    fan_in: int
    fan_out: int
    variance: float = 1.0
    sees_data: bool = False
    activation: Choice[Activation] | None = None


@dataclass(frozen=True)
class Init(Entry["Tensor"]):
    """One scheme of initial weights.

    paper         where it was published
    takes_gain    whether it needs the gain of the activation that follows
    draws_biases  whether biases are drawn too, evenly within 1 / √fan-in; else they are 0
    """

    paper: str = ""
    takes_gain: bool = False
    draws_biases: bool = False

    @property
    def sd(self) -> str:
        """The standard deviation of a normal one, as its description has it."""
        return re.split("[;,]", self.description.removeprefix("normal, sd "))[0]


INITS: Catalog[Init] = Catalog("init", Init)


@INITS.add(takes_gain=True)
def gain(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd gain / √fan-in; gain = 1 / √E f(z)² of the activation that follows

    The second moment of pre-activations stays what it is, from layer to layer; for relu this is he.
    The first layer, which sees the data, has gain 1 where the activation holds no other second
    moment than 1.
    """
    return z * math.sqrt(layer.variance / layer.fan_in)


@INITS.add(paper="arXiv:1502.01852 (He et al.)")
def he(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd √(2 / fan-in)"""
    return z * math.sqrt(2 / layer.fan_in)


@INITS.add(paper="Glorot & Bengio, AISTATS 2010")
def glorot(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd √(2 / (fan-in + fan-out))"""
    return z * math.sqrt(2 / (layer.fan_in + layer.fan_out))


@INITS.add(paper="LeCun et al., Efficient BackProp, 1998")
def lecun(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd √(1 / fan-in)"""
    return z * math.sqrt(1 / layer.fan_in)


@INITS.add(paper="arXiv:1312.6120 (Saxe et al.)", takes_gain=True)
def orthogonal(z: Tensor, layer: Layer) -> Tensor:
    """gain times a matrix with orthogonal rows, or columns, as torch.nn.init.orthogonal_"""
    flat = z.flatten(1)
    # QR gives orthogonal columns: of a wide matrix the transpose is taken apart.
    wide = flat.shape[0] < flat.shape[1]
    q, r = t.linalg.qr(flat.T if wide else flat)
    q = q * r.diagonal().sign()  # evenly distributed: Mezzadri, arXiv:math-ph/0609050
    matrix: Tensor = q.T if wide else q
    return matrix.reshape(z.shape) * math.sqrt(layer.variance)


@INITS.add(draws_biases=True)
def torch(z: Tensor, layer: Layer) -> Tensor:
    """even within 1 / √fan-in, biases too: what torch.nn.Linear and Conv2d begin with"""
    return even(z) / math.sqrt(layer.fan_in)


@INITS.add(paper="arXiv:2006.09661 (Sitzmann et al.)")
def siren(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd √(2 / fan-in) / omega, since a sine halves the second moment

    The paper draws evenly, with that sd, and the first layer for inputs that are coordinates. Here
    data have a second moment of 1, so that the first layer has √(1 / fan-in) / omega.
    """
    omega: float = layer.activation.parameters.get("omega", 1.0) if layer.activation else 1.0
    # 2 between layers, 1 where the data come in; `sees_data` is a bool, and counts as 1.
    return z * (math.sqrt((2 - layer.sees_data) / layer.fan_in) / abs(omega or 1.0))


@INITS.add(paper="GPT-2 (Radford et al. 2019)")
def gpt2(z: Tensor, layer: Layer) -> Tensor:
    """normal, sd 0.02

    Models of attention begin so, and also divide what adds to a block's input by √(2 · blocks).
    """
    return z * 0.02


@INITS.add()
def family(z: Tensor, layer: Layer) -> Tensor:
    """glorot before saturating activations, he before others; an activation's own paper comes first

    So most published comparisons begin.
    """
    assert layer.activation is not None
    weights: Tensor = INITS[customary(layer.activation.entry)].function(z, layer)
    return weights


def even(z: Tensor) -> Tensor:
    """Standard normal numbers to evenly distributed ones from -1 to 1."""
    return t.erf(z / math.sqrt(2))


def customary(activation: Activation | None) -> str:
    """The scheme that most studies take for such an activation; None: a user's own."""
    if activation is None:
        return "he"
    if activation.init != "gain":
        return activation.init
    return CUSTOM.get(activation.family, "he")


def scheme(init: str | None, activation: Activation | None, model: str = "") -> str:
    """The scheme of the weights before an activation (None: a user's own) where `init` was asked.

    init   None: the model's, or else the activation's own
    model  the scheme that the model has for every activation
    """
    init = init or model or None
    if init == "family":
        return customary(activation)
    return init or (activation.init if activation else "gain")
