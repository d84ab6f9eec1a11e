"""The networks of a stack's cells, called as one.

One network is called as it is; several are one vectorised pass over stacked parameters (vmap).
Every tensor that goes in or comes out has the cells in its first dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vjp
from torch.utils import _pytree as pytree

from relubench.layers import Act, activations


class CannotStack(Exception):
    """These networks have no vectorised pass: batch normalisation, an op without a rule."""


SLOW = "There is a performance drop"  # how torch says that an op has no batching rule


class Networks:
    """Networks of one architecture.

    parameters  by name, each (cells, …) where there are several networks
    bf16        compute in bfloat16; the parameters themselves stay as they are (autocast would
                not do: a vectorised pass heeds it in some ops only)
    """

    def __init__(self, modules: Sequence[nn.Module], bf16: bool = False) -> None:
        self.modules, self.bf16 = list(modules), bf16
        self.stacked = len(self.modules) > 1
        self.parameters: dict[str, Any] = dict(self.modules[0].named_parameters())
        self.buffers = dict(self.modules[0].named_buffers())
        if self.stacked:
            self.parameters, self.buffers = stack_module_state(self.modules)

    def __call__(self, x: Tensor) -> Tensor:
        """(cells, batch, …) to (cells, batch, classes)."""
        outputs: Tensor = self._map(lambda call, x: call(x), x)
        return outputs.float() if self.bf16 else outputs

    def observe(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The outputs, and for every Act its values and slopes, (cells, batch, units, …)."""
        outputs, seen = self._map(lambda call, x: _observe(self.modules[0], call, x), x)
        return outputs.float() if self.bf16 else outputs, seen

    def _map(self, function: Callable[[Callable[[Tensor], Tensor], Tensor], Any], x: Tensor) -> Any:
        """function(network, inputs) of every network, the results stacked."""
        network, parameters = self.modules[0], self.parameters
        if self.bf16:
            x = x.bfloat16()
            parameters = {name: value.bfloat16() for name, value in parameters.items()}

        def one(parameters: Any, buffers: Any, x: Tensor) -> Any:
            return function(lambda x: functional_call(network, (parameters, buffers), (x,)), x)

        if self.stacked:
            return torch.vmap(one, randomness="different")(parameters, self.buffers, x)
        alone = one(parameters, {}, x[0]) if self.bf16 else function(network, x[0])
        return pytree.tree_map(lambda tensor: tensor.unsqueeze(0), alone)

    def train(self, learning: bool) -> None:
        """Switch to training or to evaluation."""
        self.modules[0].train(learning)

    def probe(self, x: Tensor) -> None:
        """Raise CannotStack where inputs such as `x` find no vectorised pass, or a slow one."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=SLOW)
                self(x).sum().backward()
                with torch.no_grad():
                    self.observe(x)
        except (RuntimeError, UserWarning) as error:
            raise CannotStack(str(error)) from error
        for parameter in self.parameters.values():
            parameter.grad = None

    def settle(self) -> None:
        """Write what was learned back into the single networks."""
        if self.stacked:
            with torch.no_grad():
                for number, module in enumerate(self.modules):
                    learned = [*module.named_parameters(), *module.named_buffers()]
                    for name, tensor in learned:
                        tensor.copy_(self.tensors[name][number])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        return self.parameters | self.buffers


def _observe(network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    seen: list[tuple[Tensor, Tensor]] = []

    def look(act: nn.Module, inputs: tuple[Tensor], value: Tensor) -> None:
        seen.append((value, slopes(act, inputs[0])))

    hooks = [act.register_forward_hook(look) for _, act in activations(network)]
    try:
        return call(x), seen
    finally:
        for hook in hooks:
            hook.remove()


def slopes(act: Act | nn.Module, x: Tensor) -> Tensor:
    """f'(x) by automatic differentiation: what back-propagation would multiply by at `x`."""
    pulled: Any = vjp(act.forward, x)
    value, pull = pulled
    slope: Tensor = pull(torch.ones_like(value))[0]
    return slope
