"""The choice of stack width and threads: by measurement, kept, and overruled by flags."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from every_field import FIELDS, PLAIN, changed

from relubench.execution import tuning
from relubench.execution.tuning import Tuning, tune
from relubench.plan import Cell, Machine, Recipe

TIMING = "relubench.execution.tuning.step_timing"  # as tuning has it: it is imported when used
CELLS = [
    Cell(dataset="iris", model="ffnn:hidden=8", activation="relu", seed=seed, recipe=Recipe())
    for seed in range(20)
]


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "relubench" / "tuning.json"


def pretend(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[int, ...], float]) -> list[object]:
    """Replace the stopwatch, by width, threads and parallel passes; returns its calls."""
    measured: list[object] = []

    def measure(*arguments: Any) -> float:
        *_, arrangement, _ = arguments
        how = dataclasses.astuple(arrangement)
        how = how[:2] if arrangement.n_parallel == 1 else how
        measured.append(how)
        return seconds.get(how, 1.0)

    monkeypatch.setattr(f"{TIMING}.measure", measure)
    monkeypatch.setattr(f"{TIMING}.step_seconds", lambda *arguments: 1.0)
    monkeypatch.setattr(tuning, "SHARE", 1e9)  # what it may cost, is looked at below
    return measured


def test_the_fastest_wins_and_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = pretend(monkeypatch, {(1, 2): 0.9, (8, 2): 0.1, (20, 2): 0.2, (20, 1): 0.01})
    assert tune(CELLS, machine, [1, 2], None) == Tuning(8, 2, 0.1)
    assert measured == [(1, 1), (1, 2), (8, 2), (20, 2)]
    measured.clear()
    assert tune(CELLS, machine, [1, 2], None) == Tuning(8, 2, 0.1)
    assert measured == []


def test_threads_do_not_depend_on_the_number_of_cells(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the ledger, which knows a run by its threads, would forget the first seeds."""
    pretend(monkeypatch, {(1, 2): 0.9, (8, 1): 0.1, (20, 1): 0.01})
    found = {tune(CELLS[:count], machine, [1, 2], None).threads for count in (1, 2, 9, 20)}
    assert found == {2}


@pytest.mark.parametrize(("both", "chosen"), [(0.8, 2), (0.95, 1), (1.2, 1)])
def test_threads_are_taken_that_a_single_cell_is_about_as_fast_on(
    both: float, chosen: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {(1, 1): 1.0, (1, 2): both})
    assert tune(CELLS, machine, [1, 2], None).threads == chosen


