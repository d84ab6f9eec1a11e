"""Cost: what is timed, in which order, beside what; no test looks at a real time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.commands import elements
from relubench.errors import BadValue
from relubench.plan import Machine
from relubench.profiling import table
from relubench.profiling.timing import LOOKS, SAMPLE, Bench, Timings, interleaved, measure

HERE = Machine(data_dir="")


class FakeClock:
    """Time passes only while a task works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def task(self, seconds: float, log: list[str], name: str) -> Callable[[int], None]:
        def work(repeats: int) -> None:
            log.append(name)
            self.now += seconds * repeats

        return work


def test_every_round_times_every_task_once_and_begins_with_another() -> None:
    clock, log, announced = FakeClock(), list[str](), list[float]()
    tasks = [clock.task(2.0 * SAMPLE, log, name) for name in "abcd"]
    log_before = (1 + LOOKS) * len(tasks)  # a warm-up and looks at how often to repeat
    interleaved(tasks, 4, clock, announced.append)
    rounds = ["".join(log[log_before:][i : i + 4]) for i in range(0, 16, 4)]
    assert rounds == ["abcd", "bcda", "cdab", "dabc"]
    assert announced == pytest.approx([4 * 4 * 2.0 * SAMPLE])


def test_a_short_task_is_repeated_until_a_sample_lasts() -> None:
    clock, log, repeats = FakeClock(), list[str](), list[int]()
    work = clock.task(SAMPLE / 10, log, "short")

    def task(count: int) -> None:
        repeats.append(count)
        work(count)

    ((seconds, *_),) = interleaved([task], 2, clock, lambda seconds: None)
    assert repeats[-4:] == [1, 16, 1, 16]  # each sample after a call that warms up
    assert seconds == pytest.approx(SAMPLE / 10)


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("identity", 0),
        ("relu", 4),  # its output
        ("tanh", 4),
        ("sigmoid", 4),
        ("silu", 4),  # its input
        ("leaky_relu", 4),
        ("prelu", 8),  # its parts above 0 and below
    ],
)
def test_saved_bytes_are_known(name: str, saved: float) -> None:
    def normal(rows: int, columns: int) -> torch.Tensor:
        return torch.zeros(rows, columns, requires_grad=True)

    assert Bench(ACTIVATIONS.choose(name), 2**12, normal).saved() == pytest.approx(saved, abs=0.01)


def test_a_unit_is_timed_at_every_size_beside_a_copy() -> None:
    choices = [ACTIVATIONS.choose(name) for name in ("relu", "prelu", "rrelu")]
    found = measure(choices, [128, 1024], 3, "cpu", lambda seconds: None)
    assert [(t.activation, t.elements) for t in found] == [
        (name, size) for size in (128, 1024) for name in ("relu", "prelu", "rrelu")
    ]
    for timing in found:
        assert all(
            len(each) == 3 and min(each) >= 0
            for each in (timing.forward, timing.forward_backward, timing.copy)
        )


def timings(name: str, elements: int, *both: float) -> Timings:
    return Timings(
        activation=name,
        elements=elements,
        forward=[each / 2 for each in both],
        forward_backward=both,
        copy=[0.5] * len(both),
        saved=4.0,
    )


FOUND = [
    timings("relu", 2**20, 1.0, 2.0, 10.0, 1.0, 1.0),  # slowed down in the third round
    timings("tanh", 2**20, 3.0, 6.0, 30.0, 3.0, 4.0),
    timings("identity", 2**20, 0.5, 1.0, 5.0, 0.5, 0.5),
    timings("gelu", 2**20, 0.5, 4.0, 10.0, 1.0, 2.0),
]


def test_ratios_are_taken_round_by_round() -> None:
    rows = {row.activation: row for row in table.rows(FOUND, HERE, "2.0")}
    tanh = rows["tanh"]
    assert list(rows) == ["identity", "relu", "gelu", "tanh"]  # by the time of training
    assert (tanh.relative_low, tanh.relative, tanh.relative_high) == (3, 3, 3)
    assert rows["relu"].relative == 1
    assert rows["relu"].share_of_copy == 1  # half a nanosecond of forward, as a copy
    assert rows["identity"].forward_backward_ns == 0.5


def test_the_question_is_answered_with_figures() -> None:
    said = table.table(FOUND, HERE, "2.0").notes
    assert said[0] == (
        "At 1 Mi elements, forward and backward, tanh takes 3.00 [3.00, 3.00] times relu's time."
    )
    assert said[1] == (
        "At 1 Mi elements, relu is faster than 1 of 3 other activations and slower than 1: "
        "identity (0.50); the others' quartiles include its time."
    )


@pytest.mark.parametrize(
    ("text", "count"), [("16Ki", 2**14), ("1e6", 10**6), ("0.5Mi", 2**19), (" 100 ", 100)]
)
def test_sizes_may_be_written_in_several_ways(text: str, count: int) -> None:
    assert elements(text) == count


@pytest.mark.parametrize("text", ["", "63", "nan", "inf", "1e12", "16ki", "-1"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(BadValue, match="--sizes"):
        elements(text)


def test_the_reference_is_always_timed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cost", "-a", "silu", "--sizes", "100,256", "--rounds", "2", "--quiet"]
    assert main([*arguments, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert {(row["elements"], row["activation"]) for row in found} == {
        (size, name) for size in (100, 256) for name in ("relu", "silu")
    }
    assert {(row["rounds"], row["threads"], row["device"]) for row in found} == {(2, 1, "cpu")}
