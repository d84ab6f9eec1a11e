"""What a unit is: one function and its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from relubench.catalog import Catalog, Entry


@dataclass(frozen=True)
class Activation(Entry):
    """One unit and its facts.

    family  the group it is listed under
    init    the scheme of the weights that feed it: he, glorot or lecun (relubench.layers.SCHEMES)
    paper   where it was published
    year    when
    learns  its learned parameters, one value per unit, with their initial values
    kinks   where the derivative jumps, and the slope used there, at the default parameters
    flat    intervals of pre-activations on which the slope is exactly 0; none: it cannot die
    noisy   whether it draws noise while training
    pieces  pre-activations that make one output; a parameter of this name overrules it
    outputs what one pre-activation gives; with more than one the function lays them side by side
            in dimension 1
    """

    family: str
    init: str
    paper: str = ""
    year: int | None = None
    learns: Mapping[str, float] = field(default_factory=dict)
    kinks: Mapping[float, float] = field(default_factory=dict)
    flat: Sequence[tuple[float, float]] = ()
    noisy: bool = False
    pieces: int = 1
    outputs: int = 1

    @property
    def elementwise(self) -> bool:
        """Whether each element of its output depends on one element of its input."""
        return self.pieces == self.outputs == 1

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Fixed parameters, then learned ones with their initial values."""
        return {**super().parameters, **self.learns}


ACTIVATIONS: Catalog[Activation] = Catalog("activation", Activation)
