"""Activations over several pre-activations, and those that give two outputs for each.

`x` is (pieces, examples, units, …) and the output (examples, units, …); only one with two
outputs, and polynorm, takes (examples, units, …). A gated one's first piece is
the value, its second the gate, as in torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from relubench.activations.activation import ACTIVATIONS
from relubench.catalog import Deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from relubench.noise import Noise
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")

BELOW = ((-math.inf, 0.0),)  # of the gate, or of both pieces
UNREAD = ", from memory"  # the formula was not compared with the paper
GATED = "arXiv:2002.05202 (Shazeer)"


@ACTIVATIONS.add(family="pieces", paper="arXiv:1302.4389 (Goodfellow et al.)", year=2013, pieces=2)
def maxout(x: Tensor, *, pieces: int = 2) -> Tensor:
    """maxⱼ xⱼ over so many pieces; where they are equal they share the derivative"""
    return x.amax(dim=0)


@ACTIVATIONS.add(
    family="pieces",
    paper=f"arXiv:1312.6116 (Springenberg & Riedmiller){UNREAD}",
    year=2013,
    noisy=True,
    pieces=2,
)
def probout(x: Tensor, noise: Noise | None, *, pieces: int = 2, sharpness: float = 1.0) -> Tensor:
    """xᵢ with probability softmax(sharpness · x)ᵢ; in evaluation its mean, Σᵢ softmaxᵢ · xᵢ

    The paper averages the outputs of several networks drawn so; we take the mean in every unit,
    which needs one pass and no noise.
    """
    probabilities = torch.softmax(sharpness * x, dim=0)
    if noise is None:
        return (probabilities * x).sum(dim=0)
    draw = noise.uniform(x, x.shape[1:])
    # Without the last sum, which rounding may leave below 1 and so below the draw.
    ends = probabilities.detach().cumsum(dim=0)[:-1]
    drawn = (ends < draw).sum(dim=0, keepdim=True)
    # The gradient goes to the piece that was drawn alone.
    return x.gather(0, drawn).squeeze(0)


@ACTIVATIONS.add(
    family="pieces",
    paper=f"arXiv:1311.1780 (Gulcehre et al.){UNREAD}",
    year=2013,
    learns={"rho": 0.5413248546129181},  # p = 2
    pieces=2,
)
def lp_unit(x: Tensor, rho: Tensor, *, pieces: int = 2) -> Tensor:
    """(mean of |xⱼ|ᵖ over the pieces)^(1/p), p = 1 + softplus(rho), one learned rho per unit

    rho begins where p is 2. Where every xⱼ is 0 the derivative is 0.
    """
    p = 1 + F.softplus(rho)
    largest = x.detach().abs().amax(dim=0)  # it is homogeneous: scaled, no power overflows
    still = largest == 0
    scaled = x.abs() / torch.where(still, 1, largest)
    mean = scaled.pow(p).mean(dim=0)
    return largest * torch.where(still, 1, mean).pow(1 / p)  # a root has no derivative at 0


@ACTIVATIONS.add(
    family="pieces",
    paper=f"arXiv:1707.08214 (Godin et al.){UNREAD}",
    year=2017,
    flat=BELOW,
    pieces=2,
)
def dual_relu(x: Tensor) -> Tensor:
    """max(0, a) - max(0, b)"""
    positive, negative = torch.relu(x).unbind()
    return positive - negative


@ACTIVATIONS.add(
    family="pieces",
    paper="arXiv:1603.05201 (Shang et al.)",
    year=2016,
    kinks={0.0: 0.0},
    flat=BELOW,
    outputs=2,
)
def crelu(x: Tensor) -> Tensor:
    """max(0, x), and beside all of these max(0, -x): two outputs per pre-activation

    A public version joins them along the examples by default, so that batches are twice as long.
    """
    return torch.cat((torch.relu(x), torch.relu(-x)), dim=1)


@ACTIVATIONS.add(
    family="pieces", paper="arXiv:2410.20634 (Lewandowski et al.)", year=2024, outputs=2
)
def deep_fourier(x: Tensor) -> Tensor:
    """sin(x), and beside all of these cos(x): two outputs per pre-activation"""
    return torch.cat((torch.sin(x), torch.cos(x)), dim=1)


@ACTIVATIONS.add(
    family="pieces",
    paper="arXiv:2411.03884 (Zhuo et al.)",
    year=2024,
    learns={"a1": 1 / 3, "a2": 1 / 3, "a3": 1 / 3, "b": 0.0},
    shared=True,
    mixes=True,
)
def polynorm(
    x: Tensor, a1: Tensor, a2: Tensor, a3: Tensor, b: Tensor, *, eps: float = 1e-6
) -> Tensor:
    """a1 · n(x) + a2 · n(x²) + a3 · n(x³) + b, all learned, n(u) = u / √(mean u² + eps)

    The mean is over the layer's units, of each example and position: an output depends on all of
    them. One public version begins a1 to a3 at 0.3, 0.4 and 0.3, and b at 0.1.
    """
    value = b
    for power, coefficient in ((x, a1), (x.square(), a2), (x.pow(3), a3)):
        squared = power.square().mean(dim=1, keepdim=True)
        value = value + coefficient * power * torch.rsqrt(squared + eps)
    return value


@ACTIVATIONS.add(family="gated", paper="arXiv:1612.08083 (Dauphin et al.)", year=2016, pieces=2)
def glu(x: Tensor) -> Tensor:
    """a · sigmoid(b)"""
    value, gate = x.unbind()
    return value * torch.sigmoid(gate)


@ACTIVATIONS.add(family="gated", paper=GATED, year=2020, flat=BELOW, pieces=2)
def reglu(x: Tensor) -> Tensor:
    """a · max(0, b)"""
    value, gate = x.unbind()
    return value * torch.relu(gate)


@ACTIVATIONS.add(family="gated", paper=GATED, year=2020, pieces=2)
def geglu(x: Tensor) -> Tensor:
    """a · gelu(b)"""
    value, gate = x.unbind()
    return value * F.gelu(gate)


@ACTIVATIONS.add(family="gated", paper=GATED, year=2020, pieces=2)
def swiglu(x: Tensor) -> Tensor:
    """a · b · sigmoid(b)"""
    value, gate = x.unbind()
    return value * F.silu(gate)
