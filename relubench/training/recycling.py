"""Units that begin anew while their network learns: the weights around them, and their moments.

The weights of a pass are changed in place, between epochs: recorded steps and CUDA graphs go on
with them. What is drawn follows from a cell and an epoch alone: a checkpoint need not keep it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relubench import seeds
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.models import MODELS, layers, weights
from relubench.neurons.statistics import Counter
from relubench.plan import Cell
from relubench.training import interventions
from relubench.training.heads import HEADS
from relubench.training.interventions import Intervention
from relubench.training.networks import NORMS, Networks
from relubench.training.step_groups import StepGroups
from relubench.training.tracking import Looked

POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
PASSING = (layers.Dropout, nn.Flatten, nn.Identity, *POOLING)  # what hands units on, each by itself


@dataclass(frozen=True)
class Link:
    """The weights around the units of one layer, by the names of the network's tensors.

    incoming  whose first dimension has the units, `pieces` times: weight, bias, normalisation
    own       learned parameters of the activation, a number per unit
    outgoing  whose second dimension takes them, `each` inputs a unit
    """

    incoming: Sequence[str]
    own: Sequence[str]
    outgoing: str
    pieces: int
    each: int


def check(cell: Cell, network: nn.Module) -> None:
    """Refuse an intervention that this network does not allow; raises BadValue."""
    choice = interventions.chosen(cell.recipe.revive)
    if choice is None:
        return
    try:
        if MODELS.choose(cell.model).entry.code:
            raise Unlinked("it is not relubench's own")
        if choice.entry.of_units:
            links(network)
            choice(Counter("", 1, 0, torch.device("cpu")))  # its parameters are checked
        else:
            choice(torch.zeros(1), torch.zeros(1))
    except Unlinked as why:
        raise BadValue(
            f"--revive {choice}: not in {cell.model} with {cell.activation}: {why}; it works in "
            "relubench's dense and convolutional models without residual blocks"
        ) from None


class Unlinked(Exception):
    """Why the weights that take a unit's outputs cannot be told."""


def links(network: nn.Module) -> list[Link]:
    """The weights around every layer of units, in the order of the network; raises Unlinked."""
    found: list[Link] = []
    incoming: list[str] = []
    act: layers.Act | None = None
    own: list[str] = []
    for path, module in _leaves(network):
        if isinstance(module, weights.WEIGHTED):
            if act is not None:
                found.append(Link(incoming, own, f"{path}.weight", act.pieces, _each(module, act)))
            incoming, act = _names(path, module), None
        elif isinstance(module, NORMS) and act is None:
            incoming = [*incoming, *_names(path, module)]
        elif isinstance(module, layers.Act) and incoming and act is None:
            act, own = module, _own(path, module)
        elif not (isinstance(module, PASSING) or not incoming):
            raise Unlinked(f"who takes the outputs of its units is not told by {path}")
    return found


