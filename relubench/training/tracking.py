"""Hidden units over the epochs of a training: counted on a fixed probe set, each with its life.

The probe set is PROBE examples of a cell's training set, drawn from a stream of its own: the same
for every activation of a seed. Counting changes no weight and draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from relubench import seeds
from relubench.grouping import grouped
from relubench.models.layers import Act, activations, drawing_after
from relubench.neurons.statistics import Counter
from relubench.plan import Cell
from relubench.results import COUNTS, LayerCount, LayerHistory
from relubench.training.networks import Networks
from relubench.training.recorded_step import RecordedStep, Step

PROBE = 512  # examples
WARMUP_LOOKS = 2  # before it is recorded
TOGETHER = 2**20  # values of a layer of one cell that are looked at together
PENDING = 64  # counts that wait to be read: on a GPU to read one waits for the device
FIGURES = (*COUNTS, "sparsity", "mean_activation")


@dataclass(frozen=True, eq=False)
class Looked:
    """What was counted of some cells of a pass, whose probe sets have one size.

    cells     their numbers
    counters  one per layer, each (cells, units)
    """

    cells: Sequence[int]
    counters: Sequence[Counter]


class Probe:
    """A fixed part of every cell's training set, and the networks that are looked at on it."""

    def __init__(
        self, cells: Sequence[Cell], networks: Networks, training: Sequence[Tensor]
    ) -> None:
        self.networks = networks
        drawn = [_drawn(cell, x) for cell, x in zip(cells, training, strict=True)]
        by_size = grouped(range(len(cells)), lambda number: len(drawn[number]))
        self.parts: list[_Part] = []
        for numbers in by_size.values():
            x = torch.stack([drawn[number] for number in numbers])
            self.parts.append(_Part(networks, numbers, x, alone=len(by_size) == 1))

    def look(self) -> list[Looked]:
        """Count the units of all networks; they go on learning."""
        self.networks.train(False)
        with self._drawing(), torch.no_grad():
            looked = [part.look() for part in self.parts]
        self.networks.train(True)
        return looked

    def _drawing(self) -> AbstractContextManager[object]:
        """What a user's own code draws all the same is the same in every look."""
        if self.networks.seed is None:
            return nullcontext()
        return drawing_after(self.networks.seed, self.parts[0].x.device)


