"""A user's own activation: a function x -> y, or an nn.Module by class, factory or instance.

An activation is checked when it is named, with the parameters that it is given.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from relubench.activations.activation import Activation
from relubench.catalog import KINDS, Choice, Parameter, Parameters
from relubench.errors import Terminated
from relubench.user_code import UserCode, UserCodeError, brief

Function = Callable[[Tensor], Any]  # what a user's function gives is checked below

FAR = 1e4  # an activation must be finite as far from 0 as this
ANYHOW = inspect.Parameter.POSITIONAL_OR_KEYWORD
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, ANYHOW)


@dataclass(frozen=True, eq=False)
class UserActivation(Activation):
    """A user's own activation; its name is the place in the user's code, as it was written."""

    @cached_property
    def parameters(self) -> Parameters:
        """A function's keyword-only arguments; of a module, all that have a plain default."""
        kinds = (inspect.Parameter.KEYWORD_ONLY, *([ANYHOW] if self.module else []))
        settable = [p for p in _arguments(self.function) if p.kind in kinds]
        # By type, not isinstance: True is an int, and None or an enum cannot be written in a name.
        return {p.name: p.default for p in settable if type(p.default) in KINDS}

    @property
    def first(self) -> Parameters:
        """None: what must be given is refused by the checks."""
        return {}

    def bind(self, given: Parameters) -> Choice[Self]:
        """The activation with these parameters, checked; UserCodeError names the failed check."""
        return Choice(replace(self, mixes=_mixes(self, tuple(given.items()))), given)


@lru_cache
def activation(name: str, own: UserCode) -> UserActivation:
    """The entry for a user's own activation, not yet checked; or UserCodeError if it cannot be."""
    # An instance, a class or a factory makes a module; anything else that is called is a function.
    thing, module = own.thing, None
    if isinstance(thing, nn.Module):
        # Copied for every layer: one instance in several would share its learned parameters.
        thing = module = partial(copy.deepcopy, thing)
    elif not callable(thing):
        kind = type(thing).__name__
        raise UserCodeError(f"{name} is of type {kind}: an activation is a function or nn.Module")
    elif inspect.isclass(thing) or _takes_nothing(thing):
        module = thing
    return UserActivation(name, thing, "own", sha256=own.sha256, module=module)


def _takes_nothing(thing: Callable[..., object]) -> bool:
    """Whether it can be called without an input; of torch's built-in functions nothing is known."""
    try:
        inspect.signature(thing)
    except ValueError:
        return False
    needed = [p for p in _arguments(thing) if p.default is p.empty]
    return not any(p.kind in POSITIONAL for p in needed)


def _arguments(thing: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(thing).parameters.values())
    except ValueError:
        return []


# --- checks ---------------------------------------------------------------------------------------


class Failed(Exception):
    """A check by its name, and the reason why it failed."""


@lru_cache
def _mixes(entry: UserActivation, given: tuple[tuple[str, Parameter], ...]) -> bool:
    """Check an activation; whether an element of its output depends on others than its own."""
    name, mixes = str(Choice(entry, dict(given))), False
    # Whatever the user's code draws leaves no trace in what is drawn afterwards.
    with torch.random.fork_rng(devices=[]):
        try:
            # Both types and both modes: an activation is used in all four.
            for dtype in (torch.float64, torch.float32):
                x = _points(dtype)
                for learning in (True, False):
                    act = _made(entry, dict(given), dtype, learning)
                    _check_value(act, x)
                    _check_gradient(act, x)
                mixes |= _depends_on_others(act, x)
        except Failed as failure:
            check, reason = failure.args
            raise UserCodeError(f"{name} fails the check '{check}': {reason}") from None
        except (KeyboardInterrupt, Terminated):
            raise
        # sys.exit() in a user's code, too, is its fault and not the command's end.
        except BaseException as error:
            raise UserCodeError(f"{name} fails the check 'runs': {brief(error)}") from error
    return mixes


def _points(dtype: torch.dtype) -> Tensor:
    """(examples, units), around 0 but not at it, and far from it."""
    x = torch.linspace(-4, 4, 24, dtype=dtype)
    # The ends, since overflow shows far from 0. At 0 itself a kink may lie.
    x[0], x[-1] = -FAR, FAR
    return x.reshape(6, 4)


def _made(entry: UserActivation, given: Parameters, dtype: torch.dtype, learning: bool) -> Function:
    if entry.module is None:
        return partial(entry.function, **given)
    act = entry.module(**given)
    if not isinstance(act, nn.Module):
        raise Failed("makes a module", f"without an input it gives {type(act).__name__}")
    return act.to(dtype).train(learning)


@torch.no_grad()
def _check_value(act: Function, x: Tensor) -> None:
    # A copy: a function that writes into its input would spoil the comparison.
    taken = x.clone()
    value = act(taken)
    if not torch.equal(taken, x):
        raise Failed("leaves its input alone", "it writes into x")
    if not isinstance(value, Tensor):
        raise Failed("gives a tensor", f"it gives {type(value).__name__}")
    if value.shape != x.shape:
        raise Failed("keeps the shape", f"{tuple(x.shape)} becomes {tuple(value.shape)}")
    if value.dtype != x.dtype:
        raise Failed("keeps the type", f"{x.dtype} becomes {value.dtype}")
    if not value.isfinite().all():
        wrong = ~value.isfinite()
        raise Failed("is finite", f"{value[wrong][0]:g} at x = {x[wrong][0]:g}")
    if not torch.equal(act(x.clone()), value):
        raise Failed("repeats itself", "the same x gives another value")


def _check_gradient(act: Function, x: Tensor) -> None:
    x = x.clone().requires_grad_()
    value = act(x)
    # Uneven weights: under a plain sum the gradient of a softmax is 0 everywhere.
    weights = torch.linspace(1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    if not value.requires_grad:
        raise Failed("has a gradient", "its value does not depend on x for autograd")
    (gradient,) = torch.autograd.grad((value * weights).sum(), x, materialize_grads=True)
    if not gradient.isfinite().all():
        raise Failed("has a gradient", f"it is not finite at x = {x[~gradient.isfinite()][0]:g}")
    if not gradient.any():
        raise Failed("has a gradient", "it is 0 everywhere")


@torch.no_grad()
def _depends_on_others(act: Function, x: Tensor) -> bool:
    """Whether half of the columns, or of the rows, moves the values of the other half."""
    value = act(x.clone())
    number = torch.arange(x.numel()).reshape(x.shape)
    # Units first, then examples: a softmax mixes the ones, batch normalisation the others.
    for half in (number % 2 == 0, number // x.shape[1] % 2 == 0):
        for kept in (half, ~half):
            moved = act(torch.where(kept, x, x / 2 + 1))
            if not torch.allclose(moved[kept], value[kept]):
                return True
    return False
