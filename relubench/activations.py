"""Activations: formula, slope at the kink, initial weights, paper.

Every unit is a function of the pre-activation `x`, of any shape with the units in dimension 1,
and returns a tensor of the same shape and dtype; it never changes `x`. A learned parameter follows
`x` and arrives shaped to broadcast against it; a unit that draws noise takes a generator last,
which is None in evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")


@dataclass(frozen=True)
class Activation(Entry):
    """One unit and its facts.

    family  the group it is listed under
    init    the scheme of the weights that feed it: he, glorot or lecun (relubench.layers.SCHEMES)
    paper   where it was published
    year    when
    learns  its learned parameters, one value per unit, with their initial values
    kinks   where the derivative jumps, and the slope used there, at the default parameters
    noisy   whether it draws noise while training
    """

    family: str
    init: str
    paper: str = ""
    year: int | None = None
    learns: Mapping[str, float] = field(default_factory=dict)
    kinks: Mapping[float, float] = field(default_factory=dict)
    noisy: bool = False

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Fixed parameters, then learned ones with their initial values."""
        return {**super().parameters, **self.learns}


ACTIVATIONS: Catalog[Activation] = Catalog("activation", Activation)

RECTIFIERS = "arXiv:1505.00853 (Xu et al.)"


@ACTIVATIONS.add(family="reference", init="glorot")
def identity(x: Tensor) -> Tensor:
    """x"""
    return x.clone()


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


@ACTIVATIONS.add(
    family="exponential", init="he", paper="arXiv:1511.07289 (Clevert et al.)", year=2015
)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x if x > 0 else alpha · (eˣ - 1)"""
    return F.elu(x, alpha)


@ACTIVATIONS.add(
    family="exponential",
    init="lecun",
    paper="arXiv:1706.02515 (Klambauer et al.)",
    year=2017,
    kinks={0.0: 1.0507009873554805 * 1.6732632423543772},
)
def selu(x: Tensor) -> Tensor:
    """λ · (x if x > 0 else α · (eˣ - 1)), λ = 1.0507…, α = 1.6733…"""
    return torch.selu(x)


@ACTIVATIONS.add(family="exponential", init="he", paper="arXiv:1704.07483 (Barron)", year=2017)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha · (exp(x / alpha) - 1))"""
    return F.celu(x, alpha)


@ACTIVATIONS.add(
    family="smooth", init="he", paper="arXiv:1606.08415 (Hendrycks & Gimpel)", year=2016
)
def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), Φ the standard normal distribution function"""
    return F.gelu(x)


@ACTIVATIONS.add(family="smooth", init="he", paper="arXiv:1702.03118 (Elfwing et al.)", year=2017)
def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x)"""
    return F.silu(x)


@ACTIVATIONS.add(family="smooth", init="he", paper="arXiv:1908.08681 (Misra)", year=2019)
def mish(x: Tensor) -> Tensor:
    """x · tanh(softplus(x))"""
    return x * torch.tanh(F.softplus(x))  # F.mish has no vectorised backward pass


@ACTIVATIONS.add(family="smooth", init="he", paper="Dugas et al., NIPS", year=2001)
def softplus(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """ln(1 + exp(beta · x)) / beta"""
    return F.softplus(x, beta)


@ACTIVATIONS.add(family="saturating", init="glorot")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)"""
    return torch.sigmoid(x)


@ACTIVATIONS.add(family="saturating", init="glorot")
def tanh(x: Tensor) -> Tensor:
    """tanh(x)"""
    return torch.tanh(x)


def _uniform(x: Tensor, lower: float, upper: float, noise: torch.Generator) -> Tensor:
    if lower > upper:
        raise BadValue(f"lower={lower:g} is above upper={upper:g}")
    draw = torch.rand(x.shape, generator=noise, dtype=x.dtype, device=x.device)
    return lower + (upper - lower) * draw
