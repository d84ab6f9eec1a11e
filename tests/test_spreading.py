"""Stacks over copies of the process: what is cut, and that it changes no figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import start

from relubench.execution.spreading import NARROWEST, cut
from relubench.execution.tuning import Tuning
from relubench.plan import Cell, stacks


def setup(count: int, activation: str = "relu") -> list[Cell]:
    return [
        Cell(dataset="iris", model="ffnn:hidden=8", activation=activation, seed=seed)
        for seed in range(count)
    ]


@pytest.mark.parametrize(
    ("sizes", "width", "cores", "widths"),
    [
        ([20], 32, 2, [10, 10]),
        ([50], 32, 2, [25, 25]),  # of itself 32 and 18
        ([20] * 3, 20, 2, [10] * 6),
        ([20] * 2, 20, 2, [20] * 2),
        ([20] * 7, 20, 2, [20] * 7),  # enough to come out about even
        ([10], 10, 2, [10]),  # halves would be narrower than is worth a pass
        ([20] * 7, 20, 16, [10] * 14),
        ([1] * 3, 1, 2, [1] * 3),
    ],
)
def test_stacks_come_out_even(sizes: list[int], width: int, cores: int, widths: list[int]) -> None:
    setups = [(setup(size, f"a{number}"), Tuning(width, 1)) for number, size in enumerate(sizes)]
    spread = cut(setups, cores)
    made = stacks([(cells, how.stack, how.threads, how.n_parallel) for cells, how in spread])
    assert [len(stack.cells) for stack in made] == widths
    assert {cell for stack in made for cell in stack.cells} == {c for s, _ in setups for c in s}
    assert min(widths) >= min(NARROWEST, *sizes)


def test_passes_side_by_side_become_stacks() -> None:
    cells = setup(64)
    ((_, how),) = cut([(cells, Tuning(16, 1, 0.1, n_parallel=2))], 2)
    assert how == Tuning(32, 1, 0.1, n_parallel=1)


COMPARE = ["compare", "-d", "iris", "-m", "ffnn:hidden=8", "-a", "relu,tanh,gelu"]
COMPARE += ["--seeds", "4", "--epochs", "40", "--no-ledger", "--format", "json", "--verbose"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux alone")
def test_copies_give_the_same_figures(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    alone = [*COMPARE, "--threads", "1", "--stack", "4"]
    rows = []
    for arguments in (COMPARE, alone):
        process = start(*arguments, cwd=tmp_path)
        out, err = process.communicate()
        assert process.returncode == 0, err
        spread = "processes" in err
        # Unless two threads were measured to be faster than one.
        assert spread == (arguments is COMPARE and cores > 1) or "2 threads" in err
        rows.append(json.loads(out))
    for one, other in zip(*rows, strict=True):
        for key in ("mean", "difference", "p", "dead", "verdict"):
            assert one[key] == other[key]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="copies are made on Linux alone")
def test_an_interrupt_ends_all_copies_and_keeps_what_is_finished(tmp_path: Path) -> None:
    """Ctrl-C reaches every process of the terminal: one of them says so."""
    arguments = ["-d", "digits", "-m", "ffnn:hidden=64x32", "-a", "relu,tanh", "--seeds", "16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "relubench", "compare", *arguments, "--epochs", "3000", "--verbose"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    told = ""
    while not any(word in told for word in ("processes", "epoch", "running")):
        told = process.stderr.readline()
        assert told
    time.sleep(2)  # by then they train
    os.killpg(process.pid, 2)
    _, err = process.communicate()  # ends when no copy holds the pipes any more
    assert process.returncode == 130
    assert "relubench: interrupted after 0 of 32 runs" in err
