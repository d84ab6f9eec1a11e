"""Units that always give 0 cut out of chains of dense and convolutional layers.

A layer's outputs are followed from the layer to its activation and on to the layers that take them.
Where anything else takes them on the way (a sum, a gate, a second layer's weights), the width is
tied, and the layer stays as it is, with the reason.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from relubench import libraries
from relubench.errors import BadValue
from relubench.models.calls import Call, Record, Value
from relubench.neurons.batches import Batch
from relubench.neurons.counting import scores_of
from relubench.neurons.preserving import as_found
from relubench.neurons.sites import Looked, Plan, look_through
from relubench.rows import PruningRow

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
BY_CHANNEL = ("max_pool", "avg_pool", "dropout", "contiguous", "clone")  # in a call's name
FLATTENING = {"flatten", "view", "reshape"}
ROUNDS = 9  # of a timed pass
CLOSE = 1e-4  # two outputs, over the largest: sums of fewer terms round otherwise


@dataclass(frozen=True, eq=False)
class Link:
    """A layer whose outputs can be fewer.

    layer     its path, with those of the normalisations behind it
    takers    the paths of the layers that take its outputs, and how many inputs each unit is there
    """

    layer: str
    norms: Sequence[str]
    takers: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network: a copy, its rows and notes on what stays."""

    network: nn.Module
    rows: Sequence[PruningRow]
    notes: Sequence[str]

    def save(self, path: Path, suffix: str) -> None:
        """Write its state dict: safetensors for that suffix, else torch's."""
        state = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        if suffix == ".safetensors":
            library = libraries.optional(
                "safetensors.torch", "safetensors", "pip install safetensors"
            )
            library.save_file(state, path)
        else:
            torch.save(state, path)


class Tied(Exception):
    """Why a layer's width cannot change."""


def prune(network: nn.Module, plan: Plan, batch: Batch, inactive: Mapping[str, Tensor]) -> Pruned:
    """A copy of the network without the units that always give 0; the original stays as it is.

    inactive  by layer of the plan: the units, (units,) bool
    Raises BadValue where every width is tied, or the copy gives something else on the batch.
    """
    with as_found(network):
        looked = look_through(network, batch)
        smaller = copy.deepcopy(network)
        links, notes = _links(network, plan, looked, inactive)
        if not links:
            why = "; ".join(notes) or "no unit always gives 0"
            raise BadValue(f"--prune: nothing can be cut: {why}")
        rows = [_cut(smaller, link, gone) for link, gone in links]
        _check(network, smaller, batch, [link.layer for link, _ in links])
        rows.append(_whole(network, smaller, batch))
    return Pruned(smaller, rows, notes)


def _links(
    network: nn.Module, plan: Plan, looked: Looked, inactive: Mapping[str, Tensor]
) -> tuple[list[tuple[Link, Tensor]], list[str]]:
    """The layers to cut with the units that go, and why others stay."""
    followed = _Followed(network, looked.record)
    starts, ends = looked.starts(), looked.ends()
    links, notes = [], []
    for site in plan.sites:
        gone = inactive.get(site.place)
        if gone is None or not bool(gone.any()):
            continue
        try:
            if bool(gone.all()):
                raise Tied("all of its units give 0")
            link = followed.link(starts[site.key], ends[site.key])
            if len(gone) != len(network.get_submodule(link.layer).get_parameter("weight")):
                raise Tied("its units are not the layer's outputs")
            links.append((link, gone))
        except Tied as tied:
            notes.append(f"{site.place}: {int(gone.sum())} units stay: {tied}")
    return links, notes


class _Followed:
    """From an activation back to the layer before it, and on to those after it."""

    def __init__(self, network: nn.Module, record: Record) -> None:
        self.network, self.record = network, record
        self.owners: dict[int, list[str]] = {}
        for path, module in network.named_modules():
            if isinstance(module, LAYERS):
                self.owners.setdefault(id(module.weight), []).append(path)

    def link(self, start: Value, end: Value) -> Link:
        """The layer before and the layers after; raises Tied."""
        norms: list[str] = []
        value = start
        while True:
            self._used_once(value, end)
            call = value.call
            if call is None:
                raise Tied("it takes the examples themselves")
            module = self._module(call)
            if isinstance(module, NORMS):
                norms.append(call.path)
            elif isinstance(module, LAYERS):
                return Link(call.path, norms, self._takers(end))
            elif not any(part in call.name for part in BY_CHANNEL):
                raise Tied(f"{call} stands before it")
            value = next(taken for taken in call.inputs if taken.reached)

    def _used_once(self, value: Value, end: Value) -> None:
        users = [user for user in value.users if user.number >= 0]
        outside = [user for user in users if user is not end.call and not _leads_to(user, end)]
        if outside or value in self.record.results:
            raise Tied(f"{outside[0] if outside else 'the output'} takes its outputs too")

    def _module(self, call: Call) -> nn.Module | None:
        """The layer whose weights a call takes, if that is called once and its weights are its."""
        module = self.network.get_submodule(call.path)
        if not isinstance(module, LAYERS + NORMS):
            return None
        # Called twice, its outputs go to two activations, which may not agree on what is inactive.
        calls = [run for run in self.record.runs if run.module is module]
        if len(calls) > 1:
            raise Tied(f"{call.path} is called {len(calls)} times")
        if isinstance(module, LAYERS):
            # Tied weights: to cut one would cut the other.
            if len(self.owners[id(module.weight)]) > 1 or self._shared(module):
                raise Tied(f"the weights of {call.path} are another's too")
            if getattr(module, "groups", 1) > 1:
                raise Tied(f"{call.path} has groups of channels")
        return module

    def _shared(self, module: nn.Module) -> bool:
        own = _own_parameters(module)
        holders = [each for each in self.network.modules() if own & _own_parameters(each)]
        return len(holders) > 1

    def _takers(self, end: Value) -> dict[str, int]:
        # Forwards from the activation; `each` is how many inputs a unit has become on the way.
        takers: dict[str, int] = {}
        left = [(end, 1)]
        while left:
            value, each = left.pop()
            if value in self.record.results or not value.users:
                raise Tied("it is the network's output")
            for call in value.users:
                if call.number < 0:
                    continue
                module = self._module(call)
                if isinstance(module, LAYERS):
                    takers[call.path] = each
                elif any(part in call.name for part in BY_CHANNEL):
                    left += [(out, each) for out in call.outputs]
                elif call.name in FLATTENING and _flattens(call, value):
                    width = value.tensor[0, 0].numel()
                    left += [(out, each * width) for out in call.outputs]
                else:
                    raise Tied(f"{call} takes its outputs")
        return takers


