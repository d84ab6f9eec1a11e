"""Learning rates are torch.optim.lr_scheduler's, step by step, wherever a step is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler as theirs

from relubench import seeds
from relubench.errors import BadValue
from relubench.plan import Cell, Machine, Recipe, Split, Stack
from relubench.training import building, clipping, engine, learning, rates, schedules
from relubench.training.checkpoints import Checkpoint
from relubench.training.examples import Examples, Part, tensors
from relubench.training.heads import HEADS, lesson_of
from relubench.training.learning import Learner
from relubench.training.networks import Networks
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.recorded_step import RecordedStep
from relubench.training.schedules import SCHEDULES, RateFactors

PER_EPOCH, EPOCHS, LR = 7, 9, 0.02
STEPS = PER_EPOCH * EPOCHS

TORCHS: dict[str, Callable[[torch.optim.Optimizer, int], theirs.LRScheduler]] = {
    "constant": lambda o, n: theirs.ConstantLR(o, 1.0),
    "cosine": lambda o, n: theirs.CosineAnnealingLR(o, n),
    "cosine:to=0.1": lambda o, n: theirs.CosineAnnealingLR(o, n, eta_min=0.1 * LR),
    "linear": lambda o, n: theirs.LinearLR(o, 1.0, 0.0, n),
    "linear:to=0.25": lambda o, n: theirs.LinearLR(o, 1.0, 0.25, n),
    "step:at=3x5:gamma=0.5": lambda o, n: theirs.MultiStepLR(
        o, [3 * PER_EPOCH, 5 * PER_EPOCH], gamma=0.5
    ),
    "onecycle": lambda o, n: theirs.OneCycleLR(o, LR, n, cycle_momentum=False),
    "onecycle:up=0.5:begin=0.1:to=0.001": lambda o, n: theirs.OneCycleLR(
        o, LR, n, pct_start=0.5, div_factor=10, final_div_factor=100, cycle_momentum=False
    ),
}


def torchs(name: str, count: int = STEPS, warmup: int = 0) -> list[float]:
    """torch's rates, after a warm-up in torch's words."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], LR)
    schedule = TORCHS[name](optimizer, count - warmup)
    if warmup:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], LR)
        rising = theirs.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup)
        schedule = TORCHS[name](optimizer, count - warmup)
        schedule = theirs.SequentialLR(optimizer, [rising, schedule], [warmup])
    found = []
    for _ in range(count):
        found.append(float(schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    return found


def ours(recipe: Recipe, count: int = STEPS) -> list[float]:
    factors = RateFactors.of(recipe) or RateFactors(SCHEDULES.choose("constant"), None)
    return [LR * factors.at(step, count, PER_EPOCH) for step in range(count)]


def test_every_schedule_is_held_to_torchs() -> None:
    assert {name.partition(":")[0] for name in TORCHS} == set(SCHEDULES)


@pytest.mark.parametrize("name", TORCHS)
def test_rates_are_torchs_at_every_step(name: str) -> None:
    assert ours(Recipe(schedule=name)) == pytest.approx(torchs(name), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", [name for name in TORCHS if name[:3] not in ("one", "ste")])
def test_rates_after_a_warmup_are_torchs(name: str) -> None:
    wanted = torchs(name, warmup=6)
    for warmup in ("6", repr(6 / STEPS)):
        found = ours(Recipe(schedule=name, warmup=warmup))
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_the_epochs_of_a_step_schedule_count_from_the_beginning() -> None:
    """As He et al. have them, warm-up or not."""
    name = "step:at=3x5:gamma=0.5"
    warm, plain = ours(Recipe(schedule=name, warmup="6")), ours(Recipe(schedule=name))
    assert warm[6:] == plain[6:]
    assert warm[:6] == pytest.approx([LR * (step + 1) / 7 for step in range(6)])


@pytest.mark.parametrize(
    ("schedule", "warmup", "said"),
    [
        ("onecycle", "5", "a warm-up of its own"),
        ("onecycle:up=1.5", None, "between 0 and 1"),
        ("linear:to=-1", None, "below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(schedule: str, warmup: str | None, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        schedules.check(Recipe(schedule=schedule, warmup=warmup))


# --- where steps are taken ------------------------------------------------------------------------

CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6",
    activation="relu",
    recipe=Recipe(epochs=4, batch_size=16, lr=LR, schedule="cosine:to=0.1", warmup="5"),
)


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


def with_recipe(**changes: Any) -> Cell:
    return dataclasses.replace(CELL, recipe=dataclasses.replace(CELL.recipe, **changes))


def plain_loop(cell: Cell, machine: Machine, most: int | None = None) -> nn.Module:
    """A network that plain torch has trained by the cell's recipe."""
    recipe, data = cell.recipe, tensors(cell, machine)
    network = building.build(cell, (4,), machine)
    n = len(data.y_train)
    per_epoch = -(-n // recipe.batch_size)
    make: Any = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizer = make[recipe.optimizer](network.parameters(), LR, weight_decay=recipe.weight_decay)
    total = most or per_epoch * recipe.epochs
    rising = theirs.LinearLR(optimizer, 1 / 6, 1.0, 5)
    falling = theirs.CosineAnnealingLR(optimizer, total - 5, eta_min=0.1 * LR)
    schedule = theirs.SequentialLR(optimizer, [rising, falling], [5])
    loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    stream = seeds.stream(cell, "batches")
    taken = 0
    while taken < total:
        for rows in torch.randperm(n, generator=stream).split(recipe.batch_size):
            if taken == total:
                break
            optimizer.zero_grad()
            loss(network(data.x_train[rows]), data.y_train[rows]).backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
            schedule.step()
            taken += 1
    return network


def trained(cell: Cell, machine: Machine) -> Networks:
    data = tensors(cell, machine)
    networks = Networks([building.build(cell, (4,), machine)])
    part = Part(Examples.of([data.x_train], [data.y_train]))
    learning.train([cell], networks, [part])
    return networks


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 0.05}, {"label_smoothing": 0.1}, {"weight_decay": 0.1}, {"steps": 23}],
    ids=str,
)
def test_a_training_is_a_plain_torch_loop(
    optimizer: str, changes: dict[str, Any], double: Machine
) -> None:
    """Recorded from the second step on; with --steps the last epoch is cut short."""
    cell = with_recipe(optimizer=optimizer, **changes)
    if "steps" in changes:
        cell = with_recipe(optimizer=optimizer, epochs=0, **changes)
    networks = trained(cell, double)
    for mine, wanted in zip(
        networks.modules[0].parameters(),
        plain_loop(cell, double, cell.recipe.steps).parameters(),
        strict=True,
    ):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-12)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """The rates of every step's groups, as the optimizer's tensors hold them when it is taken."""
    found: list[tuple[float, ...]] = []
    plain = rates.Rates.set

    def noted(self: rates.Rates, number: int) -> None:
        plain(self, number)
        found.append(tuple(tensor.item() for tensor in self.tensors))

    monkeypatch.setattr(rates.Rates, "set", noted)
    return found


def test_a_stack_of_uneven_folds_has_each_ones_own_rates(
    double: Machine, seen: list[tuple[float, ...]]
) -> None:
    """Of 128 and 129 examples: 8 and 9 steps an epoch."""
    folds = [dataclasses.replace(CELL, split=Split(folds=7, fold=fold)) for fold in (5, 0)]
    together = engine.fit(Stack(tuple(folds)), double)
    assert {result.environment.stack for result in together} == {2}
    nine, eight = ([pair[group] for pair in seen] for group in (0, 1))
    assert nine == pytest.approx(torchs("cosine:to=0.1", 36, warmup=5))
    eight = [rate for number, rate in enumerate(eight) if number % 9 < 8]
    assert eight == pytest.approx(torchs("cosine:to=0.1", 32, warmup=5))
    for cell, result in zip(folds, together, strict=True):
        (alone,) = engine.fit(Stack((cell,)), double)
        losses = [epoch.loss for epoch in result.curve]
        assert losses == pytest.approx([epoch.loss for epoch in alone.curve], rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_recorded_steps_read_the_rate_of_each(
    optimizer: str, clip_norm: float | None, machine: Machine
) -> None:
    cell = with_recipe(optimizer=optimizer, clip_norm=clip_norm, label_smoothing=0.1)
    data = tensors(cell, machine)
    part = Part(Examples.of([data.x_train] * 2, [data.y_train] * 2))
    ends = []
    for recorded in (False, True):
        cells = [dataclasses.replace(cell, seed=seed) for seed in (0, 1)]
        networks = Networks([building.build(each, (4,), machine) for each in cells])
        networks.probe(part.examples.x[:2].expand(2, 2, 4))
        learner = Learner(cells, networks, part.examples.sizes)
        step: Any = learner.step_on(part.examples, warmup_steps=2)
        for _ in range(4):
            learner.learn(part, step if recorded else step.step)
        # rmsprop and muon ask torch for the number in the tensor: such steps are plain.
        replayed = isinstance(step, RecordedStep) and bool(step.replays)
        assert replayed == (recorded and optimizer not in ("rmsprop", "muon"))
        ends.append([*networks.parameters.values()])
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("changes", [{}, {"epochs": 0, "steps": 25}], ids=str)
def test_a_resumed_training_goes_on_with_the_rate_that_it_had(
    changes: dict[str, Any], machine: Machine, tmp_path: Path, seen: list[tuple[float, ...]]
) -> None:
    cells = [dataclasses.replace(with_recipe(**changes), seed=seed) for seed in (0, 1)]
    data = [tensors(cell, machine) for cell in cells]

    def part() -> Part:
        return Part(Examples.of([d.x_train for d in data], [d.y_train for d in data]))

    def networks() -> Networks:
        made = Networks([building.build(cell, (4,), machine) for cell in cells])
        made.probe(part().examples.x[:2].expand(2, 2, 4))
        return made

    whole = networks()
    curves = learning.train(cells, whole, [part()])
    wanted, seen[:] = list(seen), []
    first, second = networks(), networks()
    with pytest.raises(KeyboardInterrupt):
        learning.train(cells, first, [part()], Interrupting(tmp_path / "state.pt"))
    resumed = learning.train(cells, second, [part()], Checkpoint(tmp_path / "state.pt"))
    assert seen == wanted
    assert resumed == curves
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, second.tensors[name])


class Interrupting(Checkpoint):
    """Ends the process after its second save."""

    saves = 0

    def save(self, state: dict[str, object]) -> bool:
        super().save(state)
        self.saves += 1
        if self.saves == 2:
            raise KeyboardInterrupt
        return True


# --- clipping and smoothing -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [0.01, 1.0, 100.0])
def test_each_networks_gradient_is_clipped_as_torch_clips_one(most: float) -> None:
    stream = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (3,), (), (2, 3, 2, 2)]
    stacked = [torch.randn(5, *shape, generator=stream).double() for shape in shapes]
    stacked = [
        tensor * 10.0 ** torch.arange(-2, 3).view(-1, *[1] * (tensor.ndim - 1))
        for tensor in stacked
    ]
    alone: list[Sequence[Tensor]] = []
    for cell in range(5):
        parameters = [nn.Parameter(torch.zeros_like(tensor[cell])) for tensor in stacked]
        for parameter, tensor in zip(parameters, stacked, strict=True):
            parameter.grad = tensor[cell].clone()
        nn.utils.clip_grad_norm_(parameters, most)
        alone.append([parameter.grad for parameter in parameters if parameter.grad is not None])
    first = [tensor[0].clone() for tensor in stacked]
    clipping.clip(first, most, stacked=False)
    clipping.clip(stacked, most, stacked=True)
    for number, tensor in enumerate(stacked):
        torch.testing.assert_close(first[number], alone[0][number])
        for cell in range(5):
            torch.testing.assert_close(tensor[cell], alone[cell][number])


@pytest.mark.parametrize("head", [name for name in HEADS if HEADS[name].task == "classes"])
def test_smoothed_losses_are_torchs(head: str) -> None:
    stream = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 6, 4, generator=stream).double().requires_grad_()
    y = torch.randint(4, (2, 6), generator=stream)
    choice = HEADS.choose(head)
    lesson = lesson_of(choice, outputs, y, 0.1)
    log_p = choice(outputs)
    wanted = 0.9 * -log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1) - 0.1 * log_p.mean(-1)
    torch.testing.assert_close(lesson.losses, wanted.detach())
    (gradients,) = torch.autograd.grad(wanted.sum(), outputs)
    torch.testing.assert_close(lesson.gradients, gradients)
    if head == "softmax":
        losses = nn.functional.cross_entropy(
            outputs.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=0.1
        )
        torch.testing.assert_close(lesson.losses.flatten(), losses.detach())


def test_the_loss_of_an_evaluation_is_not_smoothed(machine: Machine) -> None:
    """With a rate of almost 0 the pass sees the untrained network, as evaluation does."""
    for smoothing in (0.0, 0.3):
        cell = with_recipe(epochs=1, lr=1e-30, label_smoothing=smoothing)
        (result,) = engine.fit(Stack((cell,)), machine)
        same = result.curve[0].loss == pytest.approx(result.scores["train_loss"], rel=1e-5)
        assert same == (smoothing == 0)


# --- keys -----------------------------------------------------------------------------------------


def test_a_recipe_without_them_has_the_key_that_it_had() -> None:
    cell = Cell(dataset="iris", model="mlp", activation="relu")
    assert cell.key == "a3e7061976d22417"
    changes: list[dict[str, Any]] = [
        {"schedule": "cosine"},
        {"warmup": "7"},
        {"clip_norm": 1.0},
        {"label_smoothing": 0.1},
        {"epochs": 0, "steps": 5},
    ]
    keys = {with_recipe(**change).key for change in changes}
    assert len(keys | {cell.key, CELL.key}) == len(changes) + 2
