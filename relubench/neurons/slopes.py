"""Derivatives of activations where they are called, without making their outputs once more."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from relubench.neurons.formulas import Function, derivative_at
from relubench.neurons.observe import Seeing
from relubench.neurons.statistics import Room

# The derivative of ones, pre-activations and outputs, perhaps in the memory that is the last.
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

WORDS = re.compile(r"(?<!^)(?=[A-Z])")
PASSING = ("CloneBackward0", "ViewBackward0", "AliasBackward0")  # what lies before a single call
OVERLOADS = ("grad_input", "default")
# How torch's operators name what a kernel is given, in its order, and what is always so.
GIVEN = {
    **dict.fromkeys(("grad_output", "grad_out", "grad"), 0),
    **dict.fromkeys(("self", "self_or_result"), 1),
    **dict.fromkeys(("output", "result"), 2),
    "grad_input": 3,
}
FIXED = {"is_result": False, "self_is_result": False}


class Slopes:
    """Derivatives at the sites of a network, in memory that they share."""

    def __init__(self) -> None:
        self.room, self.ones = Room(), Room(filled=1.0)
        self.kernels: dict[Any, Kernel | None] = {}
        self.last: tuple[Function | None, Kernel | None] = (None, None)

    def of(self, seeing: Seeing) -> Tensor:
        """f'(x), of the outputs' shape, or its size; its memory is the caller's till the next."""
        x, value = seeing.x.detach(), seeing.value.detach()
        # The parts of a batch are of one function.
        if seeing.function is not self.last[0]:
            self.last = seeing.function, self._kernel(seeing, x, value)
        kernel = self.last[1]
        if kernel is None:
            return seeing.derivative()
        return kernel(self.ones.of(x), x, value, self.room.of(x))

    def _kernel(self, seeing: Seeing, x: Tensor, value: Tensor) -> Kernel | None:
        key = seeing.key
        if key is None or x.shape != value.shape or x.dtype != value.dtype:
            return None
        if key not in self.kernels:
            self.kernels[key] = kernel_of(seeing.function, x[:1], value[:1])
        return self.kernels[key]


def kernel_of(function: Function, x: Tensor, value: Tensor) -> Kernel | None:
    """The operator with which torch's backward pass goes through a function of one call.

    None where it is not one call, or the operator does not give what the engine gives.
    """
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        node: Any = function(z.view_as(z)).grad_fn
    if node is None or not _is_single(node):
        return None
    kernel = _operator(node)
    if kernel is None:
        return None
    ones = torch.ones_like(x)
    made = kernel(ones, x, value, torch.empty_like(x))
    # The ones are those of all sites: nothing may write to them.
    return kernel if made is not ones and _alike(made, derivative_at(function, x)) else None


def _alike(made: Tensor, expected: Tensor) -> bool:
    """Whether derivatives are the same but for rounding, and 0 at the same places."""
    rounding = 64 * torch.finfo(made.dtype).eps
    near = torch.allclose(made, expected, rtol=rounding, atol=rounding)
    return near and torch.equal(made == 0, expected == 0)


def _is_single(node: Any) -> bool:
    """Whether nothing but copies lies between a call and the leaf that it is made of."""
    while len(node.next_functions) == 1:
        node = node.next_functions[0][0]
        if node is None:
            return False
        if not node.next_functions:
            return True
        if node.name() not in PASSING:
            return False
    return False


def _operator(node: Any) -> Kernel | None:
    """torch's gelu_backward for GeluBackward0, with the settings that the call had."""
    name = WORDS.sub("_", node.name().rstrip("0123456789")).lower()
    packet = getattr(torch.ops.aten, name, None)
    for overload in OVERLOADS:
        operator = getattr(packet, overload, None)
        if operator is not None:
            return _filled(operator, operator._schema.arguments, node)
    return None


def _filled(operator: Any, arguments: Sequence[Any], node: Any) -> Kernel | None:
    """An operator as a kernel; None where an argument is not known."""
    plain: list[tuple[int | None, Any]] = []
    named: dict[str, tuple[int | None, Any]] = {}
    for argument in arguments:
        place = GIVEN.get(argument.name)
        setting = FIXED.get(argument.name, getattr(node, f"_saved_{argument.name}", None))
        if place is None and (setting is None or isinstance(setting, Tensor)):
            return None
        if argument.kwarg_only:
            named[argument.name] = place, setting
        else:
            plain.append((place, setting))

    def kernel(*given: Tensor) -> Tensor:
        args = [setting if place is None else given[place] for place, setting in plain]
        kwargs = {}
        for name, (place, setting) in named.items():
            kwargs[name] = setting if place is None else given[place]
        made: Tensor = operator(*args, **kwargs)
        return made

    return kernel
