"""The work of a command: shared with other processes, told to the user."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.execution import ledger
from relubench.execution.ledger import Ledger
from relubench.execution.progress import Console
from relubench.execution.tuning import Tuning
from relubench.execution.work import Work
from relubench.plan import Cell, Machine, Plan, Stack
from relubench.results import RunResult, lost_run
from relubench.training import engine

CELLS = tuple(
    Cell(dataset="iris", model="ffnn:hidden=4", activation="relu", seed=seed) for seed in range(12)
)


def silent() -> Console:
    return Console(note=lambda text: None, detail=lambda text: None, track=lambda r, n: iter(r))


def test_no_cell_is_trained_twice_at_once(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers begin together on one ledger; each gets every result."""
    trained: Counter[Cell] = Counter()
    begin = threading.Barrier(3)

    def fit(stack: Stack, **rest: Any) -> list[RunResult]:
        trained.update(stack.cells)
        return [
            dataclasses.replace(lost_run(cell, ""), failed=None, scores={"seed": float(cell.seed)})
            for cell in stack.cells
        ]

    monkeypatch.setattr(engine, "fit", fit)
    monkeypatch.setattr(ledger, "_is_another", lambda host, process: True)  # threads share theirs
    found = {}

    def work(number: int) -> None:
        tuned = [(CELLS, Tuning(stack=number + 1, threads=1))]
        mine = Ledger(tmp_path / "ledger.db")
        begin.wait()
        job = Work(plan=Plan(cells=CELLS), machine=machine, tuned=tuned, ledger=mine)
        found[number] = job.run(silent())

    workers = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert trained == Counter(CELLS)
    for results in found.values():
        assert [result.scores["seed"] for result in results] == [cell.seed for cell in CELLS]


TINY = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1", "--seeds", "3"]


def test_verbose_says_how_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TINY, "--stack", "3", "--threads", "1", "--no-ledger"]
    assert main([*arguments, "--verbose"]) == 0
    assert "iris, ffnn:hidden=4: 3 cells in a pass on 1 thread" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "in a pass" not in capsys.readouterr().err


def test_what_does_not_stack_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mish(x: Tensor) -> Tensor:
        """As torch has it: without a batching rule"""
        return F.mish(x)

    monkeypatch.delitem(ACTIVATIONS, "mish")
    ACTIVATIONS.add(family="smooth", init="he")(mish)
    arguments = [*TINY, "--seeds", "6", "--stack", "2", "-a", "mish", "--no-ledger"]
    assert main(arguments) == 0
    assert capsys.readouterr().err.count("no vectorised pass") == 1
