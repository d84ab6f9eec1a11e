"""Metrics of a text: how well each token is foretold by those before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relubench.metrics.classification import METRICS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Continuation:
    """What stacked cells say of the tokens that follow.

    window_losses  (cells, windows): mean negative log-likelihood of a window's tokens
    hits           (cells, windows): share of tokens that were thought the likeliest
    letters        characters of a token; NaN: not known
    """

    window_losses: Tensor
    hits: Tensor
    letters: float = math.nan

    def of(self, letters: float) -> Continuation:
        """The same of tokens of so many characters."""
        return replace(self, letters=letters)

    @property
    def losses(self) -> Tensor:
        """(cells, windows): nats per token, in float64."""
        return self.window_losses.double()


@METRICS.add(better="lower", unit="", task="language")
def perplexity(continuation: Continuation) -> Tensor:
    """exp of the mean loss: among as many equally likely tokens one would choose"""
    return continuation.losses.mean(dim=1).exp()


@METRICS.add(better="lower", unit="bits", task="language")
def bits_per_character(continuation: Continuation) -> Tensor:
    """The mean loss in bits, by the characters of a token; undefined of words"""
    nats = continuation.losses.mean(dim=1)
    return nats / (math.log(2) * continuation.letters)


@METRICS.add(better="higher", task="language")
def token_accuracy(continuation: Continuation) -> Tensor:
    """Fraction of tokens that were thought the likeliest"""
    return continuation.hits.double().mean(dim=1)
