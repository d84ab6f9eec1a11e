"""Where the units of a layer are: the axes of a tensor that hold features.

A layer with weights says which axis its features are in, and what moves numbers about, moves that
axis too. Where the way from the layer before is lost, the layer after says which axis it weighs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from relubench.models.calls import Call, Record, Value
from relubench.models.functions import ELEMENTWISE

Axes = tuple[int, ...]

# Layers that weigh the last axis of what they take, and put their features in the last one, too.
LAST = {
    "linear",
    "embedding",
    "gru",
    "lstm",
    "rnn_tanh",
    "rnn_relu",
    "multi_head_attention_forward",
}
LAST |= {"bilinear", "gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell", "tensordot"}
# Products of matrices, with the places of the two factors among the arguments.
PRODUCTS = {"matmul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "inner": (0, 1), "mv": (0, 1)}
PRODUCTS |= {"addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2)}
# Normalisations: of channels, which are axis 1, and of the last axes, whose sizes they are given.
CHANNELS = {"batch_norm", "instance_norm", "group_norm"}
LAYERS = {"layer_norm", "rms_norm"}
# What leaves every number at its place.
SAME = {"softmax", "log_softmax", "dropout", "dropout1d", "dropout2d", "dropout3d", "dropped"}
SAME |= {"alpha_dropout", "feature_dropout", "local_response_norm", "normalize", "cumsum"}
PER_CHANNEL = ("pool", "interpolate", "upsample", "pad")  # in their names
# With the number of axes that a kernel moves over: channels stand just before these.
CONVOLUTIONS = {f"conv{n}d": n for n in (1, 2, 3)} | {f"conv_transpose{n}d": n for n in (1, 2, 3)}


def feature_axes(value: Value, known: dict[Value, Axes | None]) -> Axes | None:
    """The axes of a value that hold features; None where that cannot be known.

    known  what was found before; more is added
    """
    # None first: a value that is asked for again while it is looked at has no axes.
    for earlier in [*_behind(value, known), value]:
        if earlier in known:
            continue
        known[earlier] = None
        call = earlier.call
        if call and any(taken.reached for taken in call.inputs):
            axes = _Lazy(known)
            known[earlier] = _made(call, earlier, axes) or _kept(call, earlier, axes)
    return known[value]


def _behind(value: Value, known: Mapping[Value, Axes | None]) -> list[Value]:
    """What it comes from as far back as layers with weights, in the order of the calls.

    They are gone through in this order, so that a long way back is no deep recursion.
    """
    behind: set[Value] = set()
    left = [value]
    while left:
        call = left.pop().call
        if call is None or _made(call, call.outputs[0], {}) is not None:
            continue
        new = {taken for taken in call.inputs if taken.reached and taken not in known} - behind
        behind |= new
        left += new
    return sorted(behind, key=lambda value: value.call.number if value.call else -1)


class _Lazy(dict[Value, Axes]):
    """Feature axes by value, found when they are asked for."""

    def __init__(self, known: dict[Value, Axes | None]) -> None:
        super().__init__()
        self.known = known

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Value) and feature_axes(value, self.known) is not None

    def get(self, value: Value, default: Any = None) -> Any:
        """What is known by now: nothing further is looked for."""
        return self.known.get(value) or default

    def __getitem__(self, value: Value) -> Axes:
        return feature_axes(value, self.known) or ()


def followed(calls: Iterable[Call], axes: dict[Value, Axes]) -> dict[Value, Axes]:
    """Where some axes go from call to call, until a layer weighs them."""
    axes = dict(axes)
    for call in calls:
        if any(value in axes for value in call.inputs) and not _weighs(call):
            for value in call.outputs:
                made = _kept(call, value, axes)
                if made is not None and value.call is call:
                    axes[value] = made
    return axes


def weighed_axis(call: Call, value: Value) -> int | None:
    """The axis of `value` that the weights of a call go over; None where it has none."""
    ndim, name = value.tensor.ndim, call.name
    if name in CONVOLUTIONS:
        return ndim - CONVOLUTIONS[name] - 1
    if name in LAST:
        return ndim - 1
    if name in PRODUCTS:
        left, right = (_argument(call, place) for place in PRODUCTS[name])
        if value is left and _fixed(right):
            return ndim - 1
        if value is right and _fixed(left):
            return max(0, ndim - 2)
    if name == "einsum":
        return _summed(call, value)
    return None


def weighed_later(record: Record, value: Value, batch: int | None) -> int | None:
    """The one axis of a value that the layers after it weigh; None where that is not clear."""
    after = [call for call in record.calls if not value.call or call.number > value.call.number]
    # Each axis is followed by itself; where layers weigh several, it stays open.
    possible = set()
    for axis in range(value.tensor.ndim):
        if axis == batch:
            continue
        axes = followed(after, {value: (axis,)})
        if any(_weighs_only(call, axes) for call in after):
            possible.add(axis)
    return possible.pop() if len(possible) == 1 else None


def _weighs_only(call: Call, axes: Mapping[Value, Axes]) -> bool:
    """Whether a call weighs one of these values along just the axes that are followed."""
    for taken in call.inputs:
        weighed = weighed_axis(call, taken)
        if weighed is not None and axes.get(taken) == (weighed,):
            return True
    return False


def _weighs(call: Call) -> bool:
    return any(value.reached and weighed_axis(call, value) is not None for value in call.inputs)


def _made(call: Call, value: Value, axes: Mapping[Value, Axes]) -> Axes | None:
    """The feature axes of what a layer with weights makes, or a normalisation."""
    ndim, name = value.tensor.ndim, call.name
    if name in CONVOLUTIONS:
        return (ndim - CONVOLUTIONS[name] - 1,)
    if name in LAST:
        return (ndim - 1,)
    if name in CHANNELS | LAYERS:
        before = next((axes[v] for v in call.inputs if v.reached and v in axes), ())
        if len(before) == 1 or (name in LAYERS and len(_sizes(call)) > 1):
            return before or None  # features stay what they are
        return (ndim - 1,) if name in LAYERS else (min(1, ndim - 1),)
    if name in PRODUCTS:
        left, right = (_argument(call, place) for place in PRODUCTS[name])
        if left is not None and right is not None and _fixed(right):
            return _heads(left, right, value) if right.tensor.ndim > 1 else None
        if right is not None and _fixed(left):
            same_ndim = ndim > 1 and right.tensor.ndim == ndim
            if same_ndim and right in axes and ndim - 1 in axes[right]:
                return (ndim - 2, ndim - 1)  # x mixes places, its features stay: both may be units
            return (ndim - 2,) if right.tensor.ndim > 1 else (ndim - 1,)
    if name == "einsum":
        return _spelt(call, axes)
    return None


def _heads(left: Value, right: Value, value: Value) -> Axes:
    """The features after x @ w: the last axis, and those before it that only w has."""
    ndim = value.tensor.ndim
    own = []
    for axis in range(ndim - 2):
        sizes = [
            taken.shape[axis - ndim] if taken.tensor.ndim >= ndim - axis else 1
            for taken in (left, right)
        ]
        if sizes[0] == 1 and sizes[1] > 1:
            own.append(axis)
    return (*own, ndim - 1)


def _kept(call: Call, value: Value, axes: dict[Value, Axes]) -> Axes | None:
    """The feature axes after a call that has no features of its own."""
    shape, name = value.shape, call.name
    # The latest first: after x + f(x) features are where f puts them.
    latest = sorted(call.inputs, key=lambda taken: -taken.call.number if taken.call else 1)
    if name in {"matmul", "bmm"} or name == "scaled_dot_product_attention":
        return _weighted_sum(call, value, axes)
    for taken in latest:
        if not taken.reached or taken not in axes:
            continue
        # Broadcasting aligns from the right: an axis keeps its distance from the end.
        shifted = tuple(axis + len(shape) - taken.tensor.ndim for axis in axes[taken])
        pairs = zip(shifted, axes[taken], strict=True)
        same = all(a >= 0 and shape[a] == taken.shape[b] for a, b in pairs)
        if name in ELEMENTWISE | SAME | CHANNELS | LAYERS and same:
            return shifted
        if any(part in name for part in PER_CHANNEL) and taken.tensor.ndim == len(shape):
            return axes[taken] if same else None
        return _followed(call, value, axes)
    return None


def _weighted_sum(call: Call, value: Value, axes: dict[Value, Axes]) -> Axes | None:
    """Features after a product of two tensors of which neither is weights: those of the second."""
    place = 2 if call.name == "scaled_dot_product_attention" else 1  # attention: query, key, value
    if place >= len(call.inputs):
        return None
    second, ndim = call.inputs[place], value.tensor.ndim
    if second in axes and second.tensor.ndim == ndim and ndim - 1 in axes[second]:
        return axes[second]
    return None


@torch.no_grad()
def _followed(call: Call, value: Value, axes: dict[Value, Axes]) -> Axes | None:
    """Where features go, by doing the same to numbers that say which feature each is.

    Numbers count from 1, so that a border of 0 is no feature.
    """

    def numbered(taken: Value) -> Tensor:
        tensor = taken.tensor
        if not taken.reached or not tensor.is_floating_point():
            return tensor
        if not axes.get(taken):
            return torch.zeros_like(tensor, dtype=torch.float64)
        sizes = [size if axis in axes[taken] else 1 for axis, size in enumerate(taken.shape)]
        # float64 holds every number up to 2⁵³ exactly: no two features become one.
        numbers = torch.arange(1, math.prod(sizes) + 1, dtype=torch.float64).view(sizes)
        return numbers.expand(taken.shape).clone()

    try:
        result = call.repeated(numbered)
    except Exception:  # any function of torch's or of a user's: it does not say
        return None
    results = [leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    place = value.place if 0 <= value.place < len(results) else None
    if place is None or tuple(results[place].shape) != value.shape:
        return None
    return _varying(results[place])


def _varying(numbers: Tensor) -> Axes | None:
    """The axes along which features differ; None where that is no axis, or they are mixed."""
    if numbers.numel() == 0 or not numbers.is_floating_point():
        return None
    # 0 is a border: it must not make an axis look as if features differed along it.
    low = torch.where(numbers == 0, math.inf, numbers)
    high = torch.where(numbers == 0, -math.inf, numbers)
    varying = [
        axis
        for axis in range(numbers.ndim)
        if bool((high.amax(axis) - low.amin(axis) > 1e-9).any())
    ]
    if len(varying) == 1:
        return (varying[0],)
    others = [axis for axis in range(numbers.ndim) if axis not in varying]
    by_place = numbers.amax(others) if others else numbers
    # Several axes hold them, if every place has a feature of its own.
    if varying and len(by_place.unique()) == by_place.numel():
        return tuple(varying)
    return None


def _argument(call: Call, place: int) -> Value | None:
    """The tensor at a place among the arguments, by position or by torch's names."""
    args, kwargs = call.arguments
    flat = [*args, *kwargs.values()]
    taken = flat[place] if place < len(flat) else None
    if getattr(call.function, "__name__", "").startswith("__r") and place < 2 <= len(flat):
        taken = flat[1 - place]  # x.__rmatmul__(w) is w @ x
    return taken if isinstance(taken, Value) else None


