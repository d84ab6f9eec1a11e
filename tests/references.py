"""Independent references, in arbitrary precision: the formulas as their papers print them.

A formula takes x and the unit's parameters by name. A unit that draws noise has its evaluation
rule in ACTIVATIONS and its quantiles in NOISY; a unit whose slope is not its value's derivative has
the slope in SLOPES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mpmath import mp, mpf

Number = Any
Formula = Callable[..., Number]


def logistic(x: Number) -> Number:
    return 1 / (1 + mp.exp(-x))


def soft(x: Number) -> Number:
    return mp.log1p(mp.exp(x))


def clip(x: Number, lower: Number, upper: Number) -> Number:
    return min(max(x, lower), upper)


def _pau(x: Number, **c: float) -> Number:
    above = sum(c[f"a{k}"] * x**k for k in range(6))
    return above / (1 + sum(abs(c[f"b{k}"] * x**k) for k in range(1, 5)))


def _srelu(x: Number, tl: float, al: float, tr: float, ar: float) -> Number:
    if x >= tr:
        return tr + ar * (x - tr)
    return tl + al * (x - tl) if x <= tl else x


def _smelu(x: Number, beta: float) -> Number:
    if abs(x) >= beta:
        return max(x, 0)
    return (x + beta) ** 2 / (4 * mpf(beta))


def _reltanh(x: Number, lower: float, upper: float) -> Number:
    end = clip(x, lower, upper)
    return mp.tanh(end) + mp.sech(end) ** 2 * (x - end)


def _sqnl(x: Number) -> Number:
    if abs(x) >= 2:
        return mp.sign(x)
    return x - x**2 / 4 if x >= 0 else x + x**2 / 4


def _xielu(x: Number, rho_p: float, rho_n: float, beta: float) -> Number:
    if x > 0:
        return soft(mpf(rho_p)) * x**2 + beta * x
    return (beta + soft(mpf(rho_n))) * (mp.expm1(x) - x) + beta * x


def _pdelu(x: Number, a: float, t: float) -> Number:
    rest = 1 - mpf(t)
    return x if x > 0 else a * (max(1 + rest * x, 0) ** (1 / rest) - 1)


def _pelu(x: Number, a: float, b: float) -> Number:
    a, b = max(mpf(a), mpf("0.1")), max(mpf(b), mpf("0.1"))
    return a / b * x if x >= 0 else a * mp.expm1(x / b)


def _spline(x: Number, number: int, order: int = 3) -> Number:
    """Cox and de Boor's recursion over knots 6/5 apart, of which [-3, 3] has six."""
    first = mpf(-3) + mpf(6) / 5 * (number - 3)
    step = mpf(6) / 5
    if order == 0:
        return mpf(first <= x < first + step)
    rising = (x - first) / (order * step) * _spline(x, number, order - 1)
    end = first + (order + 1) * step
    return rising + (end - x) / (order * step) * _spline(x, number + 1, order - 1)


def _b_spline(x: Number, w: float, **c: float) -> Number:
    return w * x * logistic(x) + sum(c[f"c{k}"] * _spline(x, k) for k in range(8))


def _smooth_leaky(x: Number, alpha: Number, p: float, c: float) -> Number:
    return alpha * x + (1 - mpf(alpha)) * x * logistic(mpf(c) * x / p)


SELU_SCALE, SELU_ALPHA = mpf("1.0507009873554804934"), mpf("1.6732632423543772848")