def _leaves(network: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers in the order of their calls."""
    if type(network) is not nn.Sequential:
        yield path, network
        return
    for name, child in network.named_children():
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _names(path: str, module: nn.Module) -> list[str]:
    """The tensors of a module that have its outputs in the first dimension."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [f"{path}.{name}" for name, tensor in tensors if tensor.ndim]


def _own(path: str, act: layers.Act) -> list[str]:
    if act.activation.entry.outputs > 1:
        raise Unlinked("a pre-activation has several outputs")
    if act.activation.entry.sha256:
        raise Unlinked("the activation is not relubench's own")
    width = act.units
    return [f"{path}.{name}" for name, own in act.named_parameters() if own.shape == (width,)]


def _each(taker: nn.Module, act: layers.Act) -> int:
    """Inputs of a layer that a unit of the layer before is: of a channel, its positions."""
    taken = taker.get_parameter("weight").shape[1]
    if taken % act.units or getattr(taker, "groups", 1) > 1:
        raise Unlinked("its inputs are not the units of the layer before")
    return taken // act.units


class Recycler:
    """Lets units of the networks of a pass begin anew.

    scratch  a network like them, which is drawn anew whenever numbers are needed
    """

    def __init__(
        self, cells: Sequence[Cell], networks: Networks, choice: Choice[Intervention]
    ) -> None:
        self.cells, self.networks, self.choice = cells, networks, choice
        self.of_units = choice.entry.of_units
        self.links = links(networks.modules[0]) if self.of_units else []
        self.scratch = copy.deepcopy(networks.modules[0]).cpu()
        weights.reset_norms(self.scratch)

    @torch.no_grad()
    def recycle(
        self,
        epoch: int,
        looked: Sequence[Looked],
        step_groups: StepGroups,
        optimizer: torch.optim.Optimizer,
    ) -> list[Tensor]:
        """Let the units begin anew that the intervention chooses; how many, by layer, (cells,)."""
        masks = self._masks(looked)
        anew = torch.stack([mask.any(dim=1) for mask in masks]).any(dim=0).tolist()
        if any(anew):
            fresh = self._fresh(epoch, anew)
            kept = Kept(step_groups, optimizer)
            # All that comes in first: from a unit that begins anew nothing goes out.
            for link, mask in zip(self.links, masks, strict=True):
                for name in [*link.incoming, *link.own]:
                    rows = mask.repeat(1, 1 if name in link.own else link.pieces)
                    self._replace(name, rows, fresh, kept)
            for link, mask in zip(self.links, masks, strict=True):
                self._silence(link, mask, kept)
            step_groups.refresh_copies()
        return [mask.sum(dim=1) for mask in masks]

    @torch.no_grad()
    def change(self, epoch: int, step_groups: StepGroups) -> None:
        """Change all weights; what the optimizer keeps of them stays."""
        fresh = self._fresh(epoch, [True] * len(self.cells))
        for name in self.networks.parameters:
            tensor = self._stacked(name)
            tensor.copy_(self.choice(tensor, fresh(name, tensor)))
        step_groups.refresh_copies()

    def _masks(self, looked: Sequence[Looked]) -> list[Tensor]:
        """The units of each layer that begin anew, (cells, units) bool."""
        masks: list[Tensor] = []
        for layer in range(len(self.links)):
            chosen = [(part.cells, self.choice(part.counters[layer])) for part in looked]
            mask = chosen[0][1].new_zeros(len(self.cells), chosen[0][1].shape[1])
            for cells, of_cells in chosen:
                mask[list(cells)] = of_cells
            masks.append(mask)
        return masks

    def _fresh(self, epoch: int, anew: Sequence[bool]) -> Fresh:
        """Initial weights, drawn for the cells that need them."""
        drawn: list[dict[str, Tensor] | None] = []
        for cell, needed in zip(self.cells, anew, strict=True):
            drawn.append(self._drawn(cell, epoch) if needed else None)
        return Fresh(drawn)

    def _drawn(self, cell: Cell, epoch: int) -> dict[str, Tensor]:
        weights.initialise(
            self.scratch,
            seeds.stream(cell, f"revive {epoch}"),
            output_bias=HEADS.choose(cell.head).entry.bias,
            init=cell.init,
        )
        tensors = [*self.scratch.named_parameters(), *self.scratch.named_buffers()]
        return {name: tensor.detach().clone() for name, tensor in tensors}

    def _stacked(self, name: str) -> Tensor:
        """A tensor of the networks, the cells in its first dimension."""
        tensor = self.networks.tensors[name].detach()
        return tensor if self.networks.stacked else tensor.unsqueeze(0)

    def _replace(self, name: str, rows: Tensor, fresh: Fresh, kept: Kept) -> None:
        """Let rows of a tensor, (cells, rows) bool, be as they are drawn anew."""
        tensor = self._stacked(name)
        mask = _over(rows, tensor)
        tensor.copy_(torch.where(mask, fresh(name, tensor), tensor))
        kept.forget(name, mask)

    def _silence(self, link: Link, mask: Tensor, kept: Kept) -> None:
        """Let nothing go out of units, (cells, units) bool."""
        tensor = self._stacked(link.outgoing)
        inputs = _over(mask.repeat_interleave(link.each, dim=1), tensor.transpose(1, 2))
        inputs = inputs.transpose(1, 2)
        tensor.masked_fill_(inputs, 0)
        kept.forget(link.outgoing, inputs)


@dataclass(frozen=True, eq=False)
class Fresh:
    """Networks drawn anew: by cell, where one is needed."""

    drawn: Sequence[dict[str, Tensor] | None]

    def __call__(self, name: str, like: Tensor) -> Tensor:
        """A tensor of all cells; of those without a network what `like` has."""
        fresh = like.clone()
        for cell, tensors in enumerate(self.drawn):
            if tensors is not None:
                fresh[cell] = tensors[name].to(like)
        return fresh


@dataclass(frozen=True, eq=False)
class Kept:
    """What an optimizer keeps of the weights: moments, which go with the weights."""

    step_groups: StepGroups
    optimizer: torch.optim.Optimizer

    def forget(self, name: str, mask: Tensor) -> None:
        """Let it be 0 where `mask`, which fits the stack's tensor (cells, …), says so."""
        for cells, moments in self.step_groups.moments(name, self.optimizer):
            moments.masked_fill_(mask[cells], 0)


def _over(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask (cells, rows) that reaches over the other dimensions of a tensor."""
    return mask.view(*mask.shape, *[1] * (tensor.ndim - 2))
