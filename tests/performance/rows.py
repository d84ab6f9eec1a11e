"""What is measured: a function per row of the table, rounds in, figures out."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import peers
import torch
import torchvision
from measure import Figure, Seconds, as_slow, best_threads, faster, fastest, measure, on
from whole import whole

import relubench
from relubench import commands, datasets
from relubench.activations import ACTIVATIONS
from relubench.commands import Request
from relubench.execution.progress import Console
from relubench.models import MODELS, layers
from relubench.neurons import counting as counting_of_any
from relubench.neurons.statistics import Counter
from relubench.plan import Cell, Machine, Preparation, Recipe
from relubench.training import between, building, examples, learning, prediction
from relubench.training.heads import HEADS
from relubench.training.networks import Networks
from relubench.wording import counted

QUIET = Console(
    note=lambda line: None, detail=lambda line: None, track=lambda finished, total: iter(finished)
)
CHILD = Path(__file__).with_name("child.py")
BATCH, LIMIT = 256, 2560  # of an MNIST epoch; examples of the cnn's
COUNTED = {
    "ffnn:hidden=128x64x32": 10000,
    "ffnn:hidden=512x512x512": 10000,
    "cnn": 1000,
}  # examples
STACK = 50  # cells: 10 folds of 5 seeds
SQUARE, PRODUCTS = 2048, 8  # the matrix product that counts as the machine's rate


def trained(**flags: Any) -> None:
    """What a command does between its flags and its tables, without a ledger."""
    work = commands.prepare(Request("cv" if "folds" in flags else "train", None, flags), QUIET)
    work.run(QUIET)


def cv(rounds: int) -> Iterator[Figure]:
    """Cross-validation, data and scores included; each contestant on the threads that suit it."""

    def relubench(seeds: int) -> None:
        datasets.load.cache_clear()
        examples._tensors.cache_clear()
        recipe: dict[str, Any] = {"epochs": [peers.EPOCHS], "batch_size": [peers.BATCH]}
        model = "ffnn:hidden=" + "x".join(map(str, peers.HIDDEN))
        names = {"dataset": ["wdbc"], "model": [model], "activation": ["relu"], "device": "cpu"}
        torch.set_num_threads(os.cpu_count() or 1)  # from which it chooses
        trained(**names, **recipe, folds=peers.FOLDS, seeds=seeds)

    contestants = {
        "bare loop": (peers.wdbc_bare, 5),
        "MLPClassifier": (peers.wdbc_sklearn, 5),
        "DataLoader loop": (peers.wdbc_loader, 12),
        "skorch": (peers.wdbc_skorch, 15),
    }
    threads = {name: best_threads(partial(run, 1)) for name, (run, _) in contestants.items()}
    for seeds, targets in ((1, False), (5, True)):
        runs = {
            name: on(threads[name], partial(run, seeds)) for name, (run, _) in contestants.items()
        }
        relubench(seeds)  # measures its stacks
        seconds = measure({"relubench": partial(relubench, seeds), **runs}, rounds, seeds == 1)
        for name, (_, least) in contestants.items():
            task = f"wdbc, 10 folds x {seeds} seeds"
            peer = f"{name}, {counted(threads[name], 'thread')}"
            yield faster(1, task, name, seconds, least if targets else None, peer)


def own_epoch(cell: Cell, machine: Machine) -> tuple[Callable[[], object], examples.Examples]:
    """An epoch of the engine's loop, and what it learns from."""
    data = examples.tensors(cell, machine)
    networks = Networks([building.build(cell, tuple(data.x_train.shape[1:]), machine)])
    found = examples.Examples.of([data.x_train], [data.y_train])
    return lambda: learning.train([cell], networks, [examples.Part(found)]), found


def mnist(model: str, limit: int | None) -> tuple[Cell, Machine]:
    """One epoch of a model on MNIST."""
    cell = Cell(
        dataset="mnist",
        model=model,
        activation="relu",
        recipe=Recipe(epochs=1, batch_size=BATCH),
        preparation=Preparation(limit=limit),
    )
    return cell, Machine(data_dir=os.environ["RELUBENCH_DATA"])