def _own_parameters(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters(recurse=False)}


def _leads_to(call: Call, end: Value) -> bool:
    """Whether all that a call makes is used on the way to a value alone."""
    seen: set[Call] = set()
    left = [call]
    while left:
        user = left.pop()
        if user in seen:
            continue
        seen.add(user)
        for out in user.outputs:
            if out is end:
                continue
            if not out.users:
                return False
            left += out.users
    return True


def _flattens(call: Call, value: Value) -> bool:
    made = call.outputs[0].shape
    return len(made) == 2 and made[0] == value.shape[0] and value.tensor.ndim > 2


# --- the cut --------------------------------------------------------------------------------------


@torch.no_grad()
def _cut(network: nn.Module, link: Link, gone: Tensor) -> PruningRow:
    """Let a layer, its normalisations and those after it have as many fewer units."""
    kept = (~gone).nonzero().flatten()
    before = _count(network)
    layer = network.get_submodule(link.layer)
    _narrow(layer, ("weight", "bias"), kept, 0)
    _rename(layer, ("out_features", "out_channels"), len(kept))
    for path in link.norms:
        norm = network.get_submodule(path)
        _narrow(norm, ("weight", "bias", "running_mean", "running_var"), kept, 0)
        _rename(norm, ("num_features",), len(kept))
    for path, each in link.takers.items():
        taker = network.get_submodule(path)
        # A flattened channel is `each` inputs side by side.
        inputs = (kept.unsqueeze(1) * each + torch.arange(each, device=kept.device)).flatten()
        _narrow(taker, ("weight",), inputs, 1)
        _rename(taker, ("in_features", "in_channels"), len(inputs))
    return PruningRow(
        layer=link.layer,
        width=len(gone),
        new_width=len(kept),
        parameters=before,
        new_parameters=_count(network),
    )


def _narrow(module: nn.Module, names: Sequence[str], kept: Tensor, axis: int) -> None:
    for name in names:
        tensor = getattr(module, name, None)
        if not isinstance(tensor, Tensor):
            continue
        part = tensor.detach().index_select(axis, kept.to(tensor.device)).clone()
        held: Any = part
        if isinstance(tensor, nn.Parameter):
            held = nn.Parameter(part, tensor.requires_grad)
        setattr(module, name, held)


def _rename(module: nn.Module, names: Sequence[str], width: int) -> None:
    for name in names:
        if hasattr(module, name):
            setattr(module, name, width)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _check(network: nn.Module, smaller: nn.Module, batch: Batch, layers: Sequence[str]) -> None:
    """Refuse a copy that raises, or gives something else."""
    names = ", ".join(layers)
    whole = scores_of(network(*batch.args, **batch.kwargs))
    try:
        cut = scores_of(smaller.eval()(*batch.args, **batch.kwargs))
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise BadValue(f"--prune: a width is tied in the code, behind {names}: {first}") from error
    scale = float(whole.abs().max()) or 1.0
    if whole.shape != cut.shape or not torch.allclose(whole, cut, rtol=CLOSE, atol=CLOSE * scale):
        raise BadValue(f"--prune: the smaller network gives something else; it was cut in {names}")


def _whole(network: nn.Module, smaller: nn.Module, batch: Batch) -> PruningRow:
    return PruningRow(
        layer="total",
        width=None,
        new_width=None,
        parameters=_count(network),
        new_parameters=_count(smaller),
        milliseconds=_milliseconds(network, batch),
        new_milliseconds=_milliseconds(smaller, batch),
    )


def _milliseconds(network: nn.Module, batch: Batch) -> float:
    """Median time of a pass."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        network(*batch.args, **batch.kwargs)
        if batch.inputs[0].is_cuda:
            # A GPU goes on computing after the call has returned.
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - begun))
    return median(times)
