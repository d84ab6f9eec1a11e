"""Cells of one pass that take unequally many steps per epoch, each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from relubench.training.networks import Networks

VECTOR = 16  # numbers that a CPU's instruction takes at most


class Paces:
    """The networks of a pass, of which the last take no further step when their batches end.

    An optimizer counts the steps of a tensor. Cells with as many steps therefore have tensors of
    their own for it, in the memory of the stack's; `steps` are those of an epoch, the most first.

    torch's optimizers compute the numbers that are left over when a CPU's vectors are full in
    another way, to other last bits. Where there are such, the optimizer has a copy that ends in a
    full vector; else a cell's numbers would depend on where in the stack it stands.

    leading     the first networks, by how many
    parameters  by name, for the optimizer
    """

    def __init__(self, networks: Networks, steps: Sequence[int]) -> None:
        ends = list(accumulate(len(list(alike)) for _, alike in groupby(steps)))
        self.leading = {end: networks.first(end) for end in ends[:-1]} | {ends[-1]: networks}
        self.parts = list(zip([0, *ends], ends, strict=False))
        self.parameters: dict[str, Any] = {}
        self.filled: dict[str, tuple[Tensor, Filled]] = {}  # by name: what has a copy, and that
        for first, end in self.parts:
            for name, tensor in networks.parameters.items():
                known, part = self._name(name, first, end), tensor
                if len(ends) > 1:
                    part = tensor.detach()[first:end]
                if part.device.type == "cpu" and part.numel() % VECTOR:
                    filled = Filled(part)
                    self.filled[known], part = (part.detach(), filled), filled.numbers
                self.parameters[known] = part

    def _name(self, name: str, first: int, end: int) -> str:
        return name if len(self.parts) == 1 else f"{name} of {first} to {end}"

    def graded(self, cells: int) -> None:
        """Hand the gradients of the first cells on to the optimizer's tensors; others have none."""
        gradients = {name: tensor.grad for name, tensor in self.leading[cells].parameters.items()}
        for first, end in self.parts:
            for name, gradient in gradients.items():
                known = self._name(name, first, end)
                given = None if gradient is None or end > cells else gradient
                if given is not None and len(self.parts) > 1:
                    given = given[first:end]
                if known in self.filled:
                    given = self.filled[known][1].graded(given)
                self.parameters[known].grad = given

    def stepped(self, cells: int) -> None:
        """Take over from the copies what the first cells have learned."""
        for first, end in self.parts if self.filled else ():
            for name in self.leading[cells].parameters if end <= cells else ():
                tensor, copy = self.filled.get(self._name(name, first, end), (None, None))
                if tensor is not None and copy is not None:
                    tensor.copy_(copy.part)

    def restored(self) -> None:
        """Let the copies hold what their tensors do."""
        for tensor, copy in self.filled.values():
            copy.part.copy_(tensor)


class Filled:
    """The numbers of a tensor and as many zeros as fill a vector, which stay zeros.

    numbers         one after the other; the optimizer's
    part, gradient  those of the tensor, and its gradient's, in its shape
    """

    def __init__(self, tensor: Tensor) -> None:
        count = tensor.numel()
        self.numbers = tensor.new_zeros(-(-count // VECTOR) * VECTOR)
        self.slopes = torch.zeros_like(self.numbers)
        self.part, self.gradient = (
            memory[:count].view(tensor.shape) for memory in (self.numbers, self.slopes)
        )
        self.part.copy_(tensor.detach())

    def graded(self, gradient: Tensor | None) -> Tensor | None:
        """The gradient with zeros for the zeros, if there is one."""
        if gradient is None:
            return None
        self.gradient.copy_(gradient)
        return self.slopes
