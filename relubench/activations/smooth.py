"""Smooth relatives of the rectifier, and their piecewise versions."""

from __future__ import annotations

import math
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

smooth = partial(ACTIVATIONS.add, family="smooth")
HENDRYCKS = "arXiv:1606.08415 (Hendrycks & Gimpel)"
SWISH = "arXiv:1710.05941 (Ramachandran et al.)"
ELFWING = "arXiv:1702.03118 (Elfwing et al.)"
LILLO = "arXiv:2509.22562 (Lillo & Cheney), formula read in notes on it"
EXACT = 40.0  # torch takes x itself for softplus beyond 20, which is off by 2e-9; here by no bit
SATURATED = 10.0  # exp(10): beyond it tanh and exp(-·) are at their limits in every float type


@smooth(paper=HENDRYCKS, year=2016)
def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), Φ the standard normal distribution function"""
    return F.gelu(x)


@smooth(paper=HENDRYCKS, year=2016)
def gelu_tanh(x: Tensor) -> Tensor:
    """x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))"""
    return F.gelu(x, approximate="tanh")


@smooth(paper=HENDRYCKS, year=2016)
def quick_gelu(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 · x)"""
    return x * torch.sigmoid(1.702 * x)


@smooth(paper="arXiv:2605.17659 (Shvetsov et al.), formula not confirmed", year=2026)
def gelu_squared(x: Tensor) -> Tensor:
    """(x · Φ(x))²: above 0 nearly squared_relu, below 0 a small bump"""
    return F.gelu(x).square()


@smooth(paper="arXiv:2502.03654 (Das et al.)", year=2025)
def golu(x: Tensor) -> Tensor:
    """x · exp(-exp(-x)), gated by Gompertz's function: steeper above 0 than below"""
    # exp(-exp(10)) is 0 in every float type: nothing is cut off, and no exponential overflows.
    return x * torch.exp(-torch.exp(-x.clamp(min=-SATURATED)))


@smooth(paper=LILLO, year=2026)
def smooth_leaky(x: Tensor, *, alpha: float = 0.1, p: float = 3.0, c: float = 5.0) -> Tensor:
    """alpha · x + (1 - alpha) · x · sigmoid(c · x / p)"""
    return _leaky(x, alpha, p, c)


@smooth(paper=LILLO, year=2026, noisy=True)
def rand_smooth_leaky(
    x: Tensor,
    noise: Noise | None,
    *,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    p: float = 3.0,
    c: float = 5.0,
) -> Tensor:
    """smooth_leaky, alpha ~ U(lower, upper) per element; (lower + upper) / 2 in evaluation"""
    if lower > upper:
        raise BadValue(f"lower={lower:g} is above upper={upper:g}")
    if noise is None:
        return _leaky(x, (lower + upper) / 2, p, c)
    return _leaky(x, lower + (upper - lower) * noise.uniform(x), p, c)


def _leaky(x: Tensor, alpha: float | Tensor, p: float, c: float) -> Tensor:
    return alpha * x + (1 - alpha) * x * torch.sigmoid(c / p * x)