def _fixed(value: Value | None) -> bool:
    """Whether it is weights: a tensor that does not depend on the examples."""
    return value is not None and not value.reached


def _letters(call: Call) -> tuple[list[tuple[Value, str]], str] | None:
    """The operands of an einsum, each with its letters, and those of the result."""
    args = call.arguments[0]
    if not args or not isinstance(args[0], str):
        return None
    equation = args[0].replace(" ", "")
    if "..." in equation or "->" not in equation:
        return _with_dots(equation, call)
    taken, _, made = equation.partition("->")
    return list(zip(call.inputs, taken.split(","), strict=False)), made


def _with_dots(equation: str, call: Call) -> tuple[list[tuple[Value, str]], str] | None:
    """The same where `...` stands for further axes: capital letters that are free."""
    taken, arrow, made = equation.partition("->")
    operands = []
    for value, letters in zip(call.inputs, taken.split(","), strict=False):
        named = len(letters.replace("...", ""))
        # Greek capitals: an equation of torch's has Latin letters alone. Counted from the right,
        # as broadcasting aligns.
        dots = "".join(chr(0x391 + n) for n in range(value.tensor.ndim - named, 0, -1))
        operands.append((value, letters.replace("...", dots)))
    further = [re.sub("[^\u0391-\uffff]", "", letters) for _, letters in operands]
    dots = max(further, key=len)
    if not arrow:
        letters = "".join(own for _, own in operands)
        # As torch has it without an arrow: what stands once, in the order of the alphabet.
        once = [letter for letter in set(letters) - set(dots) if letters.count(letter) == 1]
        made = dots + "".join(sorted(once))
    return operands, made.replace("...", dots)


