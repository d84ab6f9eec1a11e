"""The networks of a stack's cells, called as one.

One network is called as it is; several are one vectorised pass over stacked parameters (vmap).
Every tensor that goes in or comes out has the cells in its first dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vjp
from torch.utils import _pytree as pytree

from relubench.layers import Act, Dropout, activations


class CannotStack(Exception):
    """These networks have no vectorised pass: batch normalisation, an op without a rule."""


class Networks:
    """Networks of one architecture.

    parameters  by name, each (cells, …) where there are several networks
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.stacked = len(self.modules) > 1
        self.by_layer = False
        self.buffers: dict[str, Tensor] = {}
        self.parameters: dict[str, Any] = dict(self.modules[0].named_parameters())
        if self.stacked:
            self.parameters, self.buffers = stack_module_state(self.modules)

    def __call__(self, x: Tensor) -> Tensor:
        """(cells, batch, …) to (cells, batch, classes)."""
        if not self.stacked:
            outputs: Tensor = self.modules[0](x.squeeze(0))
            return outputs.unsqueeze(0)
        return self._layer(self.modules[0], "", x) if self.by_layer else self._vectorised(x)

    def _vectorised(self, x: Tensor) -> Tensor:
        outputs: Tensor = torch.vmap(self._one, randomness="different")(
            self.parameters, self.buffers, x
        )
        return outputs

    def _one(self, parameters: Any, buffers: Any, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.modules[0], (parameters, buffers), (x,))
        return outputs

    def _layer(self, module: nn.Module, path: str, x: Tensor) -> Tensor:
        """One layer of all networks: with vmap, or without its overhead where that is as good.

        Dense layers are one batched product; a layer without weights takes the examples of all
        cells as one batch. `path` goes before the names of its parameters.
        """
        if type(module) is nn.Sequential:
            for name, child in module.named_children():
                x = self._layer(child, f"{path}{name}.", x)
            return x
        own = {k.removeprefix(path): p for k, p in self.parameters.items() if k.startswith(path)}
        if type(module) is nn.Linear and x.ndim == 3 and len(own) == 2:
            return torch.baddbmm(own["bias"].unsqueeze(1), x, own["weight"].mT)
        if isinstance(module, Act | Dropout | nn.Flatten | nn.Identity) and not own:
            outputs: Tensor = module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return outputs
        call = torch.vmap(partial(functional_call, module), randomness="different")
        return cast(Tensor, call(own, x))

    def observe(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The outputs, and for every Act its values and slopes, (cells, batch, units, …)."""
        if not self.stacked:
            alone = _observe(self.modules[0], self.modules[0], x.squeeze(0))
            outputs, seen = pytree.tree_map(lambda tensor: tensor.unsqueeze(0), alone)
            return outputs, seen

        def one(parameters: Any, buffers: Any, x: Tensor) -> Any:
            call = lambda x: self._one(parameters, buffers, x)  # noqa: E731
            return _observe(self.modules[0], call, x)

        outputs, seen = torch.vmap(one, randomness="different")(self.parameters, self.buffers, x)
        return outputs, seen

    def train(self, learning: bool) -> None:
        """Switch to training or to evaluation."""
        self.modules[0].train(learning)

    def probe(self, x: Tensor) -> None:
        """Raise CannotStack where inputs such as `x` find no vectorised pass.

        Where a pass layer by layer gives the same, it is taken from here on.
        """
        try:
            self._vectorised(x).sum().backward()
        except RuntimeError as error:
            raise CannotStack(str(error)) from error
        for parameter in self.parameters.values():
            parameter.grad = None
        with torch.no_grad():
            self.train(False)  # no noise
            layered = self._layer(self.modules[0], "", x)
            self.by_layer = not self.buffers and torch.allclose(
                layered, self._vectorised(x), rtol=1e-4, atol=1e-5, equal_nan=True
            )

    def settle(self) -> None:
        """Write what was learned back into the single networks."""
        if self.stacked:
            with torch.no_grad():
                for number, module in enumerate(self.modules):
                    learned = [*module.named_parameters(), *module.named_buffers()]
                    for name, tensor in learned:
                        tensor.copy_((self.parameters | self.buffers)[name][number])


def _observe(network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    seen: list[tuple[Tensor, Tensor]] = []

    def look(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        seen.append(with_slopes(forward, x))
        return seen[-1][0]

    acts = [act for _, act in activations(network)]
    for act in acts:
        act.__dict__["forward"] = partial(look, act.forward)  # in place of the class's own
    try:
        return call(x), seen
    finally:
        for act in acts:
            del act.__dict__["forward"]


def with_slopes(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), and f'(x) by automatic differentiation: what back-propagation would multiply by."""
    pulled: Any = vjp(function, x)
    value, pull = pulled
    return value, pull(value.new_ones(()).expand(value.shape))[0]
