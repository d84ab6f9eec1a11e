"""The ledger: what is finished is not trained again. One SQLite file that processes may share."""

from __future__ import annotations

import json
import math
import os
import platform
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from relubench.errors import RelubenchError
from relubench.plan import Cell
from relubench.results import RunResult

APPLICATION = 0x72656C75  # "relu", SQLite's application_id
SCHEMA = 2
SMALLEST = 512  # bytes of a database
PATIENCE = 120  # seconds that a process waits for another's transaction
BATCH = 500  # keys asked for in one query
TOLERANCE = 1e-4  # relative: how far the same cell may differ between machines

RESULT: TypeAdapter[RunResult] = TypeAdapter(RunResult)

RESULTS = """
CREATE TABLE results (
    key TEXT NOT NULL,         -- of the cell
    context TEXT NOT NULL,     -- what else decides its numbers, as JSON
    result TEXT NOT NULL,      -- the RunResult, as JSON
    finished TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (key, context)
) WITHOUT ROWID
"""
CLAIMS = """
CREATE TABLE claims (
    key TEXT NOT NULL,         -- of a cell that a process is training
    context TEXT NOT NULL,
    host TEXT NOT NULL,
    process INTEGER NOT NULL,
    until REAL NOT NULL,       -- Unix time; the process prolongs it while it lives
    PRIMARY KEY (key, context)
) WITHOUT ROWID
"""
HOST = platform.node()
LEASE = 60.0  # seconds that a claim holds, prolonged three times as often


class LedgerError(RelubenchError):
    """A ledger that cannot be used; it is left as it is."""