ACTIVATIONS: dict[str, Formula] = {
    "golu": lambda x: x * mp.exp(-mp.exp(-x)),
    "gelu_squared": lambda x: (x * mp.ncdf(x)) ** 2,
    "smooth_leaky": _smooth_leaky,
    "rand_smooth_leaky": lambda x, lower, upper, p, c: _smooth_leaky(
        x, (mpf(lower) + upper) / 2, p, c
    ),
    "b_spline": _b_spline,
    "clipped_squared_relu": lambda x, bound: clip(x, 0, bound) ** 2,
    "jump_relu": lambda x, theta, bandwidth: x if x > theta else 0,
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x, negative_slope: x if x > 0 else negative_slope * x,
    "very_leaky_relu": lambda x: x if x > 0 else x * 2 / 11,
    "prelu": lambda x, a: max(0, x) + a * min(0, x),
    "rrelu": lambda x, lower, upper: x if x > 0 else 2 * x / (mpf(lower) + upper),
    "rrelu_torch": lambda x, lower, upper: x if x > 0 else x * (mpf(lower) + upper) / 2,
    "relu6": lambda x: clip(x, 0, 6),
    "bounded_relu": lambda x, bound: clip(x, 0, bound),
    "bounded_leaky_relu": lambda x, negative_slope, bound: (
        x if 0 <= x <= bound else negative_slope * x + (x > 0) * (1 - mpf(negative_slope)) * bound
    ),
    "plu": lambda x, alpha, c: max(alpha * (x + c) - c, min(alpha * (x - c) + c, x)),
    "hard_tanh": lambda x: clip(x, -1, 1),
    "noisy_relu": lambda x: max(x, 0),
    "rt_relu": lambda x, sigma: max(x, 0),
    "srrelu": lambda x, lower, upper: (
        1 / (1 + abs(x)) ** 2 + (x if x > 0 else x * (mpf(lower) + upper) / 2)
    ),
    "threshold": lambda x, theta: x if x > theta else 0,
    "shifted_relu": lambda x: max(x, -1),
    "displaced_relu": lambda x, d: max(x, -d),
    "flexible_relu": lambda x, b: max(x, 0) + b,
    "srelu": _srelu,
    "apl": lambda x, a1, b1, a2, b2: max(0, x) + a1 * max(0, b1 - x) + a2 * max(0, b2 - x),
    "squared_relu": lambda x: max(0, x) ** 2,
    "star_relu": lambda x, s, b: s * max(0, x) ** 2 + b,
    "nlrelu": lambda x, beta: mp.log(beta * max(0, x) + 1),
    "abs": lambda x: x if x > 0 else -x,
    "elu": lambda x, alpha: x if x > 0 else alpha * mp.expm1(x),
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
    "celu": lambda x, alpha: max(x, 0) + min(0, alpha * mp.expm1(x / alpha)),
    "pelu": _pelu,
    "mpelu": lambda x, a, b: x if x > 0 else a * mp.expm1(abs(b) * x),
    "pdelu": _pdelu,
    "isrlu": lambda x, alpha: x if x > 0 else x / mp.sqrt(1 + alpha * x**2),
    "reu": lambda x: x if x > 0 else x * mp.exp(x),
    "ptelu": lambda x, a, b: x if x > 0 else a * mp.tanh(b * x),
    "sign_relu": lambda x, alpha: x if x > 0 else alpha * x / (1 - x),
    "elish": lambda x: x * logistic(x) if x > 0 else mp.expm1(x) * logistic(x),
    "hard_elish": lambda x: (x if x > 0 else mp.expm1(x)) * clip((x + 1) / 2, 0, 1),
    "gelu": lambda x: x * mp.ncdf(x),
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3))),
    "quick_gelu": lambda x: x * logistic(mpf("1.702") * x),
    "silu": lambda x: x * logistic(x),
    "swish": lambda x, beta: x * logistic(beta * x),
    "swish_fixed": lambda x, beta: x * logistic(beta * x),
    "e_swish": lambda x, beta: beta * x * logistic(x),
    "dsilu": lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
    "hard_swish": lambda x: x * clip(x + 3, 0, 6) / 6,
    "mish": lambda x: x * mp.tanh(soft(x)),
    "hard_mish": lambda x: x / 2 * clip(x + 2, 0, 2),
    "softplus": lambda x, beta: soft(beta * x) / beta,
    "shifted_softplus": lambda x: mp.log(mp.exp(x) / 2 + mpf(1) / 2),
    "squareplus": lambda x, b: (x + mp.sqrt(x**2 + b)) / 2,
    "smelu": _smelu,
    "tanhexp": lambda x: x * mp.tanh(mp.exp(x)),
    "serf": lambda x: x * mp.erf(soft(x)),
    "logish": lambda x: x * mp.log(1 + logistic(x)),
    "smish": lambda x: x * mp.tanh(mp.log(1 + logistic(x))),
    "lisht": lambda x: x * mp.tanh(x),
    "snake": lambda x, a: x + mp.sin(a * x) ** 2 / a,
    "xielu": _xielu,
    "acon_c": lambda x, p1, p2, beta: (p1 - p2) * x * logistic(beta * (p1 - p2) * x) + p2 * x,
    "pau": _pau,
    "srs": lambda x, a, b: x / (x / a + mp.exp(-x / b)),
    "reltanh": _reltanh,
    "flatten_t_swish": lambda x, t: (x * logistic(x) if x >= 0 else 0) + t,
    "sinlu": lambda x, a, b: (x + a * mp.sin(b * x)) * logistic(x),
    "growing_cosine": lambda x: x * mp.cos(x),
    "bent_identity": lambda x: (mp.sqrt(x**2 + 1) - 1) / 2 + x,
    "identity": lambda x: x,
    "sigmoid": logistic,
    "tanh": lambda x: mp.tanh(x),
    "hard_sigmoid": lambda x, slope: clip(mpf(slope) * x + mpf(1) / 2, 0, 1),
    "lecun_tanh": lambda x: mpf("1.7159") * mp.tanh(2 * x / 3),
    "penalized_tanh": lambda x, a: mp.tanh(x) * (1 if x > 0 else a),
    "softsign": lambda x: x / (1 + abs(x)),
    "elliott": lambda x: x / (1 + abs(x)) / 2 + mpf(1) / 2,
    "arctan": lambda x: mp.atan(x),
    "erf": lambda x: mp.erf(x),
    "isru": lambda x, alpha: x / mp.sqrt(1 + alpha * x**2),
    "sqnl": _sqnl,
    "cloglog": lambda x: -mp.expm1(-mp.exp(x)),
    "logsigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "hardshrink": lambda x, lambd: x if abs(x) > lambd else 0,
    "softshrink": lambda x, lambd: mp.sign(x) * max(abs(x) - lambd, 0),
    "heaviside": lambda x, window: mpf(x >= 0),
    "sign": lambda x, window: mpf(1 if x >= 0 else -1),
    "sine": lambda x, omega: mp.sin(omega * x),
    "gaussian": lambda x: mp.exp(-(x**2)),
}


