"""torchvision's networks and a user's own, with their activations swapped."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from test_engine import numbers
from torch import Tensor, nn
from torch.testing import assert_close

from relubench import datasets
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.errors import BadValue
from relubench.models import MODELS, analysis, layers, weights
from relubench.models.analysis import analysed
from relubench.models.swapping import Swapped, swapped
from relubench.plan import Cell, Machine, Preparation, Recipe, Stack
from relubench.results import RunResult
from relubench.training import building, engine
from relubench.training.networks import Networks

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

def factory(input_shape, classes, activation, *, width: int = 7):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(input_shape[0], width), activation(width), nn.Linear(width, classes)
    )

class Twice(nn.Module):
    def __init__(self, shape, classes, hidden: int = 6):
        super().__init__()
        self.first, self.second = nn.Linear(shape[0], hidden), nn.Linear(hidden, 5)
        self.output, self.act = nn.Linear(5, classes), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.first(x))
        x = F.dropout(x, 0.5, self.training)
        return self.output(self.act(self.second(x)))

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.third(torch.relu(self.second(F.gelu(self.first(x)).tanh())))

instance = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 3))

class Token(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.token = nn.Parameter(torch.randn(shape[0]))
        self.layer, self.act, self.output = nn.Linear(shape[0], 6), nn.ReLU(), nn.Linear(6, classes)

    def forward(self, x):
        return self.output(self.act(self.layer(x + self.token)))
"""
BROKEN = """
import torch
from torch import nn
from torch.nn import functional as F

def linear(): return nn.Linear(4, 3)
def four(a, b, c, d): return nn.ReLU()
def text(): return "relu"
def raising(shape): raise KeyError("nothing here")
def tall(shape, classes): return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
def wide(shape, classes): return nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, classes))
def none(shape, classes, activation): return nn.Linear(4, classes)
number = 3

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act = nn.Linear(4, 3), nn.ReLU()

    def forward(self, x):
        return self.layer(self.act(x)) if x.sum() > 0 else self.layer(x)

class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act, self.output = nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        return self.output(self.act(self.layer(x)).detach())

class Repeating(nn.Module):
    def __init__(self, shape, classes, activation):
        super().__init__()
        self.layer, self.act, self.output = nn.Linear(4, 4), activation(4), nn.Linear(4, classes)

    def forward(self, x):
        return self.output(self.act(self.layer(self.act(self.layer(x)))))

def dropping(shape, classes, activation):
    return nn.Sequential(
        nn.Linear(4, 5), activation(5), nn.Dropout(0.5), nn.Linear(5, classes)
    )

def leaving(shape): raise SystemExit(7)
def miscounting(shape, classes, activation):
    return nn.Sequential(nn.Linear(4, 5), activation(9), nn.Linear(5, classes))

class Writing(Branching):
    def forward(self, x):
        return self.layer(self.act(x.mul_(2)))

class Mixing(Branching):
    def forward(self, x):
        return self.layer(self.act(x) - x.mean(0))
"""
CELL = Cell(
    dataset="iris",
    model="",
    activation="relu",
    recipe=Recipe(epochs=2, batch_size=16, lr=0.01),
)
TINY = ["-d", "iris", "--epochs", "1", "--quiet"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a user's own files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("nets.py").write_text(NETWORKS, encoding="utf-8")
    Path("broken.py").write_text(BROKEN, encoding="utf-8")
    return tmp_path


def swap(network: nn.Module, activation: str, shape: tuple[int, ...]) -> Swapped:
    network = copy.deepcopy(network)
    return swapped("it", network, ACTIVATIONS.choose(activation), analysed("it", network, shape))


def images(size: int, channels: int = 3, examples: int = 2) -> Tensor:
    stream = torch.Generator().manual_seed(5)
    return torch.randn(examples, channels, size, size, generator=stream)


def plain(name: str, **settings: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = torchvision.models.get_model(name, num_classes=10, **settings)
    return network


# What each has: one kind of activation, by module, by function, or one module called twice.
SAME = [
    ("resnet18", "relu", 32, 17),
    ("googlenet", "relu", 64, 57),
    ("squeezenet1_1", "relu", 32, 26),
    ("shufflenet_v2_x0_5", "relu", 32, 37),
    ("convnext_tiny", "gelu", 32, 18),
    ("efficientnet_b0", "silu", 32, 49),
]


@pytest.mark.parametrize(("name", "activation", "size", "calls"), SAME)
def test_an_activation_swapped_for_itself_changes_nothing(
    name: str, activation: str, size: int, calls: int
) -> None:
    settings = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    original = plain(name, **settings).eval()
    ours = swap(original, activation, (3, size, size)).eval()
    with torch.no_grad():
        assert_close(ours(images(size)), original(images(size)))
    assert len(list(layers.activations(ours))) == calls
    assert layers.parameter_count(ours) == layers.parameter_count(original)


# Of timm: layers of units, and gates that stay.
TIMM = {
    "convnext_atto": (12, ""),
    "edgenext_xx_small": (12, ""),
    "efficientnet_b0": (49, "16 x sigmoid (a gate)"),
    "efficientvit_b0": (32, ""),
    "ghostnet_100": (42, "7 x hardsigmoid (a gate)"),
    "hardcorenas_a": (32, "8 x hardsigmoid (a gate)"),
    "mobilenetv3_small_100": (33, "9 x hardsigmoid (a gate)"),
    "nf_regnet_b0": (65, "16 x sigmoid (a gate)"),
    "poolformer_s12": (12, ""),
    "regnety_002": (53, "13 x sigmoid (a gate)"),
    "repvgg_a0": (22, ""),
    "resnet18": (17, ""),
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm_stay_the_same_with_their_own(name: str) -> None:
    """`analysed` refuses what does not; what changes with another activation is tested beside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        timm = importlib.import_module("timm")
        with torch.random.fork_rng(devices=[]):
            network = timm.create_model(name, num_classes=10)
    ours = swap(network, "relu", (3, 64, 64))
    count, gates = TIMM[name]
    assert len(list(layers.activations(ours))) == count
    assert "; ".join(ours.notes) == gates


HEAVY = ["googlenet", "mobilenet_v3_small", "vit_b_16"]


@pytest.mark.parametrize("name", [*HEAVY, pytest.param("swin_t", marks=pytest.mark.slow)])
def test_a_heavy_network_is_followed_by_its_shapes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {}
    if name == "googlenet":
        settings = {"aux_logits": False, "init_weights": False}
    elif name.startswith("vit"):
        settings = {"image_size": 64}
    network, shape = plain(name, **settings), (3, 64, 64)
    known = analysed(name, network, shape)
    before = copy.deepcopy(network.state_dict())
    followed: list[Any] = []
    outlined = analysis._outlined

    def noted(*given: Any) -> Any:
        followed.append(outlined(*given))
        return followed[-1]

    monkeypatch.setattr(analysis, "HEAVY", 0)
    monkeypatch.setattr(analysis, "_outlined", noted)
    again = analysed(name, network, shape)
    assert len(followed) == 2
    same = (again.sites, again.modes, again.notes) == (known.sites, known.modes, known.notes)
    assert same, "their texts are too long to be told apart"
    assert_close(dict(network.state_dict()), dict(before), rtol=0, atol=0)


NOT_AT_64 = {"inception_v3", "maxvit_t", "vit_h_14"}  # too small, no multiple of windows or patches


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_networks_of_torchvision_stay_the_same_with_their_own(name: str) -> None:
    build = MODELS.choose(f"torchvision.{name}")
    if name in NOT_AT_64:
        with pytest.raises(BadValue, match="cannot take"):
            build((3, 64, 64), 10, ACTIVATIONS.choose("relu"))
        return
    with torch.random.fork_rng(devices=[]):
        network = build((3, 64, 64), 10, ACTIVATIONS.choose("relu"))
    assert len(list(layers.activations(network))) > 6


@pytest.mark.parametrize(
    ("name", "shape"), [("mobilenet_v2", (1, 28, 28)), ("mobilenet_v3_small", (64,))]
)
def test_networks_fit_the_data_and_learn_a_value_per_unit(
    name: str, shape: tuple[int, ...]
) -> None:
    with torch.random.fork_rng(devices=[]):
        network = MODELS.choose(f"torchvision.{name}")(shape, 7, ACTIVATIONS.choose("prelu"))
    weights.initialise(network, torch.Generator().manual_seed(0))
    layers.draw_noise_from(network, *(torch.Generator().manual_seed(n) for n in (1, 2)))
    outputs = network(torch.randn(4, *shape, generator=torch.Generator().manual_seed(3)))
    assert outputs.shape == (4, 7)
    outputs.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(act.learned["a"].shape == (act.units,) for _, act in layers.activations(network))
    gates = ["9 x hardsigmoid (a gate)"] if name == "mobilenet_v3_small" else []
    assert network.notes == gates


def test_a_module_called_twice_is_two_layers_in_the_order_of_the_calls() -> None:
    network = swap(plain("resnet18"), "prelu", (3, 32, 32))
    found = {name: act.units for name, act in layers.activations(network)}
    assert list(found)[:3] == ["relu", "layer1.0.relu", "layer1.0.relu_2"]
    assert found["layer4.1.relu"] == found["layer4.1.relu_2"] == 512
    assert len({id(p) for n, p in network.named_parameters() if "learned" in n}) == 17


@pytest.mark.parametrize("gelu", ["module", "function"])
def test_units_of_the_last_dimension_are_counted_there(gelu: str) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Linear(4, 6), nn.Linear(6, 3), nn.GELU()

        def forward(self, x: Tensor) -> Tensor:
            inner = self.first(x)
            inner = self.act(inner) if gelu == "module" else nn.functional.gelu(inner)
            outputs: Tensor = self.second(inner).mean(dim=1)
            return outputs

    original = Tokens()
    ours = swap(original, "gelu", (5, 4))
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    assert_close(ours(x), original(x))
    ((_, act),) = layers.activations(ours)
    assert act.units == 6
    _, seen = Networks([ours]).observe(x.unsqueeze(0))
    assert seen[0][0].shape == (1, 2, 6, 5)


def test_what_no_example_reaches_stays() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer, self.act = nn.Linear(2, 3), nn.Linear(4, 5), nn.ReLU()
            self.out = nn.Linear(5, 3)
            self.register_buffer("places", torch.ones(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.out(self.act(self.layer(x)))
            return outputs + torch.tanh(self.table(self.places))

    assert len(list(layers.activations(swap(Biased(), "elu", (4,))))) == 1


def test_dropout_draws_from_the_cell_s_stream_while_training() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.channels = nn.ReLU(), nn.Dropout2d(0.5)
            self.examples = torchvision.ops.StochasticDepth(0.5, "row")

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.dropout(self.act(x), 0.5, training=self.training)
            outputs: Tensor = self.channels(self.examples(x))
            return outputs

    network = swap(Dropping(), "relu", (8, 3, 3))
    layers.draw_noise_from(network, *(torch.Generator().manual_seed(n) for n in (1, 2)))
    before = torch.random.get_rng_state()
    outputs = network(torch.ones(64, 8, 3, 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(outputs.unique().tolist()) == {0.0, 8.0}
    gone = outputs == 0
    assert 0.35 < gone.flatten(1).all(dim=1).double().mean() < 0.65  # examples
    alive = gone[~gone.flatten(1).all(dim=1)]
    assert 0.4 < alive.flatten(2).all(dim=2).double().mean() < 0.65  # channels of the rest
    assert torch.equal(network.eval()(torch.ones(2, 8, 3, 3)), torch.ones(2, 8, 3, 3))


@pytest.mark.parametrize(
    ("model", "shape", "activation", "says"),
    [
        ("torchvision.resnet18", (3, 32, 32), "maxout", "one output per pre-activation"),
        ("torchvision.resnet18", (3, 32, 32), "crelu", "one output per pre-activation"),
        ("torchvision.alexnet", (3, 32, 32), "relu", "cannot take examples of 3x32x32"),
        ("torchvision.vit_b_16", (3, 30, 30), "relu", "cannot take images of 3x30x30"),
        ("torchvision.resnet18", (30,), "relu", "no square image"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: str, shape: tuple[int, ...], activation: str, says: str
) -> None:
    with torch.random.fork_rng(devices=[]), pytest.raises(BadValue, match=says):
        MODELS.choose(model)(shape, 10, ACTIVATIONS.choose(activation))


def test_a_misspelt_network_gets_a_suggestion_before_data_are_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load", None)
    assert main(["train", "-m", "torchvision.mobilnet_v2", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'torchvision.mobilenet_v2'?" in line


def test_a_network_without_torchvision_gets_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchvision" else found(name)
    )
    assert main(["compare", "squeezenet-mish", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "relubench: this needs torchvision: pip install torchvision"


def test_torchvision_trains_with_another_activation(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-m", "torchvision.resnet18", "-d", "digits", "--limit", "60", "-a", "gelu"]
    assert main(["train", *arguments, "--epochs", "1", "--quiet", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    published = 11_689_512  # torchvision's documentation: 1000 classes, colours
    assert row["parameters"] == published - 990 * 513 - 2 * 64 * 49
    assert row["failed"] is None


def test_statistics_of_batch_normalisation_are_learned_and_saved() -> None:
    model = ["-m", "resnet18:filters=2x2x2x2", "-d", "digits", "--limit", "40", "--quiet"]
    assert main(["train", *model, "--batch-size", "16", "--epochs", "2", "--save", "w.pt"]) == 0
    state = torch.load("w.pt", weights_only=True)
    assert state["conv1.norm.num_batches_tracked"] == 2 * 3
    assert state["block8.conv2.1.running_var"].isfinite().all()
    assert not torch.equal(state["conv1.norm.running_mean"], torch.zeros(2))


# --- a user's own ---------------------------------------------------------------------------------


def fit(model: str, machine: Machine, seeds: int = 1, **changes: Any) -> list[RunResult]:
    cell = dataclasses.replace(CELL, model=model, **changes)
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(seeds)]
    return engine.fit(Stack(tuple(cells)), machine)


def test_a_factory_trains_like_the_listed_model(machine: Machine) -> None:
    (mine,), (theirs,) = (
        fit(model, machine) for model in ("./nets.py:factory:width=9", "ffnn:hidden=9")
    )
    assert (mine.curve, mine.scores) == (theirs.curve, theirs.scores)


@pytest.mark.parametrize("name", ["instance", "Functional", "Token"])
def test_a_stack_is_its_cells_alone(name: str, machine: Machine) -> None:
    """Law 3, with batch normalisation and with what the user's own code draws."""
    double = dataclasses.replace(machine, dtype="float64")
    together = fit(f"./nets.py:{name}", double, seeds=3, preparation=Preparation(limit=64))
    assert {result.environment.stack for result in together} == {3}
    for stacked in together:
        (alone,) = engine.fit(Stack((stacked.cell,)), double)
        assert numbers(stacked) == pytest.approx(numbers(alone), rel=1e-9, abs=1e-9)


def test_what_its_code_draws_is_the_cell_s_and_its_layers_are_paired(machine: Machine) -> None:
    def drawn(activation: str, seed: int) -> dict[str, Tensor]:
        cell = dataclasses.replace(CELL, model="./nets.py:Token", activation=activation, seed=seed)
        return dict(building.build(cell, (4,), machine).named_parameters())

    drawn("relu", 0)  # the file is read
    before = torch.random.get_rng_state()
    first, again, other, tanh = (
        drawn(*c) for c in (("relu", 0), ("relu", 0), ("relu", 1), ("tanh", 0))
    )
    assert torch.equal(first["network.token"], again["network.token"])
    assert torch.equal(first["network.token"], tanh["network.token"])
    assert not torch.equal(first["network.token"], other["network.token"])
    ratio = first["network.layer.weight"] / tanh["network.layer.weight"]
    assert_close(ratio, ratio[0, 0].expand(ratio.shape))  # law 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_have_the_names_of_the_code(machine: Machine) -> None:
    (result,) = fit("nets.py:Twice:hidden=8", machine)
    assert [(layer.layer, layer.units) for layer in result.layers] == [("act", 8), ("act_2", 5)]
    (result,) = fit("nets.py:Functional", machine)
    assert [layer.layer for layer in result.layers] == ["gelu", "tanh", "relu"]


def test_edited_code_trains_again(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *TINY[:-1], "-m", "./nets.py:factory"]
    assert main(command) == main(command) == 0
    assert "1 of 1 run taken" in capsys.readouterr().err
    Path("nets.py").write_text(NETWORKS + "\n# edited\n", encoding="utf-8")
    assert main(command) == 0
    assert "taken" not in capsys.readouterr().err


REFUSED = {
    "linear": " has no activation that could be swapped",
    "four": " needs 4 arguments: a model is given (input_shape, classes, activation)",
    "text": " gives str: a model is an nn.Module",
    "raising": " cannot be built: KeyError: 'nothing here'",
    "tall": " fails the check 'gives a score per class': (4, 4) instead of (4, 3)",
    "wide": " cannot take examples of 4: RuntimeError: ",
    "none": " fails the check 'uses its activation': it has none",
    "number": " is of type int: a model is a factory",
    "Branching": ": what it calls depends on its examples (call 3, linear), so that",
    "Detached": " fails the check 'is trained': no gradient in its first layer",
    "Repeating": " fails the check 'calls each activation once': act is called 2 times",
    "leaving": " cannot be built: SystemExit: 7",
    "miscounting": " fails the check 'says how many units a layer has': 1 says 9, and there are 5",
    "Writing": " fails the check 'leaves its examples alone': it writes to them",
    "Mixing": " fails the check 'scores each example by itself'",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_one_gets_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "-m", f"./broken.py:{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"./broken.py:{name}{REFUSED[name]}" in line


def test_a_unit_that_a_factory_has_no_width_for_gets_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *TINY, "-m", "./nets.py:factory", "-a", "crelu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "crelu fails in ./nets.py:factory: RuntimeError" in line


def test_what_a_model_prints_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    loud = NETWORKS.replace(
        "    return nn.Sequential(", "    print('loud')\n    return nn.Sequential("
    )
    Path("nets.py").write_text(loud, encoding="utf-8")
    for more in ([], ["--jobs", "2", "--no-ledger"]):
        assert main(["train", *TINY, "-m", "./nets.py:factory", "--format", "json", *more]) == 0
        out, err = capfd.readouterr()
        assert len(json.loads(out)) == 1
        assert "loud" in err


def test_parameters_that_match_anyway_are_fine_others_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    match = ["train", *TINY, "--match-parameters", "-m", "./nets.py:Functional"]
    assert main([*match, "-a", "gelu"]) == 0
    assert main([*match, "-a", "prelu"]) == 2
    assert "has no widths that could be narrowed" in capsys.readouterr().err


def test_a_last_batch_of_one_is_refused_where_it_has_no_variance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", *TINY, "-m", "./nets.py:instance", "--limit", "33", "--batch-size"]
    assert main([*command, "16"]) == 2
    assert "the last batch of an epoch holds one example" in capsys.readouterr().err
    assert main([*command, "15"]) == 0
    assert main([*command, "1"]) == 2
    assert main([*command, "28", "--lr", "0.1,0.01", "--best-lr"]) == 2  # 29 of 33 try the rates
    folds = ["cv", *TINY, "-m", "./nets.py:instance", "--folds", "3", "--batch-size"]
    assert main([*folds, "23"]) == 0
    assert main([*folds, "23", "--protocol", "published"]) == 2  # 70 of 105
    assert main([*folds, "13", "--limit", "39"]) == 0
