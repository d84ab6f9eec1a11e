"""Rectifiers: linear on one side of 0 and, but for a slope, nothing on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench.activations.unit import ACTIVATIONS
from relubench.catalog import Deferred
from relubench.errors import BadValue

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")


RECTIFIERS = "arXiv:1505.00853 (Xu et al.)"


@ACTIVATIONS.add(
    family="rectifier", init="he", paper="Nair & Hinton, ICML", year=2010, kinks={0.0: 0.0}
)
def relu(x: Tensor) -> Tensor:
    """max(0, x)"""
    return torch.relu(x)


@ACTIVATIONS.add(
    family="rectifier",
    init="he",
    paper="Krizhevsky, CDBN on CIFAR-10",
    year=2010,
    kinks={0.0: 0.0, 6.0: 0.0},
)
def relu6(x: Tensor) -> Tensor:
    """min(6, max(0, x))"""
    return F.relu6(x)


@ACTIVATIONS.add(
    family="rectifier", init="he", paper="Maas et al., ICML", year=2013, kinks={0.0: 0.01}
)
def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """x if x > 0 else negative_slope · x"""
    return F.leaky_relu(x, negative_slope)


@ACTIVATIONS.add(
    family="rectifier",
    init="he",
    paper="arXiv:1502.01852 (He et al.)",
    year=2015,
    learns={"a": 0.25},
    kinks={0.0: 0.25},
)
def prelu(x: Tensor, a: Tensor) -> Tensor:
    """max(0, x) + a · min(0, x), one learned a per unit"""
    return torch.where(x > 0, x, a * x)


@ACTIVATIONS.add(
    family="rectifier", init="he", paper=RECTIFIERS, year=2015, kinks={0.0: 2 / 11}, noisy=True
)
def rrelu(
    x: Tensor, noise: torch.Generator | None, *, lower: float = 3.0, upper: float = 8.0
) -> Tensor:
    """x if x > 0 else x / a, a ~ U(lower, upper) per element; (lower + upper) / 2 in evaluation"""
    a = (lower + upper) / 2 if noise is None else _uniform(x, lower, upper, noise)
    return torch.where(x > 0, x, x / a)


@ACTIVATIONS.add(
    family="rectifier",
    init="he",
    paper=f"{RECTIFIERS}, as torch.nn.RReLU",
    year=2015,
    kinks={0.0: 11 / 48},
    noisy=True,
)
def rrelu_torch(
    x: Tensor, noise: torch.Generator | None, *, lower: float = 1 / 8, upper: float = 1 / 3
) -> Tensor:
    """x if x > 0 else a · x, a ~ U(lower, upper) per element; (lower + upper) / 2 in evaluation"""
    a = (lower + upper) / 2 if noise is None else _uniform(x, lower, upper, noise)
    return torch.where(x > 0, x, a * x)


def _uniform(x: Tensor, lower: float, upper: float, noise: torch.Generator) -> Tensor:
    if lower > upper:
        raise BadValue(f"lower={lower:g} is above upper={upper:g}")
    draw = torch.rand(x.shape, generator=noise, dtype=x.dtype, device=x.device)
    return lower + (upper - lower) * draw
