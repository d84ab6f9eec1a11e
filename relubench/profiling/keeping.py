"""Measures what a network keeps for its backward pass: on tensors without memory, so at no cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from relubench.activations import ACTIVATIONS
from relubench.errors import RelubenchError
from relubench.models import MODELS, matching
from relubench.plan import Cell

FEW, MORE = 2, 3  # examples: what the second pass keeps besides is one example's


def kept_bytes(cell: Cell, shape: tuple[int, ...], outputs: int) -> float:
    """Bytes per example of float32 that autograd keeps in training, without weights; 0: unknown.

    Every distinct storage counts once. That it is not known is no reason to stop: noise, for one,
    cannot be drawn without memory.
    """
    try:
        model = MODELS.choose(cell.model)
        if cell.match_parameters:
            model = matching.narrowed(cell.model, cell.activation, shape, outputs)
        axis = {} if cell.unit_axis is None else {"unit_axis": cell.unit_axis}
        activation = ACTIVATIONS.choose(cell.activation)
        with torch.device("meta"):
            network = model(shape, outputs, activation, **axis).train()
            few, more = (_kept(network, torch.empty(n, *shape)) for n in (FEW, MORE))
    except (RuntimeError, NotImplementedError, TypeError, ValueError, RelubenchError):
        return 0.0
    return float(more - few) / (MORE - FEW)


def _kept(network: nn.Module, x: Tensor) -> int:
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(x)
    weights = [*network.parameters(), *network.buffers()]
    own = {tensor.untyped_storage()._cdata for tensor in weights}
    sizes = [each.untyped_storage().nbytes() for at, each in kept.items() if at not in own]
    del output  # until here: a storage that is freed gives its place to another
    return sum(sizes)
