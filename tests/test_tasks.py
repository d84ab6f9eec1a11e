"""Tasks in sequence: one network, other data, and what becomes of it."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as reference
from torch import Tensor, nn

from relubench import report, seeds, stats
from relubench.cli import main
from relubench.errors import BadValue
from relubench.neurons.statistics import RankedCounter
from relubench.plan import Cell, Machine, Plan, Preparation, Recipe, Stack
from relubench.results import RunResult
from relubench.training import building, engine, task_scores, tasks
from relubench.training.examples import of_task, tensors
from relubench.training.tasks import TASKS

CELL = Cell(
    dataset="digits",
    model="ffnn:hidden=8x6",
    activation="relu",
    recipe=Recipe(epochs=3, batch_size=16, lr=0.01),
    preparation=Preparation(limit=60),
    tasks=4,
    task="random_labels",
)
NUMBERS = "synthetic_regression:features=20:samples=300"


def with_task(name: str, **changes: Any) -> Cell:
    if TASKS.choose(name).entry.target == "regression":
        changes = {"dataset": NUMBERS, "head": "mse"} | changes
    return dataclasses.replace(CELL, task=name, **changes)


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


def fit(cell: Cell, machine: Machine) -> RunResult:
    (result,) = engine.fit(Stack((cell,)), machine)
    return result


# --- what tasks are -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_the_same_for_every_activation_and_other_than_the_next(
    task: str, machine: Machine
) -> None:
    cell = with_task(task)
    data = tensors(cell, machine)
    before = data.x_train.clone(), data.y_train.clone()
    of_tanh = dataclasses.replace(cell, activation="tanh")
    first, again = (of_task(each, data, 1) for each in (cell, of_tanh))
    other, another_seed = (
        of_task(cell, data, 2),
        of_task(dataclasses.replace(cell, seed=1), data, 1),
    )
    assert torch.equal(first.x_train, again.x_train)
    assert torch.equal(first.y_train, again.y_train)
    assert not same(first, other)
    assert not same(first, another_seed) or task == "split_classes"
    assert len(first.y_train) == len(other.y_train)
    assert torch.equal(data.x_train, before[0])
    assert torch.equal(data.y_train, before[1])


def same(one: Any, other: Any) -> bool:
    return torch.equal(one.x_train, other.x_train) and torch.equal(one.y_train, other.y_train)


def made(task: str, number: int, machine: Machine) -> tuple[Any, Any]:
    cell = with_task(task)
    data = tensors(cell, machine)
    return data, of_task(cell, data, number)


def test_random_labels_have_no_test_set(machine: Machine) -> None:
    data, task = made("random_labels", 0, machine)
    assert torch.equal(task.x_train, data.x_train)
    assert not torch.equal(task.y_train, data.y_train)
    assert len(task.x_test) == len(task.y_test) == 0
    assert set(task.y_train.tolist()) <= set(range(10))


def test_shuffled_labels_are_as_many_of_each_class(machine: Machine) -> None:
    data, task = made("shuffled_labels", 0, machine)
    assert torch.equal(task.y_train.bincount(), data.y_train.bincount())


def test_permuted_inputs_are_permuted_alike_in_training_and_test(machine: Machine) -> None:
    data, task = made("permuted_inputs", 2, machine)
    order = torch.randperm(64, generator=seeds.stream(CELL, "task 2"))
    assert torch.equal(task.x_train, data.x_train[:, order])
    assert torch.equal(task.x_test, data.x_test[:, order])
    assert torch.equal(task.y_test, data.y_test)


def test_split_classes_take_turns(machine: Machine) -> None:
    cell = with_task("split_classes:per=4")
    data = tensors(cell, machine)
    turns = [set(of_task(cell, data, number).y_test.tolist()) for number in range(3)]
    assert turns == [{0, 1, 2, 3}, {4, 5, 6, 7}, {0, 1, 2, 3}]
    assert set(of_task(cell, data, 1).y_train.tolist()) == {4, 5, 6, 7}


def test_labels_drift_from_the_true_ones(machine: Machine) -> None:
    data, first = made("drift:share=0.2", 0, machine)
    assert torch.equal(first.y_train, data.y_train)
    _, second = made("drift:share=0.2", 1, machine)
    _, third = made("drift:share=0.2", 2, machine)
    assert 0 < (second.y_train != first.y_train).sum() <= 12
    assert 0 < (third.y_train != second.y_train).sum() <= 12


def test_slow_bits_flip_one_by_one(machine: Machine) -> None:
    """And the targets are what one fixed network makes of the bits."""
    _, first = made("slow_bits:slow=12", 0, machine)
    _, second = made("slow_bits:slow=12", 1, machine)
    assert set(first.x_train.unique().tolist()) == {0.0, 1.0}
    assert (first.x_train[:, :12] == first.x_train[0, :12]).all()
    assert int((first.x_train[0, :12] != second.x_train[0, :12]).sum()) == 1
    assert not (first.x_train[:, 12:] == first.x_train[0, 12:]).all()
    bits = torch.cat([first.x_train, second.x_train])
    _, which = bits.unique(dim=0, return_inverse=True)
    targets = torch.cat([first.y_train, second.y_train])
    for kind in which.unique():
        assert len(targets[which == kind].unique()) == 1


@pytest.mark.parametrize(("task", "dataset"), [("slow_bits", "digits"), ("random_labels", NUMBERS)])
def test_a_task_of_another_kind_of_data_is_refused(task: str, dataset: str) -> None:
    with pytest.raises(BadValue, match="permuted_inputs"):
        tasks.check(dataclasses.replace(CELL, task=task), 10 * (dataset == "digits"), (20,))


@pytest.mark.parametrize("task", ["split_classes:per=6", "split_classes:per=0", "drift:share=1.5"])
def test_what_cannot_be_is_refused(task: str) -> None:
    with pytest.raises(BadValue, match="must be from"):
        tasks.check(with_task(task), 10, (64,))


# --- how they are learned -------------------------------------------------------------------------


def test_a_sequence_is_a_plain_torch_loop(double: Machine) -> None:
    """Weights, and the optimizer's state, go on from task to task; scores are as they say."""
    result = fit(CELL, double)
    data = tensors(CELL, double)
    network = building.build(CELL, (64,), double)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    stream = seeds.stream(CELL, "batches")
    first: tuple[Tensor, Tensor] | None = None
    for number, found in enumerate(result.tasks):
        task = of_task(CELL, data, number)
        first = first or (task.x_train, task.y_train)
        accuracies = []
        for _ in range(3):
            hits = 0
            for rows in torch.randperm(60, generator=stream).split(16):
                outputs = network(task.x_train[rows])
                hits += int((outputs.argmax(1) == task.y_train[rows]).sum())
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(outputs, task.y_train[rows]).backward()
                optimizer.step()
            accuracies.append(hits / 60)
        assert found.online_accuracy == pytest.approx(fmean(accuracies))
        after = network(task.x_train).detach()
        assert found.accuracy == pytest.approx(
            float((after.argmax(1) == task.y_train).double().mean())
        )
        weights = torch.cat(
            [m.weight.flatten() for m in network.modules() if isinstance(m, nn.Linear)]
        )
        assert found.weight_norm == pytest.approx(float(weights.detach().norm()), rel=1e-9)
        assert found.mean_weight == pytest.approx(float(weights.detach().mean()), rel=1e-6)
    assert first
    left = float((network(first[0]).argmax(1) == first[1]).double().mean())
    assert result.scores["first_task_accuracy"] == pytest.approx(left)
    online = [task.online_accuracy or 0.0 for task in result.tasks]
    assert result.scores["online_accuracy"] == pytest.approx(fmean(online))
    slope = reference.linregress(range(4), online).slope
    assert result.scores["online_slope"] == pytest.approx(slope)
    assert result.scores["accuracy"] is None
    assert result.scores["train_accuracy"] == pytest.approx(result.tasks[-1].accuracy)