def _window(x: Number, window: float) -> Number:
    return mpf(abs(x) < window)


SLOPES: dict[str, Formula] = {"heaviside": _window, "sign": _window}

# The value that a share u of the draws stays below, at x.
NOISY: dict[str, Callable[..., torch.Tensor]] = {
    "rrelu": lambda u, x, lower, upper: x if x > 0 else x / (lower + (upper - lower) * u),
    "rrelu_torch": lambda u, x, lower, upper: x if x > 0 else x * (upper - (upper - lower) * u),
    "srrelu": lambda u, x, lower, upper: (
        1 / (1 + abs(x)) ** 2 + (x if x > 0 else x * (upper - (upper - lower) * u))
    ),
    "rand_smooth_leaky": lambda u, x, lower, upper, p, c: (
        float(_smooth_leaky(x, 0, p, c))
        + x * (1 - float(logistic(c / p * x))) * (lower + (upper - lower) * (u if x > 0 else 1 - u))
    ),
    "noisy_relu": lambda u, x: (x + torch.special.ndtri(u) * float(logistic(x)) ** 0.5).clamp(
        min=0
    ),
    "rt_relu": lambda u, x, sigma: (x + sigma * torch.special.ndtri(u)).clamp(min=0),
}

# The same unit in torch, with its parameters' defaults spelled out where they differ.
TORCH: dict[str, torch.nn.Module] = {
    "relu": torch.nn.ReLU(),
    "leaky_relu": torch.nn.LeakyReLU(),
    "prelu": torch.nn.PReLU(dtype=torch.float64),
    "rrelu_torch": torch.nn.RReLU(),
    "relu6": torch.nn.ReLU6(),
    "hard_tanh": torch.nn.Hardtanh(),
    "threshold:theta=0.5": torch.nn.Threshold(0.5, 0.0),
    "elu": torch.nn.ELU(),
    "selu": torch.nn.SELU(),
    "celu:alpha=2": torch.nn.CELU(2.0),
    "gelu": torch.nn.GELU(),
    "gelu_tanh": torch.nn.GELU("tanh"),
    "silu": torch.nn.SiLU(),
    "hard_swish": torch.nn.Hardswish(),
    "mish": torch.nn.Mish(),
    "softplus:beta=2": torch.nn.Softplus(2.0),
    "sigmoid": torch.nn.Sigmoid(),
    "tanh": torch.nn.Tanh(),
    "hard_sigmoid": torch.nn.Hardsigmoid(),
    "softsign": torch.nn.Softsign(),
    "logsigmoid": torch.nn.LogSigmoid(),
    "tanhshrink": torch.nn.Tanhshrink(),
    "hardshrink": torch.nn.Hardshrink(),
    "softshrink": torch.nn.Softshrink(),
    "identity": torch.nn.Identity(),
}

# A parameter's meaning: name with parameters, x, f(x).
MEANINGS: list[tuple[str, float, float]] = [
    ("leaky_relu:negative_slope=0.2", -1.0, -0.2),
    ("prelu:a=0.5", -1.0, -0.5),
    ("rrelu:lower=4:upper=6", -1.0, -0.2),
    ("rrelu_torch:lower=0.25:upper=0.75", -1.0, -0.5),
    ("bounded_relu:bound=3", 5.0, 3.0),
    ("bounded_leaky_relu:negative_slope=0.5:bound=2", 4.0, 3.0),
    ("plu:alpha=0.5:c=2", 4.0, 3.0),
    ("rt_relu:sigma=2", 3.0, 3.0),
    ("srrelu:lower=0.25:upper=0.75", -1.0, -0.25),
    ("threshold:theta=2", 1.5, 0.0),
    ("displaced_relu:d=0.5", -2.0, -0.5),
    ("flexible_relu:b=0.25", -1.0, 0.25),
    ("srelu:tl=-1:al=0.25", -3.0, -1.5),
    ("srelu:tr=1:ar=0.5", 3.0, 2.0),
    ("apl:a1=0.5:b1=-2", -4.0, 1.0),
    ("apl:a2=-0.25:b2=3", -1.0, -1.0),
    ("star_relu:s=2:b=-1", 3.0, 17.0),
    ("nlrelu:beta=3", 1.0, float(mp.log(4))),
    ("clipped_squared_relu:bound=2", 5.0, 4.0),
    ("jump_relu:theta=2", 1.5, 0.0),
    ("jump_relu:bandwidth=2", 1.5, 1.5),
    ("smooth_leaky:alpha=0.5", -50.0, -25.0),
    ("smooth_leaky:c=0", 2.0, 1.1),
    ("smooth_leaky:alpha=0:p=5", 1.0, float(logistic(1))),
    ("rand_smooth_leaky:lower=0.25:upper=0.75", -50.0, -25.0),
    ("rand_smooth_leaky:lower=0:upper=0:p=5", 1.0, float(logistic(1))),
    ("rand_smooth_leaky:lower=0:upper=1:c=0", 2.0, 1.5),
    ("b_spline:w=2", 1.0, float(2 * logistic(1))),
    ("b_spline:w=0:c0=1:c1=1:c2=1:c3=1:c4=1:c5=1:c6=1:c7=1", 1.7, 1.0),
    ("b_spline:w=0:c0=6", -3.0, 1.0),
    ("elu:alpha=2", -50.0, -2.0),
    ("celu:alpha=2", -100.0, -2.0),
    ("pelu:a=2:b=4", 2.0, 1.0),
    ("pelu:a=2:b=4", -200.0, -2.0),
    ("mpelu:a=2", -100.0, -2.0),
    ("mpelu:b=2", -1.0, float(mp.expm1(-2))),
    ("pdelu:a=2", -20.0, -2.0),
    ("pdelu:t=0.5", -1.0, -0.75),
    ("isrlu:alpha=3", -1.0, -0.5),
    ("ptelu:a=2", -50.0, -2.0),
    ("ptelu:b=2", -1.0, float(-mp.tanh(2))),
    ("sign_relu:alpha=2", -1.0, -1.0),
    ("swish:beta=0", 3.0, 1.5),
    ("swish_fixed:beta=0", 3.0, 1.5),
    ("e_swish:beta=2", 50.0, 100.0),
    ("softplus:beta=2", 0.0, float(mp.log(2) / 2)),
    ("squareplus:b=16", 0.0, 2.0),
    ("smelu:beta=2", 0.0, 0.5),
    ("snake:a=2", float(mp.pi / 4), float(mp.pi / 4 + 0.5)),
    ("xielu:rho_p=0", 1.0, float(mp.log(2) + 0.5)),
    ("xielu:rho_n=0:beta=0", -1.0, float(mp.log(2) / mp.e)),
    ("acon_c:p1=0:p2=2", -30.0, 0.0),
    ("acon_c:p1=2:p2=-1:beta=0", 2.0, 1.0),
    ("pau:a0=1", 0.0, 1.0),
    ("pau:a0=1:a1=2:a2=3:a3=4:a4=5:a5=6:b1=1:b2=2:b3=3:b4=4", 1.0, 21 / 11),
    ("pau:a0=1:a1=2:a2=3:a3=4:a4=5:a5=6:b1=1:b2=2:b3=3:b4=4", -1.0, -3 / 11),
    ("srs:a=4", 1e3, 4.0),
    ("srs:a=2:b=1", -1.0, float(-1 / (mp.e - 0.5))),
    ("reltanh:lower=-1:upper=0.5", -2.0, float(-mp.tanh(1) - mp.sech(1) ** 2)),
    ("reltanh:lower=-1:upper=0.5", 1.5, float(mp.tanh(0.5) + mp.sech(0.5) ** 2)),
    ("flatten_t_swish:t=-1", -5.0, -1.0),
    ("sinlu:a=2:b=3", float(mp.pi / 6), float((mp.pi / 6 + 2) * logistic(mp.pi / 6))),
    ("hard_sigmoid:slope=0.2", 1.0, 0.7),
    ("penalized_tanh:a=0.5", -50.0, -0.5),
    ("isru:alpha=3", 1.0, 0.5),
    ("hardshrink:lambd=2", 1.5, 0.0),
    ("softshrink:lambd=2", 3.0, 1.0),
    ("heaviside:window=2", 1.5, 1.0),
    ("sign:window=2", -1.5, -1.0),
    ("sine:omega=30", float(mp.pi / 60), 1.0),
]