@smooth(paper=ELFWING, year=2017)
def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x)"""
    return F.silu(x)


@smooth(paper=SWISH, year=2017, learns={"beta": 1.0})
def swish(x: Tensor, beta: Tensor) -> Tensor:
    """x · sigmoid(beta · x), beta learned"""
    return x * torch.sigmoid(beta * x)


@smooth(paper=SWISH, year=2017)
def swish_fixed(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """x · sigmoid(beta · x), beta fixed"""
    return x * torch.sigmoid(beta * x)


@smooth(paper="arXiv:1801.07145 (Alcaide)", year=2018)
def e_swish(x: Tensor, *, beta: float = 1.75) -> Tensor:
    """beta · x · sigmoid(x)"""
    return beta * F.silu(x)


@smooth(paper=ELFWING, year=2017)
def dsilu(x: Tensor) -> Tensor:
    """sigmoid(x) · (1 + x · (1 - sigmoid(x))), the derivative of silu"""
    # sigmoid(-x) is 1 - sigmoid(x) without its cancellation far above 0.
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


@smooth(
    paper="arXiv:1905.02244 (Howard et al.)",
    year=2019,
    kinks={-3.0: 0.0, 3.0: 1.0},
    flat=((-inf, -3.0),),
)
def hard_swish(x: Tensor) -> Tensor:
    """x · min(6, max(0, x + 3)) / 6"""
    return F.hardswish(x)


@smooth(paper="arXiv:1908.08681 (Misra)", year=2019)
def mish(x: Tensor) -> Tensor:
    """x · tanh(softplus(x))"""
    # F.mish has no vectorised backward pass, and this no logarithm: with p = sigmoid(x) and
    # q = 1 - (1 - p)², tanh(softplus(x)) is q / (2 - q).
    p = torch.sigmoid(x)
    q = p * (2 - p)
    return x * q / (2 - q)


@smooth(paper="digantamisra98/H-Mish (Misra)", year=2020, kinks={-2.0: 0.0}, flat=((-inf, -2.0),))
def hard_mish(x: Tensor) -> Tensor:
    """x · min(2, max(0, x + 2)) / 2"""
    return x * F.hardtanh(x + 2, 0.0, 2.0) / 2


@smooth(paper="Dugas et al., NIPS", year=2001)
def softplus(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """ln(1 + exp(beta · x)) / beta"""
    return F.softplus(x, beta, EXACT)


@smooth(paper="arXiv:1706.08566 (Schütt et al.)", year=2017)
def shifted_softplus(x: Tensor) -> Tensor:
    """ln(1 + eˣ) - ln 2"""
    return F.softplus(x, 1.0, EXACT) - math.log(2)


@smooth(paper="arXiv:2112.11687 (Barron)", year=2021)
def squareplus(x: Tensor, *, b: float = 4.0) -> Tensor:
    """(x + √(x² + b)) / 2, b = 4 as in jax and Keras

    Computed without the cancellation that would make the derivative 0 far below 0.
    """
    outer = torch.sqrt(x.square() + b) + torch.where(x > 0, x, -x)  # |x|, with a derivative at 0
    return torch.where(x > 0, outer, b / outer) / 2


@smooth(
    paper="Shamir & Lin, Google Research",
    year=2022,
    flat=((-inf, -1.0),),
)
def smelu(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """0 if x < -beta; (x + beta)² / (4 · beta) if |x| ≤ beta; x if x > beta"""
    parabola = (x + beta).square() / (4 * beta)
    # Outside of the parabola relu is both of the other pieces.
    return torch.where(x.abs() <= beta, parabola, torch.relu(x))


@smooth(paper="arXiv:2003.09855 (Liu & Di), number not confirmed", year=2020, also="telu")
def tanhexp(x: Tensor) -> Tensor:
    """x · tanh(eˣ)

    Published again in 2024 as TeLU: `telu` means this.
    """
    return x * torch.tanh(torch.exp(x.clamp(max=SATURATED)))


@smooth(paper="arXiv:2108.09598 (Nag et al.), number not confirmed", year=2021)
def serf(x: Tensor) -> Tensor:
    """x · erf(softplus(x))"""
    return x * torch.erf(F.softplus(x))


@smooth(paper="Zhu et al., Logish, Neurocomputing", year=2021)
def logish(x: Tensor) -> Tensor:
    """x · ln(1 + sigmoid(x))"""
    return x * torch.log1p(torch.sigmoid(x))


@smooth(paper="Wang et al., Electronics, formula not confirmed", year=2022)
def smish(x: Tensor) -> Tensor:
    """x · tanh(ln(1 + sigmoid(x)))"""
    return x * torch.tanh(torch.log1p(torch.sigmoid(x)))


@smooth(paper="arXiv:1901.05894 (Roy et al.), number not confirmed", year=2019)
def lisht(x: Tensor) -> Tensor:
    """x · tanh(x)"""
    return x * torch.tanh(x)


@smooth(paper="arXiv:2006.08195 (Ziyin et al.)", year=2020, learns={"a": 1.0})
def snake(x: Tensor, a: Tensor) -> Tensor:
    """x + sin²(a · x) / a, a learned

    a begins at 1, the mean of the exponential distribution from which a public version draws it.
    """
    return x + torch.sin(a * x).square() / a


@smooth(
    paper="arXiv:2411.13010 (Huang & Schlag)",
    year=2024,
    learns={"rho_p": math.log(math.expm1(0.8)), "rho_n": math.log(math.expm1(0.3))},
)
def xielu(x: Tensor, rho_p: Tensor, rho_n: Tensor, *, beta: float = 0.5) -> Tensor:
    """p · x² + beta · x if x > 0 else n · (eˣ - 1 - x) + beta · x, p and n learned

    p = softplus(rho_p) and n = beta + softplus(rho_n); both begin at 0.8 with beta = 0.5.
    """
    # 0 for what is above: an exponential that overflows there would make the gradient NaN.
    below = torch.expm1(torch.where(x > 0, 0.0, x)) - x
    p, n = F.softplus(rho_p), beta + F.softplus(rho_n)
    curved = torch.where(x > 0, p * x.square(), n * below)
    return curved + beta * x


@smooth(
    paper="arXiv:2009.04759 (Ma et al.)",
    year=2020,
    learns={"p1": 1.0, "p2": 0.0, "beta": 1.0},
)
def acon_c(x: Tensor, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
    """(p1 - p2) · x · sigmoid(beta · (p1 - p2) · x) + p2 · x, all three learned

    The authors' code draws p1 and p2 from N(0, 1); here they begin as silu.
    """
    steep = (p1 - p2) * x
    return steep * torch.sigmoid(beta * steep) + p2 * x


@smooth(
    paper="arXiv:1907.06732 (Molina et al.)",
    year=2019,
    learns={
        "a0": 0.02979246,
        "a1": 0.61837738,
        "a2": 2.32335207,
        "a3": 3.0520266,
        "a4": 1.48548002,
        "a5": 0.25103717,
        "b1": 1.14201226,
        "b2": 4.39322834,
        "b3": 0.8715445,
        "b4": 0.34720652,
    },
    shared=True,
    kinks={0.0: 0.61837738},
)
def pau(x: Tensor, *learned: Tensor) -> Tensor:
    """(a0 + a1 · x + … + a5 · x⁵) / (1 + |b1 · x| + … + |b4 · x⁴|), all ten learned

    They begin within 0.03 of leaky_relu on [-3, 3].
    """
    # Horner's scheme: no power of x that could overflow before its coefficient makes it small.
    above, below = learned[5], learned[9].abs()
    for a in reversed(learned[:5]):
        above = above * x + a
    for b in reversed(learned[6:9]):
        below = below * x.abs() + b.abs()
    return above / (1 + below * x.abs())


@smooth(
    paper="arXiv:2003.00547 (Zhou et al.), initial values not confirmed",
    year=2020,
    learns={"a": 2.0, "b": 3.0},
)
def srs(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x / (x / a + exp(-x / b)), soft-root-sign, a and b learned

    There is a pole where x / a = -exp(-x / b), which needs a < e · b; it is far from there.
    """
    # Each branch takes its half alone: torch.where gives the other's gradient a factor of 0, and
    # 0 times an overflow is NaN.
    right, left = x.clamp(min=0), x.clamp(max=0)
    grown = torch.exp(left / b)
    above = x / (right / a + torch.exp(-right / b))
    below = x * grown / (left / a * grown + 1)
    return torch.where(x > 0, above, below)


