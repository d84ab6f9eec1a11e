"""Activations like the identity above 0 that level off below."""

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

exponential = partial(ACTIVATIONS.add, family="exponential")
PELU_FLOOR = 0.1  # the paper keeps a and b at or above it


@exponential(paper="arXiv:1511.07289 (Clevert et al.)", year=2015)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x if x > 0 else alpha · (eˣ - 1)

    A public comparison gives it, celu and softplus the number of channels for alpha and beta.
    """
    return F.elu(x, alpha)


@exponential(
    init="lecun",
    paper="arXiv:1706.02515 (Klambauer et al.)",
    year=2017,
    kinks={0.0: 1.0507009873554805 * 1.6732632423543772},
)
def selu(x: Tensor) -> Tensor:
    """λ · (x if x > 0 else α · (eˣ - 1)), λ = 1.0507…, α = 1.6733…"""
    return torch.selu(x)


@exponential(paper="arXiv:1704.07483 (Barron)", year=2017)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha · (exp(x / alpha) - 1))"""
    return F.celu(x, alpha)


@exponential(paper="arXiv:1605.09332 (Trottier et al.)", year=2016, learns={"a": 1.0, "b": 1.0})
def pelu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """(a / b) · x if x > 0 else a · (exp(x / b) - 1), a and b learned

    Both count as 0.1 where they are below it, and are not moved from there; the paper projects
    them onto 0.1 after every step.
    """
    a, b = a.clamp(min=PELU_FLOOR), b.clamp(min=PELU_FLOOR)
    return torch.where(x > 0, a / b * x, a * torch.expm1(_negative(x) / b))


@exponential(
    paper="arXiv:1606.00305 (Li et al.), formula not confirmed",
    year=2016,
    learns={"a": 1.0, "b": 1.0},
)
def mpelu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x if x > 0 else a · (exp(b · x) - 1), a and b learned

    b is used as |b|, so that the exponential never grows; the paper does not restrict it.
    """
    return torch.where(x > 0, x, a * torch.expm1(b.abs() * _negative(x)))


@exponential(
    paper="Cheng et al., Neural Networks 125, formula not confirmed",
    year=2020,
    learns={"a": 1.0},
    flat=((-inf, -10.0),),
)
def pdelu(x: Tensor, a: Tensor, *, t: float = 0.9) -> Tensor:
    """x if x > 0 else a · (max(0, 1 + (1 - t) · x) to the power 1 / (1 - t) - 1), a learned

    At its default it is flat below -10. A published implementation changes its input in place, and
    so is relu.
    """
    # The base is at most 1, whatever x is: the power cannot overflow in the
    # branch that is not taken.
    deformed = torch.relu(1 + (1 - t) * _negative(x)).pow(1 / (1 - t))
    return torch.where(x > 0, x, a * (deformed - 1))


@exponential(paper="arXiv:1710.09967 (Carlile et al.)", year=2017)
def isrlu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x if x > 0 else x / √(1 + alpha · x²)"""
    return torch.where(x > 0, x, x * torch.rsqrt(1 + alpha * x.square()))


@exponential(paper="Ying et al., IEEE Access, formula not confirmed", year=2019)
def reu(x: Tensor) -> Tensor:
    """x if x > 0 else x · eˣ"""
    return torch.where(x > 0, x, x * torch.exp(_negative(x)))


@exponential(
    paper="Gupta & Duggal, ICCV Workshops, formula not confirmed",
    year=2017,
    learns={"a": 1.0, "b": 1.0},
)
def ptelu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x if x > 0 else a · tanh(b · x), a and b learned"""
    return torch.where(x > 0, x, a * torch.tanh(b * x))


@exponential(paper="Lin & Shen, SignReLU, formula not confirmed", year=2018)
def sign_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x if x > 0 else alpha · x / (1 + |x|)"""
    return torch.where(x > 0, x, alpha * F.softsign(x))


@exponential(paper="arXiv:1808.00783 (Basirat & Roth), formula not confirmed", year=2018)
def elish(x: Tensor) -> Tensor:
    """(x if x > 0 else eˣ - 1) · sigmoid(x)

    Implementations disagree.
    """
    # elu is x above 0 and eˣ - 1 below: both branches at once.
    return F.elu(x) * torch.sigmoid(x)


@exponential(
    paper="arXiv:1808.00783 (Basirat & Roth), formula not confirmed",
    year=2018,
    kinks={-1.0: 0.0, 1.0: 1.0},
    flat=((-inf, -1.0),),
)
def hard_elish(x: Tensor) -> Tensor:
    """(x if x > 0 else eˣ - 1) · min(1, max(0, (x + 1) / 2))"""
    return F.elu(x) * F.hardtanh((x + 1) / 2, 0.0, 1.0)


def _negative(x: Tensor) -> Tensor:
    """min(0, x), so that an exponential in the other branch cannot overflow; derivative 1 at 0."""
    return torch.where(x > 0, 0.0, x)
