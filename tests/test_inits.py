"""Initial weights: what they hold from layer to layer, and that all begin from the same numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from fabricated import FIXED, result
from scipy import stats
from torch import nn
from torch.testing import assert_close

from relubench import report
from relubench.activations import ACTIVATIONS, Activation, moments
from relubench.cli import main
from relubench.models import MODELS, layers, weights
from relubench.models.initialisation import INITS
from relubench.plan import Cell, Plan

every_activation = pytest.mark.parametrize(
    "activation", list(ACTIVATIONS.values()), ids=lambda entry: entry.name
)
SEEDS, EXAMPLES = {64: 31, 256: 7}, 32

SQUARES = "a power of 2: what is twice too large is four times too large a layer later"
STEEP = "the smaller x, the less of it is left, so that what is too small ends far too small"
GATES = "a product of two pre-activations"
NOT_HELD = {
    "squared_relu": SQUARES,
    "star_relu": SQUARES,
    "gelu_squared": SQUARES,
    "clipped_squared_relu": SQUARES,
    "xielu": SQUARES,
    "reglu": GATES,
    "geglu": GATES,
    "swiglu": GATES,
    "tanhshrink": f"x³ / 3 near 0: {STEEP}",
    "softshrink": f"0 up to 1/2: {STEEP}",
    "flatten_t_swish": f"x² / 2 near 0, less t: {STEEP}",
    "growing_cosine": "x · cos(x): its size comes and goes with that of x",
    "lecun_tanh": "by its paper's scheme, lecun, which holds about a half",
}


def network(
    activation: str, init: str | None = None, model: str = "ffnn:hidden=30x20", seed: int = 3
) -> nn.Module:
    shape = (1, 28, 28) if model == "cnn" else (40,)
    built: nn.Module = MODELS.choose(model)(shape, 10, ACTIVATIONS.choose(activation)).double()
    weights.initialise(built, torch.Generator().manual_seed(seed), init=init)
    return built


def second_moments(activation: str, width: int) -> list[float]:
    """Of pre-activations, layer by layer: medians over networks, for data of second moment 1."""
    built = MODELS.choose(f"mlp:depth=8:width={width}")(
        (width,), 10, ACTIVATIONS.choose(activation)
    ).double()
    seen: list[float] = []
    for _, act in layers.activations(built):
        act.register_forward_pre_hook(lambda act, x: seen.append(float(x[0].square().mean())))
    for seed in range(SEEDS[width]):
        stream = torch.Generator().manual_seed(seed)
        weights.initialise(built, stream)
        layers.draw_noise_from(built, stream, stream)
        with torch.no_grad():
            built(torch.randn(EXAMPLES, width, generator=stream, dtype=torch.float64))
    return torch.tensor(seen).view(-1, 8).median(dim=0).values.tolist()


@pytest.mark.parametrize("width", SEEDS)
@every_activation
def test_pre_activations_keep_their_second_moment(activation: Activation, width: int) -> None:
    """1, or where an activation scales as its input does, as relu, that of he: twice as much."""
    held = weights.holding(ACTIVATIONS.choose(activation.name))
    off = [found / held.first for found in second_moments(activation.name, width)]
    assert (min(off) > 0.5 and max(off) < 2) or activation.name in NOT_HELD


def test_what_nothing_holds_is_known_by_its_growth() -> None:
    """At 64 wide all of them are off by more than twice; lecun_tanh follows its paper."""
    growing = {name for name in ACTIVATIONS if not weights.holding(ACTIVATIONS.choose(name)).steady}
    assert growing == NOT_HELD.keys() - {"lecun_tanh"}
    for name in NOT_HELD:
        first = weights.holding(ACTIVATIONS.choose(name)).first
        off = [found / first for found in second_moments(name, 64)]
        assert min(off) < 0.5 or max(off) > 2


# E f(z)², z standard normal, by hand: moments of the normal, and E cos(kz) = exp(-k²/2)
MOMENTS = {
    "relu": 1 / 2,
    "abs": 1.0,
    "squared_relu": 3 / 2,
    "leaky_relu:negative_slope=0.5": 0.625,
    "prelu": (1 + 0.25**2) / 2,  # He et al. 2015: sd √(2 / ((1 + a²) fan-in))
    "snake": 1 + 3 / 8 - math.exp(-2) / 2 + math.exp(-8) / 8,
    "gaussian": 1 / math.sqrt(5),
    "hardshrink:lambd=0": 1.0,
}


@pytest.mark.parametrize(("activation", "moment"), MOMENTS.items())
def test_the_sd_is_the_gain_by_the_root_of_fan_in(activation: str, moment: float) -> None:
    normal, drawn = (
        network(name, init).get_parameter("dense2.weights.weight")
        for name, init in (("identity", "lecun"), (activation, "gain"))
    )
    assert_close(drawn, normal / math.sqrt(moment), rtol=1e-6, atol=0)


@pytest.mark.parametrize("model", ["ffnn:hidden=30x20", "cnn", "mlp:depth=3:width=7"])
def test_for_relu_gain_is_he_to_the_bit(model: str) -> None:
    gain, he, own = (network("relu", init, model).state_dict() for init in ("gain", "he", None))
    for name, value in gain.items():
        assert torch.equal(value, he[name])
        assert torch.equal(value, own[name])


@pytest.mark.parametrize("init", INITS)
def test_a_seed_gives_every_activation_the_same_numbers(init: str) -> None:
    built = [network(name, init).state_dict() for name in ("relu", "selu", "tanh", "xielu", "sine")]
    for name in ("dense1.weights.weight", "dense2.weights.weight", "output.weight"):
        drawn = [each[name] / each[name].norm() for each in built]
        for other in drawn[1:]:
            assert_close(other, drawn[0])
    for name in ("dense1.weights.bias", "output.bias"):
        assert all(torch.equal(each[name], built[0][name]) for each in built)


@pytest.mark.parametrize("init", INITS)
def test_first_pieces_begin_as_those_of_one_piece(init: str) -> None:
    """Scaled: E max(a, b)² is 1, E relu(z)² a half."""
    relu, maxout = (network(name, init).state_dict() for name in ("relu", "maxout:pieces=3"))
    for name in ("dense1.weights.weight", "dense2.weights.weight", "output.weight"):
        first = maxout[name][: len(relu[name])]
        assert_close(first / first.norm(), relu[name] / relu[name].norm())
    first = maxout["dense1.weights.bias"][:30]
    assert torch.equal(first, relu["dense1.weights.bias"])


@pytest.mark.parametrize(
    ("init", "variance"),
    [("he", 2 / 40), ("glorot", 2 / 70), ("lecun", 1 / 40), ("siren", 1 / 40), ("torch", 1 / 120)],
)
def test_a_chosen_scheme_is_that_of_every_activation(init: str, variance: float) -> None:
    """He et al. 2015, Glorot & Bengio 2010, LeCun 1998, Sitzmann 2020; a uniform one's b² / 3."""
    for activation in ("relu", "selu", "tanh"):
        drawn = network(activation, init).get_parameter("dense1.weights.weight")
        assert drawn.var().item() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize(
    ("activation", "as_before"),
    [("relu", "he"), ("tanh", "glorot"), ("selu", "lecun"), ("gelu", "he"), ("softsign", "glorot")],
)
def test_by_family_they_begin_as_most_studies_have_them(activation: str, as_before: str) -> None:
    found, expected = (network(activation, init).state_dict() for init in ("family", as_before))
    for name, value in found.items():
        assert torch.equal(value, expected[name])


