"""The networks of a stack's cells, called as one.

One network is called as it is; several are one vectorised pass over stacked parameters (vmap).
Every tensor that goes in or comes out has the cells in its first dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.utils import _pytree as pytree

from relubench.layers import Act, activations

Pulled = Callable[[Callable[[Tensor], Tensor], Tensor], Any]  # as torch.func.vjp


class CannotStack(Exception):
    """These networks have no vectorised pass: an op without a rule, padded batch normalisation."""


class Networks:
    """Networks of one architecture.

    parameters  by name, each (cells, …) where there are several networks
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.stacked = len(self.modules) > 1
        self.buffers: dict[str, Tensor] = {}
        self.parameters: dict[str, Any] = dict(self.modules[0].named_parameters())
        if self.stacked:
            self.parameters = _stacked([dict(module.named_parameters()) for module in modules])
            self.buffers = _stacked([dict(module.named_buffers()) for module in modules])

    def __call__(self, x: Tensor) -> Tensor:
        """(cells, batch, …) to (cells, batch, classes)."""
        if not self.stacked:
            outputs: Tensor = self.modules[0](x.squeeze(0))
            return outputs.unsqueeze(0)
        return torch.vmap(self._one, randomness="different")(self.parameters, self.buffers, x)

    def _one(self, parameters: Any, buffers: Any, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.modules[0], (parameters, buffers), (x,))
        return outputs

    def observe(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The outputs, and for every Act its values and slopes, (cells, batch, units, …)."""
        if not self.stacked:
            alone = _observe(self.modules[0], self.modules[0], x.squeeze(0), _pulled)
            outputs, seen = pytree.tree_map(lambda tensor: tensor.unsqueeze(0), alone)
            return outputs, seen

        def one(parameters: Any, buffers: Any, x: Tensor) -> Any:
            call = lambda x: self._one(parameters, buffers, x)  # noqa: E731
            return _observe(self.modules[0], call, x, vjp)

        outputs, seen = torch.vmap(one, randomness="different")(self.parameters, self.buffers, x)
        return outputs, seen

    def train(self, learning: bool) -> None:
        """Switch to training or to evaluation."""
        self.modules[0].train(learning)

    def probe(self, x: Tensor) -> None:
        """Raise CannotStack where inputs such as `x` find no vectorised pass.

        It leaves no trace in the statistics of batch normalisation.
        """
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        try:
            self(x).sum().backward()
            with torch.no_grad():
                self.observe(x)
        except Exception as error:  # a user's own unit may raise any; alone it shows if it is wrong
            raise CannotStack(str(error)) from error
        for parameter in self.parameters.values():
            parameter.grad = None
        for name, buffer in self.buffers.items():
            buffer.copy_(kept[name])

    def settle(self) -> None:
        """Write what was learned back into the single networks."""
        if self.stacked:
            with torch.no_grad():
                for number, module in enumerate(self.modules):
                    learned = [*module.named_parameters(), *module.named_buffers()]
                    for name, tensor in learned:
                        tensor.copy_((self.parameters | self.buffers)[name][number])


def _stacked(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, with the networks in the first dimension.

    torch.func.stack_module_state wants one class of all, and every traced network has its own.
    """
    return {
        name: torch.stack([each[name].detach() for each in tensors]).requires_grad_(
            tensor.requires_grad
        )
        for name, tensor in tensors[0].items()
    }


def _observe(
    network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, pulled: Pulled
) -> Any:
    acts = [act for _, act in activations(network)]
    seen: dict[Act, tuple[Tensor, Tensor]] = {}

    def look(act: Act, inputs: tuple[Tensor], value: Tensor) -> None:
        seen[act] = value, slopes(act, inputs[0], pulled)

    hooks = [act.register_forward_hook(look) for act in acts]
    try:
        return call(x), [seen[act] for act in acts]  # they need not be called in this order
    finally:
        for hook in hooks:
            hook.remove()


def _pulled(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Any]:
    """As torch.func.vjp, but for all that autograd can do."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
    return value, lambda chosen: torch.autograd.grad(value, x, chosen, retain_graph=True)


def slopes(act: Act, x: Tensor, pulled: Pulled = _pulled) -> Tensor:
    """|f'(x)| by automatic differentiation: what back-propagation would multiply by at `x`.

    The slope of an output, (examples, units, …), is the largest over its pre-activations; where a
    unit takes other examples or positions in too, that of its sum over them.
    """
    value, pull = pulled(act.forward, x)
    entry = act.activation.entry
    apart = 1 if entry.mixes else act.units // entry.outputs  # outputs that share no pre-activation
    steepest = []
    for first in range(0, act.units, apart):
        chosen = torch.zeros_like(value)
        chosen[:, first : first + apart] = 1
        steepest.append(pull(chosen)[0].abs().unflatten(1, (-1, apart)).amax(dim=1))
    return torch.cat(steepest, dim=1)
