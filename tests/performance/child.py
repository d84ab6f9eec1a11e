"""What must have a process of its own, since it measures the process; prints figures.

cells N  a command over N cells that are not trained: seconds, peak kB, kB of one result
pass N   deadcount's pass over N examples: peak kB
any N    deadcount of any network over N examples: peak kB
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import torch

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.models import MODELS
from relubench.models.layers import activations
from relubench.neurons.counting import count
from relubench.neurons.statistics import Counter
from relubench.plan import Cell, Machine, Stack
from relubench.results import Environment, Epoch, LayerCount, RunResult
from relubench.training import engine, prediction
from relubench.training.examples import Examples
from relubench.training.heads import HEADS
from relubench.training.networks import Networks

UNITS, FOLDS, EPOCHS = 10, 10, 30


def peak() -> int:
    """The most memory that this process has held, kB; getrusage knows of its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def untrained(stack: Stack, machine: Machine, **rest: object) -> list[RunResult]:
    """A result per cell, as large as a real one."""
    here = Environment(
        relubench="1", torch="2", device="cpu", threads=1, dtype="float32", stack=len(stack.cells)
    )
    counts = dict.fromkeys(("units", "dead", "inactive", "rare", "dormant", "saturated"), 64)
    names = ("accuracy", "precision", "recall", "f1", "loss", "train_accuracy", "train_loss")
    macro = ("macro_precision", "macro_recall", "macro_f1", "silent")
    return [
        RunResult(
            cell=cell,
            environment=here,
            n_train=135,
            n_test=15,
            parameters=1000,
            seconds=0.1,
            curve=tuple(Epoch(loss=1 / (1 + n), accuracy=0.5) for n in range(EPOCHS)),
            scores={name: 0.5 + cell.seed / 1e6 for name in (*names, *macro)},
            confusion=((5, 0, 0), (0, 4, 1), (0, 0, 5)),
            layers=tuple(
                LayerCount(
                    layer=f"dense{n}", **counts, sparsity=0.5, mean_activation=0.5, examples=135
                )
                for n in range(2)
            ),
        )
        for cell in stack.cells
    ]


def cells(count: int) -> list[float]:
    """Plan, ledger and report without any training."""
    units = ",".join(list(ACTIVATIONS)[:UNITS])
    study = ["cv", "-d", "iris", "-a", units, "--folds", FOLDS, "--seeds", count // UNITS // FOLDS]
    with tempfile.TemporaryDirectory() as folder, patch.object(engine, "fit", untrained):
        where = ["--ledger", f"{folder}/ledger.db", "-o", f"{folder}/table.txt", "--quiet"]
        where += ["--stack", "32", "--threads", "1", "--device", "cpu"]
        main(["cv", "-d", "iris", "--folds", "2", *where, "--no-ledger"])  # imports what it needs
        start = time.perf_counter()
        code = main([*map(str, study), *where])
        seconds = time.perf_counter() - start
    assert code == 0
    most = peak()
    alike = [Cell(dataset="iris", model="ffnn", activation="relu", seed=n) for n in range(1000)]
    tracemalloc.start()
    kept = untrained(Stack(tuple(alike)), Machine(data_dir=""))
    return [seconds, most, tracemalloc.get_traced_memory()[0] / len(kept) / 1024]


def passed(count: int) -> list[float]:
    """Counters over one example, repeated without memory of its own."""
    torch.set_num_threads(1)
    cell = Cell(dataset="mnist", model="ffnn:hidden=512x512x512", activation="relu")
    network = MODELS.choose(cell.model)((784,), 10, ACTIVATIONS.choose("relu"))
    counters = [
        Counter(name, 1, act.units, torch.device("cpu")) for name, act in activations(network)
    ]
    examples = Examples(
        torch.ones(1, 784).expand(count, 784),
        torch.ones(1, dtype=torch.int64).expand(count),
        [0],
        [count],
    )
    prediction.predict(Networks([network]), HEADS.choose("softmax"), examples, counters)
    return [peak()]


def counted(examples: int) -> list[float]:
    """`relubench.deadcount` over so many examples, a batch at a time."""
    torch.set_num_threads(1)
    network = torch.nn.Sequential(
        torch.nn.Linear(784, 512), torch.nn.GELU(), torch.nn.Linear(512, 10)
    )
    batch = torch.randn(500, 784)
    count(network, (batch for _ in range(examples // len(batch))))
    return [peak()]


if __name__ == "__main__":
    figures = {"cells": cells, "pass": passed, "any": counted}[sys.argv[1]](int(sys.argv[2]))
    sys.stdout.write(" ".join(map(str, figures)))