def test_orthogonal_rows_or_columns_have_the_length_of_the_gain() -> None:
    rows = network("abs", "orthogonal").get_parameter("dense2.weights.weight")  # 20 × 30
    assert_close(rows @ rows.T, torch.eye(20, dtype=torch.float64))
    columns = network("relu", "orthogonal", "ffnn:hidden=50x20").get_parameter(
        "dense1.weights.weight"
    )  # 50 × 40
    assert_close(columns.T @ columns, 2 * torch.eye(40, dtype=torch.float64))


def test_torchs_scheme_is_drawn_as_torch_draws_it() -> None:
    ours = network("relu", "torch", "ffnn:hidden=300x20")
    for linear in (m for m in ours.modules() if isinstance(m, nn.Linear)):
        theirs = nn.Linear(linear.in_features, linear.out_features)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            theirs.reset_parameters()
        for name in ("weight", "bias"):
            one, other = (getattr(each, name).detach().flatten() for each in (linear, theirs))
            assert stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 0.001


def test_moments_without_a_value_leave_relus_gain() -> None:
    for second in (lambda sd: 0.0, lambda sd: math.inf, lambda sd: math.nan):
        held = moments.hold(second)
        assert (held.variance, held.first, held.defined, held.gain) == (2, 2, False, None)


def raised(power: float, factor: float, off: float, sd: float) -> float:
    return float(factor * sd**power) + off


def test_the_last_digits_of_a_sum_change_no_weight() -> None:
    """Sums come out so far apart on other machines and numbers of threads."""
    one, other = (moments.hold(partial(raised, 2, 0.5, off)) for off in (0.0, 3e-15))
    assert one.variance == other.variance == one.first == other.first == 2


def test_a_run_is_named_whether_or_not_its_own_activation_is_still_there() -> None:
    cell = Cell(dataset="iris", model="ffnn", activation="./gone.py:unit:a=2")
    assert report.setup_row(cell).init == "gain"
    assert report.setup_row(dataclasses.replace(cell, init="family")).init == "he"
    listed = dataclasses.replace(cell, activation="sine:omega=2.0")
    assert report.setup_row(listed).init == "siren"


