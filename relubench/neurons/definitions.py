"""What can be said of units: each definition by its name, with where it was published.

A definition of units tells of each whether it is so; one of a layer gives a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relubench.catalog import Catalog, Choice, Deferred, Entry
from relubench.results import COUNTS, DORMANT, MOMENTS, RARE, SATURATED

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from relubench.neurons.statistics import Seen
else:
    torch = Deferred("torch")


@dataclass(frozen=True)
class Definition(Entry):
    """A definition: what it asks of the figures of a site, and whether it tells of units.

    needs  which figures, as statistics.Seen names them
    """

    paper: str = ""
    needs: tuple[str, ...] = ("outputs",)
    of_units: bool = True


DEFINITIONS: Catalog[Definition] = Catalog("definition", Definition)
USUAL = (*COUNTS, *MOMENTS)


def chosen(texts: Iterable[str] | None) -> list[Choice[Definition]]:
    """Definitions by name, with parameters; None: the usual ones; 'all': every one."""
    names: Sequence[str] = USUAL if texts is None else list(texts)
    if "all" in names:
        # Named ones last: with parameters of their own they replace the plain one of `all`.
        names = [*DEFINITIONS, *(name for name in names if name != "all")]
    by_name = {(choice := DEFINITIONS.choose(name)).entry.name: choice for name in names}
    return list(by_name.values())


@DEFINITIONS.add(paper="cs231n", needs=("slopes",))
def dead(seen: Seen) -> Tensor:
    """derivative exactly 0 on every example"""
    return ~seen.moved[0]


@DEFINITIONS.add(paper="arXiv:1903.06733")
def inactive(seen: Seen) -> Tensor:
    """output exactly 0 on every example"""
    return seen.active[0] == 0


@DEFINITIONS.add(paper="arXiv:2306.13812")
def rare(seen: Seen, *, fraction: float = RARE) -> Tensor:
    """output not 0 on under 1% of the examples (of a channel: and positions)"""
    return seen.active[0] / seen.positions < fraction


@DEFINITIONS.add(paper="arXiv:2302.12902")
def dormant(seen: Seen, *, tau: float = DORMANT) -> Tensor:
    """mean |output| at most 0.025 of its layer's mean

    ReDo's own runs used 0.1.
    """
    return seen.magnitude[0] <= tau * seen.magnitude[0].mean()


@DEFINITIONS.add(needs=("flatness",))
def saturated(seen: Seen, *, fraction: float = SATURATED) -> Tensor:
    """|derivative| under 0.01 on at least 99% of them"""
    return seen.flat[0] >= fraction * seen.positions


@DEFINITIONS.add(needs=("extremes",))
def constant(seen: Seen) -> Tensor:
    """the same output on every example"""
    return seen.low[0] == seen.high[0]


@DEFINITIONS.add(needs=("extremes",))
def always_on(seen: Seen) -> Tensor:
    """the same derivative, not 0, on every example: the activation is linear there"""
    return (seen.least[0] == seen.greatest[0]) & (seen.least[0] != 0)


@DEFINITIONS.add(paper="arXiv:2505.24061", needs=("gradients",))
def grama(seen: Seen, *, tau: float = DORMANT) -> Tensor:
    """mean |dL/d pre-activation| at most 0.025 of its layer's mean

    GraMa: what a unit can still learn. It needs labels.
    """
    return seen.gradient[0] <= tau * seen.gradient[0].mean()


@DEFINITIONS.add(of_units=False)
def sparsity(seen: Seen) -> Tensor:
    """fraction of outputs that are exactly 0"""
    return 1 - (seen.active[0] / seen.positions).mean()


@DEFINITIONS.add(paper="fastai", needs=("near zero",), of_units=False)
def near_zero(seen: Seen) -> Tensor:
    """fraction of outputs of at most 0.05, those below 0 among them"""
    return seen.small[0].mean() / seen.positions


@DEFINITIONS.add(of_units=False)
def mean_activation(seen: Seen) -> Tensor:
    """mean output"""
    return seen.total[0] / (seen.positions * seen.units)


@DEFINITIONS.add(of_units=False)
def sd_activation(seen: Seen) -> Tensor:
    """standard deviation of all outputs of a layer"""
    squares = seen.squares[0] / (seen.positions * seen.units)
    # E x² - (E x)², which rounding may take below 0.
    return (squares - mean_activation(seen) ** 2).clamp(min=0).sqrt()


@DEFINITIONS.add(paper="Roy & Vetterli 2007", needs=("gram",), of_units=False)
def effective_rank(seen: Seen) -> Tensor | None:
    """exp of the entropy of the singular values of a layer's outputs, each over the sum"""
    if seen.gram is None:
        return None
    # The Gram matrix's eigenvalues are the squares of the singular values;
    # rounding may take one below 0.
    singular = torch.linalg.eigvalsh(seen.gram.double()).clamp(min=0).sqrt()
    shares = singular / singular.sum()
    rank: Tensor = torch.special.entr(shares).sum().exp()
    return rank


def figures(choices: Sequence[Choice[Definition]], seen: Seen) -> dict[str, Any]:
    """By name: (units,) bool of a definition of units, a number of a layer's; None: not defined."""
    found: dict[str, Any] = {}
    for choice in choices:
        missing = "gradients" in choice.entry.needs and not seen.graded
        made = None if missing or not seen.positions else choice(seen)
        found[choice.entry.name] = made
    return found
