"""Heads: output layers, from a network's outputs to log-probabilities.

A head turns outputs (…, classes) into log-probabilities of the same shape. Its loss is their
negative log-likelihood, its decision the largest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Deferred, Entry

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")

FLOOR = 1e-7  # the clip of Keras 2.1.5, which ran the published DL-ReLU experiments


@dataclass(frozen=True)
class Head(Entry["Tensor"]):
    """One output meaning.

    paper   where it was published
    silent  whether it can give every class a 0
    bias    what the output layer's biases begin at
    """

    paper: str = ""
    silent: bool = False
    bias: float = 0.0


HEADS: Catalog[Head] = Catalog("head", Head)


@HEADS.add()
def softmax(outputs: Tensor) -> Tensor:
    """exp(o) / Σ exp(o): cross-entropy"""
    return torch.log_softmax(outputs, dim=-1)


@HEADS.add(
    paper="arXiv:1803.08375 (Agarap), as its published runs computed it", silent=True, bias=4.0
)
def relu(outputs: Tensor) -> Tensor:
    """max(0, o) / Σ max(0, o), clipped to [1e-7, 1 - 1e-7]: the DL-ReLU classifier

    Where every score is 0, every class gets 1e-7: a loss of 16.1 and a gradient of 0. A class whose
    score begins at 0 on its examples learns nothing from them, so biases begin at 4, more than the
    scores' standard deviation then; the published runs began at 0.
    """
    # Clipped after the division, as Keras did: an example without any score has a loss too.
    scores = torch.relu(outputs)
    total = scores.sum(dim=-1, keepdim=True)
    probabilities = scores / torch.where(
        total == 0, 1, total
    )  # a NaN stays one: that cell has diverged
    return probabilities.clip(FLOOR, 1 - FLOOR).log()
