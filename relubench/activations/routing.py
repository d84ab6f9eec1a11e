"""One function forward, the derivative of another backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Routed(torch.autograd.Function):
    """Shows one tensor and passes the gradient to another of the same shape.

    Its value is the shown one bit for bit, whatever the other holds. The gradient goes on through
    the other's own graph: twice, if asked, and under torch.func's vmap and vjp.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(shown: Tensor, learned: Tensor) -> Tensor:
        """A copy of `shown`."""
        # A copy: an input that is returned as it is would be a view to autograd.
        return shown.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        """All of it to `learned`."""
        return None, gradient


def routed(shown: Tensor, learned: Tensor) -> Tensor:
    """The value of `shown` with the derivative of `learned`."""
    value: Tensor = Routed.apply(shown.detach(), learned)
    return value