def near(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """The same figures undefined, the others alike."""
    undefined = {name for name, figure in wanted.items() if figure is None}
    assert {name for name, figure in found.items() if figure is None} == undefined
    left = {name: figure for name, figure in wanted.items() if name not in undefined}
    return {name: found[name] for name in left} == pytest.approx(left, rel=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_tasks_in_a_stack_are_tasks_alone(task: str, double: Machine) -> None:
    cells = tuple(with_task(task, seed=seed) for seed in range(3))
    together = engine.fit(Stack(cells), double)
    if task != "split_classes":  # of which these seeds draw other numbers of examples
        assert {result.environment.stack for result in together} == {3}
    for cell, stacked in zip(cells, together, strict=True):
        alone = fit(cell, double)
        assert near(stacked.scores, alone.scores)
        for mine, wanted in zip(stacked.tasks, alone.tasks, strict=True):
            assert near(vars(mine), vars(wanted))
        losses = [epoch.loss for epoch in stacked.curve]
        assert losses == pytest.approx([epoch.loss for epoch in alone.curve], rel=1e-9)


def test_a_schedule_begins_anew_with_each_task(double: Machine) -> None:
    recipe = dataclasses.replace(CELL.recipe, schedule="linear", optimizer="sgd")
    result = fit(dataclasses.replace(CELL, recipe=recipe), double)
    assert len(result.curve) == 12
    still = dataclasses.replace(recipe, lr=1e-30)
    assert fit(dataclasses.replace(CELL, recipe=still), double).tasks[3] != result.tasks[3]


def test_a_diverged_sequence_has_no_scores(machine: Machine) -> None:
    recipe = Recipe(optimizer="sgd", lr=1e30, epochs=2, batch_size=16)
    result = fit(dataclasses.replace(CELL, activation="identity", recipe=recipe), machine)
    assert result.failed
    assert result.tasks == ()


COMMAND = [
    *("train", "-d", "digits", "--limit", "60", "-m", "ffnn:hidden=8x6", "-a", "relu,tanh"),
    *("--tasks", "9", "--task", "random_labels", "--task-epochs", "3", "--seeds", "2"),
    *("--threads", "1", "--stack", "2", "--checkpoint", "0", "--format", "json"),
]
KILLED = """
import os, signal, sys
from relubench.cli import main
from relubench.training.learning import Learner
learn = Learner.learn

def killed(self, *given):
    learn(self, *given)
    if self.epochs == 20:  # the second of the seventh task
        os.kill(os.getpid(), signal.SIGKILL)

Learner.learn = killed
main(sys.argv[1:])
"""


def test_what_is_killed_in_the_seventh_task_ends_in_the_same_bits(tmp_path: Path) -> None:
    def run(name: str, ledger: str) -> list[dict[str, Any]]:
        out = tmp_path / name
        assert main([*COMMAND, "--ledger", str(tmp_path / ledger), "-o", str(out)]) == 0
        found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
        return [row | {"seconds": 0} for row in found]

    whole = run("whole.json", "whole.db")
    ledger = ["--ledger", str(tmp_path / "killed.db"), "-o", str(tmp_path / "none.json")]
    ended = subprocess.run([sys.executable, "-c", KILLED, *COMMAND, *ledger], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list((tmp_path / "unfinished").rglob("*.pt"))
    assert run("resumed.json", "killed.db") == whole
    assert [len(row["by_task"]) for row in whole] == [9] * 4


# --- what is told of them -------------------------------------------------------------------------


def test_rows_are_means_over_runs(machine: Machine) -> None:
    results = [fit(with_task("drift", seed=seed), machine) for seed in range(3)]
    rows = report.task_rows(results)
    assert [row.number for row in rows] == [1, 2, 3, 4]
    for row in rows:
        of_task = [result.tasks[row.number - 1] for result in results]
        online = [task.online_accuracy or 0 for task in of_task]
        assert row.online_accuracy == pytest.approx(np.mean(online))
        assert row.online_accuracy_sd == pytest.approx(np.std(online, ddof=1))
        assert row.held_out is None
    (table,) = report.over_tasks(results)
    assert [row.number for row in table.rows] == [1, 2, 4]
    written = json.dumps([report.run_row(result).record() for result in results])
    again = report.results_of(written)
    assert [result.tasks for result in again] == [result.tasks for result in results]


def test_the_measure_is_online_accuracy(tmp_path: Path) -> None:
    out, picture = tmp_path / "out.json", tmp_path / "out.svg"
    arguments = ["compare", *COMMAND[1:-2], "--seeds", "3", "--picture", "tasks", "--tasks", "2"]
    files = ["--no-ledger", "-q", "-o", str(out), "-o", str(picture)]
    assert main([*arguments, *files]) == 0
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert {row["metric"] for row in rows} == {"online_accuracy"}
    assert all(row["mean"] == row["online_accuracy"] for row in rows)
    drawn = picture.read_text(encoding="utf-8")
    assert "online accuracy" in drawn
    assert "dead units" in drawn


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "3"], "give both, or neither"),
        (["--task", "drift"], "give both, or neither"),
        (["--task-epochs", "3"], "without them, give --epochs"),
        (["--tasks", "3", "--task", "drift", "--epochs", "3", "--task-epochs", "3"], "not both"),
        (["--tasks", "3", "--task", "drift", "--validation", "10%"], "has no --validation"),
        (["--tasks", "3", "--task", "drfit"], "did you mean 'drift'"),
    ],
)
def test_half_a_sequence_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-d", "iris", *arguments]) == 2
    assert said in capsys.readouterr().err


