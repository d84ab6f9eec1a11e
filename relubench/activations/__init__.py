"""Activations, a file per family: formula, derivative at the kink, initial weights, paper.

Every activation is a function of the pre-activation `x`, of any shape with the units in
dimension 1, and returns a tensor of the same shape and dtype; it never changes `x`. A learned
parameter follows `x` and arrives shaped to broadcast against it. An activation that draws takes its
`noise` last, asks `noise.uniform(x)` or `noise.normal(x)` of it, and gets None in evaluation. One
over several pre-activations gets them as (pieces, examples, units, …) and returns
(examples, units, …).

At ±∞ the value is the limit, or NaN where the formula reads ∞ · 0 or ∞ - ∞; a NaN stays NaN.
"""

from relubench.activations import (
    exponential,
    pieces,
    rectifiers,
    saturating,
    smooth,
    sources,
    surrogates,
)
from relubench.activations.activation import ACTIVATIONS, Activation

__all__ = ["ACTIVATIONS", "Activation", "exponential", "pieces", "rectifiers", "saturating"]
__all__ += ["smooth", "sources", "surrogates"]
