"""Rectifiers: straight pieces, and powers of them."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from relubench.activations.activation import ACTIVATIONS
from relubench.catalog import Deferred
from relubench.errors import BadValue

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from relubench.noise import Noise
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")

rectifier = partial(ACTIVATIONS.add, family="rectifier")
XU = "arXiv:1505.00853 (Xu et al.)"
BELOW_0 = ((-inf, 0.0),)


@rectifier(paper="Nair & Hinton, ICML", year=2010, kinks={0.0: 0.0}, flat=BELOW_0)
def relu(x: Tensor) -> Tensor:
    """max(0, x)"""
    return torch.relu(x)


@rectifier(paper="Maas et al., ICML", year=2013, kinks={0.0: 0.01})
def leaky_relu(x: Tensor, *, negative_slope: float = 0.01) -> Tensor:
    """x if x > 0 else negative_slope · x

    A public comparison gives it the number of channels as slope, or True, which is 1 and the
    identity.
    """
    return F.leaky_relu(x, negative_slope)


@rectifier(paper=f"{XU}, name not confirmed", year=2015, kinks={0.0: 1 / 5.5})
def very_leaky_relu(x: Tensor) -> Tensor:
    """x if x > 0 else x / 5.5

    Elsewhere the name stands for a slope of 1/3, and in one public version for one of 3.
    """
    return F.leaky_relu(x, 1 / 5.5)


@rectifier(paper="arXiv:1502.01852 (He et al.)", year=2015, learns={"a": 0.25}, kinks={0.0: 0.25})
def prelu(x: Tensor, a: Tensor) -> Tensor:
    """max(0, x) + a · min(0, x), a learned

    One a per unit, as in the paper; torch.nn.PReLU begins with one for the layer: shared=true.
    """
    positive = torch.relu(x)  # with torch.where a step on a CPU takes twice as long
    return positive + a * (x - positive)


@rectifier(paper=XU, year=2015, kinks={0.0: 2 / 11}, noisy=True)
def rrelu(x: Tensor, noise: Noise | None, *, lower: float = 3.0, upper: float = 8.0) -> Tensor:
    """x if x > 0 else x / a, a ~ U(lower, upper) per element; (lower + upper) / 2 in evaluation"""
    a = (lower + upper) / 2 if noise is None else _uniform(x, lower, upper, noise)
    return torch.where(x > 0, x, x / a)


@rectifier(paper=f"{XU}, as torch.nn.RReLU", year=2015, kinks={0.0: 11 / 48}, noisy=True)
def rrelu_torch(
    x: Tensor, noise: Noise | None, *, lower: float = 1 / 8, upper: float = 1 / 3
) -> Tensor:
    """x if x > 0 else a · x, a ~ U(lower, upper) per element; (lower + upper) / 2 in evaluation"""
    a = (lower + upper) / 2 if noise is None else _uniform(x, lower, upper, noise)
    return torch.where(x > 0, x, a * x)


@rectifier(
    paper="Krizhevsky, CDBN on CIFAR-10",
    year=2010,
    kinks={0.0: 0.0, 6.0: 0.0},
    flat=((-inf, 0.0), (6.0, inf)),
)
def relu6(x: Tensor) -> Tensor:
    """min(6, max(0, x))"""
    return F.relu6(x)


@rectifier(
    paper="Liew et al., Neurocomputing, formula not confirmed",
    year=2016,
    kinks={0.0: 0.0, 1.0: 0.0},
    flat=((-inf, 0.0), (1.0, inf)),
)
def bounded_relu(x: Tensor, *, bound: float = 1.0) -> Tensor:
    """min(bound, max(0, x))"""
    return F.hardtanh(x, 0.0, _positive("bound", bound))


@rectifier(
    paper="Liew et al., Neurocomputing, formula not confirmed",
    year=2016,
    kinks={0.0: 0.01, 1.0: 0.01},
)
def bounded_leaky_relu(x: Tensor, *, negative_slope: float = 0.01, bound: float = 1.0) -> Tensor:
    """c + negative_slope · (x - c), c = min(bound, max(0, x))"""
    c = F.hardtanh(x, 0.0, _positive("bound", bound))
    # Between the bounds c is x; beyond them it stands still, and the slope is what is left.
    return c + negative_slope * (x - c)


@rectifier(
    paper="arXiv:1809.09534 (Nicolae), formula not confirmed",
    year=2018,
    kinks={-1.0: 0.1, 1.0: 0.1},
)
def plu(x: Tensor, *, alpha: float = 0.1, c: float = 1.0) -> Tensor:
    """max(alpha · (x + c) - c, min(alpha · (x - c) + c, x))"""
    middle = F.hardtanh(x, -_positive("c", c), c)
    return middle + alpha * (x - middle)


@rectifier(
    paper="Collobert, thesis",
    year=2004,
    kinks={-1.0: 0.0, 1.0: 0.0},
    flat=((-inf, -1.0), (1.0, inf)),
)
def hard_tanh(x: Tensor) -> Tensor:
    """min(1, max(-1, x))"""
    return F.hardtanh(x)


@rectifier(
    paper="Nair & Hinton, ICML; evaluation without noise not confirmed",
    year=2010,
    kinks={0.0: 0.0},
    flat=BELOW_0,
    noisy=True,
)
def noisy_relu(x: Tensor, noise: Noise | None) -> Tensor:
    """max(0, x + n), n ~ N(0, sigmoid(x)) per element; n = 0 in evaluation

    sigmoid(x) is the variance; public implementations have it as the mean of sigmoid(x), as the
    deviation of x over the batch, as 1, 0.1 or x. n is a constant in the backward pass.
    """
    if noise is None:
        return torch.relu(x)
    return torch.relu(x + noise.normal(x) * torch.sigmoid(x.detach()).sqrt())


@rectifier(
    paper="Cao et al., randomly translational ReLU",
    year=2018,
    kinks={0.0: 0.0},
    flat=BELOW_0,
    noisy=True,
)
def rt_relu(x: Tensor, noise: Noise | None, *, sigma: float = 0.75) -> Tensor:
    """max(0, x + n), n ~ N(0, sigma²) per element; n = 0 in evaluation"""
    return torch.relu(x if noise is None else x + sigma * noise.normal(x))


@rectifier(paper="doi:10.1007/s00521-023-08565-2", year=2023, kinks={0.0: 11 / 48}, noisy=True)
def srrelu(x: Tensor, noise: Noise | None, *, lower: float = 1 / 8, upper: float = 1 / 3) -> Tensor:
    """1 / (1 + |x|)² + (x if x > 0 else a · x), a as in rrelu_torch

    The softsign-randomised leaky ReLU. In print the first term is 1 / (1 + x)², with a pole at
    x = -1. It is the derivative of softsign, which has |x| there and no pole, so that is what is
    computed; for x ≥ 0 the two are one.
    """
    a = (lower + upper) / 2 if noise is None else _uniform(x, lower, upper, noise)
    return (1 + x.abs()).pow(-2) + torch.where(x > 0, x, a * x)


@rectifier(paper="Konda et al., arXiv:1402.3337", year=2014, kinks={1.0: 0.0}, flat=((-inf, 1.0),))
def threshold(x: Tensor, *, theta: float = 1.0) -> Tensor:
    """x if x > theta else 0"""
    return F.threshold(x, theta, 0.0)


@rectifier(
    paper="arXiv:1511.07289 (Clevert et al.)", year=2015, kinks={-1.0: 0.0}, flat=((-inf, -1.0),)
)
def shifted_relu(x: Tensor) -> Tensor:
    """max(-1, x)"""
    # Not torch.maximum, which passes half of the gradient where both are equal.
    return F.threshold(x, -1.0, -1.0)


@rectifier(
    paper="openreview H1DGha1CZ (Macêdo et al.), d not confirmed",
    year=2018,
    kinks={-0.05: 0.0},
    flat=((-inf, -0.05),),
)
def displaced_relu(x: Tensor, *, d: float = 0.05) -> Tensor:
    """max(-d, x)"""
    return F.threshold(x, -d, -d)


@rectifier(
    paper="arXiv:1706.08098 (Qiu et al.), formula not confirmed",
    year=2017,
    learns={"b": 0.0},
    kinks={0.0: 0.0},
    flat=BELOW_0,
)
def flexible_relu(x: Tensor, b: Tensor) -> Tensor:
    """max(0, x) + b, b learned"""
    return torch.relu(x) + b


@rectifier(
    paper="arXiv:1512.07030 (Jin et al.)",
    year=2016,
    learns={"tl": 0.0, "al": 0.5, "tr": 2.5, "ar": 1.0},
    kinks={0.0: 0.5},
)
def srelu(x: Tensor, tl: Tensor, al: Tensor, tr: Tensor, ar: Tensor) -> Tensor:
    """tr + ar · (x - tr) if x ≥ tr; tl + al · (x - tl) if x ≤ tl; else x; all four learned

    The S-shaped ReLU; the name stands elsewhere for max(-1, x), here shifted_relu, and in one
    public version for max(0, x - 1). al and tr begin at the means of what keras-contrib draws,
    U(0, 1) and U(0, 5).
    """
    # From below to above: where the ends cross, the upper piece wins.
    below = torch.where(x <= tl, tl + al * (x - tl), x)
    return torch.where(x >= tr, tr + ar * (x - tr), below)


@rectifier(
    paper="arXiv:1412.6830 (Agostinelli et al.)",
    year=2014,
    learns={"a1": 0.0, "b1": -0.5, "a2": 0.0, "b2": 0.5},
    kinks={0.0: 0.0},
    flat=BELOW_0,
)
def apl(x: Tensor, a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    """max(0, x) + a1 · max(0, b1 - x) + a2 · max(0, b2 - x), all learned

    S = 2 of the paper's 1 to 5. Its code draws each a around 0 and each b with a standard
    deviation of 0.5: they begin at 0 and at one deviation to either side.
    """
    return torch.relu(x) + a1 * torch.relu(b1 - x) + a2 * torch.relu(b2 - x)


@rectifier(paper="arXiv:2109.08668 (So et al.)", year=2021, flat=BELOW_0)
def squared_relu(x: Tensor) -> Tensor:
    """max(0, x)²"""
    return torch.relu(x).square()


@rectifier(
    paper="arXiv:2605.17659 (Shvetsov et al.), formula and bound not confirmed",
    year=2026,
    kinks={3.0: 0.0},
    flat=((-inf, 0.0), (3.0, inf)),
)
def clipped_squared_relu(x: Tensor, *, bound: float = 3.0) -> Tensor:
    """min(bound, max(0, x))²"""
    return F.hardtanh(x, 0.0, _positive("bound", bound)).square()


@rectifier(
    paper="arXiv:2407.14435 (Rajamanoharan et al.), bandwidth ours",
    year=2024,
    learns={"theta": 0.1},
    kinks={0.1: 0.0},
    flat=((-inf, 0.1),),
)
def jump_relu(x: Tensor, theta: Tensor, *, bandwidth: float = 0.1) -> Tensor:
    """x if x > theta else 0, theta learned

    The value does not change smoothly with theta: its derivative is taken to be -theta / bandwidth
    where |x - theta| < bandwidth / 2, else 0. The paper, for batches of thousands, has a bandwidth
    of 0.001 and begins at 0.001. Where theta is 0 it stays so.
    """
    edge = theta.detach()
    near = ((x - edge).abs() < _positive("bandwidth", bandwidth) / 2).to(x.dtype)
    moved = -edge / bandwidth * near * (theta - edge)  # 0, with the derivative of theta
    return torch.where(x <= edge, 0, x) + moved


@rectifier(
    paper="arXiv:2210.13452 (Yu et al.)",
    year=2022,
    learns={"s": 1.0, "b": 0.0},
    shared=True,
    flat=BELOW_0,
)
def star_relu(x: Tensor, s: Tensor, b: Tensor) -> Tensor:
    """s · max(0, x)² + b, s and b learned

    They begin as in the authors' code; the paper derives 0.8944 and -0.4472 for a normal x.
    """
    return s * torch.relu(x).square() + b


@rectifier(paper="arXiv:1908.03682 (Liu et al.)", year=2019, kinks={0.0: 0.0}, flat=BELOW_0)
def nlrelu(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """ln(1 + beta · max(0, x))"""
    return torch.log1p(beta * torch.relu(x))


@rectifier(paper="also called vReLU, citation not confirmed", year=2018, kinks={0.0: 0.0})
def abs(x: Tensor) -> Tensor:
    """|x|"""
    return x.abs()


def _uniform(x: Tensor, lower: float, upper: float, noise: Noise) -> Tensor:
    if lower > upper:
        raise BadValue(f"lower={lower:g} is above upper={upper:g}")
    return lower + (upper - lower) * noise.uniform(x)


def _positive(name: str, value: float) -> float:
    if value <= 0:
        raise BadValue(f"{name}={value:g} is not above 0")
    return value
