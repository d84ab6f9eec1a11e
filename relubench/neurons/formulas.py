"""An activation by itself: what it makes of other numbers, and its derivative there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from relubench.activations.activation import Activation
from relubench.catalog import Choice
from relubench.models.calls import Value
from relubench.models.layers import Act
from relubench.models.recognition import Formula

Function = Callable[[Tensor], Tensor]
Pull = Callable[[Tensor], tuple[Tensor, ...]]  # of outputs back to inputs
Pullback = Callable[[Function, Tensor], tuple[Tensor, Pull]]  # as torch.func.vjp

# Where derivatives are looked for: farther out, float64 makes 0 of what is none by the formula.
NEAR = torch.linspace(-6, 6, 97, dtype=torch.float64)
# And to a million, for what is clamped there, in steps that no fading derivative leaps: at each it
# is 0 only after it was below FADED.
FAR = 6 * 1.25 ** torch.arange(1, 56, dtype=torch.float64)
POINTS = torch.cat([-FAR.flip(0), NEAR, FAR])
FADED = 1e-9


@dataclass(frozen=True)
class _Made:
    """Stands for what a step has made; `written`: and is written to in this one."""

    number: int
    written: bool = False


@dataclass(frozen=True)
class _Filled:
    """Stands for a tensor of the input's shape that holds one number."""

    number: float
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Program:
    """The calls of a formula, freed of the pass that they were found in."""

    steps: Sequence[tuple[Any, Any]]  # function; arguments, with what stands for made tensors

    @classmethod
    def of(cls, formula: Formula) -> Program:
        """The calls of a formula, in their order."""
        values = sorted(formula.inside, key=lambda value: value.call.number if value.call else -1)
        # By number, so that a program holds none of the recorded tensors: 0 is the input.
        numbers = {formula.start: 0} | {value: n for n, value in enumerate(values, start=1)}
        steps = []
        for value in values:
            call = value.call
            assert call is not None

            def stand_in(leaf: Any, written: Value | None = call.written) -> Any:
                if not isinstance(leaf, Value):
                    return leaf
                if leaf in numbers:
                    return _Made(numbers[leaf], leaf is written)
                return _constant(leaf, formula.start)

            steps.append((call.function, pytree.tree_map(stand_in, call.arguments)))
        return cls(steps)

    def __call__(self, x: Tensor) -> Tensor:
        """The function of `x`, of any shape that its parameters allow."""
        made = [x]
        for function, arguments in self.steps:
            written: list[Tensor] = []

            def tensor(leaf: Any, written: list[Tensor] = written) -> Any:
                if isinstance(leaf, _Filled):
                    return torch.full_like(x, leaf.number, dtype=leaf.dtype)
                if not isinstance(leaf, _Made):
                    return leaf
                if not leaf.written:
                    return made[leaf.number]
                # A copy: what was made before may be needed again.
                written.append(made[leaf.number].clone())
                return written[-1]

            args, kwargs = pytree.tree_map(tensor, arguments)
            result = function(*args, **kwargs)
            made.append(written[0] if written else result)
        return made[-1]


def _constant(value: Value, start: Value) -> Any:
    """A tensor that does not depend on the examples; one number over and over fits any shape."""
    tensor = value.tensor
    if tensor.numel() < 2 or value.shape != start.shape or isinstance(tensor, nn.Parameter):
        return tensor
    first = tensor.flatten()[0]
    return _Filled(first.item(), tensor.dtype) if bool((tensor == first).all()) else tensor


def autograd_vjp(function: Function, x: Tensor) -> tuple[Tensor, Pull]:
    """vjp by autograd, which also has rules for ops that torch.func has none for."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)

    def pull(chosen: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value, x, chosen, retain_graph=True)

    return value.detach(), pull


def derivatives(act: Act, x: Tensor) -> Tensor:
    """|f'(x)| by automatic differentiation: what back-propagation would multiply by at `x`."""
    _, derivative = with_derivatives(act, x, autograd_vjp)
    return derivative.abs()


