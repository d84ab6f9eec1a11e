"""Units counted in any network over any number of batches, in memory for units alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.grouping import joined
from relubench.models.calls import tensors
from relubench.neurons.batches import Batch, batch_of
from relubench.neurons.definitions import Definition, chosen, figures
from relubench.neurons.observe import Seeing, observed
from relubench.neurons.preserving import as_found
from relubench.neurons.sites import Plan, Site, find
from relubench.neurons.slopes import Slopes
from relubench.neurons.statistics import GRADIENTS, Room, Seen

IGNORED = -100  # a label that torch leaves out of a loss, as transformers gives it


@dataclass(frozen=True)
class Asked:
    """What is to be counted, and how.

    definitions  None: the usual ones
    unit         what holds a unit in tensors of more than two axes; None: what the layers say
    modules      classes or paths of modules that are one activation each
    limit        examples after which to stop
    """

    definitions: Sequence[Choice[Definition]] = field(default_factory=lambda: chosen(None))
    unit: str | None = None
    modules: Sequence[str] = ()
    limit: int | None = None

    @property
    def needs(self) -> frozenset[str]:
        """What else is to be kept of a site's outputs."""
        return frozenset(joined(choice.entry.needs for choice in self.definitions))


@dataclass(frozen=True, eq=False)
class Counted:
    """The figures of every site of a network.

    sites  in the order of the calls, each with what was seen of it
    """

    plan: Plan
    sites: Sequence[tuple[Site, Seen]]
    examples: int
    notes: Sequence[str]
    definitions: Sequence[Choice[Definition]]

    def figures(self) -> list[tuple[Site, Seen, dict[str, Any]]]:
        """Every site with its figures by definition: bools of units, a number of a layer."""
        return [(site, seen, figures(self.definitions, seen)) for site, seen in self.sites]


def count(network: nn.Module, batches: Iterable[Any], asked: Asked | None = None) -> Counted:
    """Count units over all batches, in evaluation; the network is left as it was found.

    batches  tensors, (inputs, labels) or dicts of tensors; they go to where the weights are
    Raises BadValue where there is no batch, or a figure cannot be had.
    """
    asked = asked or Asked()
    check_ready(network)
    with as_found(network):
        given = taken(batches, network, asked.limit)
        first = next(given, None)
        if first is None:
            raise BadValue("no batch was given: nothing can be counted on no example")
        plan = find(network, first, asked.unit, asked.modules)
        return counted(network, plan, _chained(first, given), asked)


def check_ready(network: nn.Module) -> None:
    """Refuse a network without numbers, or whose lazy layers the first pass would make."""
    if any(nn.parameter.is_lazy(tensor) for tensor in tensors_of(network)):
        raise BadValue(
            f"{type(network).__name__} has lazy layers that have seen no example yet, and a pass "
            "would make their weights: call it once, then count"
        )
    if any(tensor.is_meta for tensor in tensors_of(network)):
        raise BadValue(
            f"{type(network).__name__} is on the meta device, where weights have shapes and no "
            "numbers: build it on the cpu"
        )


def counted(network: nn.Module, plan: Plan, batches: Iterable[Batch], asked: Asked) -> Counted:
    """Count at the sites of a plan; the caller has switched the network to evaluation."""
    tally = _Tally(asked.needs)
    examples, gradients = 0, GRADIENTS in asked.needs
    with observed(network, plan, tally.look) as call:
        for batch in batches:
            tally.kept, tally.size = batch.kept, batch.size
            call(batch)
            examples += tally.size
            if gradients and batch.labels is not None:
                add_gradients(network, plan, batch, tally.seen)
    seen = tally.seen
    unmet = [
        f"{site.place}: not called by these examples" for site in plan.sites if site not in seen
    ]
    return Counted(plan, list(seen.items()), examples, [*plan.notes, *unmet], asked.definitions)


class _Tally:
    """What is seen of every site, batch after batch.

    kept, size  of the batch that is looked at: what of it is no padding, and its examples
    room        memory that all sites share
    """

    def __init__(self, needs: frozenset[str]) -> None:
        self.needs = needs
        self.kept: Tensor | None = None
        self.size = 0
        self.seen: dict[Site, Seen] = {}
        self.room, self.slopes = Room(), Slopes()

    def look(self, seeing: Seeing) -> None:
        """Count one call."""
        # A mask of padding is one of all examples.
        parts = [seeing] if self.kept is not None else list(seeing.parts())
        if any([self._take(part) for part in parts]):
            self.seen[seeing.site].examples += self.size

    def _take(self, seeing: Seeing) -> bool:
        """Count what is seen; whether there was anything but padding."""
        site, kept = seeing.site, self.kept
        value = rows(seeing.value.detach(), site, kept)
        # All of it was padding.
        if not value.numel():
            return False
        seen = self.seen.get(site)
        if seen is None:
            seen = self.seen[site] = Seen(site.place, value.shape[1], value.device, self.needs)
            seen.room = self.room
        _check_width(site, seen, value)

        def slopes() -> Tensor:
            return rows(self.slopes.of(seeing), site, kept)

        seen.take(value, None if site.rectifies else slopes)
        return True


