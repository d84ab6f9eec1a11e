"""Networks of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.models.chain import Chain
from relubench.models.model import MODELS, check_dropout, check_widths

if TYPE_CHECKING:
    from torch import nn

DLRELU = "arXiv:1803.08375 (Agarap)"
DEEPEST = 10_000  # layers, each an object that takes time to make


@MODELS.add(paper=DLRELU, year=2018, widths=("hidden",), dense=True)
def ffnn(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    hidden: tuple[int, ...] = (128, 64, 32),
    dropout: float = 0.0,
) -> nn.Module:
    """Dense layers as wide as `hidden` says, each with the activation and then dropout"""
    check_widths("ffnn", "hidden", hidden)
    check_dropout("ffnn", dropout)
    chain = Chain("ffnn", shape, activation)
    for units in hidden:
        chain.dense(units, dropout)
    return chain.network(outputs)


@MODELS.add(widths=("width",), dense=True)
def mlp(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    depth: int = 10,
    width: int = 64,
) -> nn.Module:
    """`depth` dense layers of one width: for units that die and gradients that vanish with depth"""
    check_widths("mlp", "width", (width,))
    if not 1 <= depth <= DEEPEST:
        raise BadValue(f"mlp: depth must be from 1 to {DEEPEST}, got {depth}")
    chain = Chain("mlp", shape, activation)
    for _ in range(depth):
        chain.dense(width)
    return chain.network(outputs)
