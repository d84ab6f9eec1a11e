"""The engine against a hand-written loop, and the laws it keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from relubench import datasets, seeds
from relubench.activations import ACTIVATIONS
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult
from relubench.training import building, engine, learning
from relubench.training.examples import Examples, Part, Tensors, tensors
from relubench.training.networks import CannotStack, Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.splits import split

CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6",
    activation="relu",
    recipe=Recipe(epochs=3, batch_size=16, lr=0.01),
)


def fit(cell: Cell, machine: Machine) -> RunResult:
    (result,) = engine.fit(Stack((cell,)), machine)
    return result


def untimed(result: RunResult) -> RunResult:
    return dataclasses.replace(result, seconds=0.0)


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


REFERENCE_OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd:momentum=0.9:nesterov=true": lambda p, **k: torch.optim.SGD(
        p, momentum=0.9, nesterov=True, **k
    ),
    "rmsprop": torch.optim.RMSprop,
    # With one hidden matrix, the second.
    "muon": lambda p, **k: Pair([*p], **k),
}


class Pair:
    """torch's Muon for the second layer's weights, its AdamW for the rest: its manual's way."""

    def __init__(self, parameters: list[torch.Tensor], lr: float, weight_decay: float, **_: object):
        muon: Any = torch.optim.Muon
        rest = [*parameters[:2], *parameters[3:]]
        self.both = [
            muon([parameters[2]], lr, weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr, weight_decay=weight_decay),
        ]

    def zero_grad(self) -> None:
        for each in self.both:
            each.zero_grad()

    def step(self) -> None:
        for each in self.both:
            each.step()


@pytest.mark.parametrize("optimizer", REFERENCE_OPTIMIZERS)
def test_training_is_a_plain_torch_loop(optimizer: str, double: Machine) -> None:
    recipe = dataclasses.replace(CELL.recipe, optimizer=optimizer, weight_decay=0.01)
    cell = dataclasses.replace(CELL, recipe=recipe)
    data = tensors(cell, double)
    network = building.build(cell, (4,), double)
    linears = [m for m in network.modules() if isinstance(m, nn.Linear)]
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    plain.double()
    for mine, theirs in zip(linears, plain[::2], strict=True):
        theirs.load_state_dict(mine.state_dict())

    examples = Examples.of([data.x_train], [data.y_train])
    (curve,) = learning.train([cell], Networks([network]), [Part(examples)])

    optim = REFERENCE_OPTIMIZERS[optimizer](
        plain.parameters(), lr=0.01, weight_decay=0.01, foreach=False
    )
    stream = seeds.stream(cell, "batches")
    for epoch in curve:
        losses = 0.0
        for rows in torch.randperm(len(data.y_train), generator=stream).split(16):
            loss = nn.CrossEntropyLoss()(plain(data.x_train[rows]), data.y_train[rows])
            optim.zero_grad()
            loss.backward()
            optim.step()
            losses += loss.item() * len(rows)
        assert epoch.loss == pytest.approx(losses / len(data.y_train), rel=1e-9)
    for mine, theirs in zip(linears, plain[::2], strict=True):
        assert_close(mine.weight, theirs.weight, rtol=1e-9, atol=1e-12)