# --- figures --------------------------------------------------------------------------------------


def test_effective_rank_is_that_of_the_singular_values() -> None:
    stream = torch.Generator().manual_seed(0)
    values = torch.randn(2, 50, 6, generator=stream).double().relu()
    counter = RankedCounter("layer", 2, 6, torch.device("cpu"))
    for part in values.split(20, dim=1):
        counter.see(part, torch.ones_like(part))
    for cell, found in enumerate(counter.effective_ranks()):
        shares = np.linalg.svd(values[cell].numpy(), compute_uv=False)
        assert found == pytest.approx(np.exp(reference.entropy(shares)))
    silent = RankedCounter("layer", 1, 6, torch.device("cpu"))
    silent.see(torch.zeros(1, 5, 6), torch.zeros(1, 5, 6))
    assert silent.effective_ranks() == [None]


def test_a_correlation_is_scipys() -> None:
    draws = np.random.default_rng(0)
    x = draws.normal(size=20)
    y = x + draws.normal(size=20)
    found = stats.correlation(x.tolist(), y.tolist())
    wanted = reference.pearsonr(x, y)
    interval = wanted.confidence_interval(0.95)
    assert found == pytest.approx((wanted.statistic, interval.low, interval.high))
    assert stats.correlation([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_a_slope_needs_two_tasks() -> None:
    assert task_scores.of_sequence((), None)["online_slope"] is None


def test_a_cell_without_tasks_has_the_key_that_it_had() -> None:
    cell = Cell(dataset="iris", model="mlp", activation="relu")
    assert cell.key == "a3e7061976d22417"
    assert dataclasses.replace(cell, tasks=3, task="drift").key != cell.key
    assert Plan(cells=(CELL, with_task("drift"))).setups() == [[CELL], [with_task("drift")]]
