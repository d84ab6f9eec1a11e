"""What a user sees of a command at work: on a terminal, in a pipe, after an interrupt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fabricated import FIXED, plan, runs

from relubench import events, report, screen
from relubench.cli import live
from relubench.errors import Stopped
from relubench.events import Event
from relubench.execution.executors import Done
from relubench.execution.ledger import Ledger
from relubench.execution.progress import Console, Outlook
from relubench.execution.tuning import Tuning
from relubench.execution.work import Work
from relubench.plan import Machine, Plan, Stack
from relubench.results import Epoch, RunResult
from relubench.training import engine

RESULTS = [*runs("relu", 0.0), *runs("gelu", 0.02), *runs("tanh", -0.02)]
CELLS = tuple(result.cell for result in RESULTS)
STACKS = [Stack(CELLS[at : at + 10]) for at in (0, 10, 20)]


def epoch(stack: Stack, number: int, loss: float) -> None:
    """Tell of an epoch of a stack, as the training loop does."""
    curves = [[Epoch(loss=loss, accuracy=0.5)] * number for _ in stack.cells]
    events.epoch_ended(stack.cells, curves, 30)


def trained() -> Iterator[Done]:
    """Stacks that finish one after the other."""
    for at, stack in enumerate(STACKS):
        events.begun(stack)
        yield stack, RESULTS[10 * at : 10 * at + 10]


@pytest.fixture
def outlook() -> Outlook:
    compare = partial(report.compare, plan=plan(RESULTS), options=FIXED)
    return Outlook(CELLS, ledger="ledger.db", table=compare)


def test_the_terminal_shows_plan_running_and_to_come(
    outlook: Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY", 0.0)
    shown = live.Live()
    shown.phase("plan: iris · 30 runs")
    shown.phase("measuring speed")
    assert shown.lines(80, 24) == ["iris · 30 runs", "measuring speed …"]
    with events.heard_by(shown.state.hear):
        tracked = shown.track(trained(), outlook)
        next(tracked)
        events.begun(STACKS[1])
        for number, loss in enumerate((1.0, 0.5, 0.25), start=1):
            epoch(STACKS[1], number, loss)
        lines = shown.lines(80, 24)
        assert "gelu × 10, epoch 3 of 30, loss 0.25, accuracy 50.0 %  █▃▁" in lines
        assert "to come: tanh" in lines
        assert "ledger: ledger.db" in lines
        assert any("10 of 30 runs" in line for line in lines)
        assert any("relu" in line and "±" in line for line in lines)  # the table fills
        assert len(shown.lines(80, 8)) < 8
        list(tracked)
    assert shown.lines(80, 24) == ["iris · 30 runs", "comparing …"]


def test_rows_in_colour_are_in_the_table_too(
    outlook: Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "colour", lambda: True)
    shown = live.Live()
    tracked = shown.track(trained(), outlook)
    for _ in STACKS[:2]:
        next(tracked)
        shown.next_table = 0.0
    rows = [screen.without_styles(line) for line in shown.lines(80, 24) if "±" in line]
    assert {row.split()[0] for row in rows} == {"relu", "gelu"}


def test_a_pipe_gets_a_line_per_stack(outlook: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(live, "LINES_APART", 0.0)
    list(live.Lines(said.append).track(trained(), outlook))
    assert [line.partition(":")[0] for line in said] == [f"{n} of 30 runs" for n in (10, 20, 30)]
    assert "iris, ffnn, gelu × 10 done" in said[1]


def test_a_pipe_hears_of_a_long_stack(outlook: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(live, "LINE_EVERY", 0.0)
    shown = live.Lines(said.append)

    def slow() -> Iterator[Done]:
        events.begun(STACKS[0])
        epoch(STACKS[0], 3, 0.5)
        deadline = time.monotonic() + 30
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
        yield STACKS[0], RESULTS[:10]

    with events.heard_by(shown.state.hear):
        list(shown.track(slow(), outlook))
    assert "relu × 10, epoch 3 of 30" in said[0]


def test_what_an_earlier_process_trained_takes_no_time_of_this_one() -> None:
    state = live.State()
    state.expect(Outlook(CELLS[:1]))
    event = Event(kind="resumed", key=CELLS[0].key, name="a", runs=1, epoch=5, epochs=10)
    state.hear(event)
    state.hear(replace(event, kind="epoch", epoch=6))
    state.training = time.monotonic() - 10  # a tenth of the epochs in ten seconds
    assert state.left == "about 40 s left"


def test_trials_of_rates_are_part_of_their_runs() -> None:
    recipe = replace(CELLS[0].recipe, rates="0.1,0.01,0.001")
    cells = [replace(cell, recipe=recipe) for cell in CELLS[:10]]
    state = live.State()
    state.expect(Outlook(cells))
    own = Event(kind="begun", key=cells[0].key, name=live.name(cells[0]), runs=10)
    state.hear(own)
    for trial in ("a", "b", "c"):
        for number in range(1, 6):
            event = replace(own, kind="epoch", key=trial, epoch=number, epochs=5, loss=1 / number)
            state.hear(event)
        assert len(state.running) == 1
    assert state.fraction == pytest.approx(3 / 4)  # the training at the best rate is to come
    assert state.running[own.key].losses == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    state.hear(replace(own, kind="epoch", epoch=1, epochs=2))
    assert state.fraction == pytest.approx(7 / 8)
    state.finish((Stack(tuple(cells)), []))
    assert not state.running


def test_names_are_short_where_all_begin_alike() -> None:
    assert live.shared_beginning(["a, b, c", "a, b, d"]) == "a, b, "
    assert live.shared_beginning(["a, b, c"]) == "a, b, "
    assert live.shared_beginning(["a, b, c", "x, b, c"]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (65, "1:05 min"), (3600 * 2 + 60 * 5, "2:05 h")]
)
def test_time_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert live.clock(seconds) == text


def test_a_resumed_run_and_a_lost_worker_are_said() -> None:
    event = Event(kind="resumed", key="k", name="iris, ffnn, relu", runs=1, epoch=6, epochs=10)
    assert live.told(event) == "iris, ffnn, relu: goes on after epoch 6 of 10"
    lost = replace(event, kind="worker lost", why="its worker died (exit code -9)")
    assert "its worker died (exit code -9); another worker takes it over" in live.told(lost)
    assert live.told(replace(event, kind="epoch")) == ""


@pytest.mark.parametrize("kept", [0, 6])
def test_an_interrupt_says_what_is_kept_and_how_to_go_on(
    kept: int, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(stack: Stack, **rest: Any) -> list[RunResult]:
        if kept:
            events.kept(stack.cells, kept, 10)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "fit", fit)
    ledger = Ledger(tmp_path / "ledger.db")
    cell = replace(CELLS[0], model="ffnn:hidden=4")
    tuned = [([cell], Tuning(stack=1, threads=1))]
    work = Work(plan=Plan(cells=(cell,)), machine=machine, tuned=tuned, ledger=ledger)
    console = Console(print, print, lambda finished, outlook: iter(finished))
    with pytest.raises(Stopped) as stopped:
        work.run(console)
    if kept:
        assert "state kept at epoch 6 of 10; the same command goes on" in str(stopped.value)
    else:
        assert "nothing was kept yet (--checkpoint 60" in str(stopped.value)
