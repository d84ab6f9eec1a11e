"""What tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relubench.plan import Machine

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the test run's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger of the test's own, outside its working folder."""
    monkeypatch.setenv("RELUBENCH_LEDGER", str(tmp_path_factory.mktemp("ledger") / "ledger.db"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file, or rewrite it under --update-golden."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def scheduler_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dask scheduler that allows two failures, with two workers that are replaced when they die.

    They find what the tests define.
    """
    from distributed import Client

    folder = tmp_path_factory.mktemp("cluster")
    path = folder / "scheduler.json"
    here = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    here["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "2"
    common = ["--no-dashboard", "--dashboard-address", ":0", "--scheduler-file", str(path)]
    workers = ["--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder)]
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{part}", *common, *arguments],
                env=os.environ | here,
                stdout=log,
                stderr=log,
            )
            for part, arguments in (
                ("scheduler", ["--host", "127.0.0.1", "--port", "0"]),
                ("worker", workers),
            )
        ]
        try:
            while not path.exists():
                assert processes[0].poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            with Client(json.loads(path.read_text())["address"], set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            yield path
        finally:
            for process in processes:
                process.kill()  # and the workers' own processes end with their parent
                process.wait(60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(data_dir=str(tmp_path), threads=1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with MNIST and Fashion-MNIST as torchvision keeps them."""
    folder = os.environ.get("RELUBENCH_DATA")
    if not folder:
        pytest.skip("RELUBENCH_DATA names no folder with the real files")
    return Path(folder)


@pytest.fixture(autouse=True)
def no_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the CI that runs the tests."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