def test_every_optimizer_has_a_reference() -> None:
    assert {name.split(":")[0] for name in REFERENCE_OPTIMIZERS} == set(OPTIMIZERS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_trains_and_the_same_cell_gives_the_same_bits(
    activation: str, machine: Machine
) -> None:
    cell = dataclasses.replace(CELL, activation=activation, model="ffnn:hidden=8x6:dropout=0.2")
    first = fit(cell, machine)
    fit(dataclasses.replace(cell, seed=5), machine)  # company must not matter
    assert untimed(fit(cell, machine)) == untimed(first)
    assert first.failed is None
    assert (first.curve[-1].loss or 9) < (first.curve[0].loss or 0)


NORMED = f"{Path(__file__).parent / 'normed.py'}:net"

MIXED = [
    *(dataclasses.replace(CELL, seed=seed) for seed in (3, 1)),
    *(
        dataclasses.replace(CELL, split=Split(folds=4, fold=fold), seed=seed)
        for fold in range(4)  # 112 or 113 examples: 7 or 8 batches of 16
        for seed in (0, 2)
    ),
    *(dataclasses.replace(CELL, split=Split(folds=7, fold=fold)) for fold in range(7)),  # padded
]


def test_a_stack_of_mixed_folds_and_seeds_is_its_cells_alone(double: Machine) -> None:
    """Law 3, in float64."""
    together = as_alone(Stack(tuple(MIXED)), double)
    assert {result.environment.stack for result in together} == {17}  # of 7, 8 and 9 steps


def test_a_stack_in_passes_side_by_side_is_its_cells_alone(double: Machine) -> None:
    """Law 3, in float64."""
    together = as_alone(Stack(tuple(MIXED), n_parallel=3), double)
    assert {result.environment.stack for result in together} == {5, 6}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("head", ["softmax", "relu"])
def test_a_stack_is_its_cells_alone_to_the_bit(
    optimizer: str, head: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no last bit may decide: whose numbers fill no vector, and whose last batch is short."""
    learned: dict[Cell, list[torch.Tensor]] = {}
    evaluate = engine.evaluate

    def seen(
        results: Sequence[RunResult], networks: Networks, data: Sequence[Tensors]
    ) -> list[RunResult]:
        for result, module in zip(results, networks.modules, strict=True):
            learned[result.cell] = [p.detach().clone() for p in module.parameters()]
        return evaluate(results, networks, data)

    monkeypatch.setattr(engine, "evaluate", seen)
    recipe = Recipe(epochs=8, batch_size=256, optimizer=optimizer)
    cell = dataclasses.replace(
        CELL, dataset="wdbc", model="ffnn:hidden=128x64x32:dropout=0.1", head=head, recipe=recipe
    )
    folds = [Split(folds=10, fold=fold) for fold in (0, 8, 9)]  # 512 and 513 examples
    cells = [dataclasses.replace(cell, split=fold, seed=seed) for fold in folds for seed in (1, 6)]
    engine.fit(Stack(tuple(cells)), machine)
    together, learned = learned, {}
    for cell in cells:
        fit(cell, machine)
        assert all(map(torch.equal, together[cell], learned[cell]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_is_its_cells_alone(activation: str, double: Machine) -> None:
    """Law 3, in float64, for every activation."""
    recipe = dataclasses.replace(CELL.recipe, epochs=1)
    cell = dataclasses.replace(CELL, activation=activation, recipe=recipe)
    fold = Split(folds=4, fold=0)  # 112 examples beside 105: padded
    parts = [(Split(), 3), (fold, 0), (fold, 2)]
    cells = [dataclasses.replace(cell, split=split, seed=seed) for split, seed in parts]
    assert [result.environment.stack for result in as_alone(Stack(tuple(cells)), double)] == [
        3,
        3,
        3,
    ]


LAST_BIT = 1e-15  # relative, of initial weights


@pytest.mark.parametrize(("depth", "chaotic"), [(2, False), (8, True)])
def test_company_does_no_more_than_a_last_bit(
    depth: int, chaotic: bool, double: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 3 ends where training amplifies any last bit: deep narrow networks of snake."""
    recipe = dataclasses.replace(CELL.recipe, epochs=12)
    cell = dataclasses.replace(
        CELL, activation="snake", model=f"mlp:depth={depth}:width=8", recipe=recipe
    )
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(4)]
    alone, together = [fit(cell, double) for cell in cells], engine.fit(Stack(tuple(cells)), double)
    build = building.build

    def moved(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
        network = build(cell, shape, machine)
        draws = np.random.default_rng(cell.seed)
        with torch.no_grad():
            for weight in network.parameters():
                by = LAST_BIT * draws.uniform(-1, 1, tuple(weight.shape))
                weight.mul_(1 + torch.from_numpy(by))
        return network

    monkeypatch.setattr(engine, "build", moved)
    by_company = [drift(a, b) for a, b in zip(alone, together, strict=True)]
    by_a_bit = [drift(a, fit(cell, double)) for a, cell in zip(alone, cells, strict=True)]
    assert all(a <= 100 * max(b, LAST_BIT) for a, b in zip(by_company, by_a_bit, strict=True))
    assert (max(by_a_bit) > 1e-6) == chaotic


def drift(first: RunResult, second: RunResult) -> float:
    """By how much their training losses part at the most."""
    both = zip(first.curve, second.curve, strict=True)
    return max(abs((a.loss or 0.0) - (b.loss or 0.0)) for a, b in both)


def as_alone(stack: Stack, machine: Machine) -> list[RunResult]:
    """The results of one stack, each equal to that of its cell alone."""
    together = engine.fit(stack, machine)
    assert [result.cell for result in together] == list(stack.cells)
    for stacked in together:
        alone = fit(stacked.cell, machine)
        assert numbers(stacked) == pytest.approx(numbers(alone), rel=1e-9, abs=1e-9)
        assert stacked.confusion == alone.confusion
    return list(together)


def numbers(result: RunResult) -> list[float]:
    """Every figure of a result."""
    scores = [score for score in result.scores.values() if score is not None]
    curve = [figure for epoch in result.curve for figure in (epoch.loss or 0.0, epoch.accuracy)]
    counts = [
        figure
        for layer in result.layers
        for figure in dataclasses.asdict(layer).values()
        if not isinstance(figure, str)
    ]
    return [*scores, *curve, *counts]


@pytest.mark.parametrize("activation", [a.name for a in ACTIVATIONS.values() if a.noisy])
def test_noise_in_a_stack_differs_between_cells(activation: str, machine: Machine) -> None:
    model = "ffnn:hidden=8x6:dropout=0.3"
    cells = [
        dataclasses.replace(CELL, activation=activation, model=model, seed=seed) for seed in (0, 1)
    ]
    first, second = engine.fit(Stack(tuple(cells)), machine)
    assert first.failed is second.failed is None
    assert first.environment.stack == 2
    assert first.curve != second.curve


def test_a_diverging_cell_leaves_its_neighbours_alone(
    double: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = tuple(dataclasses.replace(CELL, seed=seed) for seed in range(3))
    build = building.build

    def poisoned(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
        network = build(cell, shape, machine)
        if cell.seed == 1:
            network.get_parameter("output.bias").data.fill_(float("inf"))
        return network

    monkeypatch.setattr(engine, "build", poisoned)
    results = engine.fit(Stack(cells), double)
    assert [bool(result.failed) for result in results] == [False, True, False]
    assert len(results[1].curve) == 1
    for number in (0, 2):
        alone = fit(cells[number], double)
        assert numbers(results[number]) == pytest.approx(numbers(alone), rel=1e-9, abs=1e-9)


class Undecided(nn.Module):
    """Looks at a value, as no vectorised pass can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum().item() < 1e9 else -x


@pytest.mark.parametrize("first", [Undecided, lambda: nn.BatchNorm1d(4, dtype=torch.float64)])
def test_networks_that_cannot_be_stacked_are_trained_alone(
    first: Callable[[], nn.Module], double: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = building.build

    def changed(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
        return nn.Sequential(first(), build(cell, shape, machine))

    monkeypatch.setattr(engine, "build", changed)
    folds = [Split(folds=7, fold=fold) for fold in (0, 6)]  # 128 and 129 examples: padded
    recipe = Recipe(epochs=2, batch_size=50)
    cells = tuple(dataclasses.replace(CELL, split=fold, recipe=recipe) for fold in folds)
    results = engine.fit(Stack(cells), double)
    assert [result.failed for result in results] == [None, None]
    assert [result.environment.stack for result in results] == [1, 1]


def test_batch_normalisation_stacks_with_as_many_examples(double: Machine) -> None:
    cell = dataclasses.replace(CELL, model=NORMED, recipe=Recipe(epochs=2, batch_size=50))
    parts = [Split(folds=7, fold=fold) for fold in (0, 5, 6)]  # 128, 129 and 129 examples
    cells = tuple(dataclasses.replace(cell, split=part) for part in parts)
    assert [r.environment.stack for r in as_alone(Stack(cells), double)] == [1, 2, 2]


class Failing(nn.Module):
    """Raises `error` under vmap, as what fails in a vectorised pass alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch._C._functorch.is_batchedtensor(x):
            raise self.error
        return x


NO_MEMORY = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
@pytest.mark.parametrize("foreign", [False, True])
def test_a_probe_lets_want_of_memory_through(error: Exception, foreign: bool) -> None:
    """Halves of the stack may fit; cells one by one are not the remedy."""
    networks = Networks([nn.Sequential(Failing(error)) for _ in range(4)], foreign=foreign)
    with pytest.raises(type(error)):
        networks.probe(torch.ones(4, 2, 3))


def test_a_probe_lets_relubenchs_own_faults_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def networks(foreign: bool) -> Networks:
        modules = [nn.Sequential(nn.Linear(3, 2), Failing(KeyError("a fault"))) for _ in range(2)]
        return Networks(modules, foreign=foreign)

    with pytest.raises(CannotStack, match="a fault"):  # a class that relubench does not know
        networks(False).probe(torch.ones(2, 2, 3))
    monkeypatch.setattr(Failing, "__module__", "relubench.models.layers")
    with pytest.raises(CannotStack, match="a fault"):
        networks(True).probe(torch.ones(2, 2, 3))
    with pytest.raises(KeyError, match="a fault"):
        networks(False).probe(torch.ones(2, 2, 3))


def test_want_of_memory_in_a_probe_halves_the_stack(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Networks.probe

    def probed(self: Networks, x: torch.Tensor) -> None:
        if len(self.modules) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        probe(self, x)

    monkeypatch.setattr(Networks, "probe", probed)
    cells = tuple(dataclasses.replace(CELL, seed=seed) for seed in range(4))
    results = engine.fit(Stack(cells), machine)
    assert [result.environment.stack for result in results] == [2, 2, 2, 2]


def test_what_fills_the_memory_is_trained_in_halves(machine: Machine) -> None:
    cells = [dataclasses.replace(CELL, seed=seed) for seed in range(7)]
    widths = []

    def one_pass(cells: Sequence[Cell]) -> list[RunResult]:
        widths.append(len(cells))
        if len(cells) > 2 or cells[0].seed == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [r for cell in cells for r in engine.fit(Stack((cell,)), machine)]

    results = engine.fit_splitting_on_failure(cells, one_pass)
    assert [result.cell for result in results] == cells
    assert [result.failed for result in results if not result.finished] == ["lost: out of memory"]
    assert widths[:3] == [7, 3, 1]

    def broken(cells: Sequence[Cell]) -> list[RunResult]:
        raise RuntimeError("not for want of memory")

    with pytest.raises(RuntimeError, match="not for want"):
        engine.fit_splitting_on_failure(cells, broken)


@pytest.mark.parametrize(
    ("activation", "model"),
    [("relu", CELL.model), ("prelu", CELL.model), ("gelu", CELL.model), ("relu", NORMED)],
)
def test_bf16_computes_coarsely_on_exact_weights(
    activation: str, model: str, machine: Machine
) -> None:
    """bfloat16 keeps 8 bits: losses agree to about that, alone and in a stack, and not to more."""
    recipe = dataclasses.replace(CELL.recipe, epochs=5)
    cells = tuple(
        dataclasses.replace(CELL, model=model, activation=activation, seed=seed, recipe=recipe)
        for seed in range(3)
    )
    bf16 = dataclasses.replace(machine, dtype="bf16")
    exact, coarse = engine.fit(Stack(cells), machine), engine.fit(Stack(cells), bf16)
    alone = engine.fit(Stack(cells[:1]), bf16)
    for a, b in [*zip(exact, coarse, strict=True), (coarse[0], alone[0])]:
        assert b.curve[-1].loss == pytest.approx(a.curve[-1].loss, rel=0.05)
    assert coarse[0].curve[-1].loss != exact[0].curve[-1].loss
    assert coarse[0].environment.dtype == "bf16"
    network = building.build(cells[0], (4,), bf16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_seeds_differ_in_split_weights_and_batches(machine: Machine) -> None:
    cells = [dataclasses.replace(CELL, seed=seed) for seed in (0, 1)]
    data = [tensors(cell, machine) for cell in cells]
    assert not torch.equal(data[0].x_train, data[1].x_train)
    weights = [building.build(cell, (4,), machine).get_parameter("output.weight") for cell in cells]
    assert not torch.equal(weights[0], weights[1])
    orders = [torch.randperm(9, generator=seeds.stream(cell, "batches")) for cell in cells]
    assert not torch.equal(orders[0], orders[1])


def test_activations_are_paired(machine: Machine) -> None:
    """The same split, weights (scaled) and batches: identical until the first non-linearity."""
    relu, tanh = (dataclasses.replace(CELL, activation=name) for name in ("relu", "tanh"))
    for cell in (relu, tanh):
        found = split(cell, datasets.load("iris", machine.data_dir))
        expected = split(CELL, datasets.load("iris", machine.data_dir))
        assert all(map(np.array_equal, found, expected))
    first, second = (
        building.build(cell, (4,), machine).get_parameter("dense1.weights.weight")
        for cell in (relu, tanh)
    )
    assert_close(first / first.std(), second / second.std())
    for purpose in ("weights", "batches", "noise"):
        assert (
            seeds.stream(relu, purpose).initial_seed() == seeds.stream(tanh, purpose).initial_seed()
        )


def test_folds_share_nothing(machine: Machine) -> None:
    """Law 1: a fold trained after the others equals the fold trained alone, and tests its rows."""
    cells = [
        dataclasses.replace(CELL, split=Split(folds=5, fold=fold, repeat=repeat))
        for repeat in (0, 1)
        for fold in range(5)
    ]
    together = [fit(cell, machine) for cell in cells]
    assert untimed(fit(cells[3], machine)) == untimed(together[3])
    iris = datasets.load("iris", machine.data_dir)
    tested = np.concatenate([split(cell, iris)[1] for cell in cells[:5]])
    assert sorted(tested) == list(range(150))
    weights = [building.build(cell, (4,), machine).get_parameter("output.weight") for cell in cells]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_seeds_share_their_folds_and_repeats_do_not(machine: Machine) -> None:
    iris = datasets.load("iris", machine.data_dir)

    def tested_rows(**changes: object) -> np.ndarray:
        part = Split(folds=5, fold=0, repeat=int(str(changes.get("repeat", 0))))
        seed = int(str(changes.get("seed", 0)))
        return split(dataclasses.replace(CELL, split=part, seed=seed), iris)[1]

    assert np.array_equal(tested_rows(), tested_rows(seed=1))
    assert not np.array_equal(tested_rows(), tested_rows(repeat=1))


def test_the_test_part_decides_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 4: training ends in the same bits whatever the test set holds."""
    original = tensors(CELL, machine)
    scrambled = dataclasses.replace(original, x_test=original.x_test * 1e6)
    first = fit(CELL, machine)
    monkeypatch.setattr(engine, "tensors", lambda cell, machine: scrambled)
    second = fit(CELL, machine)
    assert second.curve == first.curve
    assert second.layers == first.layers
    assert second.scores["accuracy"] != first.scores["accuracy"]


def test_a_diverged_run_is_a_result_without_scores(machine: Machine) -> None:
    recipe = Recipe(optimizer="sgd", lr=1e30, epochs=5, batch_size=16)
    result = fit(dataclasses.replace(CELL, activation="identity", recipe=recipe), machine)
    assert result.failed is not None
    assert "not finite in epoch 1" in result.failed
    assert len(result.curve) == 1
    assert result.scores == {}
    assert result.layers == ()


def test_the_curve_is_what_the_pass_saw(machine: Machine) -> None:
    """With a rate of almost 0 the pass sees the untrained network, as evaluation does."""
    recipe = Recipe(optimizer="sgd", lr=1e-30, epochs=1, batch_size=16)
    result = fit(dataclasses.replace(CELL, recipe=recipe), machine)
    assert result.curve[0].accuracy == pytest.approx(result.scores["train_accuracy"])
    assert result.curve[0].loss == pytest.approx(result.scores["train_loss"], rel=1e-5)


def test_the_relu_heads_biases_begin_at_4(machine: Machine) -> None:
    for head, bias in (("relu", 4.0), ("softmax", 0.0)):
        network = building.build(dataclasses.replace(CELL, head=head), (4,), machine)
        assert (network.get_parameter("output.bias") == bias).all()
        assert (network.get_parameter("dense1.weights.bias") == 0).all()


def test_every_seed_draws_its_own_limit(machine: Machine) -> None:
    iris = datasets.load("iris", machine.data_dir)
    fold = Split(folds=5, fold=0)  # whose rows do not depend on the seed
    limited = dataclasses.replace(CELL, preparation=Preparation(limit=30), split=fold)
    first, second = (split(dataclasses.replace(limited, seed=seed), iris)[0] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_limit_keeps_the_class_shares_and_the_test_part(machine: Machine) -> None:
    limited = dataclasses.replace(CELL, preparation=Preparation(limit=30))
    few, all_ = tensors(limited, machine), tensors(CELL, machine)
    assert torch.bincount(few.y_train).tolist() == [10, 10, 10]
    assert torch.equal(few.y_test, all_.y_test)


def test_silent_is_for_heads_that_can_be(machine: Machine) -> None:
    relu_head = fit(dataclasses.replace(CELL, head="relu"), machine)
    assert relu_head.failed is None
    assert relu_head.scores["silent"] is not None
    assert fit(CELL, machine).scores["silent"] is None


def test_nothing_global_is_drawn(machine: Machine) -> None:
    before = torch.random.get_rng_state()
    fit(dataclasses.replace(CELL, activation="rrelu", model="ffnn:dropout=0.5"), machine)
    assert torch.equal(torch.random.get_rng_state(), before)
