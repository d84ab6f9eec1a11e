"""What is done between the epochs of a pass: hidden units are counted, and some begin anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from relubench.plan import Cell
from relubench.results import LayerHistory, is_counted
from relubench.training import interventions
from relubench.training.networks import Networks
from relubench.training.recycling import Recycler
from relubench.training.step_groups import StepGroups
from relubench.training.tracking import Probe, Tracker


class Between:
    """All that happens between epochs, and the histories that come of it.

    training  inputs of every cell's training set
    track     units are counted after every so many epochs; None: not for their history
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        networks: Networks,
        training: Sequence[Tensor],
        track: int | None,
    ) -> None:
        self.track = track
        self.cells, self.networks = cells, networks
        self.tracker = Tracker(len(cells))
        self.choice = interventions.chosen(cells[0].recipe.revive)
        self.recycler = Recycler(cells, networks, self.choice) if self.choice else None
        self.probe = None
        if track or (self.choice and self.choice.entry.of_units):
            self.probe = Probe(cells, networks, training)

    def look_at(self, training: Sequence[Tensor]) -> None:
        """Count on other inputs from here on: those of the next task."""
        if self.probe:
            self.probe = Probe(self.cells, self.networks, training)

    def after(
        self,
        epoch: int,
        epochs: int,
        going: Sequence[bool],
        step_groups: StepGroups,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Do what is due after an epoch; 0: before the first.

        epochs  of the whole training, at whose end no unit begins anew: it would learn nothing
        going   whether each cell has not diverged
        """
        recycler = self.recycler if self._due(epoch) and epoch < epochs else None
        counted = self.track is not None and is_counted(epoch, epochs, self.track)
        by_units = recycler is not None and recycler.of_units
        reset = None
        if self.probe and (counted or by_units):
            looked = self.probe.look()
            if recycler and by_units:
                reset = recycler.recycle(epoch, looked, step_groups, optimizer)
            if self.track:
                self.tracker.note(epoch, looked, going, reset)
        if recycler and not by_units:
            recycler.change(epoch, step_groups)

    def _due(self, epoch: int) -> bool:
        if self.choice is None or not epoch:
            return False
        every: int = self.choice.parameters["every"]
        return epoch % every == 0

    def histories(self) -> list[tuple[LayerHistory, ...]]:
        """What became of every cell's units, layer by layer; nothing where nobody asked."""
        return self.tracker.read()
