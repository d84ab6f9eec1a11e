"""The weights that each run had after its best epoch, for --report best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from relubench.results import Epoch
from relubench.training.networks import Networks


class BestEpoch:
    """Copies of the networks' tensors, each network's after its epoch of lowest held-out loss.

    Which epoch that is follows from a curve: a checkpoint need not say it.

    tensors  by name, as the networks have them; empty before the first epoch
    """

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def see(self, curves: Sequence[Sequence[Epoch]]) -> None:
        """Keep what the networks are now whose last epoch is their best so far."""
        own = self.networks.tensors
        if not self.tensors:
            self.tensors = {name: tensor.detach().clone() for name, tensor in own.items()}
        better = [number for number, curve in enumerate(curves) if _ends_best(curve)]
        if not better:
            return
        for name, tensor in own.items():
            kept = self.tensors[name]
            if self.networks.stacked:
                kept[better] = tensor[better]
            else:
                kept.copy_(tensor)

    @torch.no_grad()
    def give_back(self) -> None:
        """Put the best weights in the place of the last; nothing where no epoch was seen."""
        own = self.networks.tensors
        for name, kept in self.tensors.items():
            own[name].copy_(kept)


def _ends_best(curve: Sequence[Epoch]) -> bool:
    """Whether no epoch before the last has as low a loss; of equal ones the first is the best."""
    losses = [math.inf if e.held_out_loss is None else e.held_out_loss for e in curve]
    return losses[-1] < min(losses[:-1], default=math.inf)