def _check_width(site: Site, seen: Seen, value: Tensor) -> None:
    if value.shape[1] != seen.units:
        raise BadValue(
            f"{site.place} has {seen.units} units in one batch and {value.shape[1]} in another: "
            "say with --unit channel or feature which axis is the same in all"
        )


def taken(batches: Iterable[Any], network: nn.Module, limit: int | None = None) -> Iterator[Batch]:
    """The batches as calls, on the network's device, up to so many examples."""
    device = next((tensor.device for tensor in tensors_of(network)), torch.device("cpu"))
    left = limit
    for given in batches:
        batch = batch_of(given, network)
        if not batch.size:
            continue  # as a loader gives where nothing is left to take
        if left is not None:
            batch = batch.first(left) if batch.size > left else batch
            left -= batch.size
        yield batch.to(device)
        # Before the loader is asked for a batch that nobody needs.
        if left is not None and left <= 0:
            return


def tensors_of(network: nn.Module) -> Iterator[Tensor]:
    """Its parameters and buffers."""
    yield from network.parameters()
    yield from network.buffers()


def _chained(first: Batch, others: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from others


def rows(value: Tensor, site: Site, kept: Tensor | None = None) -> Tensor:
    """A tensor of a site as (rows, units, …), without padding.

    Rows are examples, or examples and places; further axes are positions.
    """
    ndim = value.ndim
    # Units in the last axis: every place before it is a row, as tokens are.
    if site.axes == (-1,):
        value = value if kept is None else _without_padding(value, kept)
        return value.reshape(-1, value.shape[-1])
    if site.axes == (1 - ndim,):
        return value if kept is None else _tokens(value, kept)
    units = [axis % ndim for axis in site.axes]
    moved = value.movedim(units, list(range(ndim - len(units), ndim)))
    return moved.flatten(ndim - len(units)).flatten(0, ndim - len(units) - 1)


def _tokens(value: Tensor, kept: Tensor) -> Tensor:
    """(examples, units, places) as (tokens, units), without padding; another shape as it is."""
    if value.ndim != 3 or (len(value), value.shape[2]) != tuple(kept.shape):
        return value
    return value.mT[kept]


def _without_padding(value: Tensor, kept: Tensor) -> Tensor:
    """(…, units) without what a mask of (examples, places) leaves out, if it is of its shape."""
    # (examples, places), (places, examples) or both as one: nothing else tells where padding is.
    before = value.shape[:-1]
    if before == kept.shape:
        return value[kept]
    if before == kept.T.shape:
        return value[kept.T]
    if before == (kept.numel(),):
        return value[kept.flatten()]
    return value


# --- gradients ------------------------------------------------------------------------------------


def add_gradients(network: nn.Module, plan: Plan, batch: Batch, seen: dict[Site, Seen]) -> None:
    """Count dL/d pre-activation of a batch with labels; parameters keep the gradients they have.

    It is dL/d output times the derivative: the pre-activation itself may be overwritten.
    """

    def look(seeing: Seeing) -> None:
        site, value = seeing.site, seeing.value
        if site not in seen or not value.requires_grad:
            return
        # relu's derivative is 1 where its output is not 0: nothing need be computed.
        steep = (value.detach() != 0).to(value.dtype) if site.rectifies else seeing.derivative()

        def take(gradient: Tensor) -> None:
            seen[site].take_gradient(rows(gradient * steep, site, batch.kept))

        value.register_hook(take)

    with torch.enable_grad(), observed(network, plan, look) as call:
        inputs = batch.with_gradients()
        loss = loss_of(call(inputs), batch.labels)
        wanted: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        wanted += [x for x in inputs.inputs if x.requires_grad]
        if loss.requires_grad:
            # The results are dropped: what counts is that the hooks above see the gradients pass,
            # and that .grad of the caller's parameters is left alone.
            torch.autograd.grad(loss, wanted, allow_unused=True)


def loss_of(outputs: Any, labels: Tensor | None) -> Tensor:
    """Cross-entropy of classes, mean squared error of numbers; raises BadValue if neither fits."""
    scores = scores_of(outputs)
    assert labels is not None
    labels = labels.to(scores.device)
    check_fitting(scores, labels)
    if labels.is_floating_point():
        return F.mse_loss(scores.flatten(), labels.flatten())
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), labels.reshape(-1))


def check_fitting(scores: Tensor, labels: Tensor) -> None:
    """Refuse labels that are none of these scores."""
    if labels.is_floating_point():
        fits = scores.numel() == labels.numel()
    else:
        fits = scores.shape[:-1] == labels.shape and _are_classes(labels, scores.shape[-1])
    if not fits:
        raise BadValue(
            f"labels of {tuple(labels.shape)} do not fit outputs of {tuple(scores.shape)}: classes "
            "are whole numbers from 0, one for each row of scores"
        )


def _are_classes(labels: Tensor, count: int) -> bool:
    """Whether labels are below the number of scores; IGNORED ones are left out of a loss."""
    return bool(((labels < count) & ((labels >= 0) | (labels == IGNORED))).all())


def scores_of(outputs: Any) -> Tensor:
    """The tensor of scores among a network's outputs: `logits`, or the first one."""
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    return tensors(dict(outputs) if isinstance(outputs, dict) else outputs)[0]
