"""Studies on a real dask cluster: a scheduler and workers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from test_executors import STACKS, fake

from relubench.cli import main
from relubench.errors import ClusterError
from relubench.execution import cluster, executors
from relubench.plan import Stack
from relubench.results import RunResult

TINY = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1", "--threads", "1", "--quiet"]


def rows(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def finished_runs(path: Path) -> int:
    try:
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
        try:
            return int(base.execute("SELECT count(*) FROM results").fetchone()[0])
        finally:
            base.close()
    except sqlite3.OperationalError:
        return 0


def test_a_study_survives_the_death_of_a_worker(
    scheduler_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cell lost, none twice in the ledger, and the bits of a run on this machine alone."""
    study = ["train", "-d", "digits", "-m", "ffnn:hidden=16", "-a", "relu,tanh", "--epochs", "5"]
    study += ["--threads", "1", "--stack", "1", "--seeds", "6", "--format", "jsonl", "--quiet"]
    ledger, killed_at = tmp_path / "ledger.db", []
    with Client(json.loads(scheduler_file.read_text())["address"], set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))

    def kill() -> None:
        while not finished_runs(ledger):
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)
        killed_at.append(finished_runs(ledger))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert main([*study, "--scheduler-file", str(scheduler_file), "--ledger", str(ledger)]) == 0
    killer.join()
    out, err = capsys.readouterr()
    assert killed_at[0] < 12
    assert finished_runs(ledger) == 12
    assert err == ""
    assert main([*study, "--no-ledger"]) == 0
    assert rows(out) == rows(capsys.readouterr().out)


@pytest.mark.parametrize("joined_late", [False, True])
@pytest.mark.parametrize(
    ("name", "package"), [("ENGINE", "relubench's engine"), ("__version__", "relubench")]
)
def test_other_versions_are_refused(
    scheduler_file: Path,
    name: str,
    package: str,
    joined_late: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = getattr(cluster, name)
    monkeypatch.setattr(cluster, name, "99")
    if joined_late:
        monkeypatch.setattr(cluster, "_check_workers", lambda client, scheduler: None)
    assert main([*TINY, "--executor", "dask", "--scheduler-file", str(scheduler_file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("relubench: dask worker tcp://127.0.0.1:")
    assert captured.err.endswith(
        f": {package} is 99 here and {there} there: install the same versions on both sides\n"
    )


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "tcp://no.such.host.invalid:8786"])
def test_a_scheduler_that_does_not_answer_is_one_line(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    assert main([*TINY, "--scheduler", scheduler]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"relubench: no dask scheduler answers at {scheduler}: start one")


@pytest.mark.parametrize("scheduler", ["host:8786", "tcp://host", "ftp://host:21", "tcp://a b:1"])
def test_what_is_no_address_is_one_line(scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, "--scheduler", scheduler]) == 2
    wanted = f"got {scheduler}, must be an address such as tcp://host:8786"
    assert capsys.readouterr().err == f"relubench: --scheduler: {wanted}\n"


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*TINY, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("dask.distributed is not installed: pip install 'relubench[distributed]'")


def test_weights_are_not_saved_on_another_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save = ["--save", str(tmp_path / "weights.pt")]
    assert main([*TINY, "--scheduler", "tcp://127.0.0.1:1", *save]) == 2
    assert "--save would write on a dask worker's disk" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def local(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """A scheduler and `request.param` workers of two threads each, in this process."""
    with LocalCluster(
        n_workers=request.param,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=None,
    ) as started:
        yield started


@pytest.mark.parametrize("local", [0], indirect=True)
def test_a_scheduler_without_workers_is_one_line(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    assert main([*TINY, "--scheduler", local.scheduler_address]) == 2
    wanted = f"start one with `dask worker {local.scheduler_address} --nthreads 1`"
    assert capsys.readouterr().err.endswith(f"has no worker: {wanted}\n")


@pytest.mark.parametrize("local", [1], indirect=True)
def test_a_scheduler_that_is_lost_is_one_error(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    finished = executors.choose("dask", scheduler=local.scheduler_address)(iter(STACKS), fake)
    next(finished)
    local.close()
    with pytest.raises(ClusterError, match=r"is gone: the same command trains what is left"):
        list(finished)


TRAINING = threading.Semaphore(1)


def alone(stack: Stack) -> list[RunResult]:
    """Raises where another stack is trained in this process meanwhile."""
    if not TRAINING.acquire(blocking=False):
        raise RuntimeError("two at a time")
    time.sleep(0.2)
    TRAINING.release()
    return fake(stack)


@pytest.mark.parametrize("local", [1], indirect=True)
def test_a_worker_with_several_threads_trains_one_stack_at_a_time(local: LocalCluster) -> None:
    """Two studies share a worker of two threads."""
    found: list[int] = []

    def study() -> None:
        executor = executors.choose("dask", scheduler=local.scheduler_address)
        found.append(len(list(executor(iter(STACKS[:3]), alone))))

    studies = [threading.Thread(target=study) for _ in range(2)]
    for thread in studies:
        thread.start()
    for thread in studies:
        thread.join()
    assert found == [3, 3]
