"""Laws over the catalogue of activations; values and slopes come from tests/references.py."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from math import inf, isfinite

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from references import ACTIVATIONS as REFERENCES
from references import MEANINGS, NOISY, SLOPES, TORCH, Formula
from scipy.stats import ks_2samp
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS, Activation
from relubench.activations.activation import FAMILIES
from relubench.models.initialisation import INITS
from relubench.models.layers import Act
from relubench.noise import Noise

ELEMENTWISE = [a for a in ACTIVATIONS.values() if a.elementwise and a.family != "surrogate"]
POINTS = [-30.0, -6.5, -3.1, -1.2, -0.3, -1e-3, 1e-3, 0.2, 0.9, 2.4, 5.5, 7.0, 25.0]
ROUND = [-10.0, -6.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 6.0]
every_unit = pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda entry: entry.name)
every_learner = pytest.mark.parametrize(
    "activation", [a for a in ELEMENTWISE if a.learns], ids=lambda entry: entry.name
)
every_noisy = pytest.mark.parametrize(
    "activation", [a for a in ELEMENTWISE if a.noisy], ids=lambda entry: entry.name
)
every_name = pytest.mark.parametrize(
    "name", list(dict.fromkeys([*(a.name for a in ELEMENTWISE), *(name for name, *_ in MEANINGS)]))
)


def slopes(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(x).sum(), x)
    return slope


def act(name: str, units: int = 1, dtype: torch.dtype = torch.float64) -> Act:
    """A module in evaluation mode with its initial parameters."""
    module = Act(ACTIVATIONS.choose(name), units).to(dtype)
    module.reset_parameters()
    return module.eval()


def column(points: list[float], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(points, dtype=dtype).reshape(-1, 1)


def slope_at(name: str, points: list[float]) -> list[float]:
    found: list[float] = slopes(act(name), column(points)).flatten().tolist()
    return found


def formula(name: str, of: dict[str, Formula]) -> Formula:
    """A reference with the parameters of `name` filled in."""
    choice = ACTIVATIONS.choose(name)
    parameters = {k: v for k, v in choice.parameters.items() if k != "shared"}
    return lambda x: of[choice.entry.name](x, **parameters)


def derivative(name: str, x: float) -> mpf:
    """The reference's slope: exactly 0 where the formula is constant, and nowhere else."""
    if name.partition(":")[0] in SLOPES:
        return mpf(formula(name, SLOPES)(mpf(x)))
    value, step = formula(name, REFERENCES), mpf("1e-20")
    return (value(mpf(x) + step) - value(mpf(x) - step)) / (2 * step)


@every_name
def test_value_and_slope_match_the_formula(name: str) -> None:
    with mp.workdps(60):
        values = [float(formula(name, REFERENCES)(mpf(x))) for x in POINTS]
        expected = [float(derivative(name, x)) for x in POINTS]
    value = act(name)(column(POINTS)).flatten()
    assert_close(value, torch.tensor(values, dtype=torch.float64), rtol=1e-10, atol=1e-15)
    assert slope_at(name, POINTS) == pytest.approx(expected, rel=1e-8, abs=1e-11)


@pytest.mark.parametrize("name", TORCH)
def test_units_of_torch_are_torchs(name: str) -> None:
    module, x = TORCH[name].eval(), column([*POINTS, 0.0, 1.0, 3.0, -3.0, 6.0, 0.5])
    assert_close(act(name)(x), module(x))
    assert_close(slopes(act(name), x), slopes(module, x))


@every_unit
def test_backward_passes_are_derivatives(activation: Activation) -> None:
    """Of the input and of what is learned, once and twice, away from kinks."""
    module = act(activation.name, units=2)
    x = torch.tensor([[-7.3, -2.2], [-0.4, 0.3], [0.8, 2.1]], dtype=torch.float64)
    inputs = (x.requires_grad_(), *module.learned.values())

    def call(x: torch.Tensor, *learned: torch.Tensor) -> torch.Tensor:
        named = {f"learned.{key}": v for key, v in zip(module.learned, learned, strict=True)}
        called: torch.Tensor = torch.func.functional_call(module, named, (x,))
        return called

    if activation.name not in SLOPES:
        assert gradcheck(call, inputs)
    assert gradgradcheck(call, inputs)


@every_unit
def test_slope_at_the_kink_is_the_documented_one(activation: Activation) -> None:
    """And the formula's at every other round number, where pieces may be joined."""
    points = sorted({*ROUND, *activation.kinks})
    with mp.workdps(60):
        expected = [activation.kinks.get(x, float(derivative(activation.name, x))) for x in points]
    assert slope_at(activation.name, points) == pytest.approx(expected, rel=1e-8, abs=1e-11)


@every_unit
def test_kinks_are_where_the_slope_jumps(activation: Activation) -> None:
    """A scan of [-12, 12]; a slope that changes faster than at rate 100 has jumped."""
    edges = torch.linspace(-12.01, 12.02, 100_000, dtype=torch.float64).unsqueeze(1)
    left, right = edges[:-1], edges[1:]
    steep = slopes(act(activation.name), edges)
    left, right = (
        side[(steep[1:] - steep[:-1]).abs() > 100 * (right - left)] for side in (left, right)
    )
    for _ in range(30):
        middle = (left + right) / 2
        at_left, at_middle = (slopes(act(activation.name), x.unsqueeze(1)) for x in (left, middle))
        jumped = ((at_middle - at_left).abs() > 100 * (middle - left).unsqueeze(1)).flatten()
        left, right = torch.where(jumped, left, middle), torch.where(jumped, middle, right)
    found = sorted({round(x, 6) + 0.0 for x in middle.tolist()}) if len(left) else []
    assert found == pytest.approx(sorted(activation.kinks), abs=1e-6)


@every_unit
def test_flat_is_where_the_slope_is_0(activation: Activation) -> None:
    """And where it is 0 elsewhere, by the formula, that is a point and not an interval."""

    def is_flat(x: float) -> bool:
        return any(low < x < high for low, high in activation.flat)

    ends = [end for interval in activation.flat for end in interval if isfinite(end)]
    grid = [k / 4 + 0.01 for k in range(-48, 22)]
    grid += [end + side for end in ends for side in (-1e-3, 1e-3)]
    inside = [x for x in [*grid, -1e4, 6.01, 1e4] if is_flat(x)]
    assert slope_at(activation.name, inside) == [0.0] * len(inside)
    with mp.workdps(160):
        zero = [derivative(activation.name, x) == 0 for x in grid]
    assert zero == [is_flat(x) for x in grid]
    assert activation.can_die == bool(inside)


@every_unit
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_keeps_shape_and_dtype_is_finite_and_leaves_its_input_alone(
    activation: Activation, dtype: torch.dtype
) -> None:
    x = torch.cat([torch.linspace(-1e4, 1e4, 31), torch.linspace(-9, 9, 59)]).reshape(6, 3, 5)
    x = x.to(dtype)
    before, module = x.clone(), act(activation.name, 3, dtype)
    value, pull = torch.func.vjp(module.forward, x)[:2]
    assert value.shape == x.shape
    assert value.dtype == dtype
    assert value.isfinite().all()
    assert pull(torch.ones_like(value))[0].isfinite().all()
    module(x.clone().requires_grad_()).sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert all(each is not None and each.isfinite().all() for each in gradients)
    module(x).detach().zero_()  # writes through, if the value is the input
    assert torch.equal(x, before)


@every_unit
def test_low_precision_is_the_same_function(activation: Activation) -> None:
    x = column([x for x in POINTS if x not in activation.kinks]).float()
    for dtype in (torch.float32, torch.bfloat16):
        rounded = x.to(dtype)
        expected = act(activation.name)(rounded.double())
        tolerance = 16 * torch.finfo(dtype).eps
        found = act(activation.name, dtype=dtype)(rounded).double()
        assert_close(found, expected, rtol=tolerance, atol=tolerance)


def limit(value: Formula, sign: int) -> float | None:
    """Where the formula goes as x grows, if it seems to go anywhere."""
    near, far = (value(mpf(sign * x)) for x in (10**2, 10**4))
    if abs(near - far) < 0.05:
        return float(far)
    return float(mp.sign(far)) * inf if abs(far) > abs(near) + 2 else None


