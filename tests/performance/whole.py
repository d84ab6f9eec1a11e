"""Row 0: whole processes, from the key press to the table, beside whole scripts."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from child import untrained
from measure import Figure

from relubench.activations import ACTIVATIONS
from relubench.execution import machines
from relubench.execution.ledger import Ledger
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training.context import context

SCRIPTS, LAUNCH = Path(__file__).with_name("scripts"), Path(__file__).with_name("launch.py")
RELUBENCH = (sys.executable, "-m", "relubench")
NINE = "relu,leaky_relu,elu,selu,gelu,silu,mish,tanh,softplus"
SETUP = shlex.split(
    "-d digits -m ffnn:hidden=64x32 --epochs 20 --batch-size 128 --lr 0.002 --seeds 10"
)
SMALLEST = shlex.split("train -d wdbc -m ffnn:hidden=8 -a relu --epochs 1 --no-ledger")
CV = shlex.split(
    "cv -d wdbc -m ffnn:hidden=64x32 -a relu --folds 10 --seeds 5 --epochs 30 --batch-size 64"
)


@dataclass(frozen=True)
class Process:
    """A process that has ended: seconds of wall clock, of processor, and the most MiB it held."""

    seconds: float
    processor: float
    mebibytes: float


def run(command: Sequence[str], folder: str, code: int = 0) -> Process:
    """Run a command to its end, its output to nowhere; asserts its exit code."""
    launched = subprocess.run(
        [sys.executable, "-I", str(LAUNCH), *command],
        capture_output=True,
        check=True,
        text=True,
        cwd=folder,
    )
    ended, *figures = launched.stdout.split()
    assert int(ended) == code, (command, ended)
    return Process(*map(float, figures))


def in_turn(
    commands: Mapping[str, Sequence[str]], rounds: int, folder: str, code: int = 0
) -> dict[str, list[Process]]:
    """Every command's processes, one per round, after a turn each that does not count."""
    processes: dict[str, list[Process]] = {name: [] for name in commands}
    for number in range(-1, rounds):
        for name in list(commands)[:: -1 if number % 2 else 1]:
            process = run(commands[name], folder, code)
            if number >= 0:
                processes[name].append(process)
    return processes


def whole(rounds: int) -> Iterator[Figure]:
    """The smallest training, answers from the ledger, cross-validation, a comparison, a loop."""
    with tempfile.TemporaryDirectory() as folder:
        yield from smallest(rounds, folder)
        yield from answers(rounds, folder)
        yield from trainings(rounds, folder)
        yield from loop(rounds, folder)


def smallest(rounds: int, folder: str) -> Iterator[Figure]:
    """One epoch of the smallest network, against the import of torch."""
    peer = "import torch"
    commands = {"relubench": (*RELUBENCH, *SMALLEST), peer: (sys.executable, "-c", peer)}
    found = in_turn(commands, rounds, folder)
    yield _ratio("smallest training", peer, found, most=1.35)
    yield _figure(
        "smallest training",
        f"{peer}: memory",
        [
            own.mebibytes / theirs.mebibytes
            for own, theirs in zip(found["relubench"], found[peer], strict=True)
        ],
        "× its peak memory",
        most=1.15,
    )


def answers(rounds: int, folder: str) -> Iterator[Figure]:
    """What needs no training: found in the ledger, listed, refused."""
    kept = ("--ledger", f"{folder}/kept.db")
    finished = {
        "compare of 90 runs": ("compare", *SETUP, "-a", NINE, *kept),
        "deadcount": ("deadcount", *SETUP, "-a", "relu", *kept),
        "cv": (*CV, *kept),
    }
    for name, command in finished.items():
        found = in_turn({"relubench": (*RELUBENCH, *command)}, rounds, folder)["relubench"]
        seconds, memory = [p.seconds for p in found], [p.mebibytes for p in found]
        yield _figure(f"{name}, all in the ledger", "nothing", seconds, "s", 0.8)
        yield _figure(f"{name}, all in the ledger", "nothing: memory", memory, "MiB", 150)
    many = ",".join(list(ACTIVATIONS)[:50])
    large = ("--ledger", str(_of_10_000(folder)))
    others = {
        "--dry-run of 10,000 cells": (("cv", "-d", "iris", "-a", many, *large), 2.0, 0),
        "show activation relu": (("show", "activation", "relu"), 0.6, 0),
        "ledger show of 10,000 runs": (("ledger", "show", *large), 2.0, 0),
        "a refusal": (("train", "-a", "reul"), 0.4, 2),
        "report of 2,000 runs": (_report(folder), 10.0, 0),
    }
    for name, (command, most, code) in others.items():
        if "dry-run" in name:
            command = (*command, "--folds", "10", "--seeds", "20", "--dry-run")
        found = in_turn({"relubench": (*RELUBENCH, *command)}, rounds, folder, code)["relubench"]
        yield _figure(name, "nothing", [process.seconds for process in found], "s", most)


