"""Units that are dead for every input in a box: interval bounds through a network's calls.

Each call of a recorded pass gets the least and the greatest value that its numbers can take, in
float64 and widened by what float32 may round. What has no rule here may take any value, so that
nothing is proven of it that is not so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relubench.errors import BadValue
from relubench.models.calls import Call, Value, tensors
from relubench.models.functions import MOVING
from relubench.neurons.batches import Batch
from relubench.neurons.counting import rows
from relubench.neurons.formulas import POINTS, Function, Program, derivative_at
from relubench.neurons.preserving import as_found
from relubench.neurons.sites import FEW, Plan, Site, all_formulas, look_through

ROUNDING = 2.0**-23  # of float32, relative, for each product that a sum is made of
SLACK = 64 * ROUNDING  # for what is a sum of a few

# Each number rises, or falls, with the one number of the examples that it is made of.
STEADY = {"relu", "relu6", "leaky_relu", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "softplus"}
STEADY |= {"elu", "selu", "celu", "clamp", "clamp_min", "clamp_max", "logsigmoid", "batch_norm"}
STEADY |= {"add", "sub", "rsub", "neg", "mul", "div", "exp", "softsign", "softshrink"}
# Of these none rounds: their bounds need not be widened.
EXACT = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "neg", "clone", "detach"}
EXACT |= {"to", "float", "double", "contiguous", "positive", "alias"}
STEADY |= EXACT
TURNING = {"leaky_relu", "elu", "celu", "softplus"}  # with a number below 0 they fall and rise
# Least values of functions that fall and rise again.
# Rounded down, and past the least value of gelu's tanh form, -0.17004.
LEAST = {"gelu": -0.17005, "silu": -0.27847, "mish": -0.30885, "hardswish": -0.37501}
# Numbers that rise with every number of the examples.
RISING = MOVING | {"cat", "concat", "mean", "sum", "amax", "add", "maximum", "minimum", "pad"}
RISING -= {"dropout", "dropout1d", "dropout2d", "interpolate", "upsample"}
# In evaluation these hand on what they take.
SAME = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"}
# Each number is a sum of products with weights.
WEIGHTED = {"linear", "matmul", "addmm", "conv1d", "conv2d", "conv3d", "mm"}
POOLS = ("max_pool", "avg_pool")


@dataclass(frozen=True, eq=False)
class Bounds:
    """The least and the greatest that each number can be."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, one: Tensor, other: Tensor) -> Bounds:
        """From the two ends, in any order; what is no number can be any."""
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        return cls(low.where(~low.isnan(), -math.inf), high.where(~high.isnan(), math.inf))

    @classmethod
    def none(cls, like: Tensor) -> Bounds:
        """No bounds at all."""
        shape = like.shape
        any_ = torch.full(shape, math.inf, dtype=torch.float64, device=like.device)
        return cls(-any_, any_)

    def widened(self, by: Tensor) -> Bounds:
        """Farther apart on both sides."""
        return Bounds.of(self.low - by, self.high + by)

    @property
    def largest(self) -> Tensor:
        """The greatest magnitude."""
        return torch.maximum(self.low.abs(), self.high.abs())


def box(batches: Iterable[Batch]) -> tuple[Tensor, Tensor, Batch]:
    """The least and the greatest of every input number over all batches, and the first batch.

    Raises BadValue where an input is no numbers, such as tokens.
    """
    low = high = first = None
    for batch in batches:
        (x, *more), first = batch.inputs, first or batch
        if more or not x.is_floating_point():
            raise BadValue("--proof: it needs one input of numbers, and these are not in a box")
        least, most = x.double().amin(0), x.double().amax(0)
        low = least if low is None else torch.minimum(low, least)
        high = most if high is None else torch.maximum(high, most)
    if first is None or low is None or high is None:
        raise BadValue("--proof: no batch was given")
    return low, high, first