def test_a_power_grows_as_its_exponent() -> None:
    for power in (0.5, 1, 2, 3):
        held = moments.hold(partial(raised, 2 * power, 3, 0.0))
        assert held.growth == pytest.approx(power)
        assert held.steady == (power <= 1)


def test_what_mixes_is_looked_at_among_others(tmp_path: Path) -> None:
    """Less the mean of 64, of which it is one, its second moment is 63 / 64; alone it is 0."""
    path = tmp_path / "own.py"
    path.write_text("def centred(x):\n    return x - x.mean(dim=1, keepdim=True)\n")
    held = weights.holding(ACTIVATIONS.choose(f"{path}:centred"))
    assert 1 / held.variance == pytest.approx(63 / 64, rel=0.02)


def test_a_module_that_draws_its_own_parameters_begins_alike_in_every_process(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from torch import nn\n"
        "class Drawn(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner = nn.Linear(1, 1)\n"
        "    def forward(self, x):\n"
        "        return x * (self.inner.weight.exp() * x).sigmoid()\n"
    )
    held = []
    for seed in (0, 1):
        weights.HELD.clear()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            held.append(weights.holding(ACTIVATIONS.choose(f"{path}:Drawn")))
    assert held[0] == held[1]


TINY = ["-d", "iris", "-m", "mlp:depth=2:width=4", "--epochs", "1", "--no-ledger"]


def test_rows_have_the_scheme_of_each_activation(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["-a", "relu,selu,tanh", "--format", "json", "--quiet"]
    assert main(["train", *TINY, *names]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["init"] for row in rows] == ["gain", "lecun", "gain"]
    assert {row["chosen_init"] for row in rows} == {None}
    assert main(["deadcount", *TINY, *names, "--init", "torch"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["init"] for row in rows} == {row["chosen_init"] for row in rows} == {"torch"}


def test_compare_says_who_began_how_and_what_that_decides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare = ["compare", *TINY, "-a", "relu,elu,selu", "--seeds", "2", "--threads", "1"]
    assert main(compare) == 0
    assert "initial weights: lecun before selu; gain before the others." in capsys.readouterr().out
    assert main([*compare, "--init", "he"]) == 0
    out = capsys.readouterr().out
    assert "· init he ·" in out
    assert "initial weights" not in out
    assert main([*compare, "--init", "he,orthogonal"]) == 0
    out = capsys.readouterr().out
    assert "Under he and orthogonal the verdicts are the same." in out


def test_what_no_weights_hold_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "-a", "squared_relu,relu,hardshrink:lambd=90"]) == 0
    said = capsys.readouterr().err
    assert "grows in each: squared_relu (2.0 times)\n" in said
    assert "begin as relu does, since E f(z)² is 0 or not finite" in said
    assert "hardshrink:lambd=90" in said
    assert main(["train", *TINY, "-a", "squared_relu", "--init", "he"]) == 0
    assert "grows" not in capsys.readouterr().err


def test_an_unknown_scheme_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--init", "gian"]) == 2
    expected = "--init: unknown init 'gian': did you mean 'gain'? (relubench list inits)"
    assert expected in capsys.readouterr().err


def test_the_list_says_which_papers_prescribe_a_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "activations", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    prescribed = {row["name"]: row["init"] for row in rows if row["init"] != "gain"}
    assert prescribed == {"selu": "lecun", "lecun_tanh": "lecun", "sine": "siren"}


def test_a_scheme_is_that_of_a_foreign_models_layers_too(tmp_path: Path) -> None:
    path = tmp_path / "nets.py"
    path.write_text(
        "from torch import nn\n"
        "def net(input_shape, classes):\n"
        "    return nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, classes))\n"
    )
    model = MODELS.choose(f"{path}:net")
    drawn = []
    for init in ("he", "lecun"):
        built = model((40,), 10, ACTIVATIONS.choose("gelu"))
        weights.initialise(built, torch.Generator().manual_seed(0), init=init)
        drawn.append(next(m for m in built.modules() if isinstance(m, nn.Linear)).weight)
    assert_close(drawn[0], drawn[1] * math.sqrt(2))


def test_it_is_said_of_which_activations_the_start_decides() -> None:
    """gelu is better than relu however it begins, elu only with one of the two schemes."""
    results = [
        dataclasses.replace(run, cell=dataclasses.replace(run.cell, init=init))
        for init, shift in (("he", 0.0), ("gain", 0.02))
        for activation, ahead in (("relu", 0.0), ("gelu", 0.03), ("elu", shift))
        for seed, noise in enumerate([0.0, 0.002, 0.004] * 3)
        for run in [result(activation, seed, 0.9 + ahead + noise + 0.0001 * seed * bool(ahead))]
    ]
    found = Plan(cells=tuple(run.cell for run in results))
    table = report.compare(results, found, FIXED)
    assert "Under he and gain the verdicts differ for elu (equivalent, better)." in table.notes
    assert [column.key for column in table.columns[:2]] == ["chosen_init", "activation"]
