"""Gradients cut down to a largest norm, each network's by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TINY = 1e-6  # of torch.nn.utils.clip_grad_norm_: a norm of 0 divides nothing


def clip(gradients: Sequence[Tensor], most: float, stacked: bool) -> None:
    """Scale gradients in place as torch.nn.utils.clip_grad_norm_ does those of one network.

    gradients  of every parameter; each (cells, …) where several networks are stacked
    """
    norms = torch.stack([_norms(gradient, stacked) for gradient in gradients])  # (tensors, cells)
    scales = (most / (torch.linalg.vector_norm(norms, dim=0) + TINY)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scales.view(-1, *[1] * (gradient.ndim - 1)) if stacked else scales.squeeze())


def _norms(gradient: Tensor, stacked: bool) -> Tensor:
    """The norm of each network's part, (cells,)."""
    rows = gradient.unsqueeze(-1).flatten(1) if stacked else gradient.reshape(1, -1)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms
