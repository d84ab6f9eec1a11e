"""Laws over the catalogue of activations; values and slopes come from tests/references.py."""

from __future__ import annotations

import math

import pytest
import torch
from mpmath import mp
from references import ACTIVATIONS as REFERENCES
from references import MEANINGS
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS, Activation
from relubench.layers import SCHEMES, Act

POINTS = torch.tensor(
    [-30.0, -6.5, -3.1, -1.0, -0.3, -1e-3, 1e-3, 0.2, 0.9, 2.5, 5.5, 7.0, 25.0],
    dtype=torch.float64,
)
ELEMENTWISE = [a for a in ACTIVATIONS.values() if a.elementwise and a.family != "surrogate"]
every_activation = pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda entry: entry.name)


def act(name: str, units: int = 1) -> Act:
    """A module in evaluation mode and float64, with its initial parameters."""
    module = Act(ACTIVATIONS.choose(name), units).double()
    module.reset_parameters()
    return module.eval()


def value_and_slope(name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.reshape(-1, 1).clone().requires_grad_()
    value = act(name)(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach().flatten(), slope.flatten()


@every_activation
def test_value_and_slope_match_the_formula(activation: Activation) -> None:
    formula = REFERENCES[activation.name]
    with mp.workdps(40):
        values = [float(formula(mp.mpf(x))) for x in POINTS.tolist()]
        slopes = [float(mp.diff(formula, mp.mpf(x), h=mp.mpf("1e-12"))) for x in POINTS.tolist()]
    value, slope = value_and_slope(activation.name, POINTS)
    assert_close(value, torch.tensor(values, dtype=torch.float64), rtol=1e-10, atol=1e-15)
    assert_close(slope, torch.tensor(slopes, dtype=torch.float64), rtol=1e-8, atol=1e-11)


@every_activation
def test_slope_at_the_kink_is_the_documented_one(activation: Activation) -> None:
    for x, documented in activation.kinks.items():
        _, slope = value_and_slope(activation.name, torch.tensor([x], dtype=torch.float64))
        assert slope.item() == pytest.approx(documented, rel=1e-12)


@every_activation
def test_every_kink_is_documented(activation: Activation) -> None:
    """Where the slope jumps between neighbours of a point, the point is listed."""
    formula, step = REFERENCES[activation.name], mp.mpf("1e-9")
    with mp.workdps(40):
        for x in (-6, -1, 0, 1, 6):
            left = (formula(x - step) - formula(x - 2 * step)) / step
            right = (formula(x + 2 * step) - formula(x + step)) / step
            assert (abs(left - right) > 1e-6) == (float(x) in activation.kinks)


@every_activation
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_keeps_shape_and_dtype_is_finite_and_leaves_its_input_alone(
    activation: Activation, dtype: torch.dtype
) -> None:
    x = torch.linspace(-1e4, 1e4, 2 * 3 * 5).reshape(2, 3, 5).to(dtype)
    before = x.clone()
    value = act(activation.name, units=3).to(dtype)(x)
    assert value.shape == x.shape
    assert value.dtype == dtype
    assert value.isfinite().all()
    value.zero_()  # writes through, if the value is the input
    assert torch.equal(x, before)


@every_activation
def test_noise_is_drawn_in_training_only_and_by_its_stream(activation: Activation) -> None:
    module, x = act(activation.name), POINTS.reshape(-1, 1)
    evaluated = module(x)

    def trained(seed: int) -> torch.Tensor:
        module.train().noise = torch.Generator().manual_seed(seed)
        return module(x)

    assert torch.equal(trained(0), trained(0))
    assert torch.equal(trained(0), trained(1)) != activation.noisy
    assert torch.equal(trained(0), evaluated) != activation.noisy


@pytest.mark.parametrize(
    ("name", "mean"),
    [("rrelu", math.log(8 / 3) / 5), ("rrelu_torch", 11 / 48)],  # of 1/U(3, 8), of U(1/8, 1/3)
)
def test_random_slopes_have_their_distribution(name: str, mean: float) -> None:
    module = act(name).train()
    module.noise = torch.Generator().manual_seed(0)
    slopes = -module(-torch.ones(100_000, 1, dtype=torch.float64))
    assert slopes.mean().item() == pytest.approx(mean, abs=1e-3)
    assert slopes.min().item() == pytest.approx(1 / 8, abs=1e-3)
    assert slopes.max().item() == pytest.approx(1 / 3, abs=1e-3)


def test_torch_rrelu_is_the_unit_in_torch() -> None:
    x = POINTS.reshape(-1, 1)
    assert_close(act("rrelu_torch")(x), torch.nn.RReLU().eval()(x))


@pytest.mark.parametrize(("name", "x", "expected"), MEANINGS)
def test_a_parameter_means_what_it_says(name: str, x: float, expected: float) -> None:
    value, _ = value_and_slope(name, torch.tensor([x], dtype=torch.float64))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_every_parameter_has_its_meaning_tested() -> None:
    tested = {
        (choice.entry.name, parameter)
        for choice in (ACTIVATIONS.choose(name) for name, *_ in MEANINGS)
        for parameter in choice.given
    }
    assert tested == {(a.name, p) for a in ELEMENTWISE for p in a.parameters}


def test_prelu_learns_one_slope_per_unit() -> None:
    module = act("prelu", units=3)
    (slopes,) = module.parameters()
    with torch.no_grad():
        slopes.copy_(torch.tensor([0.1, 0.2, 0.3]))
    flat, image = -torch.ones(2, 3), -torch.ones(2, 3, 4, 4)
    assert_close(module(flat.double())[0], -slopes)
    assert_close(module(image.double())[0, :, 2, 3], -slopes)


@every_activation
def test_facts_are_known(activation: Activation) -> None:
    assert activation.init in SCHEMES
    assert activation.name in REFERENCES
