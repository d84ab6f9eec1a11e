"""Units that level off on both sides, and identity, which never does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench.activations.unit import ACTIVATIONS
from relubench.catalog import Deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


@ACTIVATIONS.add(family="reference", init="glorot")
def identity(x: Tensor) -> Tensor:
    """x"""
    return x.clone()


@ACTIVATIONS.add(family="saturating", init="glorot")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)"""
    return torch.sigmoid(x)


@ACTIVATIONS.add(family="saturating", init="glorot")
def tanh(x: Tensor) -> Tensor:
    """tanh(x)"""
    return torch.tanh(x)
