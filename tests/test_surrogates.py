"""Forward one unit, backward another's slope: bits, slopes, torch.func, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from mpmath import mp
from test_neurons import count
from torch import Tensor, nn
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS
from relubench.activations.surrogates import SHAPES
from relubench.cli import main
from relubench.errors import BadValue, UnknownName
from relubench.models import layers
from relubench.plan import Cell, Machine
from relubench.training import building
from relubench.training.networks import Networks

# Slopes as their papers have them, or, of pd_relu, as its docstring does.
BELOW: dict[str, Callable[[float], float]] = {
    "leaky": lambda u: 1.0,
    "box": lambda u: float(u >= -1),
    "sigmoid": lambda u: 2 / (1 + math.exp(-u)),
    "exponential": math.exp,
    "gaussian": lambda u: math.exp(-u * u / 2),
    "arctan": lambda u: 1 / (1 + u * u),
}


def b_silu(x: float, alpha: float = 1.67) -> float:
    s = 1 / (1 + math.exp(-x))
    return s + (x + alpha) * s * (1 - s)


def nelu(x: float, alpha: float = 0.05) -> float:
    return 1.0 if x > 0 else 2 * alpha * x / (1 + x * x) ** 2


def half_below(below: Callable[[float], float], x: float) -> float:
    return 1.0 if x > 0 else 0.5 * below(x / 2)


SLOPES: dict[str, Callable[[float], float]] = {
    "pd_relu": lambda x: 1.0 if x > 0 else 0.1,
    **{
        f"pd_relu:shape={shape}:height=0.5:width=2": (partial(half_below, below))
        for shape, below in BELOW.items()
    },
    "sugar_b_silu": b_silu,
    "sugar_b_silu:alpha=1": lambda x: b_silu(x, 1),
    "sugar_nelu": nelu,
    "sugar_nelu:alpha=0.5": lambda x: nelu(x, 0.5),
    "proxygrad": lambda x: 1.0 if x > 0 else 0.3,
    "proxygrad:negative_slope=0.7": lambda x: 1.0 if x > 0 else 0.7,
    "surrogate": lambda x: float(mp.diff(lambda t: t / (1 + mp.exp(-t)), x)),
    "surrogate:backward=tanh": lambda x: 1 - math.tanh(x) ** 2,
}
every_surrogate = pytest.mark.parametrize("name", SLOPES)
POINTS = [-9.0, -2.5, -1.9, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.5, 2.0, 7.0]
VANISHING = ("box", "sigmoid", "exponential", "gaussian", "tanh", "b_silu")  # or underflowing


def act(name: str, units: int = 1) -> layers.Act:
    return layers.Act(ACTIVATIONS.choose(name), units)


def test_every_surrogate_and_every_parameter_has_a_reference() -> None:
    given = [ACTIVATIONS.choose(name) for name in SLOPES]
    family = [entry for entry in ACTIVATIONS.values() if entry.family == "surrogate"]
    assert {choice.entry.name for choice in given} == {entry.name for entry in family}
    tested = {(choice.entry.name, parameter) for choice in given for parameter in choice.given}
    tested |= {("surrogate", "forward")}  # below
    assert tested == {(entry.name, p) for entry in family for p in entry.parameters}
    assert set(BELOW) == set(SHAPES)


@every_surrogate
def test_forward_is_relu_bit_for_bit(name: str) -> None:
    info = torch.finfo(torch.float32)
    tiny = info.smallest_normal / 4
    special = [0.0, math.inf, math.nan, tiny, info.smallest_normal, info.max, 1e-3]
    signed = torch.tensor([*special, *(-x for x in special)])
    drawn = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    x = torch.cat([signed, drawn, 1e30 * drawn[:1000]])
    value = ACTIVATIONS.choose(name)(x.clone().requires_grad_())
    assert torch.equal(value.view(torch.int32), torch.relu(x).view(torch.int32))


def test_forward_is_the_unit_named() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = ACTIVATIONS.choose("surrogate:forward=tanh:backward=identity")(x)
    assert torch.equal(value, torch.tanh(x))
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert (slope == 1).all()


@every_surrogate
def test_backward_is_the_surrogates_slope(name: str) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS.choose(name)(x).sum(), x)
    assert slope.tolist() == pytest.approx([SLOPES[name](p) for p in POINTS], rel=1e-12, abs=1e-15)
    entry = ACTIVATIONS.choose(name).entry
    if name == entry.name and entry.kinks:
        assert entry.kinks == {0.0: pytest.approx(slope[POINTS.index(0.0)].item())}


@every_surrogate
def test_backward_again_is_the_slopes_derivative(name: str) -> None:
    points = [p for p in POINTS if abs(p) > 0.01]
    x = torch.tensor(points, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS.choose(name)(x).sum(), x, create_graph=True)
    if not slope.requires_grad:  # constant on either side
        slope = slope + 0 * x
    (second,) = torch.autograd.grad(slope.sum(), x)
    step = 1e-5
    expected = [(SLOPES[name](p + step) - SLOPES[name](p - step)) / (2 * step) for p in points]
    assert second.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-9)


@every_surrogate
def test_works_under_vmap_and_vjp(name: str) -> None:
    """As the engine calls it: vmap forward, then backward; vjp inside vmap, for the counts."""
    unit = ACTIVATIONS.choose(name)
    points = torch.tensor(POINTS, dtype=torch.float64)
    x = torch.stack([points, points.flip(0)]).requires_grad_()
    (plain,) = torch.autograd.grad(unit(x).sum(), x)
    value = torch.vmap(unit)(x)
    assert torch.equal(value, torch.relu(x))
    (stacked,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert_close(stacked, plain)

    def pull(x: Tensor) -> Tensor:
        value, pulled = torch.func.vjp(unit, x)[:2]
        slope: Tensor = pulled(torch.ones_like(value))[0]
        return slope

    with torch.no_grad():
        assert_close(torch.vmap(pull)(x), plain)
    assert_close(torch.vmap(torch.func.grad(lambda x: unit(x)))(points), plain[0])


@every_surrogate
def test_counts_are_relus_but_for_the_dead(name: str, machine: Machine) -> None:
    cell = Cell(dataset="iris", model="ffnn:hidden=16x8", activation="relu")
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    counts = []
    for activation in ("relu", name):
        network = _dying(dataclasses.replace(cell, activation=activation), machine)
        counts.append([counter.counts()[0] for counter in count(Networks([network] * 2), [x])])
    for relu, routed in zip(*counts, strict=True):
        assert relu.dead == relu.inactive > 0
        assert (routed.inactive, routed.rare, routed.dormant, routed.sparsity) == (
            relu.inactive, relu.rare, relu.dormant, relu.sparsity,
        )  # fmt: skip
        if any(word in name for word in VANISHING):
            assert routed.dead <= relu.dead
        else:
            assert routed.dead == 0


def _dying(cell: Cell, machine: Machine) -> nn.Module:
    """A network of which a unit in each layer is far below 0 for every example."""
    network = building.build(cell, (4,), machine).eval()
    for layer in ("dense1", "dense2"):
        network.get_parameter(f"{layer}.weights.bias").data[0] = -50.0
    return network


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pd_relu:shape=gausian", "pd_relu has no shape 'gausian': did you mean 'gaussian'?"),
        ("pd_relu:shape=arctan:width=0.0", "pd_relu: width must be above 0, got 0"),
        ("surrogate:backward=sliu", "unknown activation 'sliu': did you mean 'silu'?"),
        ("surrogate:backward=prelu", "surrogate takes plain activations, and prelu learns"),
        ("surrogate:forward=rrelu", "surrogate takes plain activations, and rrelu draws noise"),
        (
            "surrogate:forward=maxout",
            "surrogate takes plain activations, and maxout is not element-wise",
        ),
    ],
)
def test_what_cannot_be_routed_is_refused_before_training(
    name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-d", "iris", "-a", name, "--quiet"]) == 2
    assert capsys.readouterr().err.startswith(f"relubench: --activation {name}: {says}")
    with pytest.raises((BadValue, UnknownName)):
        ACTIVATIONS.choose(name)(torch.zeros(1))


def test_any_two_plain_units_can_be_routed() -> None:
    x = torch.tensor(POINTS, dtype=torch.float64)
    plain = [a for a in ACTIVATIONS.values() if a.elementwise and not (a.noisy or a.learns)]
    for number, forward in enumerate(plain):
        backward = plain[number - 1]
        if "surrogate" in (forward.name, backward.name):
            continue
        learned = x.clone().requires_grad_()
        name = f"surrogate:forward={forward.name}:backward={backward.name}"
        value = ACTIVATIONS.choose(name)(learned)
        assert torch.equal(value, forward.function(x))
        (slope,) = torch.autograd.grad(value.sum(), learned)
        own = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(backward.function(own).sum(), own)
        assert np.array_equal(slope.numpy(), expected.numpy())
