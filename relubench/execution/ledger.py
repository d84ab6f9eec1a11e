"""The ledger: what is finished is not trained again. One SQLite file that processes may share."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from relubench import files
from relubench.errors import BadValue, RelubenchError
from relubench.execution.records import Record, Unreadable, checksum, named
from relubench.plan import Cell
from relubench.results import Context, RunResult

__all__ = ["Conflict", "Context", "Ledger", "LedgerError", "Unwritten"]

APPLICATION = 0x72656C75  # "relu", SQLite's application_id
# SQLite's smallest page, and a database has one at least.
SMALLEST = 512  # bytes of a database
PATIENCE = 120  # seconds that a process waits for another's transaction
BATCH = 500  # keys asked for in one query
TOLERANCE = 1e-4  # relative: how far the same cell may differ between machines

# WITHOUT ROWID: the primary key is the table itself, and a look-up by key one descent of its tree.
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
CHECKSUMS = "ALTER TABLE results ADD COLUMN checksum TEXT"  # of the row's other columns
SUMMED = "UPDATE results SET checksum = checksum(key, context, result, finished)"
CHANGES = ((RESULTS,), (CLAIMS,), (CHECKSUMS, SUMMED))  # from each schema to the next
SCHEMA = len(CHANGES)
INSERT = "INSERT OR REPLACE INTO results (key, context, result, finished, checksum)"
HOST = platform.node()
LEASE = 60.0  # seconds that a claim holds, prolonged three times as often
SKEW = 5.0  # seconds that the clocks of two hosts may differ


class LedgerError(RelubenchError):
    """A ledger that cannot be used; nothing is changed in it."""


class Unwritten(LedgerError):
    """A ledger that can be read but not, or no longer, be written."""


class Conflict(RelubenchError):
    """Two ledgers with different results for the same cell."""

    exit_code = 4


class Ledger:
    """An open ledger.

    reading  it is not to be written: it may lie where nobody may write
    unread   rows that were met and cannot be read, by name, each with the reason

    Nobody may read the file but through SQLite: to close it elsewhere in the process drops the
    locks of all its connections (POSIX), and another process then removes what they write to.

    Raises LedgerError where the file is damaged, is something else or is of another version.
    """

    def __init__(self, path: Path, reading: bool = False) -> None:
        self.path = path
        self.unread: dict[str, str] = {}
        self.released: threading.Event | None = None  # set: claims are not prolonged any more
        self.copied: tempfile.TemporaryDirectory[str] | None = None
        with self._usable():
            # The folder too: SQLite makes its -wal and -shm files there.
            writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
            if reading and not writable:
                self._open_reading()
            else:
                self._open()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise LedgerError(
                f"{self.path} is no ledger that can be used ({reason}): it is left as it is; name "
                "another with --ledger, or go on with --no-ledger"
            ) from error

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """All or nothing is written; raises Unwritten where it cannot be."""
        try:
            with self._usable(), self._transaction():
                yield
        except LedgerError as error:
            if isinstance(error.__cause__, sqlite3.OperationalError):
                raise Unwritten(f"{self.path} cannot be written ({error.__cause__})") from error
            raise

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._check_kind()
        self.base = self._connected(str(self.path))
        self.base.create_function("checksum", 4, checksum, deterministic=True)
        # The schema is read inside the transaction: two processes may both find the file new.
        with self._transaction():
            schema, new = self._schema()
            if new:
                self.base.execute(f"PRAGMA application_id = {APPLICATION}")
            for statement in chain.from_iterable(CHANGES[schema:]):
                # ALTER TABLE knows no IF NOT EXISTS; a file may have the column already.
                if statement != CHECKSUMS or not self._has_checksums():
                    self.base.execute(statement)
            self.base.execute(f"PRAGMA user_version = {SCHEMA}")
        self.schema = SCHEMA
        with suppress(sqlite3.OperationalError):  # locked: another process is doing the same
            self.base.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL loses no consistency; a power cut may cost the last runs, which are
        # trained again, and an fsync per stack would cost more than small stacks take.
        self.base.execute("PRAGMA synchronous = NORMAL")

    def _has_checksums(self) -> bool:
        columns = self.base.execute("SELECT name FROM pragma_table_info('results')")
        return ("checksum",) in columns.fetchall()

    def _open_reading(self) -> None:
        """Open it where nothing can be written, not even what SQLite keeps beside it."""
        self._check_kind()
        self.base = self._connected(f"{self.path.resolve().as_uri()}?mode=ro")
        try:
            self.schema, new = self._schema()
        except sqlite3.OperationalError:
            # A ledger in WAL mode cannot be opened where SQLite may not make its -shm file: read a
            # copy. Not immutable=1, which would leave out what stands in the -wal file.
            self.base.close()
            self.copied = tempfile.TemporaryDirectory(prefix="relubench-")
            for suffix in ("", "-wal"):  # the latest rows may be in the second
                with suppress(FileNotFoundError):
                    shutil.copy(f"{self.path.resolve()}{suffix}", f"{self.copied.name}/db{suffix}")
            self.base = self._connected(f"{self.copied.name}/db")
            self.schema, new = self._schema()
        if new:
            raise sqlite3.DatabaseError("it is empty")

    def _connected(self, place: str) -> sqlite3.Connection:
        uri = place.startswith("file:")
        # isolation_level=None: Python's sqlite3 would open transactions of its own, deferred ones,
        # in which a claim could be read by two processes before either writes.
        base = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, uri=uri)
        # By default sqlite3 refuses text that is no UTF-8: a damaged row would end the command.
        base.text_factory = lambda text: text.decode(errors="backslashreplace")
        weakref.finalize(self, _let_go, base)  # at exit too: what SQLite keeps beside the file goes
        return base

    def _check_kind(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise sqlite3.DatabaseError("it is no regular file")
        if 0 < self.path.stat().st_size < SMALLEST:
            raise sqlite3.DatabaseError("it is no database")  # SQLite takes a byte for nothing

    def _schema(self) -> tuple[int, bool]:
        """The version of the file's schema, 0 where it is new, and whether it is new."""
        # Both stand in the file's header: 0 unless somebody has set them.
        application = self._number("PRAGMA application_id")
        schema = self._number("PRAGMA user_version")
        tables = self._number("SELECT count(*) FROM sqlite_master")
        if not application and not tables:
            return 0, True
        if application != APPLICATION:
            raise sqlite3.DatabaseError("it belongs to another program")
        if not 1 <= schema <= SCHEMA:
            raise sqlite3.DatabaseError(f"its schema is {schema}, this relubench's is {SCHEMA}")
        return schema, False

    def _number(self, query: str) -> int:
        (number,) = self.base.execute(query).fetchone()
        return int(number)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile."""
        # IMMEDIATE takes the write lock now. A deferred transaction that reads first and then wants
        # to write fails with SQLITE_BUSY at once, whatever the timeout.
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.base.execute("COMMIT")
        except BaseException:
            if self.base.in_transaction:  # a full disk may have ended it
                self.base.execute("ROLLBACK")
            raise

    def _records(self, where: str = "", values: Sequence[str] = ()) -> Iterator[Record]:
        """Rows as they are, oldest first."""
        # A file that is only read keeps its older schema, which may lack the column.
        summed = "checksum" if self.schema >= 3 else "NULL"
        query = f"SELECT key, context, result, finished, {summed} FROM results {where}"
        with self._usable():
            # `finished` has whole seconds: the key makes the order the same in every reading.
            for row in self.base.execute(f"{query} ORDER BY finished, key", values):
                yield Record(*row)

    def _read(self, record: Record, cell: Cell | None = None) -> RunResult | None:
        """The run of a row; None where it cannot be read, which is remembered."""
        try:
            return record.read(cell)
        except Unreadable as error:
            self.unread[record.name] = str(error)
            return None

    def find(self, cells: Sequence[Cell], context: Context) -> dict[Cell, RunResult]:
        """The finished ones of these cells; a row that cannot be read is left out."""
        by_key = {cell.key: cell for cell in cells}
        keys = list(by_key)
        results: dict[Cell, RunResult] = {}
        # In batches: SQLite takes at most 999 parameters in versions that are still about.
        for begin in range(0, len(keys), BATCH):
            part = keys[begin : begin + BATCH]
            marks = ", ".join("?" * len(part))
            where = f"WHERE context = ? AND key IN ({marks})"
            for record in self._records(where, [str(context), *part]):
                cell = by_key[record.key]
                result = self._read(record, cell)
                if result is not None:
                    results[cell] = result
        return results

    def claim(self, cells: Iterable[Cell], context: Context) -> set[Cell]:
        """Claim cells for this process; returns those that no other process that lives trains.

        A claim ends with `write`, with `release`, with its process, or when nobody prolongs it.
        Raises Unwritten where the file can take no claim.
        """
        claimed: set[Cell] = set()
        # A lease in wall time, since only that means the same on two hosts; and a lease rather than
        # a lock, since a host that dies gives nothing back.
        until = time.time() + LEASE
        with self._writable():
            for cell in cells:
                place = (cell.key, str(context))
                if self._holder(*place) is None:
                    claim = (*place, HOST, os.getpid(), until)
                    self.base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?)", claim)
                    claimed.add(cell)
        # One thread for all claims of this ledger, begun with the first of them.
        if self.released is None:
            self.released = threading.Event()
            threading.Thread(target=self._prolong, args=[self.released], daemon=True).start()
        return claimed

    def holders(self, cells: Iterable[Cell], context: Context) -> list[tuple[str, int]]:
        """Host and process of who trains these cells, where it is another than this one."""
        with self._usable():
            holders = [self._holder(cell.key, str(context)) for cell in cells]
        return sorted({holder for holder in holders if holder})

    def _holder(self, key: str, context: str) -> tuple[str, int] | None:
        """Host and process of another's claim that holds; one from beyond a lease does not."""
        claim = self.base.execute(
            "SELECT host, process, until FROM claims WHERE key = ? AND context = ?", (key, context)
        ).fetchone()
        if claim is None:
            return None
        host, process, until = claim
        now = time.time()
        # SQLite keeps any type in any column: what is no claim holds nothing.
        if not isinstance(process, int) or not isinstance(until, float):
            return None
        # A claim from beyond a lease was made by a clock that goes wrong: it would hold for ever.
        holds = now <= until <= now + LEASE + SKEW
        if holds and _is_another(host, process):
            return host, process
        return None

    def _prolong(self, released: threading.Event) -> None:
        # A connection of its own: SQLite's belong to the thread that opened them.
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
        with self._writable():
            self.base.execute(
                "DELETE FROM claims WHERE host = ? AND process = ?", (HOST, os.getpid())
            )
        with self._usable():
            # So that the file alone can be copied to another machine, without its -wal beside it.
            self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # busy: the last one does it

    def write(self, results: Iterable[RunResult], context: Context) -> None:
        """Keep what is finished, all in one transaction; a cell trained again is replaced.

        Raises Unwritten where that fails, on a full disk for example.
        """
        results = list(results)
        finished = [result for result in results if result.finished]
        records = [Record.of(self._with_history(run, context), context) for run in finished]
        with self._writable():
            self._insert(records)
            self.base.executemany(
                "DELETE FROM claims WHERE key = ? AND context = ?",
                [(result.cell.key, str(context)) for result in results],
            )

    def _with_history(self, result: RunResult, context: Context) -> RunResult:
        """The run; where it was not tracked and the same one is here, with what that knows."""
        if result.history:
            return result
        place = [result.cell.key, str(context)]
        record = next(self._records("WHERE key = ? AND context = ?", place), None)
        earlier = self._read(record) if record else None
        same = earlier is not None and earlier.curve == result.curve
        return replace(result, history=earlier.history) if earlier and same else result

    def _insert(self, records: Iterable[Record]) -> None:
        rows = [(*record.texts, record.checksum) for record in records]
        self.base.executemany(f"{INSERT} VALUES (?, ?, ?, ?, ?)", rows)

    def __iter__(self) -> Iterator[tuple[str, str, RunResult]]:
        """Context, time and result of everything that can be read, oldest first."""
        for record in self._records():
            result = self._read(record)
            if result is not None:
                yield record.context, record.finished, result

    def count(self) -> int:
        """Rows, those that cannot be read with them."""
        with self._usable():
            return self._number("SELECT count(*) FROM results")

    def unreadable_rows(self) -> dict[str, str]:
        """Every row that cannot be read, by name, with the reason."""
        for _ in self:
            pass
        return dict(self.unread)

    def remove(self, names: Sequence[str]) -> int:
        """Drop rows by name: of a cell, in all of its contexts, or as `unreadable_rows` has it.

        Returns how many those were; raises BadValue, with nothing dropped, where one names none.
        """
        with self._writable():
            # As bytes: of two damaged keys the texts may be the same, escaped.
            raw = "CAST(key AS BLOB), CAST(context AS BLOB)"
            places: dict[str, list[tuple[bytes, bytes]]] = {}
            for key, context in self.base.execute(f"SELECT {raw} FROM results"):
                name = named(key, context)
                # Either name will do: the row's own, or the cell's, which may
                # stand for several rows.
                cell, _, _ = name.rpartition("/")
                for row_or_cell in (name, cell):
                    places.setdefault(row_or_cell, []).append((key, context))
            chosen: set[tuple[bytes, bytes]] = set()
            for name in names:
                if name not in places:
                    raise BadValue(f"{self.path} has no run {name!r} (relubench ledger export)")
                chosen.update(places[name])
            self.base.executemany(
                "DELETE FROM results WHERE CAST(key AS BLOB) = ? AND CAST(context AS BLOB) = ?",
                chosen,
            )
        return len(chosen)

    def merge(self, other: Ledger) -> int:
        """Add what only `other` has; how many that was. Its rows that cannot be read are left out.

        Raises Conflict, naming the cells, where both have a cell with different scores; then
        nothing is added.
        """
        added: list[Record] = []
        conflicts: list[str] = []
        with self._writable():
            # Everything is compared before anything is written: a conflict must
            # leave no half of a merge.
            for record in other._records():
                result = other._read(record)
                if result is None:
                    continue
                own = self._own_result(record)
                if own is None:
                    added.append(record.summed)
                elif not _agree(own, result):
                    conflicts.append(f"{record.key} ({_named(result.cell)})")
                elif result.history and not own.history:
                    added.append(record.summed)  # the same run, and what became of its units
            if conflicts:
                raise Conflict(
                    f"{other.path} and {self.path} differ in {len(conflicts)} cells, so nothing is "
                    f"merged: {'; '.join(conflicts)}"
                )
            self._insert(added)
        return len(added)

    def _own_result(self, record: Record) -> RunResult | None:
        """The run that this ledger can read in the place of another's row."""
        place = [record.key, record.context]
        own = next(self._records("WHERE key = ? AND context = ?", place), None)
        return None if own is None else self._read(own)

    def close(self) -> None:
        """Let go of the file."""
        self.base.close()
        if self.copied:
            self.copied.cleanup()


def _let_go(base: sqlite3.Connection) -> None:
    with suppress(sqlite3.ProgrammingError):  # whatever thread collects garbage, this is not its
        base.close()


def _is_another(host: str, process: int) -> bool:
    """Whether this is another process, which may be alive: one of another host always may."""
    return host != HOST or files.alive(process, mine=False)


def _agree(first: RunResult, second: RunResult) -> bool:
    """Whether two runs of a cell may come of two machines."""
    # A diverged run has no scores: two that diverged agree, one that did and
    # one that did not differ.
    if first.failed or second.failed or first.scores.keys() != second.scores.keys():
        return first.failed == second.failed
    return all(_near(first.scores[name], second.scores[name]) for name in first.scores)


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or math.isclose(one, other, rel_tol=TOLERANCE)


def _named(cell: Cell) -> str:
    return f"{cell.dataset}, {cell.model}, {cell.activation}, seed {cell.seed}"
