"""The ledger: what is finished is found again, by whoever shares it; nothing is overwritten."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import start

import relubench
from relubench.cli import main
from relubench.commands import since
from relubench.errors import BadValue
from relubench.execution import ledger as ledgers
from relubench.execution.ledger import Conflict, Context, Ledger, LedgerError, Unwritten
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
    assert ledger.holders(cells, CONTEXT) == sorted(
        [(ledgers.HOST, other), ("elsewhere", dead.pid)]
    )
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
    assert migrated.unreadable_rows() == {}


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


# --- rows that cannot be read ---------------------------------------------------------------------

SET = "UPDATE results SET"
BAD: dict[str, str] = {
    "junk": f"{SET} result = 'junk'",
    "empty": f"{SET} result = '{{}}'",
    "a list": f"{SET} result = '[]'",
    "a flipped digit": f"{SET} result = replace(result, 'accuracy\":0.5', 'accuracy\":0.9')",
    "a flipped digit of the curve": f"{SET} result = replace(result, '1.0', '2.0')",
    "not a number": f"{SET} result = replace(result, '0.5', 'NaN'), checksum = NULL",
    "endless": f"{SET} result = replace(result, '0.5', '1e999'), checksum = NULL",
    "another cell": f"{SET} result = replace(result, 'seed\":0', 'seed\":9'), checksum = NULL",
    "another key": f"{SET} key = 'x'",
    "a key of bytes": f"{SET} key = x'00ff'",
    "no text": f"{SET} result = CAST(x'ff00fe' AS TEXT)",
    "bytes": f"{SET} result = x'ff00fe'",
    "a context of words": f"{SET} context = 'x', checksum = NULL",
    "a context that lacks": f"{SET} context = '{{}}', checksum = NULL",
    "another context": f"{SET} context = replace(context, 'abc', 'abd')",
    "no time": f"{SET} finished = 'soon', checksum = NULL",
    "another time": f"{SET} finished = '2001-01-01T00:00:00Z'",
    "another checksum": f"{SET} checksum = 'x'",
    "deep": f"{SET} checksum = NULL, result = '{'[' * 9999}'",
}


def spoiled(path: Path, change: str) -> Ledger:
    """A ledger with a good row and one that cannot be read, of seed 0."""
    ledger = Ledger(path)
    ledger.write([finished(0), finished(1)], CONTEXT)
    ledger.base.execute(f"{change} WHERE key = ?", (finished(0).cell.key,))
    return ledger


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_row_that_cannot_be_read_is_named_and_left_out(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    ledger = spoiled(path, change)
    cells = [finished(seed).cell for seed in range(2)]
    assert ledger.find(cells, CONTEXT) == {cells[1]: finished(1)}
    assert [result for _, _, result in ledger] == [finished(1)]
    ((name, why),) = ledger.unreadable_rows().items()
    ledger.close()

    def said(*arguments: str, code: int = 0) -> tuple[str, str]:
        assert main(["ledger", *arguments, "--ledger", str(path)]) == code
        return capsys.readouterr()

    out, err = said("export")
    assert [row["seed"] for row in rows(out)] == [1]
    assert name in err
    assert why in err
    assert "1 finished run" in said("show")[0]
    assert rows(said("check", "--format", "jsonl", code=1)[0]) == [{"row": name, "why": why}]
    said("rm", name)
    assert said("check", "--format", "jsonl")[0] == ""
    assert "1 finished run" in said("show")[0]


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_merging_leaves_bad_rows_out_and_ones_own_are_mended(change: str, tmp_path: Path) -> None:
    bad, here = spoiled(tmp_path / "bad.db", change), Ledger(tmp_path / "here.db")
    here.write([finished(2)], CONTEXT)
    assert here.merge(bad) == 1
    assert len(bad.unread) == 1
    assert [result for _, _, result in here] == [finished(1), finished(2)]
    assert here.unreadable_rows() == {}
    good = Ledger(tmp_path / "good.db")
    good.write([finished(0), finished(1)], CONTEXT)
    assert bad.merge(good) == 1
    assert bad.find([finished(0).cell], CONTEXT) == {finished(0).cell: finished(0)}


def test_a_bad_row_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", *TINY, "--seeds", "2", "--format", "jsonl"]
    assert main(arguments) == 0
    before = rows(capsys.readouterr().out)
    base = sqlite3.connect(".relubench/ledger.db")
    base.execute("UPDATE results SET result = replace(result, '\"accuracy\":', '\"accuracy\":1')")
    base.commit()
    base.close()
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert "2 rows of .relubench/ledger.db cannot be read and are trained again" in again.err
    assert [row["accuracy"] for row in rows(again.out)] == [row["accuracy"] for row in before]
    assert main(["ledger", "check"]) == 0


def test_what_is_named_is_dropped(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    other = dataclasses.replace(CONTEXT, threads=2)
    for context in (CONTEXT, other):
        ledger.write([finished(0), finished(1)], context)
    with pytest.raises(BadValue, match="has no run 'x'"):
        ledger.remove([finished(0).cell.key, "x"])
    assert ledger.count() == 4
    assert ledger.remove([finished(0).cell.key]) == 2
    assert {result for _, _, result in map(_seeded, ledger)} == {1}
    assert ledger.count() == 2


def _seeded(row: tuple[str, str, RunResult]) -> tuple[str, str, int]:
    return row[0], row[1], row[2].cell.seed


@pytest.mark.slow
def test_no_flipped_byte_makes_a_figure(tmp_path: Path) -> None:
    """100 ledgers: every run that is read is one that was written, or a line says what is wrong."""
    path, scarce = tmp_path / "ledger.db", [finished(seed) for seed in range(9)]
    ledger = Ledger(path)
    ledger.write(scarce, CONTEXT)
    ledger.release()
    ledger.close()
    whole = path.read_bytes()
    for number in range(100):
        draw, found = random.Random(number), bytearray(whole)
        for _ in range(draw.choice([1, 9, 99])):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
        path.write_bytes(found)
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink(missing_ok=True)
        assert main(["ledger", "check", "--ledger", str(path), "--quiet"]) in (0, 1, 2)
        try:
            spoilt = Ledger(path)
            assert {result.cell.seed for _, _, result in spoilt} <= set(range(9))
            assert all(result in scarce for _, _, result in spoilt)
            spoilt.close()
        except LedgerError:
            pass


# --- where it cannot be written ------------------------------------------------------------------


def test_a_ledger_on_a_read_only_share_is_read(tmp_path: Path) -> None:
    """As a user to whom file and folder are shut, with rows that SQLite has not moved in yet."""
    share = tmp_path / "share"
    ledger = Ledger(share / "a ?#%.db")
    ledger.write([finished(0), finished(1)], CONTEXT)
    assert Path(f"{ledger.path}-wal").stat().st_size
    copies = tmp_path / "copy"
    shutil.copytree(share, copies, ignore=shutil.ignore_patterns("*-shm"))
    for path in [*copies.iterdir(), copies]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path; from relubench.execution.ledger import Ledger; "
        "os.geteuid() or os.setuid(65534); "
        "print(len(list(Ledger(Path(sys.argv[1]), reading=True))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(copies / ledger.path.name)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(relubench.__file__).parents[1])},
    )
    copies.chmod(0o755)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert len(list(copies.iterdir())) == 2


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_old_ledgers_are_read_where_they_cannot_be_changed(
    schema: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write([finished(0)], CONTEXT)
    ledger.release()
    if schema < 3:
        ledger.base.execute("ALTER TABLE results DROP COLUMN checksum")
        for table in ("claims",)[schema - 1 :]:
            ledger.base.execute(f"DROP TABLE {table}")
        ledger.base.execute(f"PRAGMA user_version = {schema}")
    ledger.close()
    before = ledger.path.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    there, here = Ledger(ledger.path, reading=True), Ledger(tmp_path / "new.db")
    assert here.merge(there) == 1
    there.close()
    assert ledger.path.read_bytes() == before
    assert [result for _, _, result in here] == [finished(0)]
    migrated = Ledger(ledger.path)
    migrated.base.execute("UPDATE results SET result = replace(result, '0.5', '0.6')")
    assert list(migrated.unreadable_rows().values()) == ["its checksum is another"]


def test_a_full_disk_in_the_middle_prints_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write, calls = Ledger.write, []

    def filling(self: Ledger, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            pages = self.base.execute("PRAGMA page_count").fetchone()[0]
            self.base.execute(f"PRAGMA max_page_count = {pages}")
        write(self, *arguments)

    monkeypatch.setattr(Ledger, "write", filling)
    arguments = ["train", *TINY, "--stack", "1"]
    assert main([*arguments, "--seeds", "12", "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert [row["seed"] for row in rows(out)] == list(range(12))
    (line,) = [line for line in err.splitlines() if "cannot be written" in line]
    assert "database or disk is full" in line
    monkeypatch.undo()
    kept = len(list(Ledger(tmp_path / ".relubench" / "ledger.db")))
    assert 0 < kept < 12


def test_what_could_not_be_kept_is_kept_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, calls = Ledger.write, []

    def failing(self: Ledger, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) in (2, 3):
            raise Unwritten("full")
        write(self, *arguments)

    monkeypatch.setattr(Ledger, "write", failing)
    assert main(["train", *TINY, "--stack", "1", "--seeds", "5", "--quiet"]) == 0
    assert len(list(Ledger(Path(".relubench/ledger.db")))) == 5


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["9e18", "1e300", "'soon'", "-1.0", "x'00'"])
def test_a_claim_from_beyond_a_lease_is_void(until: str, other: int, tmp_path: Path) -> None:
    ledger, cell = Ledger(tmp_path / "ledger.db"), finished(0).cell
    for host in (ledgers.HOST, "elsewhere"):
        claimed_by(other, cell, ledger.path, host)
        assert ledger.claim([cell], CONTEXT) == set()
        ledger.base.execute(f"UPDATE claims SET until = {until}")
        assert ledger.claim([cell], CONTEXT) == {cell}
        ledger.release()


def test_who_is_waited_for_is_named(
    other: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ledgers, "LEASE", 4.0)
    ledger = Ledger(Path(".relubench/ledger.db"))
    claim = "INSERT INTO claims SELECT key, context, ?, ?, ? FROM results"
    assert main(["train", *TINY, "--quiet"]) == 0
    ledger.base.execute(claim, ("far away", other, time.time() + 4))
    ledger.base.execute("DELETE FROM results")
    notes = _notes(["train", *TINY])
    assert f"waiting for what process {other} on far away trains" in notes


def _notes(arguments: list[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("relubench.cli.terminal.say", said.append)
        assert main(arguments) == 0
    return "\n".join(said)


# --- show ----------------------------------------------------------------------------------------


def test_show_has_means_and_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    ledger.write([finished(0, 0.5), finished(1, 0.7)], CONTEXT)
    gelu = finished(0, 0.9)
    cell = dataclasses.replace(gelu.cell, activation="gelu", model="ffnn:hidden=4")
    ledger.write([dataclasses.replace(gelu, cell=cell)], CONTEXT)
    ledger.close()

    def shown(*arguments: str) -> list[dict[str, Any]]:
        assert main(["ledger", *arguments, "--ledger", str(path), "--format", "jsonl"]) == 0
        return rows(capsys.readouterr().out)

    first, second = shown("show")
    assert first["accuracy"] == pytest.approx(0.6)
    assert first["accuracy_sd"] == pytest.approx(0.02**0.5)
    assert (second["accuracy"], second["accuracy_sd"]) == (0.9, None)
    assert [row["runs"] for row in shown("show", "-a", "relu,elu")] == [2]
    assert [row["runs"] for row in shown("show", "-m", "ffnn")] == [2, 1]
    assert [row["runs"] for row in shown("show", "-m", "ffnn:hidden=4")] == [1]
    assert shown("show", "-d", "digits") == []
    assert shown("show", "--since", "2999-01-01") == []
    assert len(shown("export", "-a", "relu", "--since", "1d")) == 2
    (row,) = shown("show", cell.key[:6])
    assert row["activation"] == "gelu"
    assert row["context"] == vars(CONTEXT)
    assert row["layers"][0]["units"] == 2
    assert row["curve"] == [{"loss": 1.0, "accuracy": 0.5, "held_out": None, "held_out_loss": None}]
    assert main(["ledger", "show", cell.key, "--ledger", str(path)]) == 0
    out = capsys.readouterr().out
    assert "learning curve" in out
    assert "units by layer" in out


@pytest.mark.parametrize(("key", "says"), [("zz", "has no run 'zz'"), ("", "has no run ''")])
def test_a_key_must_name_one_run(
    key: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).write([finished(seed) for seed in range(40)], CONTEXT)
    assert main(["ledger", "show", key, "--ledger", str(path)]) == 2
    assert says in capsys.readouterr().err
    many = next(c for c in "0123456789abcdef" if sum(_begins(c, seed) for seed in range(40)) > 1)
    assert main(["ledger", "show", many, "--ledger", str(path)]) == 2
    assert f"runs '{many}'" in capsys.readouterr().err


def _begins(letter: str, seed: int) -> bool:
    return finished(seed).cell.key.startswith(letter)


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert since(None) == ""
    assert since("2025-12-31") == "2025-12-31T00:00:00Z"
    assert since("2025-12-31T18:00+02:00") == "2025-12-31T16:00:00Z"
    assert since("7d", now) == "2026-02-22T12:00:00Z"
    assert since("90m", now) == "2026-03-01T10:30:00Z"
    for wrong in ("soon", "99999d", "2025-13-01", "7 d", "-1d", "\n"):
        with pytest.raises(BadValue, match="--since"):
            since(wrong, datetime(1, 2, 3, tzinfo=UTC))
