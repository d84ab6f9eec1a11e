"""Step groups: the cells of a pass by their steps per epoch, each stepping as if it were alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor
from torch.optim import Optimizer

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
    names       the network's own name of each
    matrices    the network's parameters that the optimizer takes as matrices: as they lie
    padded      by the same name: the stack's tensor and its padded copy, where one is needed
    """

    def __init__(
        self, networks: Networks, steps: Sequence[int], matrices: Collection[str] = ()
    ) -> None:
        """Group the networks; `steps` are those of an epoch for each cell, the most first."""
        self.networks = networks
        self.matrices = set(matrices)
        # Cells come with the most steps first: equal ones are neighbours, as groupby needs them.
        sizes = [len(list(cells)) for _, cells in groupby(steps)]
        ends = list(accumulate(sizes))
        # Made once: a step on the first cells finds its networks by how many they are.
        self.leading = {end: networks.first(end) for end in ends[:-1]}
        self.leading[ends[-1]] = networks
        self.groups = list(pairwise([0, *ends]))
        self.parameters: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}
        self.padded: dict[str, tuple[Tensor, PaddedCopy]] = {}
        for first, end in self.groups:
            for name, tensor in networks.parameters.items():
                key = self._key(name, first, end)
                self.names[key] = name
                self._add(key, self._part(name, tensor, first, end))

    @property
    def by_group(self) -> list[dict[str, Tensor]]:
        """The parameters of each group."""
        parts = []
        for first, end in self.groups:
            keys = [self._key(name, first, end) for name in dict.fromkeys(self.names.values())]
            parts.append({key: self.parameters[key] for key in keys})
        return parts

    def _add(self, key: str, part: Tensor) -> None:
        # torch's optimizers compute the numbers that are left over when a CPU's vectors are full
        # in another way, to other last bits: a cell's numbers would depend on its place.
        number_by_number = self.names[key] not in self.matrices
        if number_by_number and part.device.type == "cpu" and part.numel() % VECTOR:
            copy = PaddedCopy(part)
            self.padded[key] = part.detach(), copy
            part = copy.numbers
        self.parameters[key] = part

    def _part(self, name: str, tensor: Tensor, first: int, end: int) -> Tensor:
        """The rows of a group; all where there is one group."""
        if len(self.groups) > 1:
            tensor = tensor.detach()[first:end]
        # The same memory seen contiguously: an elementwise step does not care which way it lies.
        return tensor.detach().mT if self._turned(name, tensor) else tensor

    def _rows(self, name: str, gradient: Tensor, first: int, end: int) -> Tensor:
        """The rows of a group of a parameter's gradient, as its part in the optimizer lies."""
        turned = self._turned(name, self.networks.parameters[name])
        if len(self.groups) > 1:
            gradient = gradient[first:end]
        return gradient.mT if turned else gradient

    def _turned(self, name: str, tensor: Tensor) -> bool:
        """Whether the optimizer has a tensor the other way round."""
        return name not in self.matrices and _is_transposed(tensor)

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
                    gradient = self._rows(name, gradient, first, end)
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

    def moments(self, name: str, optimizer: Optimizer) -> Iterator[tuple[slice, Tensor]]:
        """What an optimizer keeps of each number of a parameter: views, as the stack's rows lie.

        With each come the cells that it is of. One network alone is a stack of one.
        """
        tensor = self.networks.parameters.get(name)
        if tensor is None:  # a buffer
            return
        for first, end in self.groups:
            part, key = self._part(name, tensor, first, end), self._key(name, first, end)
            for kept in optimizer.state.get(self.parameters[key], {}).values():
                if not isinstance(kept, Tensor) or kept.shape != self.parameters[key].shape:
                    continue  # a count of steps
                if key in self.padded:
                    kept = kept[: part.numel()].view(part.shape)
                if self._turned(name, tensor):
                    kept = kept.mT
                yield slice(first, end), kept if self.networks.stacked else kept.unsqueeze(0)

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