class Conflict(RelubenchError):
    """Two ledgers that say different things of the same cell."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Context:
    """What decides a number besides the cell.

    engine  relubench's engine version, which changes when its numbers do
    data    digest of the dataset
    code    digests of a user's own activation and model, the version of torchvision's
    """

    engine: int
    torch: str
    device: str
    threads: int
    dtype: str
    data: str
    code: str = ""

    def __str__(self) -> str:
        return json.dumps(vars(self), sort_keys=True)


class Ledger:
    """An open ledger.

    Nobody may read the file but through SQLite: to close it elsewhere in the process drops the
    locks of all its connections (POSIX), and another process then removes what they write to.

    Raises LedgerError where the file is damaged, is something else or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.released: threading.Event | None = None  # set: claims are not prolonged any more
        with self._usable():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and 0 < path.stat().st_size < SMALLEST:
                raise sqlite3.DatabaseError("it is no database")  # SQLite takes a byte for nothing
            self.base = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._prepare()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise LedgerError(
                f"{self.path} is no ledger that can be used ({reason}): it is left as it is; name "
                "another with --ledger, or go on with --no-ledger"
            ) from error

    def _prepare(self) -> None:
        with self._transaction():
            (application,) = self.base.execute("PRAGMA application_id").fetchone()
            (schema,) = self.base.execute("PRAGMA user_version").fetchone()
            (tables,) = self.base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not application and not tables:
                schema = 0
                self.base.execute(f"PRAGMA application_id = {APPLICATION}")
            elif application != APPLICATION:
                raise sqlite3.DatabaseError("it belongs to another program")
            elif not 1 <= schema <= SCHEMA:
                raise sqlite3.DatabaseError(f"its schema is {schema}, this relubench's is {SCHEMA}")
            for table in (RESULTS, CLAIMS)[schema:]:
                self.base.execute(table)
            self.base.execute(f"PRAGMA user_version = {SCHEMA}")
        with suppress(sqlite3.OperationalError):  # locked: another process is doing the same
            self.base.execute("PRAGMA journal_mode = WAL")
        self.base.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.base.execute("ROLLBACK")
            raise
        self.base.execute("COMMIT")

    def find(self, cells: Sequence[Cell], context: Context) -> dict[Cell, RunResult]:
        """The finished ones of these cells."""
        by_key = {cell.key: cell for cell in cells}
        keys, found = list(by_key), {}
        for begin in range(0, len(keys), BATCH):
            part = keys[begin : begin + BATCH]
            marks = ", ".join("?" * len(part))
            query = f"SELECT key, result FROM results WHERE context = ? AND key IN ({marks})"
            with self._usable():
                rows = self.base.execute(query, [str(context), *part])
                found.update({by_key[key]: RESULT.validate_json(result) for key, result in rows})
        return found

    def claim(self, cells: Iterable[Cell], context: Context) -> set[Cell]:
        """Those of the cells that this process may train: no other one that lives trains them.

        A claim ends with `write`, with `release`, with its process, or when nobody prolongs it.
        """
        mine, now = set(), time.time()
        with self._usable(), self._transaction():
            for cell in cells:
                place = (cell.key, str(context))
                taken = self.base.execute(
                    "SELECT host, process, until FROM claims WHERE key = ? AND context = ?", place
                ).fetchone()
                if taken is None or taken[2] < now or not _another(*taken[:2]):
                    claim = (*place, HOST, os.getpid(), now + LEASE)
                    self.base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", claim)
                    mine.add(cell)
        if self.released is None:
            self.released = threading.Event()
            threading.Thread(target=self._prolong, args=[self.released], daemon=True).start()
        return mine

    def _prolong(self, released: threading.Event) -> None:
        base = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        while not released.wait(LEASE / 3):
            with suppress(sqlite3.Error):  # the next time may do
                base.execute(
                    "UPDATE claims SET until = ? WHERE host = ? AND process = ?",
                    (time.time() + LEASE, HOST, os.getpid()),
                )
        base.close()

    def release(self) -> None:
        """Give up all claims of this process; the file alone then holds everything."""
        if self.released:
            self.released.set()
            self.released = None
        with self._usable():
            self.base.execute(
                "DELETE FROM claims WHERE host = ? AND process = ?", (HOST, os.getpid())
            )
            self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # busy: the last one does it

    def write(self, results: Iterable[RunResult], context: Context) -> None:
        """Keep what is finished, all in one transaction; a cell trained again is replaced."""
        results = list(results)
        rows = [
            (result.cell.key, str(context), RESULT.dump_json(result).decode())
            for result in results
            if result.finished
        ]
        with self._usable(), self._transaction():
            self.base.executemany(
                "INSERT OR REPLACE INTO results (key, context, result) VALUES (?, ?, ?)", rows
            )
            self.base.executemany(
                "DELETE FROM claims WHERE key = ? AND context = ?",
                [(result.cell.key, str(context)) for result in results],
            )

    def __iter__(self) -> Iterator[tuple[str, str, RunResult]]:
        """Context, time and result of everything, oldest first."""
        query = "SELECT context, finished, result FROM results ORDER BY finished, key"
        with self._usable():
            for context, finished, result in self.base.execute(query):
                yield context, finished, RESULT.validate_json(result)

    def merge(self, other: Ledger) -> int:
        """Add what only `other` has; how many that was.

        Raises Conflict, naming the cells, where both have a cell with different scores; then
        nothing is added.
        """
        added, conflicts = 0, []
        with self._usable(), self._transaction():
            for key, context, result, finished in other.base.execute(
                "SELECT key, context, result, finished FROM results"
            ):
                mine = self.base.execute(
                    "SELECT result FROM results WHERE key = ? AND context = ?", (key, context)
                ).fetchone()
                if mine is None:
                    self.base.execute(
                        "INSERT INTO results (key, context, result, finished) VALUES (?, ?, ?, ?)",
                        (key, context, result, finished),
                    )
                    added += 1
                elif not _agree(RESULT.validate_json(mine[0]), RESULT.validate_json(result)):
                    conflicts.append(f"{key} ({_named(RESULT.validate_json(result).cell)})")
            if conflicts:
                raise Conflict(
                    f"{other.path} and {self.path} differ in {len(conflicts)} cells, so nothing is "
                    f"merged: {'; '.join(conflicts)}"
                )
        return added

    def close(self) -> None:
        """Let go of the file."""
        self.base.close()


def _another(host: str, process: int) -> bool:
    """Whether this is another process, which may be alive: one of another host always may."""
    if host != HOST or os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process != os.getpid()


def _agree(first: RunResult, second: RunResult) -> bool:
    if first.failed or second.failed or first.scores.keys() != second.scores.keys():
        return first.failed == second.failed
    pairs = [(first.scores[name], second.scores[name]) for name in first.scores]
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=TOLERANCE))
        for a, b in pairs
    )


def _named(cell: Cell) -> str:
    return f"{cell.dataset}, {cell.model}, {cell.activation}, seed {cell.seed}"
