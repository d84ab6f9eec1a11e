"""Units that level off exponentially below 0."""

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
