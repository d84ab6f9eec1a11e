"""torch's optimizers and backward pass, without what imports its compiler.

`torch.optim` marks its methods for torch.compile, and the marks import torch._dynamo, and with it
sympy, at the first call: 1 to 2 s and most of a small training's memory, for a compiler that is not
used. Each mark keeps the function that it wraps, which is what is called here. A torch whose
optimizers are written otherwise is used as it is. tests/test_optimizers.py holds the
steps to torch's own, bit for bit.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor


def no_check(outputs: Any, gradients: Any, is_grads_batched: bool) -> Any:
    """Stand for the check of a torch that has it elsewhere."""


Optim = TypeVar("Optim", bound=torch.optim.Optimizer)

CHECK = getattr(torch.autograd, "_make_grads", no_check)
MADE: dict[type[torch.optim.Optimizer], type[torch.optim.Optimizer]] = {}
MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def uncompiled(optimizer: type[Optim]) -> type[Optim]:
    """The same optimizer, whose steps and state need no compiler."""
    if optimizer not in MADE:
        MADE[optimizer] = _beneath_marks(optimizer)
    return cast("type[Optim]", MADE[optimizer])


def _beneath_marks(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    step = inspect.unwrap(optimizer.step)
    if step is optimizer.step:  # no mark, so nothing is known of what it did
        return optimizer
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in MARKED}
    methods["step"] = _without_gradients(step)
    return type(optimizer.__name__, (optimizer,), methods)


def _without_gradients(step: Callable[..., Any]) -> Callable[..., Any]:
    """What the mark on `step` does besides: the step's own operations are not differentiated."""

    def taken(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    return taken


def _checked_gradients(outputs: Any, gradients: Any, is_grads_batched: bool) -> Any:
    """torch's check of the gradients that a backward pass begins with, which imports sympy.

    Where each is a plain tensor like its output, there is nothing to find; else torch's own check.
    """
    for output, gradient in zip(outputs, gradients, strict=False):
        if is_grads_batched or not (type(output) is type(gradient) is Tensor):
            return CHECK(outputs, gradients, is_grads_batched)
        if (output.shape, output.dtype) != (gradient.shape, gradient.dtype):
            return CHECK(outputs, gradients, is_grads_batched)
    return tuple(gradients)


class _Compiler:
    """Stands for torch._dynamo until that is imported, which then takes its place by itself.

    torch.func.vjp asks it on every call to switch compiled autograd off, which nobody can have
    switched on without importing it. Whatever else is asked of it imports it.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "compiled_autograd":
            return SimpleNamespace(_disable=nullcontext)
        return getattr(importlib.import_module("torch._dynamo"), name)


def leave_compiler_out() -> None:
    """Let gradients be taken without torch's compiler, in the whole process."""
    if CHECK is not no_check:
        setattr(torch.autograd, "_make_grads", _checked_gradients)  # noqa: B010  (it is torch's)
    if "_dynamo" not in vars(torch):
        setattr(torch, "_dynamo", _Compiler())  # noqa: B010  (mypy knows the module)
