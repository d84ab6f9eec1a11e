"""Dead, inactive, rare, dormant and saturated units, from what every Act sees.

A unit is one index of dimension 1: a neuron of a dense layer, a channel of a convolution, which is
counted over all its positions. Counts are taken over a stream of batches in evaluation mode, in
memory that does not grow with the number of examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from relubench.layers import Act, activations
from relubench.results import DORMANT, FLAT, RARE, SATURATED, LayerCount


class Counter:
    """Running figures of one layer; every tensor has one entry per unit."""

    def __init__(self, layer: str, act: Act, device: torch.device) -> None:
        self.layer, self.act = layer, act
        self.examples, self.positions = 0, 0
        self.moved = torch.zeros(act.units, dtype=torch.bool, device=device)
        self.active, self.flat, self.total, self.magnitude = (
            torch.zeros(act.units, dtype=torch.float64, device=device) for _ in range(4)
        )

    def see(self, x: Tensor, value: Tensor) -> None:
        """Count one batch of pre-activations (examples, units, …) and their outputs."""
        slope = slopes(self.act, x).abs()
        over = tuple(d for d in range(x.ndim) if d != 1)
        self.examples += len(x)
        self.positions += x.numel() // self.act.units
        self.moved |= slope.amax(over) > 0
        self.flat += (slope < FLAT).sum(over)
        self.active += (value != 0).sum(over)
        self.total += value.sum(over, dtype=torch.float64)
        self.magnitude += value.abs().sum(over, dtype=torch.float64)

    def count(self) -> LayerCount:
        """The figures so far."""
        active = self.active / self.positions
        return LayerCount(
            layer=self.layer,
            units=self.act.units,
            dead=int((~self.moved).sum()),
            inactive=int((active == 0).sum()),
            rare=int((active < RARE).sum()),
            dormant=int((self.magnitude <= DORMANT * self.magnitude.mean()).sum()),
            saturated=int((self.flat >= SATURATED * self.positions).sum()),
            sparsity=float(1 - active.mean()),
            mean_activation=float((self.total / self.positions).mean()),
            examples=self.examples,
        )


def slopes(act: Act, x: Tensor) -> Tensor:
    """f'(x) by automatic differentiation: what back-propagation would multiply by at `x`."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = act.forward(leaf)
        (slope,) = torch.autograd.grad(value, leaf, torch.ones_like(value))
    return slope


@contextmanager
def watch(network: nn.Module) -> Iterator[list[Counter]]:
    """Counts what every Act of the network sees until the block ends."""
    device = next(network.parameters()).device
    counters, hooks = [], []
    for layer, act in activations(network):
        counter = Counter(layer, act, device)
        counters.append(counter)
        hooks.append(
            act.register_forward_hook(lambda _, x, value, counter=counter: counter.see(x[0], value))
        )
    try:
        yield counters
    finally:
        for hook in hooks:
            hook.remove()
