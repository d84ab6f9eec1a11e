"""The ledger: what is finished is found again, by whoever shares it; nothing is overwritten."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import start

from relubench import ledger as ledgers
from relubench.cli import main
from relubench.ledger import Conflict, Context, Ledger, LedgerError
from relubench.plan import Cell, Preparation, Recipe, Split
from relubench.results import Environment, Epoch, LayerCount, RunResult

CONTEXT = Context(
    engine=1, torch="2", device="cpu", threads=1, dtype="float32", data="abc", code="def"
)
ENVIRONMENT = Environment(
    relubench="1", torch="2", device="cpu", threads=1, dtype="float32", stack=4
)


@pytest.fixture(autouse=True)
def default_ledger(own_ledger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger in the working folder, as a user has it."""
    monkeypatch.delenv("RELUBENCH_LEDGER")


numbers = st.floats(allow_nan=False, allow_infinity=False)
cells = st.builds(
    Cell,
    dataset=st.text(max_size=5),
    model=st.text(max_size=5),
    activation=st.sampled_from(["relu", "gelu"]),
    recipe=st.builds(Recipe, lr=numbers, epochs=st.integers(1, 9)),
    preparation=st.builds(Preparation, pca=st.none() | st.integers(1, 9)),
    split=st.builds(Split, folds=st.none() | st.integers(2, 5), fold=st.none() | st.integers(0, 4)),
    seed=st.integers(0, 9),
)
results = st.builds(
    RunResult,
    cell=cells,
    environment=st.just(ENVIRONMENT),
    n_train=st.integers(0, 99),
    n_test=st.integers(0, 99),
    parameters=st.integers(0, 99),
    seconds=numbers,
    curve=st.lists(st.builds(Epoch, loss=st.none() | numbers, accuracy=numbers), max_size=2).map(
        tuple
    ),
    scores=st.dictionaries(st.text(max_size=5), st.none() | numbers, max_size=3),
    confusion=st.none() | st.just(((1, 2), (3, 4))),
    failed=st.none() | st.text(max_size=9),
)


def finished(seed: int, accuracy: float = 0.5) -> RunResult:
    layer = LayerCount(
        layer="dense1",
        units=2,
        dead=1,
        inactive=1,
        rare=1,
        dormant=1,
        saturated=1,
        sparsity=0.5,
        mean_activation=0.25,
        examples=9,
    )
    return RunResult(
        cell=Cell(dataset="iris", model="ffnn", activation="relu", seed=seed),
        environment=ENVIRONMENT,
        n_train=1,
        n_test=1,
        parameters=1,
        seconds=0.5,
        curve=(Epoch(loss=1.0, accuracy=0.5),),
        scores={"accuracy": accuracy},
        layers=(layer,),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(results, max_size=5, unique_by=lambda result: result.cell))
def test_what_is_written_is_read(tmp_path: Path, written: list[RunResult]) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write(written, CONTEXT)
    found = ledger.find([result.cell for result in written], CONTEXT)
    assert found == {result.cell: result for result in written}
    ledger.close()


def test_layers_and_curves_are_read_as_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "ledger.db")
    ledger.write([finished(0)], CONTEXT)
    assert Ledger(ledger.path).find([finished(0).cell], CONTEXT) == {finished(0).cell: finished(0)}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Context)])
