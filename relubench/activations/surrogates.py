"""Forward one activation, backward the derivative of another, so that no unit need be dead.

The forward pass is the activation's bit for bit; the backward pass, also twice and under
torch.func, is a surrogate's. Neuron counts take the derivative that back-propagation multiplies by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from relubench.activations.activation import ACTIVATIONS
from relubench.catalog import Deferred
from relubench.errors import BadValue, suggestion

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F

    from relubench.activations import routing
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")
    routing = Deferred("relubench.activations.routing")

SUGAR = "arXiv:2505.22074 (Horuz et al.)"

# Functions of u = x / width <= 0 whose derivative is 1 at 0, and that derivative.
SHAPES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "leaky": lambda u: u,  # 1
    "box": lambda u: torch.where(u < -1, -1, u),  # 1 from -1 on, 0 below
    "sigmoid": lambda u: 2 * F.softplus(u),  # 2 / (1 + exp(-u))
    "exponential": lambda u: u.exp(),  # exp(u)
    "gaussian": lambda u: math.sqrt(math.pi / 2) * torch.erf(u / math.sqrt(2)),  # exp(-u² / 2)
    "arctan": lambda u: u.atan(),  # 1 / (1 + u²)
}


@ACTIVATIONS.add(
    family="surrogate",
    paper="doi:10.1109/ICSAI.2018.8599372 (Hu et al.), our reading of the abstract",
    year=2018,
    kinks={0.0: 0.1},
)
def pd_relu(x: Tensor, *, shape: str = "leaky", height: float = 0.1, width: float = 1.0) -> Tensor:
    """max(0, x); derivative 1 if x > 0, else height · shape(x / width), which is 1 at 0

    Our reading: the abstract has ReLU forward and a pseudo-derivative that is not 0 below 0 and
    agrees with the true one in general; its formulas are not public, so shapes and defaults are
    ours. With u = x / width: leaky 1; box 1 for u >= -1, else 0; sigmoid 2 / (1 + exp(-u));
    exponential exp(u); gaussian exp(-u² / 2); arctan 1 / (1 + u²). A box vanishes below -width; in
    float32 sigmoid and exponential do below about -100 widths, gaussian below about -14.
    """
    if shape not in SHAPES:
        hint = suggestion(shape, SHAPES) or f"known: {', '.join(SHAPES)}"
        raise BadValue(f"pd_relu has no shape {shape!r}: {hint}")
    if width <= 0:
        raise BadValue(f"pd_relu: width must be above 0, got {width:g}")
    above = torch.relu(x)
    below = torch.where(x > 0, 0, x) / width  # of derivative 1 at 0, where relu's is 0
    # width · g(x / width) has the derivative g'(x / width): `height` alone scales it.
    return routing.routed(above, above + height * width * SHAPES[shape](below))


@ACTIVATIONS.add(family="surrogate", paper=SUGAR, year=2025)
def sugar_b_silu(x: Tensor, *, alpha: float = 1.67) -> Tensor:
    """max(0, x); derivative of B-SiLU, (x + alpha) · sigmoid(x) - alpha / 2"""
    return routing.routed(torch.relu(x), (x + alpha) * torch.sigmoid(x) - alpha / 2)


@ACTIVATIONS.add(family="surrogate", paper=SUGAR, year=2025, kinks={0.0: 0.0})
def sugar_nelu(x: Tensor, *, alpha: float = 0.05) -> Tensor:
    """max(0, x); derivative of NeLU, x if x > 0 else -alpha / (1 + x²): negative below 0"""
    return routing.routed(torch.relu(x), torch.where(x > 0, x, -alpha / (1 + x * x)))


@ACTIVATIONS.add(
    family="surrogate",
    paper="arXiv:2410.16958 (Linse et al.)",
    year=2024,
    kinks={0.0: 0.3},
)
def proxygrad(x: Tensor, *, negative_slope: float = 0.3) -> Tensor:
    """max(0, x); derivative 1 if x > 0 else negative_slope

    The paper asks for a high derivative; 0.3 is our choice, as its abstract names no number.
    """
    return routing.routed(torch.relu(x), F.leaky_relu(x, negative_slope))


@ACTIVATIONS.add(family="surrogate")
def surrogate(x: Tensor, *, forward: str = "relu", backward: str = "silu") -> Tensor:
    """The value of one activation with the derivative of another, both with default parameters

    They are element-wise activations of the catalogue without noise and without learned parameters.
    Weights begin as for relu, whatever the activations.
    """
    return routing.routed(_plain(forward)(x), _plain(backward)(x))


def _plain(name: str) -> Callable[[Tensor], Tensor]:
    """An activation that needs its pre-activation alone; raises UnknownName or BadValue."""
    entry = ACTIVATIONS[name]
    if entry.noisy or entry.learns or not entry.elementwise:
        why = "draws noise" if entry.noisy else "learns" if entry.learns else "is not element-wise"
        raise BadValue(f"surrogate takes plain activations, and {name} {why}")
    function: Callable[[Tensor], Tensor] = entry.function
    return function