def wide(rounds: int) -> Iterator[Figure]:
    """An epoch of MNIST, and what share of the machine's matrix products it is."""
    cell, machine = mnist("ffnn:hidden=512x512x512", None)
    own, data = own_epoch(cell, machine)
    network = partial(peers.ffnn, 784, (512, 512, 512), 10)
    flat = data.x.flatten(1)
    bare = peers.bare(network(), flat, data.y, BATCH)
    threads = best_threads(bare)
    script = partial(peers.script, folder=machine.data_dir, batch=BATCH)
    flattened = torch.nn.Sequential(torch.nn.Flatten(), network())
    square = torch.randn(SQUARE, SQUARE)
    seconds = measure(
        {
            "relubench": own,
            "bare loop": bare,
            "DataLoader script": fastest([script(flattened, workers=n) for n in (0, 2)]),
            "matrix product": lambda: [torch.mm(square, square) for _ in range(PRODUCTS)],
        },
        rounds,
    )
    task = f"MNIST epoch, ffnn 512x512x512, {counted(threads, 'thread')}"
    yield as_slow(2, task, "bare loop", seconds, 1.05)
    yield faster(2, task, "DataLoader script", seconds, 3.5)
    yield rate(task, seconds, len(data.y), network())


def rate(task: str, seconds: Seconds, n: int, network: torch.nn.Sequential) -> Figure:
    """The epoch's matrix products a second as a share of what the machine does.

    A weight takes two operations per example in each of the forward pass, its own gradient and the
    gradient of its layer's inputs, which the first layer is spared.
    """
    weights = [p.numel() for p in network.parameters() if p.ndim == 2]
    work = n * (6 * sum(weights) - 2 * weights[0])
    peak = 2 * PRODUCTS * SQUARE**3
    rates = [work / epoch for epoch in seconds["relubench"]]
    peaks = [peak / products for products in seconds["matrix product"]]
    found = sorted(rates)[len(rates) // 2] / 1e9
    return Figure(
        row=2,
        task=f"{task}: {found:.0f} GFLOP/s",
        against=f"{SQUARE}² float32 product",
        values=[100 * own / most for own, most in zip(rates, peaks, strict=True)],
        unit="% of its rate",
        least=75,
    )


def convolutions(rounds: int) -> Iterator[Figure]:
    """The same for the cnn, on fewer examples."""
    cell, machine = mnist("cnn", LIMIT)
    own, data = own_epoch(cell, machine)
    layout = torch.channels_last  # a good tenth faster
    network, x = peers.cnn().to(memory_format=layout), data.x.contiguous(memory_format=layout)
    bare = peers.bare(network, x, data.y, BATCH)
    threads = best_threads(bare)
    seconds = measure({"relubench": own, "bare loop": bare}, rounds)
    task = f"MNIST epoch, cnn, {LIMIT} examples, {counted(threads, 'thread')}"
    yield as_slow(3, task, "bare loop", seconds, 1.03)


def child(*arguments: object) -> list[float]:
    """The figures that a process of its own prints."""
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(figure) for figure in printed.split()]


def overhead(rounds: int) -> Iterator[Figure]:
    """What is not training: the start, and the plan, the ledger and the report of many cells."""
    for arguments in (["--help"], ["list", "activations"]):
        command = [sys.executable, "-m", "relubench", *arguments]
        start = partial(subprocess.run, command, check=True, capture_output=True)
        seconds = measure({"": start}, rounds)[""]
        task = f"relubench {' '.join(arguments)}"
        yield Figure(row=4, task=task, against="", values=seconds, unit="s", most=0.35)
    few, many = ([child("cells", count) for _ in range(rounds)] for count in (2500, 10000))
    task = "10,000 fake cells: plan, ledger, report"
    yield Figure(row=4, task=task, against="", values=[s for s, _, _ in many], unit="s", most=10)
    growth = [(b - a) / 7500 for (_, a, _), (_, b, _) in zip(few, many, strict=True)]
    yield Figure(
        row=4,
        task="memory per further cell",
        against=f"its result: {many[0][2]:.1f} kB",
        values=growth,
        unit="kB",
    )