def test_another_context_is_not_answered(field: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write([finished(0)], CONTEXT)
    value = getattr(CONTEXT, field)
    other = dataclasses.replace(CONTEXT, **{field: value * 2})
    assert ledger.find([finished(0).cell], other) == {}


def foreign(path: Path) -> None:
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE precious (x)")
    base.commit()
    base.close()


def newer(path: Path) -> None:
    Ledger(path).close()
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()


def damaged(path: Path) -> None:
    ledger = Ledger(path)
    ledger.write([finished(seed) for seed in range(200)], CONTEXT)
    ledger.close()
    data = bytearray(path.read_bytes())
    data[3000:] = b"\xff" * (len(data) - 3000)
    path.write_bytes(data)


NO_LEDGERS = ("x", "my thesis " * 99)


@pytest.mark.parametrize(
    "make",
    [foreign, newer, damaged, *(partial(Path.write_text, data=text) for text in NO_LEDGERS)],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    make(path)
    before = path.read_bytes()
    arguments = ["-d", "iris", "--epochs", "1", "--ledger", str(path), "--quiet"]
    assert main(["train", *arguments]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "no ledger that can be used" in err
    assert path.read_bytes() == before


def test_merging_adds_and_names_conflicts(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path / "a.db"), Ledger(tmp_path / "b.db")
    here.write([finished(0), finished(1)], CONTEXT)
    there.write([finished(1, 0.5 + 1e-9), finished(2)], CONTEXT)
    assert here.merge(there) == 1
    assert len(list(here)) == 3
    there.write([finished(0, 0.9), finished(3)], CONTEXT)
    with pytest.raises(Conflict, match=finished(0).cell.key):
        here.merge(there)
    assert len(list(here)) == 3
    assert here.find([finished(0).cell], CONTEXT)[finished(0).cell].scores == {"accuracy": 0.5}


TINY = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1", "--threads", "1"]


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_finished_runs_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", *TINY, "--format", "jsonl", "--seeds"]
    assert main([*arguments, "2"]) == 0
    first = rows(capsys.readouterr().out)
    assert main([*arguments, "3"]) == 0
    second = capsys.readouterr()
    assert rows(second.out)[:2] == first  # to the last digit of the seconds
    assert "2 of 3 runs taken from .relubench/ledger.db" in second.err
    assert main([*arguments, "2", "--rerun"]) == 0
    again = capsys.readouterr()
    assert "taken" not in again.err
    assert [row["seconds"] for row in rows(again.out)] != [row["seconds"] for row in first]
    assert main([*arguments, "2", "--no-ledger"]) == 0
    assert "taken" not in capsys.readouterr().err
    assert main(["ledger", "export"]) == 0
    assert len(rows(capsys.readouterr().out)) == 3
    assert main(["ledger", "show", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["runs"] == 3
    shutil.copy(".relubench/ledger.db", "copy.db")
    assert main(["ledger", "merge", "copy.db", "--ledger", "new.db", "--quiet"]) == 0
    assert "3 finished runs" in capsys.readouterr().out
    assert main(["ledger", "show", "--ledger", "none.db"]) == 2


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Law 5: kill -9, then the same command trains only what was in flight."""
    arguments = ["train", "-d", "iris", "--epochs", "30", "--threads", "1", "--stack", "1"]
    arguments += ["--seeds", "40", "--format", "jsonl"]
    process = start(*arguments, cwd=tmp_path)
    path = tmp_path / ".relubench" / "ledger.db"
    for _ in range(600):
        time.sleep(0.05)
        if path.exists() and finished_runs(path) >= 3:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    kept = finished_runs(path)
    assert 3 <= kept < 40
    again = start(*arguments, cwd=tmp_path)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0
    assert f"{kept} of 40 runs taken" in err
    assert sorted(row["seed"] for row in rows(out)) == list(range(40))


def finished_runs(path: Path) -> int:
    base = sqlite3.connect(path, timeout=60)
    try:
        return int(base.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        base.close()


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    commands = [["train", *TINY, "--seeds", str(10 + n), "--format", "jsonl"] for n in range(4)]
    processes = [start(*command, cwd=tmp_path) for command in commands]
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "locked" not in err
        assert len(rows(out)) == 10 + number
    assert finished_runs(tmp_path / ".relubench" / "ledger.db") == 13


@pytest.fixture
def other() -> Iterator[int]:
    """A process that is alive."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def claimed_by(process: int, cell: Cell, path: Path, host: str = ledgers.HOST) -> None:
    base = sqlite3.connect(path)
    claim = (cell.key, str(CONTEXT), host, process, time.time() + 60)
    base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", claim)
    base.commit()
    base.close()


def test_who_comes_and_goes_takes_nothing_from_who_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    before = Ledger(path)
    before.write([finished(0)], CONTEXT)
    before.close()
    here = Ledger(path), Ledger(path)  # as the two parts of --protocol have it

    def seen_elsewhere() -> int:
        with start("ledger", "export", "--ledger", str(path), cwd=tmp_path) as process:
            return len(process.communicate()[0].splitlines())

    assert seen_elsewhere() == 1
    here[0].write([finished(1)], CONTEXT)
    here[1].write([finished(2)], CONTEXT)
    assert seen_elsewhere() == 3


def test_what_a_living_process_trains_is_left_to_it(
    tmp_path: Path, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, cells = Ledger(tmp_path / "ledger.db"), [finished(seed).cell for seed in range(4)]
    dead = subprocess.Popen(["true"])
    dead.wait()
    claimed_by(other, cells[0], ledger.path)
    claimed_by(dead.pid, cells[1], ledger.path)
    claimed_by(dead.pid, cells[2], ledger.path, host="elsewhere")  # who knows
    assert ledger.claim(cells, CONTEXT) == {cells[1], cells[3]}
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 61)  # nobody has prolonged
    assert ledger.claim(cells, CONTEXT) == set(cells)
    ledger.release()


def test_claims_are_prolonged_and_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "LEASE", 0.3)
    ledger, cell = Ledger(tmp_path / "ledger.db"), finished(0).cell
    ledger.claim([cell], CONTEXT)

    def until() -> list[float]:
        base = sqlite3.connect(ledger.path)
        found = [row[0] for row in base.execute("SELECT until FROM claims")]
        base.close()
        return found

    before = until()
    for _ in range(100):
        time.sleep(0.05)
        if until() > before:
            break
    assert until() > before
    ledger.release()
    assert until() == []
    ledger.claim([cell], CONTEXT)
    ledger.write([finished(0)], CONTEXT)
    assert until() == []
    ledger.release()


def test_the_first_schema_is_migrated(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write([finished(0)], CONTEXT)
    ledger.base.execute("DROP TABLE claims")
    ledger.base.execute("PRAGMA user_version = 1")
    ledger.close()
    migrated = Ledger(tmp_path / "ledger.db")
    assert migrated.find([finished(0).cell], CONTEXT) == {finished(0).cell: finished(0)}
    assert migrated.claim([finished(1).cell], CONTEXT) == {finished(1).cell}
    migrated.release()


def test_diverged_runs_are_finished_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", *TINY[:-4], "-a", "identity", "--optimizer", "sgd", "--lr", "1e30"]
    assert main([*arguments, "--epochs", "3"]) == 1
    assert main([*arguments, "--epochs", "3"]) == 1
    (stored,) = [result for _, _, result in Ledger(Path(".relubench/ledger.db"))]
    assert stored.failed
    assert math.isfinite(stored.seconds)


def test_an_unusable_ledger_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="no ledger that can be used"):
        Ledger(tmp_path / "file" / "ledger.db")
