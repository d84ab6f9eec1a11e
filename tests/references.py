"""Independent references, in arbitrary precision: the formulas as their papers print them.

A unit that draws noise has its evaluation rule here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpmath import mp

Number = Any


def _rectifier(slope: float) -> Callable[[Number], Number]:
    return lambda x: x if x > 0 else slope * x


SELU_SCALE, SELU_ALPHA = mp.mpf("1.0507009873554804934"), mp.mpf("1.6732632423543772848")

ACTIVATIONS: dict[str, Callable[[Number], Number]] = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": _rectifier(0.01),
    "prelu": _rectifier(0.25),
    "rrelu": _rectifier(2 / 11),
    "rrelu_torch": _rectifier(11 / 48),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
    "celu": lambda x: max(x, 0) + min(0, mp.expm1(x)),
    "gelu": lambda x: x * mp.ncdf(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": lambda x: mp.tanh(x),
}

# A parameter's meaning: name with parameters, x, f(x).
MEANINGS: list[tuple[str, float, float]] = [
    ("leaky_relu:negative_slope=0.2", -1.0, -0.2),
    ("prelu:a=0.5", -1.0, -0.5),
    ("rrelu:lower=4:upper=6", -1.0, -0.2),
    ("rrelu_torch:lower=0.25:upper=0.75", -1.0, -0.5),
    ("elu:alpha=2", -50.0, -2.0),
    ("celu:alpha=2", -100.0, -2.0),
    ("softplus:beta=2", 0.0, float(mp.log(2) / 2)),
]