def with_derivatives(act: Act, x: Tensor, pullback: Pullback) -> tuple[Tensor, Tensor]:
    """f(x), and f'(x) by automatic differentiation, both (examples, units, …).

    The derivative of an output over several pre-activations is the steepest, without its sign;
    where an activation takes other examples or positions in too, that of its sum over them.
    """
    value, pull = pullback(act.activate, x)
    entry = act.activation.entry
    if entry.elementwise:
        ones = value.new_ones(()).expand(value.shape)
        return value, pull(ones)[0]
    # Outputs that share no pre-activation are pulled back together, the others one by one.
    apart = 1 if entry.mixes else act.units // entry.outputs
    steepest = []
    for first in range(0, act.units, apart):
        chosen = torch.zeros_like(value)
        # A pull-back for a group of outputs: |df/dx| of each, over all of its pre-activations.
        chosen[:, first : first + apart] = 1
        (derivative,) = pull(chosen)
        by_output = derivative.abs().unflatten(1, (-1, apart))
        steepest.append(by_output.amax(dim=1))
    return value, torch.cat(steepest, dim=1)


@lru_cache(maxsize=4)
def _ones(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept: to fill new memory takes about as long as an activation does.
    return torch.ones(shape, dtype=dtype, device=device)


@torch.no_grad()
def _pulled_back(value: Tensor, ones: Tensor) -> Tensor | None:
    """The gradient through a chain of single calls, without the engine; None of anything else.

    For most activations the engine takes as long to start as their derivative takes to compute.
    """
    gradient = ones
    node: Any = value.grad_fn  # torch does not say that it can be called
    # That of an autograd.Function cannot.
    while callable(node) and len(node.next_functions) == 1:
        made = node(gradient)
        if not isinstance(made, Tensor) or made.shape != ones.shape:
            return None
        gradient, node = made, node.next_functions[0][0]
        if node is not None and not node.next_functions:  # where gradients gather: that is `z`
            return gradient
    return None


@torch.enable_grad()
def derivative_at(function: Function, x: Tensor) -> Tensor:
    """The derivative of an elementwise function at each number of `x`."""
    z = x.detach().requires_grad_()
    value = function(z.view_as(z))  # a view: the function may write to it
    if not value.requires_grad:
        return torch.zeros_like(x)  # a step: heaviside(x)
    # Ones in memory: of a sum, backward gets one number for all places, which is read far slower.
    ones = _ones(value.shape, value.dtype, value.device)
    derivative = _pulled_back(value, ones)
    if derivative is not None:
        # What adds hands on the ones themselves, and the caller may write to its derivative.
        handed_on = derivative.untyped_storage().data_ptr() == ones.untyped_storage().data_ptr()
        return derivative.clone() if handed_on else derivative
    # Ones of its own, and a copy: a user's backward may write to what it gets, and give what it
    # keeps.
    (derivative,) = torch.autograd.grad(value, z, torch.ones_like(value), allow_unused=True)
    return torch.zeros_like(x) if derivative is None else derivative.clone()


def can_die(function: Function, x: Tensor) -> bool:
    """Whether a derivative is exactly 0 over some stretch, so that a unit can stay there.

    x  a pre-activation, whose shape is used where a parameter of the function asks for it
    """
    try:
        found = derivative_at(function, POINTS).unsqueeze(1)
    except (RuntimeError, TypeError, IndexError):  # its parameters have a shape
        try:
            found = torch.stack([_filled(function, x, float(at)) for at in POINTS])
        except (RuntimeError, TypeError, IndexError):
            return True
    flat = found == 0
    # Two neighbours at least: at a single point, such as 0 of x², nothing can stay.
    stretches = flat[1:] & flat[:-1]
    near = stretches[len(FAR) : -len(FAR)]
    steep = found.abs() > FADED
    ends = (steep[:-2] & stretches[1:]) | (stretches[:-1] & steep[2:])
    return bool(near.any() or ends.any())


def _filled(function: Function, x: Tensor, at: float) -> Tensor:
    return derivative_at(function, torch.full_like(x[:1], at)).flatten()


def rectifies(function: Function) -> bool:
    """Whether a function is relu, with derivative 0 at 0, as torch has it."""
    try:
        value, found = function(POINTS.clone()), derivative_at(function, POINTS)
    except (RuntimeError, TypeError, IndexError):
        return False
    # 0 is among the points, so that the slope there is asked for, too.
    same = torch.equal(value, POINTS.relu())
    return same and torch.equal(found, (POINTS > 0).to(POINTS.dtype))


@lru_cache(maxsize=256)
def is_relu(activation: Choice[Activation]) -> bool:
    """Whether an activation is relu, whatever a network learns."""
    entry = activation.entry
    free = entry.learns or entry.noisy or entry.module or entry.sha256
    return entry.elementwise and not free and rectifies(Act(activation, 1).activate)
