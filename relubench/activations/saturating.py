"""Saturating and historic activations: sigmoids, shrinkage, steps, waves, and identity."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from relubench.activations.activation import ACTIVATIONS
from relubench.catalog import Deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")

saturating = partial(ACTIVATIONS.add, family="saturating")
LECUN = "LeCun et al., Efficient BackProp"
OUTSIDE_1 = ((-inf, -1.0), (1.0, inf))
WITHIN_HALF = ((-0.5, 0.5),)


@saturating()
def identity(x: Tensor) -> Tensor:
    """x"""
    return x.clone()


@saturating(paper="Rumelhart et al., Nature", year=1986)
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)"""
    return torch.sigmoid(x)


@saturating(paper=LECUN, year=1998)
def tanh(x: Tensor) -> Tensor:
    """tanh(x)"""
    return torch.tanh(x)


@saturating(
    paper="as torch.nn.Hardsigmoid; arXiv:1905.02244 (Howard et al.)",
    year=2019,
    kinks={-3.0: 0.0, 3.0: 0.0},
    flat=((-inf, -3.0), (3.0, inf)),
)
def hard_sigmoid(x: Tensor, *, slope: float = 1 / 6) -> Tensor:
    """min(1, max(0, slope · x + 1/2))

    Three versions are in use: slope=1/6 here, in torch and in Keras 3, 0.2 in Keras 2, 1/2 as
    (x + 1) / 2.
    """
    return F.hardtanh(slope * x + 0.5, 0.0, 1.0)


@saturating(init="lecun", paper=LECUN, year=1998)
def lecun_tanh(x: Tensor) -> Tensor:
    """1.7159 · tanh(2/3 · x)"""
    return 1.7159 * torch.tanh(2 / 3 * x)


@saturating(
    paper="arXiv:1602.05980 (Xu et al.), formula not confirmed", year=2016, kinks={0.0: 0.25}
)
def penalized_tanh(x: Tensor, *, a: float = 0.25) -> Tensor:
    """tanh(x) if x > 0 else a · tanh(x)"""
    # tanh keeps the sign: where it is below 0, x is.
    return F.leaky_relu(torch.tanh(x), a)


@saturating(paper="Glorot & Bengio, AISTATS", year=2010)
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)"""
    return F.softsign(x)


@saturating(paper="Elliott, formula not confirmed", year=1993)
def elliott(x: Tensor) -> Tensor:
    """1/2 + x / (1 + |x|) / 2"""
    return 0.5 + F.softsign(x) / 2


@saturating()
def arctan(x: Tensor) -> Tensor:
    """arctan(x)"""
    return torch.atan(x)


@saturating()
def erf(x: Tensor) -> Tensor:
    """erf(x)"""
    return torch.erf(x)


@saturating(paper="arXiv:1710.09967 (Carlile et al.)", year=2017)
def isru(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x / √(1 + alpha · x²)"""
    return x * torch.rsqrt(1 + alpha * x.square())


@saturating(paper="Wuraola & Patel, IJCNN", year=2018, flat=((-inf, -2.0), (2.0, inf)))
def sqnl(x: Tensor) -> Tensor:
    """c - c · |c| / 4, c = min(2, max(-2, x))"""
    c = F.hardtanh(x, -2.0, 2.0)
    return c - c * c.abs() / 4


@saturating()
def cloglog(x: Tensor) -> Tensor:
    """1 - exp(-exp(x)), complementary log-log"""
    return -torch.expm1(-torch.exp(x.clamp(max=10)))  # e¹⁰: 1 in every float type


@saturating()
def logsigmoid(x: Tensor) -> Tensor:
    """ln(sigmoid(x))"""
    return F.logsigmoid(x)


@saturating()
def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)"""
    return F.tanhshrink(x)


@saturating(paper="Donoho & Johnstone", year=1994, kinks={-0.5: 0.0, 0.5: 0.0}, flat=WITHIN_HALF)
def hardshrink(x: Tensor, *, lambd: float = 0.5) -> Tensor:
    """x if |x| > lambd else 0"""
    return F.hardshrink(x, lambd)


@saturating(paper="Donoho & Johnstone", year=1994, kinks={-0.5: 0.0, 0.5: 0.0}, flat=WITHIN_HALF)
def softshrink(x: Tensor, *, lambd: float = 0.5) -> Tensor:
    """x - lambd if x > lambd; x + lambd if x < -lambd; else 0"""
    return F.softshrink(x, lambd)


@saturating(
    paper="McCulloch & Pitts; derivative: arXiv:1602.02830 (Courbariaux et al.)",
    year=1943,
    kinks={-1.0: 0.0, 1.0: 0.0},
    flat=OUTSIDE_1,
)
def heaviside(x: Tensor, *, window: float = 1.0) -> Tensor:
    """1 if x ≥ 0 else 0; derivative 1 where |x| < window, else 0

    A step has derivative 0: the one used is the straight-through estimator's.
    """
    return _straight_through((x >= 0).to(x.dtype), x, window)


@saturating(
    paper="arXiv:1602.02830 (Courbariaux et al.)",
    year=2016,
    kinks={-1.0: 0.0, 1.0: 0.0},
    flat=OUTSIDE_1,
)
def sign(x: Tensor, *, window: float = 1.0) -> Tensor:
    """1 if x ≥ 0 else -1; derivative 1 where |x| < window, else 0 (straight-through)"""
    positive = (x >= 0).to(x.dtype)  # not torch.sign, which is 0 at 0
    return _straight_through(2 * positive - 1, x, window)


@saturating(init="siren", paper="arXiv:2006.09661 (Sitzmann et al.)", year=2020)
def sine(x: Tensor, *, omega: float = 1.0) -> Tensor:
    """sin(omega · x)

    The paper's first layers have omega=30.
    """
    return torch.sin(omega * x)


@saturating()
def gaussian(x: Tensor) -> Tensor:
    """exp(-x²)"""
    return torch.exp(-x.square())


def _straight_through(value: Tensor, x: Tensor, window: float) -> Tensor:
    """The value with derivative 1 where |x| < window; the sum is exact, for what is added is 0."""
    carrier = F.hardtanh(x, -window, window)
    return value + (carrier - carrier.detach())