def jobs(rounds: int) -> Iterator[Figure]:
    """Two worker processes against one, a thread each, on networks that no stack makes faster."""
    names = {"dataset": ["digits"], "model": ["ffnn:hidden=512x512"], "activation": ["relu"]}
    flags = {**names, "epochs": [100], "seeds": 16, "threads": 1, "stack": "1", "device": "cpu"}
    runs = {
        "--jobs 1": partial(trained, **flags, jobs=1),
        "relubench": partial(trained, **flags, jobs=2),
    }
    seconds = measure(runs, rounds, warm=False)
    yield faster(5, "16 runs, 512x512, --jobs 2", "--jobs 1", seconds, 1.6)


def passed(network: torch.nn.Module, x: torch.Tensor, size: int) -> None:
    """A forward pass and nothing else, of so many examples at once."""
    with torch.no_grad():
        for part in x.split(size):
            network(part)


def observed(network: torch.nn.Module, data: examples.Examples) -> None:
    """The pass that counts dead units."""
    counters = [
        Counter(layer, 1, act.units, data.x.device) for layer, act in layers.activations(network)
    ]
    prediction.predict(Networks([network]), HEADS.choose("softmax"), data, counters)


def counting(rounds: int) -> Iterator[Figure]:
    """deadcount's pass against a forward pass of the same network, and its memory."""
    for model, count in COUNTED.items():
        x = torch.randn(count, 1, 28, 28)
        data = examples.Examples.of([x], [torch.zeros(count, dtype=torch.int64)])
        network = MODELS.choose(model)((1, 28, 28), 10, ACTIVATIONS.choose("relu")).eval()
        network = network.to(memory_format=torch.channels_last)
        forward = fastest([partial(passed, network, x, size) for size in (64, 512, 2048)])
        threads = best_threads(forward)
        own = partial(observed, network, data)
        seconds = measure({"relubench": own, "forward pass": forward}, rounds)
        task = f"deadcount's pass, {model}, {counted(threads, 'thread')}"
        yield as_slow(6, task, "forward pass", seconds, 1.6)
    peaks = [[child("pass", n)[0] for n in (20000, 80000)] for _ in range(rounds)]
    yield Figure(
        row=6,
        task="its memory's peak, 80,000 examples",
        against="20,000 examples",
        values=[many / few for few, many in peaks],
        unit="× its memory",
        most=1.05,
    )


def foreign() -> dict[str, tuple[torch.nn.Module, torch.Tensor]]:
    """Networks that are not relubench's, each with a batch of its data."""
    images = torch.randn(32, 3, 64, 64)
    return {
        "784x512x512x512, relu": (dense(torch.nn.ReLU), torch.randn(500, 784)),
        "784x512x512x512, gelu": (dense(torch.nn.GELU), torch.randn(500, 784)),
        "resnet18, 64 pixels": (torchvision.models.resnet18(), images),
        "mobilenet_v3_small, 64 pixels": (torchvision.models.mobilenet_v3_small(), images),
    }


