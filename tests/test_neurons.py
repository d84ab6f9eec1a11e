"""Counts against brute force over every unit and example."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from relubench.activations import ACTIVATIONS
from relubench.metrics import Prediction
from relubench.models import MODELS, layers, weights
from relubench.neurons.formulas import can_die, is_relu
from relubench.neurons.statistics import Counter
from relubench.plan import Cell, Machine, Stack
from relubench.results import LayerCount, total
from relubench.training import building, engine, prediction
from relubench.training.examples import Examples, tensors
from relubench.training.heads import HEADS
from relubench.training.networks import Networks
from relubench.training.prediction import predict

SLOPES: dict[str, Callable[[float], float]] = {
    "relu": lambda z: float(z > 0),
    "leaky_relu": lambda z: 1.0 if z > 0 else 0.01,
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
}


def network(model: str, shape: tuple[int, ...], activation: str) -> nn.Module:
    built: nn.Module = MODELS.choose(model)(shape, 3, ACTIVATIONS.choose(activation))
    weights.initialise(built, torch.Generator().manual_seed(0))
    with torch.no_grad():  # kill some units, saturate some, make some rare
        for name, parameter in built.named_parameters():
            if name.endswith("weights.bias"):
                parameter[0], parameter[1] = -1e3, 30.0
                parameter[2] = -2.5
    return built.eval()


def brute_force(built: nn.Module, x: torch.Tensor, activation: str) -> dict[str, dict[str, float]]:
    """Counts unit by unit, in Python, from the pre-activations of the plain modules."""
    found, value = {}, x
    for name, stage in built.named_children():
        if not hasattr(stage, "weights"):
            value = stage(value)
            continue
        z = stage.get_submodule("weights")(value)
        value = stage(value)
        by_unit = [
            (z[:, u].double().flatten().tolist(), value[:, u].double().flatten().tolist())
            for u in range(z.shape[1])
        ]
        magnitudes = [np.mean(np.abs(h)) for _, h in by_unit]
        slopes = [[abs(SLOPES[activation](v)) for v in zs] for zs, _ in by_unit]
        found[name] = {
            "units": len(by_unit),
            "dead": sum(all(s == 0 for s in unit) for unit in slopes),
            "inactive": sum(all(v == 0 for v in h) for _, h in by_unit),
            "rare": sum(np.mean([v != 0 for v in h]) < 0.01 for _, h in by_unit),
            "dormant": sum(m <= 0.025 * np.mean(magnitudes) for m in magnitudes),
            "saturated": sum(np.mean([s < 0.01 for s in unit]) >= 0.99 for unit in slopes),
            "sparsity": np.mean([[v == 0 for v in h] for _, h in by_unit]),
            "mean_activation": np.mean([h for _, h in by_unit]),
        }
    return found


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize(
    ("model", "shape"), [("ffnn:hidden=9x6", (5,)), ("cnn:filters=4x5:dense=6", (1, 16, 16))]
)
@pytest.mark.parametrize("batch", [7, 200])
def test_counts_equal_brute_force(
    model: str, shape: tuple[int, ...], activation: str, batch: int
) -> None:
    built = network(model, shape, activation)
    x = torch.randn(120, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = brute_force(built, x, activation)
        counters = count(Networks([built]), x.split(batch))
    assert {counter.layer for counter in counters} == set(expected)
    for counter in counters:
        (found,) = counter.counts()
        assert found.examples == 120
        for key, value in expected[found.layer].items():
            assert getattr(found, key) == pytest.approx(value, rel=1e-6), (found.layer, key)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_what_is_born_dead_equals_brute_force(activation: str, machine: Machine) -> None:
    cell = Cell(dataset="digits", model="mlp:depth=9:width=4", activation=activation)
    (result,) = engine.fit(Stack((cell.untrained,)), machine)
    x = tensors(cell, machine).x_train
    with torch.no_grad():
        expected = brute_force(
            building.build(cell, tuple(x.shape[1:]), machine).eval(), x, activation
        )
    assert result.curve == ()
    assert {layer.layer: layer.dead for layer in result.layers} == {
        name: counts["dead"] for name, counts in expected.items()
    }
    assert any(layer.dead for layer in result.layers) == (activation == "relu")


def count(networks: Networks, batches: Sequence[torch.Tensor]) -> list[Counter]:
    """Counters that saw the same batches for every cell."""
    cells = len(networks.modules)
    acts = layers.activations(networks.modules[0])
    counters = [Counter(name, cells, act.units, torch.device("cpu")) for name, act in acts]
    with torch.no_grad():
        for part in batches:
            _, seen = networks.observe(part.expand(cells, *part.shape))
            for counter, (value, slope) in zip(counters, seen, strict=True):
                counter.see(value, slope)
    return counters


@pytest.mark.parametrize("activation", SLOPES)
def test_stacked_networks_count_as_alone(activation: str) -> None:
    built = [network("ffnn:hidden=9x6", (5,), activation) for _ in range(3)]
    for number, module in enumerate(built):
        module.get_parameter("dense2.weights.bias").data.add_(number)
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)).split(20)
    together = [counter.counts() for counter in count(Networks(built), x)]
    alone = [[c.counts()[0] for c in count(Networks([module]), x)] for module in built]
    for layer, counts in enumerate(together):
        for cell, found in enumerate(counts):
            expected = dataclasses.asdict(alone[cell][layer])
            assert found.layer == expected.pop("layer")
            figures = {key: getattr(found, key) for key in expected}
            assert figures == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("model", "shape"), [("ffnn:hidden=9x6", (5,)), ("cnn:filters=4x5:dense=6", (1, 16, 16))]
)
def test_threads_count_side_by_side_as_alone(
    model: str, shape: tuple[int, ...], two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "EVALUATION_BATCH", 20)
    built = network(model, shape, "gelu")
    x = torch.randn(110, *shape, generator=torch.Generator().manual_seed(1))
    y = torch.zeros(110, dtype=torch.int64)
    callers = set()
    built.register_forward_hook(lambda *_: callers.add(threading.get_ident()))
    counters = count(Networks([built]), [])
    said = predict(Networks([built]), HEADS.choose("softmax"), Examples.of([x], [y]), counters)
    assert callers - {threading.get_ident()}  # two, or one that was quick enough for both
    assert isinstance(said, Prediction)
    with torch.no_grad():
        torch.testing.assert_close(said.log_probabilities[0], built(x).log_softmax(dim=1))
    for counter, alone in zip(counters, count(Networks([built]), [x]), strict=True):
        (found,), (expected,) = counter.counts(), alone.counts()
        assert found.layer == expected.layer
        assert vars(found) | {"layer": 0} == pytest.approx(vars(expected) | {"layer": 0}, rel=1e-6)


RELUS = ["relu", "leaky_relu:negative_slope=0"]
NO_RELUS = ["leaky_relu", "relu6", "bounded_relu:bound=40", "shifted_relu", "noisy_relu", "pd_relu"]
NO_RELUS += ["prelu:a=0:shared=true", "flexible_relu"]  # these are only until they have learned


@pytest.mark.parametrize("name", [*RELUS, *NO_RELUS])
def test_relu_is_known_by_what_it_does(name: str) -> None:
    assert is_relu(ACTIVATIONS.choose(name)) == (name in RELUS)


ENTRIES = {name: ACTIVATIONS.choose(name).entry for name in ACTIVATIONS}
OF_ONE_NUMBER = [name for name, entry in ENTRIES.items() if entry.elementwise and not entry.learns]


@pytest.mark.parametrize("name", OF_ONE_NUMBER)
def test_what_can_die_by_its_formula_can_by_trying(name: str) -> None:
    choice = ACTIVATIONS.choose(name)
    found = can_die(layers.Act(choice, 1).activate, torch.zeros(1, 1))
    # Of cloglog, float64 makes 0 at 4; pdelu's derivative fades before it ends.
    assert found == (choice.entry.can_die != (name in {"cloglog", "pdelu"}))


def test_observing_changes_nothing_and_ends() -> None:
    built = network("ffnn:hidden=9x6", (5,), "relu")
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = built(x)
        observed, _ = Networks([built]).observe(x.unsqueeze(0))
    assert torch.equal(observed[0], before)
    assert all(parameter.grad is None for parameter in built.parameters())
    assert not any(act._forward_hooks for _, act in layers.activations(built))


def test_total_weighs_units_alike() -> None:
    counts = {"dead": 1, "inactive": 2, "rare": 3, "dormant": 1, "saturated": 1, "examples": 10}
    small = LayerCount(layer="a", units=2, sparsity=1.0, mean_activation=0.0, **counts)
    large = LayerCount(layer="b", units=6, sparsity=0.0, mean_activation=4.0, **counts)
    both = total([small, large])
    assert (both.units, both.dead, both.inactive, both.rare) == (8, 2, 4, 6)
    assert (both.sparsity, both.mean_activation) == (0.25, 3.0)


def test_what_is_too_large_for_a_figure_has_none_and_is_counted_all_the_same() -> None:
    counter = Counter("dense", 1, 2, torch.device("cpu"))
    value = torch.tensor([[[1e30, 0.0], [2e30, 0.0]]])  # squares are beyond float32
    counter.see(value, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
    (found,) = counter.counts()
    assert (found.dead, found.inactive, found.sd_activation) == (1, 1, None)
    assert found.mean_activation == pytest.approx(0.75e30)
    assert total([found, found]).sd_activation is None
