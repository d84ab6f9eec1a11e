"""Law 5, eighty times: kill -9 whenever, and the same command ends with the same rows."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from killing import EVENTS, HALVED, LEDGER, SAVES

KILLS = 40  # of each kind
COMMON = ["-d", "digits", "--limit", "200", "--threads", "1", "--stack", "2", "--checkpoint", "0"]
SWEEP = ["train", *COMMON, "-m", "ffnn:hidden=8", "-a", "relu,tanh,gelu"]
SWEEP += ["--epochs", "6", "--seeds", "3"]
LONG = ["train", *COMMON, "-m", "ffnn:hidden=16:dropout=0.1", "-a", "gelu"]
LONG += ["--epochs", "20", "--seeds", "2", "--lr", "0.1,0.01", "--best-lr"]
COMMANDS = {"sweep": SWEEP, "long": LONG}
PLACES = ["--ledger", LEDGER, "--format", "json", "-o", "out.json"]


@dataclass(frozen=True)
class Ended:
    """A command that has come to an end in its folder."""

    folder: Path
    code: int
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was measured."""
        found = json.loads((self.folder / "out.json").read_text(encoding="utf-8"))
        return [row | {"seconds": 0} for row in found]

    @property
    def events(self) -> list[str]:
        """The writes of all commands in the folder."""
        path = self.folder / EVENTS
        return path.read_text().splitlines() if path.exists() else []

    @property
    def files(self) -> list[str]:
        """All that is there."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    @property
    def kept(self) -> set[tuple[Any, ...]]:
        """The ledger's rows, to the last digit of their seconds; read from a copy of the file."""
        copy = self.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.folder.glob(f"{LEDGER}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        base = sqlite3.connect(copy / Path(LEDGER).name)
        try:
            return set(base.execute("SELECT * FROM results"))
        except sqlite3.OperationalError:  # there is no table yet
            return set()
        finally:
            base.close()


class Starter:
    """tests/killing.py, and a new folder for each command that begins anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("killing.py"))],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(sys.path)}
            | {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
            | {"JE_ARROW_MALLOC_CONF": "background_thread:false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, folder: Path | None = None, **kill: Any) -> Ended:
        """One command to its end, or to where it is killed."""
        if folder is None:
            self.count += 1
            folder = self.folder / str(self.count)
            folder.mkdir()
        asked = {"arguments": COMMANDS[name] + PLACES, "folder": str(folder), **kill}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ended(folder, **json.loads(self.process.stdout.readline()))


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    found = Starter(tmp_path)
    yield found
    found.process.kill()
    found.process.communicate()


def check(starter: Starter, name: str, clean: Ended, killed: Ended) -> None:
    """The command once more: to the same rows, and only what was in flight is trained again."""
    kept = killed.kept
    again = starter.run(name, killed.folder)
    said = (again.folder / "stderr").read_text()
    assert again.code == 0, said
    assert again.rows == clean.rows
    assert kept <= again.kept
    assert len(again.kept) == len(clean.kept)
    assert not kept or f"{len(kept)} of {len(clean.rows)} runs taken" in said
    assert not any(word in said for word in ("aside", "cannot", "bug")), said
    assert again.files == clean.files
    assert 0 <= again.events.count(SAVES) - clean.events.count(SAVES) <= 1


def ways(events: Sequence[str]) -> list[tuple[str, str]]:
    """Kinds of writes, the latest first, each with when to be killed at one of them."""
    kinds = [*dict.fromkeys(reversed(events))]
    halved = [(kind, "half") for kind in kinds if kind.startswith(HALVED)]
    return halved + [(kind, how) for how in ("after", "before") for kind in kinds]


def lasted(ended: Ended) -> float:
    return ended.seconds


def in_time(starter: Starter, name: str, longest: float, draw: random.Random) -> Ended:
    """A command that is killed at any time; one that has ended before does not count."""
    for _ in range(20):
        killed = starter.run(name, after=draw.uniform(0, longest))
        if killed.code == -signal.SIGKILL:
            return killed
        assert killed.code == 0
    raise AssertionError("it always ends before")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are divided")
def test_whenever_it_is_killed_the_same_command_ends_with_the_same_rows(
    starter: Starter, record_testsuite_property: Any
) -> None:
    clean = {name: min((starter.run(name) for _ in range(2)), key=lasted) for name in COMMANDS}
    assert all(ended.code == 0 for ended in clean.values())
    draw, met = random.Random(0), Counter[str]()
    for number in range(KILLS):
        name = [*COMMANDS][number % len(COMMANDS)]
        killed = in_time(starter, name, clean[name].seconds, draw)
        met[f"any time after {killed.events[-1] if killed.events else 'the start'}"] += 1
        check(starter, name, clean[name], killed)
    turns = cycle(ways(clean["long"].events))
    for number in range(KILLS):
        name, (kind, how) = [*COMMANDS][number % len(COMMANDS)], next(turns)
        at = draw.randint(1, clean[name].events.count(kind))
        killed = starter.run(name, kind=kind, at=at, how=how)
        assert (killed.code, killed.events[-1]) == (-signal.SIGKILL, kind)
        met[f"{how} {kind}"] += 1
        check(starter, name, clean[name], killed)
    assert met.total() == 2 * KILLS
    record_testsuite_property("killed", str(dict(met)))