def test_idle_threads_train_further_passes_where_that_pays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many cells in all, so that a pass takes fewer; only as long as it gets faster."""
    measured = pretend(monkeypatch, {(1, 1): 0.5, (20, 1): 0.1, (10, 1, 2): 0.06, (5, 1, 4): 0.09})
    assert tune(CELLS, machine, [1, 8], None) == Tuning(10, 1, 0.06, n_parallel=2)
    assert measured[-3:] == [(20, 1), (10, 1, 2), (5, 1, 4)]
    assert tune(CELLS, machine, [1], None).n_parallel == 1
    assert tune(CELLS, machine, [1, 8], 20).n_parallel == 1
    assert tune(CELLS[:3], machine, [1, 8], None).n_parallel == 1


def test_flags_overrule(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = pretend(monkeypatch, {(8, 1): 0.1})
    assert tune(CELLS, machine, [1], 5) == Tuning(5, 1)
    assert measured == []
    assert tune(CELLS, machine, [1], None) == Tuning(8, 1, 0.1)
    assert tune(CELLS, machine, [1, 2], 8).stack == 8


def test_little_work_is_not_stacked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = pretend(monkeypatch, {})
    short = [dataclasses.replace(cell, recipe=Recipe(epochs=1)) for cell in CELLS[:3]]
    assert tune(short, machine, [1, 2], None).stack == 1
    assert measured == [(1, 1), (1, 2)]


def test_another_architecture_is_measured_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, {})
    tune(CELLS, machine, [1], None)
    count = len(measured)
    tune([dataclasses.replace(cell, model="ffnn:hidden=9") for cell in CELLS], machine, [1], None)
    assert len(measured) == 2 * count


@pytest.mark.parametrize("name", ["unit_axis", "recipe.augment", "recipe.clip_norm"])
def test_what_a_step_takes_longer_with_is_measured_anew(
    name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, {})
    tune([PLAIN] * 20, machine, [1], None)
    count = len(measured)
    tune([changed(name)] * 20, machine, [1], None)
    assert len(measured) == 2 * count


@pytest.mark.parametrize(
    "name", ["head", "match_parameters", "init", "validation", "recipe.lr", "recipe.epochs"]
)
def test_what_takes_no_time_in_a_step_is_known(
    name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, {})
    tune([PLAIN] * 20, machine, [1], None)
    measured.clear()
    tune([changed(name)] * 20, machine, [1], None)
    assert measured == []


def test_what_has_one_key_is_timed_alike(machine: Machine) -> None:
    """Any two cells: what one of them was timed with, the other would have been, too."""
    timed: dict[str, object] = {}
    for name in FIELDS:
        watch = tuning.Stopwatch([changed(name)], machine, 1, 0.0)
        key = watch._key()
        what = (dataclasses.replace(watch.cell.timed(watch.batch), head="softmax"), watch.shape)
        assert timed.setdefault(key, what) == what
        assert watch.cell.timed(watch.batch).activation == "relu"
    plain = json.loads(tuning.Stopwatch([PLAIN], machine, 1, 0.0)._key("threads"))
    # As in caches from before: nothing is added where nothing is set.
    assert plain[4:] == ["cpu", "float32", "ffnn:hidden=8", [4], 3, 64, "adam", "threads"]


@pytest.mark.parametrize(
    ("epochs", "step", "measured"),
    [
        (30, 1e-4, False),  # 20 cells of 60 steps: 0.12 s, of which 2 % are no measurement
        (30, 0.01, False),  # 12 s: 0.24 s, and eight cells of 32 steps take 2.6 s
        (100_000, 1e-4, True),  # 400 s
    ],
)
def test_measuring_takes_a_small_share_of_the_training(
    epochs: int, step: float, measured: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {(8, 1): 0.1})
    monkeypatch.setattr(tuning, "SHARE", 0.02)
    monkeypatch.setattr(f"{TIMING}.step_seconds", lambda *arguments: step)
    cells = [dataclasses.replace(cell, recipe=Recipe(epochs=epochs)) for cell in CELLS]
    found = tune(cells, machine, [1], None)
    assert found == (Tuning(8, 1, 0.1) if measured else Tuning(20, 1))
    assert ("by rule" in str(found)) == (not measured)


@pytest.mark.parametrize(
    ("step", "width"),
    [
        (1e-4, 20),  # 20 cells of 32 steps: 64 ms
        (0.005, 10),  # 3.2 s for 20 cells, 1.6 s for half of them
        (0.1, None),  # 3.2 s for one
    ],
)
def test_a_forecast_times_the_widest_stack_that_its_seconds_hold(
    step: float, width: int | None, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, {(20, 1): 0.2, (10, 1): 0.1})
    monkeypatch.setattr(f"{TIMING}.step_seconds", lambda *arguments: step)
    seconds = tuning.step_seconds(CELLS, machine, Tuning(20, 1), most=2.0)
    assert seconds == (step if width is None else width / 100)
    assert measured == ([] if width is None else [(width, 1)])


def test_nothing_is_measured_where_nothing_may(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    measured = pretend(monkeypatch, {})
    assert tune(CELLS, machine, [1, 2], None, most=0) == Tuning(20, 2)
    assert measured == []
    assert not fresh_cache.exists()


def test_convolutions_share_no_pass_by_rule(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {})
    cells = [dataclasses.replace(cell, dataset="digits:images=true", model="cnn") for cell in CELLS]
    assert tune(cells, machine, [1], None, most=0).stack == 1


def test_threads_that_a_rule_has_chosen_stay(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what a short training keeps in the ledger would not be found by a longer one."""
    pretend(monkeypatch, {(1, 1): 0.1})
    monkeypatch.setattr(tuning, "SHARE", 0.0)
    assert tuning.known_threads(CELLS, machine, [1, 2]) is None
    assert tune(CELLS, machine, [1, 2], None).threads == 2
    monkeypatch.setattr(tuning, "SHARE", 1e9)
    assert tune(CELLS, machine, [1, 2], None).threads == 2
    assert tuning.known_threads(CELLS, machine, [1, 2]) == 2