def proven(network: nn.Module, plan: Plan, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """By layer: the units that are dead for every input in the data's box, (units,) bool."""
    with as_found(network):
        # 1. The box of all inputs, as the bounds of the examples of one recorded pass.
        low, high, first = box(batches)
        looked = look_through(network, first)
        examples = looked.record.examples
        shape = (min(FEW, first.size), *low.shape)
        known = {examples: Bounds(low.expand(shape), high.expand(shape))}
        # 2. Bounds of every call, in the order of the pass.
        for call in looked.record.calls:
            if any(value.reached for value in call.inputs):
                _bound(call, known)
        # 3. Where the bounds of a pre-activation lie inside the flat part of its
        # function, it is proven.
        starts = looked.starts()
        functions = {
            looked.keys[formula.call]: Program.of(formula)
            for formula in all_formulas(looked.found)
            if formula.call in looked.keys
        }
    found = {}
    for site in plan.sites:
        start, function = starts.get(site.key), functions.get(site.key) or _module(network, site)
        if start in known and function is not None:
            found[site.place] = _dead(known[start], function, site)
    return found


def _module(network: nn.Module, site: Site) -> Function | None:
    return network.get_submodule(site.key[0]) if site.module else None


def _dead(bounds: Bounds, function: Function, site: Site) -> Tensor:
    """Units whose pre-activations stay where the derivative is 0."""
    below, above = flat_ends(function)
    inside = (bounds.high < below) | (bounds.low > above)
    by_unit = rows(inside, site)
    return by_unit.movedim(1, 0).flatten(1).all(1)


def flat_ends(function: Function) -> tuple[float, float]:
    """Below and above what a function's derivative is 0 for good; infinite where it never is."""
    # From the outside in: the first derivative that is not 0 ends what is flat for good.
    try:
        flat = (derivative_at(function, POINTS) == 0).tolist()
    except (RuntimeError, TypeError, IndexError):  # its parameters have a shape
        return -math.inf, math.inf
    first = next((n for n, is_flat in enumerate(flat) if not is_flat), 0)
    last = next((n for n, is_flat in enumerate(reversed(flat)) if not is_flat), 0)
    below = float(POINTS[first - 1]) if first else -math.inf
    above = float(POINTS[len(POINTS) - last]) if last else math.inf
    return below, above


# --- one call -------------------------------------------------------------------------------------


def _bound(call: Call, known: dict[Value, Bounds]) -> None:
    """Bounds of what a call makes."""
    made = [value for value in call.outputs if value.call is call]
    try:
        bounds = _by_rule(call, known)
    except (RuntimeError, TypeError, IndexError, KeyError, ValueError):  # no rule fits
        bounds = []
    for value in made:
        # Without a rule it may be anything: wrong bounds would prove what is not so.
        fits = 0 <= value.place < len(bounds) and bounds[value.place].low.shape == value.shape
        known[value] = bounds[value.place] if fits else Bounds.none(value.tensor)


def _by_rule(call: Call, known: Mapping[Value, Bounds]) -> list[Bounds]:
    name = call.name
    if _unsteady(call):
        return []
    reached = list(dict.fromkeys(value for value in call.inputs if value.reached))
    if any(value not in known for value in reached):
        return []
    if name in SAME:
        return [known[reached[0]]]
    if name in WEIGHTED and len(reached) == 1:
        return [_weighted(call, known[reached[0]], reached[0])]
    if name in LEAST or (name in STEADY and len(reached) == 1):
        return [_ends(call, known, LEAST.get(name))]
    # It falls with the second: its ends change places.
    if name == "sub" and len(reached) == 2:
        one, other = (known[value] for value in reached)
        return [Bounds.of(one.low - other.high, one.high - other.low)]
    if name in RISING or any(pool in name for pool in POOLS):
        return _rising(call, known)
    return []


def _unsteady(call: Call) -> bool:
    """Whether an argument makes of a call what its name does not say."""
    args, kwargs = call.arguments
    if call.name == "batch_norm":
        return bool(kwargs.get("training", args[5] if len(args) > 5 else False))
    numbers = [each for each in (*args, *kwargs.values()) if isinstance(each, int | float)]
    falls = call.name in TURNING and any(number < 0 for number in numbers)
    return ("alpha" in kwargs and (call.name in {"add", "sub"} or falls)) or falls


def _at(call: Call, known: Mapping[Value, Bounds], high: bool) -> list[Tensor]:
    """What a call makes of the lower, or of the upper ends."""

    def end(value: Value) -> Tensor:
        if value.reached:
            return known[value].high if high else known[value].low
        return value.tensor.double() if value.tensor.is_floating_point() else value.tensor

    def own(value: Value) -> Tensor:
        return end(value).clone() if value is call.written else end(value)

    made: list[Tensor] = []
    result = call.repeated(lambda value: made.append(own(value)) or made[-1])  # type: ignore[func-returns-value]
    return tensors(result)


def _rising(call: Call, known: Mapping[Value, Bounds]) -> list[Bounds]:
    pairs = zip(_at(call, known, False), _at(call, known, True), strict=True)
    made = [Bounds.of(low, high) for low, high in pairs if low.is_floating_point()]
    if call.name in MOVING:
        return made
    # float32's rounding goes with the size of what is added, not with that of the sum.
    taken = max(float(known[value].largest.max()) for value in call.inputs if value.reached)
    return [each.widened(SLACK * (each.largest + taken)) for each in made]


def _ends(call: Call, known: Mapping[Value, Bounds], least: float | None) -> Bounds:
    """Of an elementwise function that rises or falls, or that has a least value."""
    if call.name in EXACT:
        (bounds,) = (
            Bounds.of(*ends)
            for ends in zip(_at(call, known, False), _at(call, known, True), strict=True)
        )
    else:
        (bounds,) = _rising(call, known)
    if least is None:
        return bounds
    return Bounds(bounds.low.clamp(max=least), bounds.high)


def _weighted(call: Call, bounds: Bounds, taken: Value) -> Bounds:
    """Of a layer with weights: the middle, plus or minus what the width of the box can add."""
    middle, radius = (bounds.low + bounds.high) / 2, (bounds.high - bounds.low) / 2

    def at(x: Tensor, weights: bool, biases: bool) -> Tensor:
        def put(value: Value) -> Tensor:
            if value is taken:
                return x
            tensor = value.tensor.double()
            if tensor.ndim < 2:
                return tensor if not weights else tensor.abs() * biases
            return tensor.abs() if weights else tensor

        made: Tensor = call.repeated(put)
        return made

    center, spread = at(middle, False, True), at(radius, True, False)
    kernels = [v.tensor for v in call.inputs if not v.reached and v.tensor.ndim > 1]
    products = max(max(kernel[0].numel(), len(kernel)) for kernel in kernels)
    # The rounding of a sum of n products is at most about n · u · Σ|w x| (Higham 2002, section
    # 3.1); ROUNDING is twice u.
    spread = spread + at(bounds.largest, True, True) * (products + 2) * ROUNDING
    return Bounds.of(center - spread, center + spread)
