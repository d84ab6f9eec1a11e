"""torch's optimizers beneath the decorators that import its compiler.

`torch.optim` marks its methods for torch.compile, and the marks import torch._dynamo, and with it
sympy, at the first call: 1 to 2 s and most of a small training's memory, for a compiler that is not
used. Each mark keeps the function that it wraps, which is what is called here. A torch whose
optimizers are written otherwise is used as it is. tests/test_optimizers.py holds the
steps to torch's own, bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch

Optim = TypeVar("Optim", bound=torch.optim.Optimizer)

MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


@lru_cache
def uncompiled(optimizer: type[Optim]) -> type[Optim]:
    """The same optimizer, whose steps and state need no compiler."""
    step = inspect.unwrap(optimizer.step)
    if step is optimizer.step:  # no mark, so nothing is known of what it did
        return optimizer
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in MARKED}
    made = type(optimizer.__name__, (optimizer,), {**methods, "step": _without_gradients(step)})
    return cast("type[Optim]", made)


def _without_gradients(step: Callable[..., Any]) -> Callable[..., Any]:
    """What the mark on `step` does besides: the step's own operations are not differentiated."""

    def taken(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.no_grad():
            return step(self, closure)

    return taken
