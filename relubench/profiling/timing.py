"""The cost of an activation here: time per element, and the memory kept for the backward pass.

An element is one output. Forward is evaluation without a graph; forward and backward is
training: the value, then the gradients of the input and of every learned parameter.
"""

from __future__ import annotations

import itertools
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
NEURONS = 64  # in dimension 1 of the input

Task = Callable[[int], None]  # does its work as often as it is told
Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, kw_only=True)
class Timings:
    """One activation at one size; nanoseconds per element, an entry per round.

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
    """Time every activation at every size.

    announce  hears how many seconds the rounds will take, about
    """
    _keep_freed_memory()
    normal = _inputs(device)
    # All inputs first, then all tasks in the same rounds: each is timed among all others.
    benches = [Bench(choice, size, normal) for size, choice in itertools.product(sizes, choices)]
    tasks: list[Task] = [_copy(normal(_rows(size), NEURONS)) for size in sizes]
    tasks += [bench.forward for bench in benches]
    tasks += [bench.forward_backward for bench in benches]
    seconds = iter(interleaved(tasks, rounds, _clock(device), announce))
    copies = {size: next(seconds) for size in sizes}
    forward = [next(seconds) for _ in benches]
    forward_backward = [next(seconds) for _ in benches]
    timings = []
    for bench, alone, both in zip(benches, forward, forward_backward, strict=True):
        copied = _rows(bench.size) * NEURONS
        timings.append(
            Timings(
                activation=str(bench.choice),
                elements=bench.size,
                forward=_nanoseconds(alone, bench.elements),
                forward_backward=_nanoseconds(both, bench.elements),
                copy=_nanoseconds(copies[bench.size], copied),
                saved=bench.saved(),
            )
        )
    return timings


def _nanoseconds(seconds: Sequence[float], elements: int) -> list[float]:
    """Per element."""
    return [1e9 * time_of_round / elements for time_of_round in seconds]


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
    seconds: list[list[float]] = [[] for _ in tasks]
    # Rotated: with a fixed order each task would always meet the caches that the same other leaves.
    for number in range(rounds):
        first = number * len(tasks) // rounds
        for i in (*range(first, len(tasks)), *range(first)):
            count, _ = repeats[i]
            seconds[i].append(_timed(tasks[i], count, clock) / count)
    return seconds


def _repeats(task: Task, clock: Clock) -> tuple[int, float]:
    """Repetitions of a task that make a sample last SAMPLE, and the sample's seconds."""
    task(1)  # the first call allocates and, on a GPU, compiles
    count = 1
    while True:
        # The least: what disturbs a measurement only ever adds to it.
        seconds = min(_timed(task, count, clock) for _ in range(LOOKS))
        if seconds >= SAMPLE:
            return count, seconds
        count *= 2


def _timed(task: Task, count: int, clock: Clock) -> float:
    if count > 1:
        task(1)  # the task before has emptied the caches
    start = clock()
    task(count)
    return clock() - start


def _clock(device: str) -> Clock:
    """Seconds of the CPU's time on one thread, else those on the wall once the device is done.

    What a process waits for a core that others use is no cost of an activation; with several
    threads their sum would hide what they save.
    """
    if device == "cpu":
        fine = time.get_clock_info("process_time").resolution < SAMPLE / 100
        single = torch.get_num_threads() == 1
        return time.process_time if fine and single else time.perf_counter

    def synchronised() -> float:
        torch.accelerator.synchronize(device)  # kernels run on after the call that starts them
        return time.perf_counter()

    return synchronised


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of up to 32 MB rather than give them back to the system.

    It does so for sizes up to the largest that it has seen freed. Else chance decides whether
    outputs lie in fresh pages, whose faults cost more than most activations.
    """
    # A little under 32 MB, beyond which glibc maps every block anew (mallopt(3), M_MMAP_THRESHOLD).
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


# --- what is timed --------------------------------------------------------------------------------


class Bench:
    """One activation with an input of about `size` outputs; its methods are the tasks."""

    def __init__(
        self, choice: Choice[Activation], size: int, normal: Callable[[int, int], Tensor]
    ) -> None:
        pieces, outputs = arity(choice)
        rows = _rows(size // outputs)
        self.choice = choice
        self.size = size
        self.elements = rows * NEURONS * outputs
        self.x = normal(rows, NEURONS * pieces)
        self.gradient = normal(rows, NEURONS * outputs).detach()
        self.act = Act(choice, NEURONS).to(self.x.device)
        self.act.reset_parameters()
        # Of a stream of its own, so that no generator of the process is drawn from.
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
        sources = [self.x, *self.act.parameters()]
        for _ in range(repeats):
            torch.autograd.grad(self.act(self.x), sources, self.gradient, allow_unused=True)

    def saved(self) -> float:
        """Bytes per element that autograd keeps between the forward and the backward pass.

        Every distinct storage counts once, the input or output too where it is kept (the
        next layer keeps that output anyway); learned parameters do not.
        """
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = self.act.train()(self.x)
        own = {parameter.untyped_storage().data_ptr() for parameter in self.act.parameters()}
        total = 0
        for address, tensor in kept.items():
            if address not in own:
                total += tensor.untyped_storage().nbytes()
        return float(total / value.numel())


def _copy(x: Tensor) -> Task:
    def copy(repeats: int) -> None:
        with torch.no_grad():
            for _ in range(repeats):
                x.clone()

    return copy


def _rows(size: int) -> int:
    return max(1, size // NEURONS)


def _inputs(device: str) -> Callable[[int, int], Tensor]:
    """Standard normal tensors that require gradients; those of one shape are one."""

    @cache
    def normal(rows: int, columns: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(rows, columns, generator=generator).to(device).requires_grad_()

    return normal