def dense(act: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Three hidden layers of 512."""
    hidden: list[torch.nn.Module] = []
    for width in (784, 512, 512):
        hidden += [torch.nn.Linear(width, 512), act()]
    return torch.nn.Sequential(*hidden, torch.nn.Linear(512, 10))


def of_any_network(rounds: int) -> Iterator[Figure]:
    """`relubench.deadcount` against forward passes, its memory; `relubench.watch` in a loop."""
    torch.set_num_threads(1)
    for name, (network, batch) in foreign().items():
        batches = [batch] * (2**23 // batch.numel())
        own = partial(neurons_counted, network.eval(), batches)
        forward = partial(passed_on, network, batches)
        seconds = measure({"relubench": own, "forward pass": forward}, rounds)
        yield as_slow(9, f"deadcount of {name}, 1 thread", "forward pass", seconds, 1.6)
    peaks = [[child("any", n)[0] for n in (6000, 60000)] for _ in range(rounds)]
    yield Figure(
        row=9,
        task="its memory's peak, 60,000 examples",
        against="6,000 examples",
        values=[many / few for few, many in peaks],
        unit="× its memory",
        most=1.05,
    )
    watch, train = loop_of_ones_own()
    seconds = measure(
        {"relubench": partial(repeated, watch), "step": partial(repeated, train)}, rounds
    )
    yield Figure(
        row=9,
        task="a training step with a watch that is not due",
        against="a training step",
        values=[1 + mine / own for mine, own in zip(*seconds.values(), strict=True)],
        unit="× its time",
        most=1.02,
    )


def neurons_counted(network: torch.nn.Module, batches: list[torch.Tensor]) -> None:
    """As `relubench.deadcount` counts."""
    counting_of_any.count(network, batches)


def passed_on(network: torch.nn.Module, batches: list[torch.Tensor]) -> None:
    """Forward passes alone."""
    with torch.no_grad():
        for batch in batches:
            network(batch)


def loop_of_ones_own() -> tuple[Callable[[], object], Callable[[], object]]:
    """What a watch does at a step, and a small step of training."""
    sizes = (torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    network = torch.nn.Sequential(*sizes)
    x, y = torch.randn(64, 64), torch.randint(10, (64,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    return relubench.watch(network, x, every=10**9).step, train


def repeated(do: Callable[[], object]) -> None:
    """500 times."""
    for _ in range(500):
        do()


def dropping(rounds: int) -> Iterator[Figure]:
    """An epoch of a stack with dropout, which each cell draws for itself, on one thread."""
    torch.set_num_threads(1)
    x, y = torch.randn(512, 30), torch.randint(2, (512,))
    data, hidden = examples.Examples.of([x] * STACK, [y] * STACK), (64, 32)
    runs: dict[str, Callable[[], object]] = {}
    for name, share in (("relubench", 0.5), ("without dropout", 0.0)):
        model = f"ffnn:hidden=64x32:dropout={share}"
        cell = Cell(
            dataset="wdbc", model=model, activation="relu", recipe=Recipe(epochs=1, batch_size=64)
        )
        cells = [dataclasses.replace(cell, seed=seed) for seed in range(STACK)]
        networks = Networks([building.build(each, (30,), Machine(data_dir="")) for each in cells])
        networks.probe(x[:2].expand(STACK, 2, 30))
        learner = learning.Learner(cells, networks, data.sizes)
        step = learner.step_on(data)
        runs[name] = partial(learner.learn, examples.Part(data), step)
        for _ in range(4):
            runs[name]()  # recorded
    runs["torch's dropout"] = peers.batched(STACK, hidden, 0.5, x, y, 64)
    seconds = measure(runs, rounds)
    task = f"epoch of {STACK} cells, 64x32 with dropout, 1 thread"
    yield as_slow(7, task, "torch's dropout", seconds, 1.05)
    spent = zip(seconds["relubench"], seconds["without dropout"], strict=True)
    yield Figure(
        row=7,
        task=task,
        against="without dropout",
        values=[own / plain for own, plain in spent],
        unit="× its time",
        own=seconds["relubench"],
        peer=seconds["without dropout"],
    )


TRACKED = ((60000, 784, 1), (10000, 784, 1), (1257, 64, 1), (1257, 64, 10))


def tracking(rounds: int) -> Iterator[Figure]:
    """An epoch with a count of all hidden units on the probe set after it, on one thread."""
    torch.set_num_threads(1)
    for n, width, cells in TRACKED:
        runs = {
            name: _tracked_epoch(n, width, cells, track)
            for name, track in (("relubench", 1), ("untracked", None))
        }
        seconds = measure(runs, rounds)
        task = f"tracked epoch of {n} examples, 128x64x32, stack of {cells}, 1 thread"
        # A probe is half an epoch's passes where there are so few examples.
        yield as_slow(8, task, "untracked", seconds, 1.05 if n >= 10000 else 1.3)


def _tracked_epoch(n: int, width: int, stack: int, track: int | None) -> Callable[[], object]:
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, width, generator=draws), torch.randint(10, (n,), generator=draws)
    recipe = Recipe(epochs=10**6, batch_size=64)
    cell = Cell(dataset="digits", model="ffnn:hidden=128x64x32", activation="relu", recipe=recipe)
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(stack)]
    machine = Machine(data_dir="")
    networks = Networks([building.build(each, (width,), machine) for each in cells])
    if stack > 1:
        networks.probe(x[:2].expand(stack, 2, width))
    data = examples.Examples.of([x] * stack, [y] * stack)
    looks = between.Between(cells, networks, [x] * stack, track)
    learner = learning.Learner(cells, networks, data.sizes, looks)
    step = learner.step_on(data)

    def epoch() -> None:
        learner.learn(examples.Part(data), step)
        learner.tend()

    for _ in range(4):
        epoch()  # recorded
    return epoch


FOLLOWERS = ("relu", "leaky_relu", "elu", "tanh")
FOLLOWING = 100  # networks of each
LOOPED = 3  # of each that the loop trains, whose seconds stand for all


def following(rounds: int) -> Iterator[Figure]:
    """`slowly-changing-regression` in stacks of 100, against a loop over networks; one thread."""
    torch.set_num_threads(1)
    flags: dict[str, Any] = {
        "dataset": ["synthetic_regression:features=20:samples=1430"],
        "one_holdout": True,
        "standardise": False,
        "model": ["ffnn:hidden=5"],
        "activation": list(FOLLOWERS),
        "task": "slow_bits",
        "tasks": 2,
        "task_epochs": 1,
        "batch_size": [1],
        "optimizer": ["sgd"],
        "lr": [0.01],
        "seeds": FOLLOWING,
        "stack": str(FOLLOWING),
        "threads": 1,
        "device": "cpu",
    }
    steps = 2 * 1001  # of two tasks: 70 % of the examples train
    loop = partial(peers.followers, FOLLOWERS, LOOPED, steps)
    seconds = measure({"relubench": partial(trained, **flags), "loop": loop}, rounds)
    scaled = {**seconds, "loop": [FOLLOWING / LOOPED * spent for spent in seconds["loop"]]}
    task = (
        f"{FOLLOWING} networks of 5 units x {len(FOLLOWERS)} activations, {steps} steps, 1 thread"
    )
    yield faster(10, task, "loop", scaled, None, f"plain torch loop, from {LOOPED} of each")


GPT_STEPS, GPT_BATCH = 60, 12


def language(rounds: int) -> Iterator[Figure]:
    """Steps of the study gpt-shakespeare, on one thread, beside nanoGPT's script."""
    torch.set_num_threads(1)
    recipe = Recipe(
        optimizer="adamw:beta2=0.99:decay=matrices",
        weight_decay=0.1,
        schedule="cosine:to=0.1",
        clip_norm=1.0,
        epochs=1000,
        batch_size=GPT_BATCH,
    )
    cell = Cell(
        dataset=f"tinyshakespeare:windows={GPT_STEPS * GPT_BATCH}",
        model="gpt",
        activation="gelu",
        head="next_token",
        recipe=recipe,
    )
    machine = Machine(data_dir=os.environ["RELUBENCH_DATA"])
    data = examples.tensors(cell, machine)
    networks = Networks([building.build(cell, tuple(data.x_train.shape[1:]), machine)])
    (part,) = examples.parts({cell: data})
    learner = learning.Learner([cell], networks, part.examples.sizes)
    step = learner.step_on(part.examples)
    tokens = len(datasets.load(cell.dataset, machine.data_dir).classes)
    plain = partial(peers.gpt_steps, part.examples.x, tokens, data.x_train.shape[1], GPT_BATCH)
    runs: dict[str, Callable[[], object]] = {
        "relubench": lambda: learner.learn(part, step),
        "plain script": plain(GPT_STEPS, fused=False),
        "with fused AdamW": plain(GPT_STEPS, fused=True),
    }
    seconds = measure(runs, rounds)
    task = f"{GPT_STEPS} steps of gpt-shakespeare, 1 thread"
    yield as_slow(11, task, "plain script", seconds, 1.0)
    yield as_slow(11, task, "with fused AdamW", seconds, 1.05)


ROWS: dict[int, Callable[[int], Iterator[Figure]]] = {
    0: whole,
    1: cv,
    2: wide,
    3: convolutions,
    4: overhead,
    5: jobs,
    6: counting,
    7: dropping,
    8: tracking,
    9: of_any_network,
    10: following,
    11: language,
}
