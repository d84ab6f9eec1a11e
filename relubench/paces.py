"""Cells of one pass that take unequally many steps per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

from relubench.networks import Networks


class Paces:
    """The networks of a pass, of which the last take no further step when their batches end.

    An optimizer counts the steps of a tensor. Cells with as many steps therefore have tensors of
    their own for it, in the memory of the stack's; `steps` are those of an epoch, the most first.

    leading     the first networks, by how many
    parameters  by name, for the optimizer
    """

    def __init__(self, networks: Networks, steps: Sequence[int]) -> None:
        ends = list(accumulate(len(list(alike)) for _, alike in groupby(steps)))
        self.leading = {end: networks.first(end) for end in ends[:-1]} | {ends[-1]: networks}
        self.parts = list(zip([0, *ends], ends, strict=False))
        self.parameters: dict[str, Any] = networks.parameters
        if len(ends) > 1:
            self.parameters = {
                f"{name} of {first} to {end}": tensor.detach()[first:end]
                for first, end in self.parts
                for name, tensor in networks.parameters.items()
            }

    def graded(self, cells: int) -> None:
        """Hand the gradients of the first cells on to the optimizer's tensors; others have none."""
        if len(self.parts) == 1:
            return
        gradients = {name: tensor.grad for name, tensor in self.leading[cells].parameters.items()}
        for first, end in self.parts:
            for name, gradient in gradients.items():
                given = None if gradient is None or end > cells else gradient[first:end]
                self.parameters[f"{name} of {first} to {end}"].grad = given
