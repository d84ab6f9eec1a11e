"""Step groups: the cells of a pass by their steps per epoch, each stepping as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor

from relubench.training.networks import Networks

# An AVX-512 register holds 16 float32; what AVX2 and NEON hold (8, 4) divides it.
VECTOR = 16  # numbers that a CPU's instruction takes at most


class StepGroups:
    """The parameters of a pass for its optimizer, grouped by steps per epoch.

    The last cells of a pass take no further step once their batches end, and an optimizer counts
    the steps of a tensor. Cells with equally many steps therefore share tensors of their own for
    it, views of the stack's memory.

    leading     the first networks of the stack, by their number
    groups      (first cell, end) of each group
    parameters  by name, for the optimizer
    padded      by the same name: the stack's tensor and its padded copy, where one is needed
    """

    def __init__(self, networks: Networks, steps: Sequence[int]) -> None:
        """Group the networks; `steps` are those of an epoch for each cell, the most first."""
        # Cells come with the most steps first: equal ones are neighbours, as groupby needs them.
        sizes = [len(list(cells)) for _, cells in groupby(steps)]
        ends = list(accumulate(sizes))
        # Made once: a step on the first cells finds its networks by how many they are.
        self.leading = {end: networks.first(end) for end in ends[:-1]}
        self.leading[ends[-1]] = networks
        self.groups = list(pairwise([0, *ends]))
        self.parameters: dict[str, Tensor] = {}
        self.padded: dict[str, tuple[Tensor, PaddedCopy]] = {}
        for first, end in self.groups:
            for name, tensor in networks.parameters.items():
                self._add(self._key(name, first, end), self._part(tensor, first, end))

    def _add(self, key: str, part: Tensor) -> None:
        # torch's optimizers compute the numbers that are left over when a CPU's vectors are full
        # in another way, to other last bits: a cell's numbers would depend on its place.
        if part.device.type == "cpu" and part.numel() % VECTOR:
            copy = PaddedCopy(part)
            self.padded[key] = part.detach(), copy
            part = copy.numbers
        self.parameters[key] = part

    def _part(self, tensor: Tensor, first: int, end: int) -> Tensor:
        """The rows of a group; all where there is one group."""
        if len(self.groups) > 1:
            tensor = tensor.detach()[first:end]
        # The same memory seen contiguously: an elementwise step does not care which way it lies.
        return tensor.detach().mT if _is_transposed(tensor) else tensor

    def _rows(self, gradient: Tensor, parameter: Tensor, first: int, end: int) -> Tensor:
        """The rows of a group of a parameter's gradient, as its part in the optimizer lies."""
        if len(self.groups) > 1:
            gradient = gradient[first:end]
        return gradient.mT if _is_transposed(parameter) else gradient

    def _key(self, name: str, first: int, end: int) -> str:
        # It begins with the network's name, by which weight decay knows learned slopes.
        return name if len(self.groups) == 1 else f"{name} of {first} to {end}"

    def assign_gradients(self, cells: int) -> None:
        """Give the optimizer's tensors the gradients of the first cells; the others get None."""
        # None, not zeros: an optimizer with momentum or decay moves weights on a gradient of 0.
        for name, parameter in self.leading[cells].parameters.items():
            for first, end in self.groups:
                key = self._key(name, first, end)
                gradient = None if end > cells else parameter.grad
                if gradient is not None:
                    gradient = self._rows(gradient, parameter, first, end)
                if key in self.padded:
                    _, copy = self.padded[key]
                    gradient = copy.padded_gradient(gradient)
                self.parameters[key].grad = gradient

    def copy_back(self, cells: int) -> None:
        """Copy what the first cells have learned from the padded copies to the stack."""
        for key in self._stepped(cells):
            if key in self.padded:
                tensor, copy = self.padded[key]
                tensor.copy_(copy.part)

    def _stepped(self, cells: int) -> Iterator[str]:
        """The keys of the groups that still take steps."""
        if not self.padded:
            return
        for first, end in self.groups:
            if end <= cells:
                for name in self.leading[cells].parameters:
                    yield self._key(name, first, end)

    def refresh_copies(self) -> None:
        """Copy the stack's tensors to the padded copies, as after a checkpoint was loaded."""
        for tensor, copy in self.padded.values():
            copy.part.copy_(tensor)


def _is_transposed(tensor: Tensor) -> bool:
    """Whether a tensor's last two dimensions lie the other way round, which optimizers copy."""
    return tensor.ndim > 1 and not tensor.is_contiguous() and tensor.mT.is_contiguous()


class PaddedCopy:
    """A copy of a tensor, padded with zeros to full vectors; the zeros stay zeros.

    numbers         the copy, flat: the optimizer's
    gradients       its gradient, flat
    part, gradient  views of both in the tensor's shape
    """

    def __init__(self, tensor: Tensor) -> None:
        count = tensor.numel()
        vectors = -(-count // VECTOR)  # rounded up
        self.numbers = tensor.new_zeros(vectors * VECTOR)
        self.gradients = torch.zeros_like(self.numbers)
        self.part = self.numbers[:count].view(tensor.shape)
        self.gradient = self.gradients[:count].view(tensor.shape)
        self.part.copy_(tensor.detach())

    def padded_gradient(self, gradient: Tensor | None) -> Tensor | None:
        """Copy a gradient and return it padded; None stays None."""
        if gradient is None:
            return None
        self.gradient.copy_(gradient)
        return self.gradients
