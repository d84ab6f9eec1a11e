"""What a network is given: a tensor, a pair with labels, or a dict; with what is padding in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from relubench.errors import BadValue
from relubench.models.attention import Reader
from relubench.models.calls import tensors

LABELS = ("labels", "label", "targets", "target", "y")
KEPT = ("attention_mask",)  # 1 or True: a token
PADDED = ("src_key_padding_mask", "key_padding_mask", "padding_mask")  # True: padding


@dataclass(frozen=True, eq=False)
class Batch:
    """One call of a network.

    args, kwargs  what it is called with
    labels        what it should give, where that is known
    kept          (examples, places) True where a token is no padding; None: there is no padding
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    labels: Tensor | None = None
    kept: Tensor | None = None

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors that it is called with."""
        return tensors((self.args, self.kwargs))

    @property
    def size(self) -> int:
        """How many examples it holds: the length of its first tensor."""
        return len(self.inputs[0])

    def first(self, count: int) -> Batch:
        """The first examples alone."""
        return self._mapped(lambda tensor: tensor[:count], self.size)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._mapped(lambda tensor: tensor.to(device), None)

    def with_gradients(self) -> Batch:
        """The same, whose numbers take gradients."""

        def changed(tensor: Tensor) -> Tensor:
            return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor

        return replace(self, **vars(self._mapped(changed, None)) | {"labels": self.labels})

    def _mapped(self, change: Callable[[Tensor], Tensor], size: int | None) -> Batch:
        def changed(leaf: Any) -> Any:
            whole = isinstance(leaf, Tensor) and leaf.ndim > 0
            return change(leaf) if whole and size in (None, len(leaf)) else leaf

        args, kwargs, labels, kept = pytree.tree_map(
            changed, (self.args, self.kwargs, self.labels, self.kept)
        )
        return Batch(args, kwargs, labels, kept)


def batch_of(given: Any, network: nn.Module) -> Batch:
    """What a loader gives as a call: x, (x, labels, …), or a dict; raises BadValue for the rest.

    A dict is taken apart where the network's forward has arguments of its names.
    """
    if isinstance(given, Mapping):
        batch = _of_mapping(dict(given), network)
    elif isinstance(given, list | tuple) and given:
        labels = given[1] if len(given) > 1 and isinstance(given[1], Tensor) else None
        batch = Batch((given[0],), labels=labels)
    else:
        batch = Batch((given,))
    if not batch.inputs or not batch.inputs[0].ndim:
        kind = type(given).__name__
        raise BadValue(
            f"a batch is of type {kind} and holds no tensor of examples: "
            "batches are tensors, (inputs, labels) or dicts of tensors"
        )
    if batch.kept is None and isinstance(network, Reader):
        return replace(batch, kept=network.kept(batch.inputs[0]))
    return batch


def _of_mapping(given: dict[str, Any], network: nn.Module) -> Batch:
    # Taken out: a network of transformers that is given labels computes a loss besides.
    labels = next((given.pop(name) for name in LABELS if name in given), None)
    kept = _kept(given)
    labels = labels if isinstance(labels, Tensor) else None
    if _takes(network, given):
        return Batch((), given, labels, kept)
    return Batch((given,), {}, labels, kept)


def _takes(network: nn.Module, given: Mapping[str, Any]) -> bool:
    parameters = inspect.signature(network.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return True
    return set(given) <= {parameter.name for parameter in parameters}


def _kept(given: Mapping[str, Any]) -> Tensor | None:
    """(examples, places) of a dict's mask; a mask of another shape says nothing of padding."""
    for name in (*KEPT, *PADDED):
        mask = given.get(name)
        if isinstance(mask, Tensor) and mask.ndim == 2:
            return mask.bool() if name in KEPT else ~mask.bool()
    return None