def _of_10_000(folder: str) -> Path:
    """A ledger of as many runs, which nobody has trained."""
    path = Path(folder, "large.db")
    machine = Machine(data_dir=str(machines.data_dir()), threads=1)
    ledger = Ledger(path)
    for name in list(ACTIVATIONS)[:10]:
        cells = [Cell(dataset="iris", model="ffnn", activation=name, seed=n) for n in range(1000)]
        ledger.write(untrained(Stack(tuple(cells)), machine), context(cells[0], machine))
    ledger.close()
    return path


def _report(folder: str) -> tuple[str, ...]:
    """A page of two networks, ten activations, five rates and twenty seeds, untrained."""
    path, draw = Path(folder, "studied.db"), random.Random(0)
    machine = Machine(data_dir=str(machines.data_dir()), threads=1)
    ledger = Ledger(path)
    settings = (list(ACTIVATIONS)[:10], (0.1, 0.03, 0.01, 0.003, 0.001), range(20))
    for model in ("ffnn:hidden=8", "ffnn:hidden=8x8"):
        cells = []
        for name, lr, seed in itertools.product(*settings):
            recipe = Recipe(lr=lr)
            cells.append(
                Cell(dataset="iris", model=model, activation=name, recipe=recipe, seed=seed)
            )
        runs = []
        for run in untrained(Stack(tuple(cells)), machine):
            runs.append(replace(run, scores={name: draw.random() for name in run.scores}))
        ledger.write(runs, context(cells[0], machine))
    ledger.close()
    return ("report", "--ledger", str(path), "-o", f"{folder}/report.html")


def trainings(rounds: int, folder: str) -> Iterator[Figure]:
    """A cross-validation and a comparison, against scripts; each script on threads that suit it."""
    fresh = ("--no-ledger",)
    torch_cv = _on_best_threads("torch_cv.py", folder)
    scripts = {
        "relubench": (*RELUBENCH, *CV, *fresh),
        "hand-tuned torch": torch_cv,
        "scikit-learn": (sys.executable, str(SCRIPTS / "sklearn_cv.py")),
    }
    found = in_turn(scripts, rounds, folder)
    yield _ratio("cv, 10 folds x 5 seeds", "hand-tuned torch", found, most=0.33)
    yield _ratio("cv, 10 folds x 5 seeds", "scikit-learn", found, most=0.65)
    nine = (*RELUBENCH, "compare", *SETUP, "-a", NINE, *fresh)
    torch_compare = _on_best_threads("torch_compare.py", folder)
    found = in_turn({"relubench": nine, "hand-tuned torch": torch_compare}, rounds, folder)
    yield _ratio("compare, 9 activations x 10 seeds", "hand-tuned torch", found, most=0.33)
    default = in_turn({"relubench": (*RELUBENCH, "compare", *fresh)}, rounds, folder)["relubench"]
    yield _figure("compare", "nothing", [process.seconds for process in default], "s", 5.0)
    processor = [process.processor for process in default]
    yield _figure("compare", "nothing: processor", processor, "s")


def loop(rounds: int, folder: str) -> Iterator[Figure]:
    """Twenty calls in a shell's loop, and one command that sweeps."""
    rates = [f"{0.0005 * number:g}" for number in range(1, 21)]
    tiny = ("train", "-d", "iris", "-m", "ffnn:hidden=8", "--epochs", "5", "--no-ledger")
    calls = [" ".join((*RELUBENCH, *tiny, "--lr", rate)) for rate in rates]
    commands = {
        "relubench": (*RELUBENCH, *tiny, "--lr", ",".join(rates)),
        "a loop": ("sh", "-c", "; ".join(calls)),
    }
    found = in_turn(commands, min(rounds, 3), folder)
    yield _ratio("20 rates in one command", "a loop", found)


def _on_best_threads(script: str, folder: str) -> tuple[str, ...]:
    """The script on 1 thread or on all, whichever is faster."""
    path = str(SCRIPTS / script)
    counts = sorted({1, os.cpu_count() or 1})
    commands = {str(count): (sys.executable, path, str(count)) for count in counts}
    found = in_turn(commands, 2, folder)
    fastest = min(found, key=lambda count: min(process.seconds for process in found[count]))
    return commands[fastest]


def _ratio(
    task: str, peer: str, found: Mapping[str, Sequence[Process]], most: float | None = None
) -> Figure:
    own = [process.seconds for process in found["relubench"]]
    theirs = [process.seconds for process in found[peer]]
    ratios = [mine / other for mine, other in zip(own, theirs, strict=True)]
    make = partial(Figure, row=0, task=task, against=peer, unit="× its time", most=most)
    return make(values=ratios, own=own, peer=theirs)


def _figure(
    task: str, against: str, values: Sequence[float], unit: str, most: float | None = None
) -> Figure:
    return Figure(row=0, task=task, against=against, values=values, unit=unit, most=most)