@every_unit
def test_infinity_gives_the_limit_or_nan(activation: Activation) -> None:
    value = formula(activation.name, REFERENCES)
    at_minus, at_plus = act(activation.name)(column([-inf, inf])).flatten().tolist()
    with mp.workdps(40):
        expected = [limit(value, -1), limit(value, 1)]
    for found, wanted in zip((at_minus, at_plus), expected, strict=True):
        undefined = found != found
        assert undefined or (wanted is not None and found == pytest.approx(wanted, abs=1e-3))
    module = act(activation.name).train()
    module.noise = Noise.of(torch.Generator().manual_seed(0))
    assert act(activation.name)(column([float("nan")])).isnan().all()
    assert module(column([float("nan")])).isnan().all()


@pytest.fixture
def slow_batching_is_an_error() -> Iterator[None]:
    show = torch._C._debug_only_display_vmap_fallback_warnings  # type: ignore[attr-defined]
    show(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    show(False)


@every_unit
@pytest.mark.usefixtures("slow_batching_is_an_error")
def test_a_stack_of_units_is_the_units_alone(activation: Activation) -> None:
    """Forward, and backward to the input and to what is learned: every operation is batched."""
    modules = [act(activation.name, units=2) for _ in range(3)]
    for number, module in enumerate(modules):
        for parameter in module.parameters():
            parameter.data += 0.01 * number
    learned, _ = torch.func.stack_module_state(modules)
    x = torch.linspace(-4, 4, 3 * 5 * 2, dtype=torch.float64).reshape(3, 5, 2)
    x = x.requires_grad_()

    def call(learned: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        called: torch.Tensor = torch.func.functional_call(modules[0], learned, (x,))
        return called

    value = torch.vmap(call)(learned, x)
    grads = torch.autograd.grad(value.square().sum(), [x, *learned.values()])
    steep = torch.vmap(lambda p, x: torch.func.vjp(lambda x: call(p, x), x)[1](x)[0])(learned, x)
    for number, module in enumerate(modules):
        alone = x[number].detach().requires_grad_()
        expected = module(alone)
        wanted = torch.autograd.grad(expected.square().sum(), [alone, *module.parameters()])
        assert_close(value[number], expected)
        assert_close(steep[number], slopes(module, alone) * alone)
        for found, grad in zip(grads, wanted, strict=True):
            assert_close(found[number], grad)


@every_unit
def test_noise_is_drawn_in_training_only_and_by_its_stream(activation: Activation) -> None:
    module, x = act(activation.name), column(POINTS)
    evaluated = module(x)

    def trained(seed: int) -> torch.Tensor:
        module.train().noise = Noise.of(torch.Generator().manual_seed(seed))
        value: torch.Tensor = module(x)
        return value

    assert torch.equal(trained(0), trained(0))
    assert torch.equal(trained(0), trained(1)) != activation.noisy
    assert torch.equal(trained(0), evaluated) != activation.noisy


@every_noisy
@pytest.mark.parametrize("x", [-1.5, 0.5])
def test_noise_has_its_distribution(activation: Activation, x: float) -> None:
    draws = 20_000
    module = act(activation.name).train()
    module.noise = Noise.of(torch.Generator().manual_seed(0))
    found = module(torch.full((draws, 1), x, dtype=torch.float64)).flatten()
    u = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    expected = u * 0 + NOISY[activation.name](u, x, **activation.parameters)
    rounded = [tensor.round(decimals=12).numpy() for tensor in (found, expected)]
    assert ks_2samp(rounded[0], rounded[1], method="asymp").pvalue > 0.01


@every_noisy
def test_noise_is_independent_between_elements(activation: Activation) -> None:
    module = act(activation.name, units=2).train()
    module.noise = Noise.of(torch.Generator().manual_seed(0))
    drawn = module(torch.full((20_000, 2), -0.2, dtype=torch.float64)).detach()
    assert drawn[:, 0].std() > 0
    assert abs(torch.corrcoef(drawn.T)[0, 1].item()) < 0.03


@pytest.mark.parametrize(("name", "x", "expected"), MEANINGS)
def test_a_parameter_means_what_it_says(name: str, x: float, expected: float) -> None:
    assert act(name)(column([x])).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_every_parameter_has_its_meaning_tested() -> None:
    tested = {
        (choice.entry.name, parameter)
        for choice in (ACTIVATIONS.choose(name) for name, *_ in MEANINGS)
        for parameter in choice.given
    }
    assert tested == {(a.name, p) for a in ELEMENTWISE for p in a.parameters if p != "shared"}


@every_learner
def test_every_unit_learns_its_own_unless_the_layer_shares(activation: Activation) -> None:
    x = torch.linspace(-3, 3, 2 * 3 * 4 * 4, dtype=torch.float64).reshape(2, 3, 4, 4)
    own = act(f"{activation.name}:shared=false", units=3)
    shared = act(f"{activation.name}:shared=true", units=3)
    assert {p.numel() for p in own.parameters()} == {3}
    assert {p.numel() for p in shared.parameters()} == {1}
    assert_close(own(x), shared(x))
    for module in (own, shared):
        module(x).sum().backward()
    for mine, theirs in zip(own.parameters(), shared.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert_close(mine.grad.sum(), theirs.grad.sum())
    with torch.no_grad():
        next(own.parameters()).add_(torch.tensor([0.0, 1.5, 0.0]))
    changed = (own(x) != shared(x)).flatten(2).any(2)
    assert changed.any(0).tolist() == [False, True, False]


@every_learner
def test_what_is_learned_is_saved_and_loaded(activation: Activation) -> None:
    first, second = act(activation.name, units=3), act(activation.name, units=3)
    with torch.no_grad():
        for number, parameter in enumerate(first.parameters()):
            parameter.add_(torch.linspace(0.1, 0.3, parameter.numel()) / (1 + number))
    second.load_state_dict(first.state_dict())
    x = torch.linspace(-3, 3, 30, dtype=torch.float64).reshape(10, 3)
    assert torch.equal(first(x), second(x))
    first.reset_parameters()
    assert torch.equal(first(x), act(activation.name, units=3)(x))


@given(st.floats(-100, 100), st.sampled_from([a.name for a in ELEMENTWISE]))
@settings(max_examples=200, deadline=None)
def test_one_element_knows_nothing_of_the_others(x: float, name: str) -> None:
    alone, among = act(name)(column([x])), act(name)(column([*POINTS, x]))
    assert_close(among[-1], alone[0])


@every_unit
def test_facts_are_known(activation: Activation) -> None:
    assert activation.init in INITS
    assert activation.family in FAMILIES
    assert (activation.year is None) == (activation.paper == "")
    assert activation.noisy == (activation.name in NOISY)
    assert all(isfinite(x) for x in activation.kinks)


def test_every_reference_has_its_unit() -> None:
    names = {activation.name for activation in ELEMENTWISE}
    assert set(REFERENCES) == names
    assert {*SLOPES, *NOISY} <= names
    assert len(names) >= 60


@pytest.mark.parametrize("x", [-800.0, -50, -1, 0, 19.9, 20.1, 21, 25, 30, 39.9, 40.1, 60, 700])
@pytest.mark.parametrize("name", ["softplus", "softplus:beta=2", "shifted_softplus"])
def test_softplus_is_exact_beyond_the_threshold_of_torch(x: float, name: str) -> None:
    beta = 2.0 if "beta" in name else 1.0
    expected = np.logaddexp(0.0, beta * x) / beta - (math.log(2) if "shifted" in name else 0)
    point = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    value = ACTIVATIONS.choose(name)(point)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(expected, rel=1e-15, abs=1e-16)
    assert point.grad is not None
    assert float(point.grad) == pytest.approx(1 / (1 + math.exp(min(700, -beta * x))), rel=1e-15)


def test_telu_is_tanhexp_and_is_spelt_so() -> None:
    assert str(ACTIVATIONS.choose("telu")) == str(ACTIVATIONS.choose("TeLU")) == "tanhexp"


@pytest.mark.parametrize("theta", [0.1, 0.5, -0.3])
def test_jump_relu_learns_its_threshold_from_what_is_near(theta: float) -> None:
    """Rajamanoharan et al. 2024: -theta / bandwidth times a rectangle of that width."""
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    learned = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    value = ACTIVATIONS["jump_relu"].function(x, learned, bandwidth=0.2)
    assert torch.equal(value.detach(), torch.where(x > theta, x, 0))
    upstream = torch.cos(x)
    (found,) = torch.autograd.grad((value * upstream).sum(), learned)
    near = (x - theta).abs() < 0.1
    expected = (-theta / 0.2 * upstream[near]).sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
