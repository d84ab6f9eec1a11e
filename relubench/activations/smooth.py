"""Smooth relatives of the rectifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench.activations.unit import ACTIVATIONS
from relubench.catalog import Deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")


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
