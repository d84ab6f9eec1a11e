"""What an activation is: one function and its facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Entry, Parameters

if TYPE_CHECKING:
    from torch import Tensor, nn  # noqa: F401  Tensor is named in a string

# In the order of `list`; within a family the order is the file's.
FAMILIES = {
    "rectifier": "straight pieces, and powers of them",
    "exponential": "like the identity above 0, levelling off below",
    "smooth": "smooth relatives of relu, and their piecewise versions",
    "saturating": "saturating and historic: sigmoids, shrinkage, steps, waves, identity",
    "pieces": "over several pre-activations, or with several outputs",
    "gated": "two pre-activations, of which one gates the other",
    "surrogate": "one function forward, another's derivative backward",
}


@dataclass(frozen=True, eq=False)
class Activation(Entry["Tensor"]):
    """One activation and its facts.

    family   the group it is listed under, one of FAMILIES
    init     the scheme of the weights that feed it, of initialisation.INITS: gain, or what its
             own paper prescribes
    paper    where it was published; it says so where the formula is from memory
    year     when
    learns   its learned parameters, one value per unit, with their initial values
    shared   whether they are, by default, one value for the layer instead
    kinks    where the derivative jumps, and the derivative used there, at the default parameters
    flat     the open intervals on which the derivative is exactly 0, at the default parameters
    noisy    whether it draws noise while training
    pieces   pre-activations that make one output; a parameter of this name overrules it
    outputs  what one pre-activation gives; with more than one the function lays them side by side
             in dimension 1
    mixes    whether an output depends on the pre-activations of other outputs
    module   makes the nn.Module that a layer applies, where the activation is not a function
    sha256   digest of the source of a user's own activation
    """

    family: str
    init: str = "gain"
    paper: str = ""
    year: int | None = None
    learns: Mapping[str, float] = field(default_factory=dict)
    shared: bool = False
    kinks: Mapping[float, float] = field(default_factory=dict)
    flat: Sequence[tuple[float, float]] = ()
    noisy: bool = False
    pieces: int = 1
    outputs: int = 1
    mixes: bool = False
    module: Callable[..., nn.Module] | None = None
    sha256: str = ""

    @property
    def elementwise(self) -> bool:
        """Whether each element of its output depends on one element of its input."""
        return self.pieces == self.outputs == 1 and not self.mixes

    @cached_property
    def parameters(self) -> Parameters:
        """Fixed parameters, then learned ones with their initial values.

        An activation that learns takes `shared=true` too: one value of each for the whole layer.
        """
        shared = {"shared": self.shared} if self.learns else {}
        return {**super().parameters, **self.learns, **shared}

    @property
    def can_die(self) -> bool:
        """Whether some pre-activations, however they are moved a little, leave the output."""
        return bool(self.flat)


ACTIVATIONS: Catalog[Activation] = Catalog("activation", Activation)