WRONG = ["-1.0", "0.0", "NaN", "Infinity", "-Infinity", "1e999", "null", '"1"', "[]", "{}", "true"]
WRONG += ["9" * 5000]
DAMAGE: dict[str, Callable[[Path], Any]] = {
    **{text[:9]: partial(Path.write_text, data=text) for text in ("not json", "[]", "3", "null")},
    "empty": partial(Path.write_bytes, data=b""),
    "no text": partial(Path.write_bytes, data=b"\xff\xfe"),
    "deep": partial(Path.write_text, data="[" * 99999),
    "large": partial(Path.write_text, data="{}" + " " * 10**6),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a loop": lambda path: path.symlink_to(path),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_measured_over(
    damage: Callable[[Path], Any],
    fresh_cache: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh_cache.parent.mkdir()
    damage(fresh_cache)
    pretend(monkeypatch, {(8, 1): 0.1})
    assert tune(CELLS, machine, [1], None).stack == 8
    assert fresh_cache.is_dir() or len(json.loads(fresh_cache.read_text())) == 3


@pytest.mark.parametrize("wrong", WRONG, ids=lambda text: text[:9])
def test_what_cannot_be_seconds_is_measured_anew(
    wrong: str, fresh_cache: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = pretend(monkeypatch, {(8, 1): 0.1})
    tune(CELLS, machine, [1], None)
    kept = fresh_cache.read_text()
    fresh_cache.write_text(kept.replace("0.1", wrong).replace("1.0", wrong))
    measured.clear()
    assert tune(CELLS, machine, [1], None) == Tuning(8, 1, 0.1)
    assert len(measured) == 3
    again = json.loads(fresh_cache.read_text())
    assert {key: again[key] for key in json.loads(kept)} == json.loads(kept)


def test_what_does_not_stack_is_not_kept(
    fresh_cache: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {(8, 1): math.inf, (20, 1): math.inf})
    assert tune(CELLS, machine, [1], None).stack == 1
    assert list(json.loads(fresh_cache.read_text()).values()) == [1.0]


def test_a_stack_without_memory_is_not_chosen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*arguments: Any) -> float:
        *_, arrangement, _ = arguments
        if arrangement.width >= least:
            raise MemoryError
        return 1.0 / float(arrangement.width)

    monkeypatch.setattr(tuning, "SHARE", 1e9)
    monkeypatch.setattr(f"{TIMING}.step_seconds", lambda *arguments: 1.0)
    monkeypatch.setattr(f"{TIMING}.measure", measure)
    least = 20
    assert tune(CELLS, machine, [1], None).stack == 8
    least = 1
    other = [dataclasses.replace(cell, model="ffnn:hidden=9") for cell in CELLS]
    with pytest.raises(MemoryError):
        tune(other, machine, [1], None)


def test_a_measurement_is_a_positive_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "SHARE", 1e9)
    found = tune(CELLS, machine, [1], None)
    assert found.seconds is not None
    assert 0 < found.seconds < 1


def test_windows_of_a_text_are_timed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    monkeypatch.setattr(tuning, "SHARE", 1e9)
    (tmp_path / "text.txt").write_text("to be or not to be " * 50, encoding="utf-8")
    cell = Cell(
        dataset=f"text:{tmp_path / 'text.txt'}:context=8",
        model="gpt:layers=1:heads=1:width=8",
        activation="gelu",
        head="next_token",
        recipe=Recipe(epochs=0, steps=3),
    )
    found = tune([cell], machine, [1, 2], None)
    assert found.threads in (1, 2)