class _Part:
    """Cells of a pass whose probe sets have one size.

    numbers   of the cells
    x         (cells, examples, …)
    alone     whether they are all cells of the pass
    size      examples of a pass; 0: not known yet
    """

    def __init__(self, networks: Networks, numbers: Sequence[int], x: Tensor, alone: bool) -> None:
        self.networks, self.numbers, self.x, self.alone = networks, numbers, x, alone
        self.counters: dict[Act, Counter] = {}
        for name, act in activations(networks.modules[0]):
            if act.counted:
                self.counters[act] = Counter(name, len(numbers), act.units, x.device)
        self.size = 0
        self.count: Step = self._count
        # As a training step is: the kernels alone, and no new memory from look to look.
        if x.device.type == "cpu" and alone and not networks.foreign:
            self.count = RecordedStep(self._count, WARMUP_LOOKS)

    def look(self) -> Looked:
        """Count the units of these networks."""
        self.count(self.x)
        return Looked(self.numbers, [counter.copied() for counter in self.counters.values()])

    def _count(self, x: Tensor) -> None:
        networks = self.networks if self.alone else self.networks.some(self.numbers)
        if not self.size:
            _, seen = networks.observe(x[:, :1])
            # By one cell's values: a cell's sums do not depend on how many share the pass.
            self.size = max(1, TOGETHER // max(value[0].numel() for value, _ in seen))
        for counter in self.counters.values():
            counter.clear()
        for part in x.split(self.size, dim=1):
            _, seen = networks.observe(part)
            kept = networks.kept(part)
            for counter, (value, derivative) in zip(self.counters.values(), seen, strict=True):
                counter.see(value, derivative, kept)


def _drawn(cell: Cell, x: Tensor) -> Tensor:
    """The probe set of a cell from its training set, in the order of that."""
    drawn = torch.randperm(len(x), generator=seeds.stream(cell, "probe"))
    return x[drawn[:PROBE].sort().values.to(x.device)]


@dataclass(frozen=True, eq=False)
class _Count:
    """A count that waits to be read.

    going  whether each cell had not diverged by then
    reset  units that began anew after it: by layer (cells,); None: no intervention
    """

    epoch: int
    looked: Sequence[Looked]
    going: Sequence[bool]
    reset: Sequence[Tensor] | None


class Tracker:
    """The histories of the units of every cell of a pass."""

    def __init__(self, cells: int) -> None:
        self.histories: list[tuple[LayerHistory, ...]] = [()] * cells
        self.pending: list[_Count] = []

    def note(
        self,
        epoch: int,
        looked: Sequence[Looked],
        going: Sequence[bool],
        reset: Sequence[Tensor] | None,
    ) -> None:
        """Add a count to the histories of the cells that have not diverged."""
        self.pending.append(_Count(epoch, looked, going, reset))
        if len(self.pending) >= PENDING:
            self.read()

    def read(self) -> list[tuple[LayerHistory, ...]]:
        """The histories, with all that waits."""
        counts, self.pending = self.pending, []
        if not counts:
            return self.histories
        for group, looked in enumerate(counts[0].looked):
            alike = [count.looked[group].counters for count in counts]
            layers = [_Read.of(same) for same in zip(*alike, strict=True)]
            resets = [_resets(counts, layer, looked.cells) for layer in range(len(layers))]
            for place, cell in enumerate(looked.cells):
                kept = [number for number, count in enumerate(counts) if count.going[cell]]
                epochs = [counts[number].epoch for number in kept]
                before = self.histories[cell] or [layer.unwritten for layer in layers]
                after = []
                for history, layer, reset in zip(before, layers, resets, strict=True):
                    after.append(layer.added(history, place, kept, epochs, reset))
                self.histories[cell] = tuple(after)
        return self.histories

    # --- in a checkpoint

    def save(self) -> list[list[dict[str, object]]]:
        """The histories as plain lists and numbers."""
        return list(map(_saved, self.read()))

    def restore(self, histories: Sequence[tuple[LayerHistory, ...]]) -> None:
        """Go on from these."""
        self.histories, self.pending = list(histories), []


def _resets(counts: Sequence[_Count], layer: int, cells: Sequence[int]) -> list[list[int]]:
    """How many units of a layer began anew after each count, by cell."""
    resets = []
    for count in counts:
        by_cell = count.reset[layer][list(cells)].tolist() if count.reset else [0] * len(cells)
        resets.append(by_cell)
    return resets


@dataclass(frozen=True, eq=False)
class _Read:
    """Some counts of one layer, off the device.

    counts  (counts, cells)
    dead    (counts, cells, units) bool
    """

    counts: Sequence[Sequence[LayerCount]]
    dead: Tensor

    @classmethod
    def of(cls, counters: Sequence[Counter]) -> _Read:
        """Read counters of the same cells, all at once."""
        together = Counter.joined(counters)
        flat, cells = together.counts(), len(counters[0].moved)
        counts = [flat[begin : begin + cells] for begin in range(0, len(flat), cells)]
        return cls(counts, together.dead.cpu().unflatten(0, (len(counters), cells)))

    @property
    def unwritten(self) -> LayerHistory:
        """The history before the first count."""
        count = self.counts[0][0]
        own = {"layer": count.layer, "units": count.units, "examples": count.examples}
        listed = [field.name for field in fields(LayerHistory) if field.name not in own]
        return LayerHistory(**own, **dict.fromkeys(listed, ()))  # type: ignore[arg-type]

    def added(
        self,
        history: LayerHistory,
        cell: int,
        kept: Sequence[int],
        epochs: Sequence[int],
        reset: Sequence[Sequence[int]],
    ) -> LayerHistory:
        """A history with the counts `kept` of one cell."""
        figures: dict[str, Any] = {}
        for name in FIGURES:
            added = [getattr(self.counts[number][cell], name) for number in kept]
            figures[name] = (*getattr(history, name), *added)
        died, revived = _changes(history.dead_units(), self.dead[list(kept), cell])
        return replace(
            history,
            **figures,
            epochs=(*history.epochs, *epochs),
            died=(*history.died, *died),
            revived=(*history.revived, *revived),
            reset=(*history.reset, *(reset[number][cell] for number in kept)),
        )


Units = tuple[int, ...]


def _changes(dead: frozenset[int], masks: Tensor) -> tuple[list[Units], list[Units]]:
    """The units that died and that revived at each of (counts, units) `masks`."""
    before = torch.zeros(masks.shape[1:], dtype=torch.bool)
    before[list(dead)] = True
    died, revived = [], []
    for now in masks:
        died.append(_numbers(now & ~before))
        revived.append(_numbers(before & ~now))
        before = now
    return died, revived


def _numbers(mask: Tensor) -> Units:
    return tuple(mask.nonzero().flatten().tolist())


def histories(saved: object, cells: int) -> list[tuple[LayerHistory, ...]]:
    """The histories that `Tracker.save` gave; raises ValueError where they are none."""
    if not isinstance(saved, list) or len(saved) != cells:
        raise ValueError("there is not one for each run")
    return [tuple(map(_history, of_cell)) for of_cell in saved]


def _saved(history: Sequence[LayerHistory]) -> list[dict[str, object]]:
    return [dict(vars(layer)) for layer in history]


def _history(saved: Mapping[str, Any]) -> LayerHistory:
    try:
        history = LayerHistory(**saved)
        counts = {len(getattr(history, name)) for name in (*FIGURES, "died", "revived", "reset")}
        units = set().union(*history.died, *history.revived)
        fits = units <= set(range(history.units))
    except TypeError as error:
        raise ValueError("a layer's is none") from error
    if counts != {len(history.epochs)} or not fits:
        raise ValueError("a layer's does not fit together")
    return history
