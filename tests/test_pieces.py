"""Units over several pre-activations: formulas, slopes per output, draws, parameter counts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special
from test_neurons import count
from torch import nn
from torch.testing import assert_close

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.errors import BadValue
from relubench.models import MODELS, layers, matching, weights
from relubench.neurons.formulas import derivatives
from relubench.noise import Noise
from relubench.plan import Cell, Machine
from relubench.training import building
from relubench.training.networks import Networks

Pieces = np.ndarray  # (pieces, …)


def polynorm(z: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """The mean of three powers, each divided by its root mean square over the units."""
    scaled = [u / np.sqrt(np.mean(u**2, axis=1, keepdims=True) + eps) for u in (z, z**2, z**3)]
    mean: np.ndarray = sum(scaled) / 3
    return mean


REFERENCES: dict[str, Callable[[Pieces], np.ndarray]] = {
    "maxout": lambda z: np.maximum.reduce(list(z)),
    "probout": lambda z: (special.softmax(z, axis=0) * z).sum(axis=0),
    "lp_unit": lambda z: np.linalg.norm(z, 2, axis=0) / np.sqrt(len(z)),
    "glu": lambda z: torch.nn.functional.glu(torch.tensor(z), dim=0).squeeze(0).numpy(),
    "reglu": lambda z: z[0] * np.maximum(z[1], 0),
    "geglu": lambda z: z[0] * z[1] * special.ndtr(z[1]),
    "swiglu": lambda z: z[0] * z[1] * special.expit(z[1]),
    "dual_relu": lambda z: np.maximum(z[0], 0) - np.maximum(z[1], 0),
    "deep_fourier": lambda z: np.concatenate([np.sin(z[0]), np.cos(z[0])], axis=1),
    "polynorm": lambda z: polynorm(z[0]),
    "crelu": lambda z: np.concatenate([np.maximum(z[0], 0), np.maximum(-z[0], 0)], axis=1),
}
MEANINGS = [  # name with parameters, pre-activations of one unit, output
    ("maxout:pieces=3", [-1.0, -3.0, -2.0], -1.0),
    ("probout:sharpness=0:pieces=3", [1.0, 2.0, 6.0], 3.0),
    ("polynorm:a1=2:a2=3:a3=4:b=5:eps=0", [-2.0], 2.0),  # of one unit: -2 + 3 - 4 + 5
    ("lp_unit:rho=-40:pieces=4", [1.0, -2.0, 3.0, -4.0], 2.5),  # p = 1: the mean of magnitudes
]
several = pytest.mark.parametrize(
    "name", [entry.name for entry in ACTIVATIONS.values() if not entry.elementwise]
)
MODEL_SHAPES = [("ffnn:hidden=9x6", (5,)), ("cnn:filters=4x5:dense=6", (1, 16, 16))]


def act(name: str, width: int) -> layers.Act:
    module = layers.Act(ACTIVATIONS.choose(name), width).double()
    module.reset_parameters()
    return module.eval()


def sample(module: layers.Act, width: int, *positions: int) -> torch.Tensor:
    shape = (3, module.pieces * width, *positions)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(model: str, shape: tuple[int, ...], activation: str) -> nn.Module:
    built: nn.Module = MODELS.choose(model)(shape, 3, ACTIVATIONS.choose(activation))
    weights.initialise(built, torch.Generator().manual_seed(0))
    return built


@several
@pytest.mark.parametrize("positions", [(), (2, 3)])
def test_value_matches_the_formula(name: str, positions: tuple[int, ...]) -> None:
    module = act(name, 4)
    x = sample(module, 4, *positions)
    by_piece = np.stack(np.split(x.numpy(), module.pieces, axis=1))  # all first pieces come first
    assert_close(module(x), torch.tensor(REFERENCES[name](by_piece)), rtol=1e-12, atol=1e-14)


@several
def test_slope_is_the_derivative(name: str) -> None:
    module = act(name, 2)
    assert torch.autograd.gradcheck(module, (sample(module, 2).requires_grad_(),))


def test_the_list_says_what_a_unit_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "activations", "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(ACTIVATIONS)
    assert {name for name, row in rows.items() if not row["elementwise"]} == set(REFERENCES)
    assert all(rows[name]["can_die"] for name in ("reglu", "dual_relu", "crelu"))
    assert not rows["maxout"]["can_die"]
    assert rows["lp_unit"]["learned"] == ["rho"]
    assert rows["probout"]["noisy"]


@pytest.mark.parametrize(("name", "x", "expected"), MEANINGS)
def test_a_parameter_means_what_it_says(name: str, x: list[float], expected: float) -> None:
    value = act(name, 1)(torch.tensor([x], dtype=torch.float64))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_every_parameter_has_its_meaning_tested() -> None:
    tested = {(name.split(":")[0], p) for name, *_ in MEANINGS for p in _given(name)} | {
        ("probout", "pieces"), ("lp_unit", "pieces")
    }  # fmt: skip
    entries = [ACTIVATIONS[name] for name in REFERENCES]
    assert tested == {
        (entry.name, p) for entry in entries for p in entry.parameters if p != "shared"
    }


def _given(name: str) -> list[str]:
    return list(ACTIVATIONS.choose(name).given)


@several
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_is_finite_at_extremes_and_at_zero_and_leaves_its_input_alone(
    name: str, dtype: torch.dtype, training: bool
) -> None:
    module = act(name, 2).to(dtype).train(training)
    module.noise = Noise.of(torch.Generator().manual_seed(0))
    x = torch.tensor([-1e4, -1.0, 0.0, 1e4], dtype=dtype)
    x = torch.cartesian_prod(*[x] * (2 * module.pieces)).requires_grad_()
    before = x.detach().clone()
    value = module(x)
    assert value.dtype == dtype
    assert value.shape == (len(x), module.units)
    value.sum().backward()
    assert all(t.isfinite().all() for t in (value, x.grad, *(p.grad for p in module.parameters())))
    assert torch.equal(x, before)


def test_probout_draws_a_piece_by_its_softmax() -> None:
    module = act("probout:pieces=3:sharpness=2", 1).train()
    module.noise = Noise.of(torch.Generator().manual_seed(0))
    z = [0.5, -0.25, 0.1]
    drawn = module(torch.tensor([z], dtype=torch.float64).repeat(100_000, 1)).flatten()
    shares = [(drawn == piece).double().mean().item() for piece in z]
    assert shares == pytest.approx(special.softmax(2 * np.array(z)).tolist(), abs=0.006)
    assert sum(shares) == 1


def test_lp_unit_learns_its_power() -> None:
    module = act("lp_unit", 3)
    module(sample(module, 3)).sum().backward()
    (rho,) = module.parameters()
    assert rho.shape == (3,)
    assert rho.grad is not None
    assert (rho.grad > 0).all()  # a power mean grows with its power


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [a.name for a in ACTIVATIONS.values()])
def test_a_slope_is_the_largest_entry_of_the_jacobian(name: str) -> None:
    module = act(name, 2)
    x = sample(module, 2, 2)
    jacobian = torch.autograd.functional.jacobian(module, x)  # (*output, *input)
    assert_close(derivatives(module, x), jacobian.abs().amax(dim=(3, 4, 5)))


def dead(name: str, z: torch.Tensor) -> list[bool]:
    """Which outputs are flat for every pre-activation of z, (examples, pieces, units)."""
    below = (z <= 0).all(dim=0)  # (pieces, units)
    if name == "crelu":
        return [*below[0].tolist(), *(z >= 0).all(dim=0)[0].tolist()]
    if name == "deep_fourier":
        return [False] * (2 * z.shape[-1])
    if name == "dual_relu":
        return below.all(dim=0).tolist()
    return [bool(flag) and name == "reglu" for flag in below[-1]]


@several
def test_dead_counts_equal_brute_force(name: str) -> None:
    built = build("ffnn:hidden=9x6", (5,), name).double().eval()
    for layer in ("dense1", "dense2"):
        bias = built.get_parameter(f"{layer}.weights.bias").detach()
        by_piece = bias.view(-1, 9 if layer == "dense1" else 6)
        by_piece[:, 0], by_piece[-1, 1], by_piece[:, 2] = -8, -8, 8
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)).double()
    counters = count(Networks([built]), x.split(15))
    with torch.no_grad():
        first = built.get_submodule("dense1.weights")(x)
        second = built.get_submodule("dense2.weights")(built.get_submodule("dense1")(x))
    for counter, z, width in zip(counters, (first, second), (9, 6), strict=True):
        expected = dead(name, z.unflatten(1, (-1, width)))
        (found,) = counter.counts()
        assert found.units == len(expected)
        assert found.dead == sum(expected)
        assert bool(found.dead) == bool(ACTIVATIONS[name].flat)


# --- networks -------------------------------------------------------------------------------------


def test_parameter_counts_by_hand() -> None:
    def of(model: str, shape: tuple[int, ...], activation: str) -> int:
        return layers.parameter_count(build(model, shape, activation))

    assert of("ffnn:hidden=9x6", (5,), "maxout:pieces=4") == 36 * 6 + 24 * 10 + 3 * 7
    assert of("ffnn:hidden=9x6", (5,), "lp_unit") == 18 * 6 + 9 + 12 * 10 + 6 + 3 * 7
    assert of("ffnn:hidden=9x6", (5,), "crelu") == 9 * 6 + 6 * 19 + 3 * 13
    convolutions = 4 * 10 + 4 * 73 + 5 * 73 + 5 * 91
    cnn = convolutions + 6 * (10 * 1 * 1 + 1) + 3 * 13
    assert of("cnn:filters=4x5:dense=6", (1, 16, 16), "crelu") == cnn


@several
@pytest.mark.parametrize(("model", "shape"), MODEL_SHAPES)
def test_first_pieces_and_the_output_layer_get_relus_draw(
    name: str, model: str, shape: tuple[int, ...]
) -> None:
    plain, built = (build(model, shape, activation) for activation in ("relu", name))
    pieces = layers.pieces(ACTIVATIONS.choose(name))
    for (path, weight), (_, theirs) in zip(
        plain.named_parameters(), built.named_parameters(), strict=False
    ):
        if path.endswith("weight") and weight.shape[1:] == theirs.shape[1:]:
            mine = theirs[: weight.shape[0]] / weight
            assert_close(mine, mine.flatten()[0].expand_as(mine))
            assert theirs.shape[0] in (weight.shape[0], pieces * weight.shape[0])


def test_a_layers_variance_is_that_of_its_scheme_whatever_the_pieces() -> None:
    """The second moment of the largest of three is 1 + √3 / 2π: Bose & Gupta 1959."""
    built = build("ffnn:hidden=300x200", (400,), "maxout:pieces=3")
    assert built.get_parameter("dense1.weights.weight").var().item() == pytest.approx(
        1 / (1 + math.sqrt(3) / (2 * math.pi)) / 400, rel=0.02
    )


def test_a_unit_without_pieces_is_refused() -> None:
    with pytest.raises(BadValue, match="maxout: pieces must be at least 1, got 0"):
        build("ffnn", (4,), "maxout:pieces=0")


# --- --match-parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape"), [("ffnn:hidden=64x32", (64,)), ("cnn:filters=8x16:dense=32", (1, 16, 16))]
)
@pytest.mark.parametrize("name", [*ACTIVATIONS, "maxout:pieces=5"])
def test_matched_networks_are_as_large_as_with_relu(
    name: str, model: str, shape: tuple[int, ...], machine: Machine
) -> None:
    choice = matching.narrowed(model, name, shape, 3)
    matching._narrowed.cache_clear()
    assert str(matching.narrowed(model, name, shape, 3)) == str(choice)
    wanted = layers.parameter_count(build(model, shape, "relu"))
    assert abs(layers.parameter_count(build(str(choice), shape, name)) / wanted - 1) <= 0.03
    whole = layers.parameter_count(build(model, shape, name))
    assert (str(choice) == model) == (abs(whole / wanted - 1) <= 0.03)


def test_the_engine_builds_what_matches(machine: Machine) -> None:
    cell = Cell(dataset="digits", model="ffnn:hidden=64x32", activation="crelu")
    matched = dataclasses.replace(cell, match_parameters=True)
    assert cell.key != matched.key
    sizes = [
        layers.parameter_count(building.build(each, (64,), machine))
        for each in (dataclasses.replace(cell, activation="relu"), matched, cell)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)
    assert sizes[2] > 1.03 * sizes[0]


ARGUMENTS = ["train", "-d", "iris", "-a", "relu,maxout", "--epochs", "1", "--quiet"]


def test_tables_say_what_was_matched(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*ARGUMENTS, "-m", "ffnn:hidden=32x16"]
    assert main(arguments) == 0
    assert "parameters" in capsys.readouterr().out
    assert main([*arguments, "--match-parameters"]) == 0
    assert "parameters as with relu" in capsys.readouterr().out
    assert main([*arguments, "--match-parameters", "--format", "json"]) == 0
    relu, maxout = json.loads(capsys.readouterr().out)
    assert relu["match_parameters"] is maxout["match_parameters"] is True
    assert maxout["parameters"] == pytest.approx(relu["parameters"], rel=0.03)


def test_a_network_too_small_to_match_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "-m", "ffnn:hidden=2", "--match-parameters"]) == 2
    assert capsys.readouterr().err == (
        "relubench: --match-parameters: ffnn:hidden=2 has 19 parameters with relu, and with maxout "
        "16 at the nearest: give it wider layers\n"
    )