@smooth(paper="Wang et al., ReLTanh, Neurocomputing, citation not confirmed", year=2019)
def reltanh(x: Tensor, *, lower: float = -1.5, upper: float = 0.0) -> Tensor:
    """tanh(x) between lower and upper, its tangents beyond

    The paper learns the two ends.
    """
    if lower > upper:
        raise BadValue(f"lower={lower:g} is above upper={upper:g}")
    inner = x.clamp(lower, upper)
    value = torch.tanh(inner)
    # Beyond an end the clamp stands still: what is left is the tangent there, of slope 1 - tanh².
    return value + (1 - value.square()) * (x - inner)


@smooth(
    paper="arXiv:1812.06247 (Chieng et al.), formula not confirmed",
    year=2018,
    kinks={0.0: 0.0},
    flat=((-inf, 0.0),),
)
def flatten_t_swish(x: Tensor, *, t: float = -0.2) -> Tensor:
    """max(0, x) · sigmoid(x) + t"""
    return torch.relu(x) * torch.sigmoid(x) + t


@smooth(paper="doi:10.3390/math10030337 (Paul et al.)", year=2022, learns={"a": 1.0, "b": 1.0})
def sinlu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(x + a · sin(b · x)) · sigmoid(x), a and b learned"""
    return (x + a * torch.sin(b * x)) * torch.sigmoid(x)


@smooth(paper="arXiv:2108.12943 (Noel et al.), formula not confirmed", year=2021)
def growing_cosine(x: Tensor) -> Tensor:
    """x · cos(x)"""
    return x * torch.cos(x)


@smooth()
def bent_identity(x: Tensor) -> Tensor:
    """(√(x² + 1) - 1) / 2 + x"""
    return (torch.sqrt(x.square() + 1) - 1) / 2 + x


SPLINES = 8  # cubic B-splines that are not 0 somewhere inside the grid
REACH, INTERVALS = 3.0, 5  # of the grid, on either side of 0, and how many it has


@smooth(
    paper="arXiv:2404.19756 (Liu et al.), there on edges",
    year=2024,
    learns={"w": 1.0, **{f"c{number}": 0.0 for number in range(SPLINES)}},
)
def b_spline(x: Tensor, w: Tensor, *c: Tensor) -> Tensor:
    """w · silu(x) + c0 · B₀(x) + … + c7 · B₇(x), cubic B-splines on [-3, 3], all nine learned

    KAN has such a function on every edge and a grid of 5 intervals on [-1, 1]; here every unit has
    one, on a grid as wide as pre-activations are. The coefficients begin at 0, and so as silu.
    Beyond the grid the splines fall to 0.
    """
    step = 2 * REACH / INTERVALS
    value = w * F.silu(x)
    for number, coefficient in enumerate(c):
        centre = -REACH + (number - 1) * step
        value = value + coefficient * _cubic((x - centre) / step)
    return value


def _cubic(u: Tensor) -> Tensor:
    """The cubic B-spline of whole knots around 0: not 0 for |u| < 2, its maximum 2/3."""
    distance = u.abs()
    outer, inner = torch.relu(2 - distance), torch.relu(1 - distance)
    return (outer.pow(3) - 4 * inner.pow(3)) / 6
