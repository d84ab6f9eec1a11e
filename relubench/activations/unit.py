"""What a unit is: one function and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from relubench.catalog import Catalog, Entry

# In the order of `list`; within a family the order is the file's.
FAMILIES = {
    "rectifier": "straight pieces, and powers of them",
    "exponential": "like the identity above 0, levelling off below",
    "smooth": "smooth relatives of relu, and their piecewise versions",
    "saturating": "saturating and historic: sigmoids, shrinkage, steps, waves, identity",
}


@dataclass(frozen=True)
class Activation(Entry):
    """One unit and its facts.

    family       the group it is listed under, one of FAMILIES
    init         the scheme of the weights that feed it: he, glorot or lecun (layers.SCHEMES)
    paper        where it was published; it says so where the formula is from memory
    year         when
    learns       its learned parameters, one value per unit, with their initial values
    shared       whether they are, by default, one value for the layer instead
    kinks        where the derivative jumps, and the slope used there, at the default parameters
    flat         the open intervals on which the slope is exactly 0, at the default parameters
    noisy        whether it draws noise while training
    elementwise  whether each output depends on the one input in its place
    """

    family: str
    init: str
    paper: str = ""
    year: int | None = None
    learns: Mapping[str, float] = field(default_factory=dict)
    shared: bool = False
    kinks: Mapping[float, float] = field(default_factory=dict)
    flat: tuple[tuple[float, float], ...] = ()
    noisy: bool = False
    elementwise: bool = True

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Fixed parameters, then learned ones with their initial values.

        A unit that learns takes `shared=true` too: one value of each for the whole layer.
        """
        shared = {"shared": self.shared} if self.learns else {}
        return {**super().parameters, **self.learns, **shared}

    @property
    def can_die(self) -> bool:
        """Whether some pre-activations, however they are moved a little, leave the output."""
        return bool(self.flat)


ACTIVATIONS: Catalog[Activation] = Catalog("activation", Activation)
