"""Interventions: what is done to a network between epochs, so that its hidden units go on learning.

Two kinds. Of units: a function (counter) -> (cells, units) bool, the units that begin anew: their
incoming weights and biases are drawn from the initial distribution, their outgoing weights are 0,
and what the optimizer keeps of both is 0. Of weights: a function (weights, fresh) -> weights, of
every parameter, `fresh` being the same network drawn anew. `recycling` applies both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Choice, Entry
from relubench.errors import BadValue

if TYPE_CHECKING:
    from torch import Tensor

    from relubench.neurons.statistics import Counter

EPOCHS = "every must be a whole number of epochs from 1"


@dataclass(frozen=True)
class Intervention(Entry["Tensor"]):
    """One intervention.

    paper     where it was published
    of_units  whether it chooses units; else it changes all weights
    """

    paper: str = ""
    of_units: bool = True


INTERVENTIONS: Catalog[Intervention] = Catalog("intervention", Intervention)


@INTERVENTIONS.add()
def none(counter: Counter, *, every: int = 1) -> Tensor:
    """nothing is done"""
    return counter.moved & ~counter.moved


@INTERVENTIONS.add(paper="arXiv:2302.12902 (Sokar et al.)")
def redo(counter: Counter, *, tau: float = 0.1, every: int = 1) -> Tensor:
    """units whose mean |output| is at most tau of their layer's mean begin anew: ReDo

    Incoming weights are drawn as they began, outgoing weights and the optimizer's moments are 0.
    The paper counts on one batch, every so many steps; here it is the probe set, every so many
    epochs.
    """
    if tau < 0:
        raise BadValue(f"redo: tau must be at least 0, got {tau:g}")
    return counter.dormant(tau)


@INTERVENTIONS.add()
def reset_dead(counter: Counter, *, every: int = 1) -> Tensor:
    """units whose derivative is exactly 0 on the whole probe set begin anew, as under redo"""
    return counter.dead


@INTERVENTIONS.add(paper="arXiv:1910.08475 (Ash & Adams), numbers from memory", of_units=False)
def shrink_perturb(
    weights: Tensor, fresh: Tensor, *, shrink: float = 0.6, perturb: float = 0.01, every: int = 10
) -> Tensor:
    """every weight becomes shrink times itself, and perturb times one drawn anew"""
    if not (0 <= shrink <= 1 and perturb >= 0):
        raise BadValue(
            "shrink_perturb: shrink must be from 0 to 1 and perturb at least 0, got "
            f"{shrink:g} and {perturb:g}"
        )
    return weights * shrink + fresh * perturb


def chosen(revive: str | None) -> Choice[Intervention] | None:
    """The intervention of a recipe; None where nothing is done."""
    choice = INTERVENTIONS.choose(revive or "none")
    if choice.parameters["every"] < 1:
        raise BadValue(f"{choice.entry.name}: {EPOCHS}, got {choice.parameters['every']}")
    return None if choice.entry.name == "none" else choice