def _sizes(call: Call) -> Sequence[int]:
    """What a layer normalisation goes over."""
    args, kwargs = call.arguments
    sizes: Sequence[int] = kwargs.get("normalized_shape") or args[1]
    return sizes


def _spelt(call: Call, axes: Mapping[Value, Axes]) -> Axes | None:
    """The axes of an einsum's result that come from its weights alone, or keep features."""
    letters = _letters(call)
    if letters is None:
        return None
    operands, made = letters
    weights, others = _letters_of_weights(operands)
    features: set[str] = set()
    for value, own in operands:
        if value in axes:
            features.update(own[axis] for axis in axes[value])
    # Letters of the weights alone are new features; features that the weights do not touch stay.
    kept = (weights - others) | (features - weights if weights else set())
    return tuple(axis for axis, letter in enumerate(made) if letter in kept) or None


def _letters_of_weights(operands: Iterable[tuple[Value, str]]) -> tuple[set[str], set[str]]:
    """The letters of an einsum's weights, and those of what depends on the examples."""
    weights: set[str] = set()
    others: set[str] = set()
    for value, letters in operands:
        (others if value.reached else weights).update(letters)
    return weights, others


def _summed(call: Call, value: Value) -> int | None:
    """The axis of an einsum's operand that is summed over with its weights."""
    letters = _letters(call)
    if letters is None:
        return None
    operands, made = letters
    weights, _ = _letters_of_weights(operands)
    own = next((own for other, own in operands if other is value), "")
    axes = [axis for axis, letter in enumerate(own) if letter in weights and letter not in made]
    return axes[0] if len(axes) == 1 else None


def batch_axis(few: Sequence[int], many: Sequence[int]) -> int | None:
    """The axis that grows with the number of examples, from a value's shapes for two of them."""
    growing = [axis for axis, (a, b) in enumerate(zip(few, many, strict=False)) if a != b]
    return growing[0] if len(few) == len(many) and len(growing) == 1 else None
