"""What a unit costs here: time per element, and the memory it keeps for the backward pass.

An element is one output of a unit. Forward is evaluation without a graph; forward and backward is
training: the value, then the gradients of the input and of every learned parameter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.models.layers import Act
from relubench.noise import Noise
from relubench.profiling.analysis import arity

SAMPLE = 1e-3  # seconds that one sample lasts at least
LOOKS = 3  # at a task's time, the least of which says how often to repeat it
UNITS = 64  # in dimension 1 of the input

Task = Callable[[int], None]  # does its work so many times
Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, kw_only=True)
class Timings:
    """One unit at one size; nanoseconds per element, an entry per round.

    copy   of a plain copy of as many elements (Tensor.clone), timed in the same rounds
    saved  bytes per element that backward keeps alive
    """

    activation: str
    elements: int
    forward: Sequence[float]
    forward_backward: Sequence[float]
    copy: Sequence[float]
    saved: float


def measure(
    choices: Sequence[Choice[Activation]],
    sizes: Sequence[int],
    rounds: int,
    device: str,
    announce: Callable[[float], None],
) -> list[Timings]:
    """Every unit at every size; `announce` hears about how many seconds the rounds will take."""
    _keep_freed_memory()
    normal = _inputs(device)
    benches = [Bench(choice, size, normal) for size in sizes for choice in choices]
    copies = [_copy(normal(_rows(size), UNITS)) for size in sizes]
    tasks = [*copies, *(b.forward for b in benches), *(b.forward_backward for b in benches)]
    seconds = interleaved(tasks, rounds, _clock(device), announce)
    copied, rest = seconds[: len(sizes)], seconds[len(sizes) :]
    return [
        Timings(
            activation=str(bench.choice),
            elements=bench.size,
            forward=[1e9 * each / bench.elements for each in forward],
            forward_backward=[1e9 * each / bench.elements for each in both],
            copy=[
                1e9 * each / (_rows(bench.size) * UNITS) for each in copied[number // len(choices)]
            ],
            saved=bench.saved(),
        )
        for number, (bench, forward, both) in enumerate(
            zip(benches, rest[: len(benches)], rest[len(benches) :], strict=True)
        )
    ]


# --- timing ---------------------------------------------------------------------------------------


def interleaved(
    tasks: Sequence[Task], rounds: int, clock: Clock, announce: Callable[[float], None]
) -> list[list[float]]:
    """Seconds that each task takes once, an entry per round.

    Every task is timed once a round, and each round begins with another task: what slows the
    machine down for a while slows all of them alike.
    """
    repeats = [_repeats(task, clock) for task in tasks]
    announce(rounds * sum(seconds for _, seconds in repeats))
    found: list[list[float]] = [[] for _ in tasks]
    for number in range(rounds):
        first = number * len(tasks) // rounds
        for i in (*range(first, len(tasks)), *range(first)):
            count, _ = repeats[i]
            found[i].append(_timed(tasks[i], count, clock) / count)
    return found


def _repeats(task: Task, clock: Clock) -> tuple[int, float]:
    """How often a sample repeats a task to last SAMPLE, and how long it then takes."""
    task(1)  # the first call allocates and, on a GPU, compiles
    count = 1
    while (seconds := min(_timed(task, count, clock) for _ in range(LOOKS))) < SAMPLE:
        count *= 2
    return count, seconds


def _timed(task: Task, count: int, clock: Clock) -> float:
    if count > 1:
        task(1)  # the task before has emptied the caches
    start = clock()
    task(count)
    return clock() - start


def _clock(device: str) -> Clock:
    """Seconds of the CPU's time on one thread, else those on the wall once the device is done.

    What a process waits for a core that others use is no cost of a unit; with several threads their
    sum would hide what they save.
    """
    if device == "cpu":
        fine = time.get_clock_info("process_time").resolution < SAMPLE / 100
        return time.process_time if fine and torch.get_num_threads() == 1 else time.perf_counter

    def settled() -> float:
        torch.accelerator.synchronize(device)
        return time.perf_counter()

    return settled


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of up to 32 MB rather than give them back to the system.

    It does so for sizes up to the largest that it has seen freed. Else chance decides whether a
    unit's outputs lie in fresh pages, whose faults cost more than most units.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


# --- what is timed --------------------------------------------------------------------------------


class Bench:
    """One unit with an input of about `size` outputs; its methods are the tasks."""

    def __init__(
        self, choice: Choice[Activation], size: int, normal: Callable[[int, int], Tensor]
    ) -> None:
        pieces, outputs = arity(choice)
        rows = _rows(size // outputs)
        self.choice, self.size, self.elements = choice, size, rows * UNITS * outputs
        self.x = normal(rows, UNITS * pieces)
        self.gradient = normal(rows, UNITS * outputs).detach()
        self.act = Act(choice, UNITS).to(self.x.device)
        self.act.reset_parameters()
        self.act.noise = Noise.of(torch.Generator().manual_seed(0))

    def forward(self, repeats: int) -> None:
        """Evaluate."""
        self.act.eval()
        with torch.no_grad():
            for _ in range(repeats):
                self.act(self.x)

    def forward_backward(self, repeats: int) -> None:
        """Evaluate as in training, and take the gradients."""
        self.act.train()
        wanted = [self.x, *self.act.parameters()]
        for _ in range(repeats):
            torch.autograd.grad(self.act(self.x), wanted, self.gradient, allow_unused=True)

    def saved(self) -> float:
        """Bytes per element that autograd keeps between the forward and the backward pass.

        Every distinct storage counts once, the unit's input or output too where it is kept (the
        next layer keeps that output anyway); learned parameters do not.
        """
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.act.train()(self.x)
        own = {parameter.untyped_storage().data_ptr() for parameter in self.act.parameters()}
        storages = [tensor.untyped_storage() for at, tensor in kept.items() if at not in own]
        return float(sum(storage.nbytes() for storage in storages) / value.numel())


def _copy(x: Tensor) -> Task:
    def copy(repeats: int) -> None:
        with torch.no_grad():
            for _ in range(repeats):
                x.clone()

    return copy


def _rows(size: int) -> int:
    return max(1, size // UNITS)


def _inputs(device: str) -> Callable[[int, int], Tensor]:
    """Standard normal tensors that require gradients; those of one shape are one."""

    @cache
    def normal(rows: int, columns: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(rows, columns, generator=generator).to(device).requires_grad_()

    return normal
