"""A process that starts relubench again and again, and has it killed: `python killing.py`.

It imports what a command needs, which takes seconds, computes nothing, and divides itself for each
command, a line of JSON on stdin: what the command does, it does in a process of its own. The answer
is a line of JSON on stdout.

arguments  of relubench
folder     to work in; what is printed goes there, and EVENTS, a line for each write
kind, at   of which write it is killed, counted from 1 among its kind
how        when: before, after, or with half of the bytes
after      seconds until it is killed
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

EVENTS, LEDGER = "events", "kept/ledger.db"
SAVES = "torch.save"  # once after each epoch
HALVED = ("fsync", "replace", "sqlite COMMIT")
PATIENCE = 120.0  # seconds until a command hangs
NEEDED = (
    *(
        "relubench.cli",
        "relubench.commands.training",
        "relubench.execution.work",
        "relubench.report",
    ),
    *(
        "relubench.execution.checks",
        "relubench.execution.tuning",
        "relubench.user_code",
        "relubench.formats.pictures",
    ),
    *("torch._dynamo", "sklearn.datasets", "pandas"),
)
READING = ("SELECT", "PRAGMA application_id", "PRAGMA user_version")


class Watch:
    """Counts the writes of this process, and ends it at one of them."""

    def __init__(self, kind: str = "", at: int = 0, how: str = "", **asked: Any) -> None:
        self.kind, self.at, self.how = kind, at, how
        self.write, self.kill = os.write, partial(os.kill, os.getpid(), signal.SIGKILL)
        self.events = os.open(EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, kind: str, act: Callable[[], Any], halve: Callable[[], Any]) -> Any:
        """Do it, unless it is where the process ends; `halve` leaves half of what was written."""
        self.write(self.events, f"{kind}\n".encode())
        self.at -= kind == self.kind
        if kind != self.kind or self.at:
            return act()
        try:
            if self.how == "half":
                halve()
            elif self.how == "after":
                act()
        finally:
            self.kill()

    def patch(self) -> None:
        """Have every write of this process told."""
        import torch

        for name in ("unlink", "rmdir", "mkdir", "rename"):
            setattr(os, name, self.named(name, getattr(os, name)))
        self.patch_files()
        saved = torch.save
        torch.save = lambda *given: self(SAVES, lambda: saved(*given), lambda: None)
        connect = partial(sqlite3.connect, factory=watching(self))
        sqlite3.connect = connect  # type: ignore[assignment]

    def named(self, kind: str, act: Callable[..., Any]) -> Callable[..., Any]:
        """What is done to a file, told with the file's suffix."""

        def told(path: Any, *more: Any, **named: Any) -> Any:
            return self(suffixed(kind, path), lambda: act(path, *more, **named), lambda: None)

        return told

    def patch_files(self) -> None:
        """What puts bytes on the disk."""
        opened, fsync, replace = os.open, os.fsync, os.replace

        def open(path: Any, flags: int, *more: Any, **named: Any) -> Any:
            act = partial(opened, path, flags, *more, **named)
            kind = suffixed("open", path)
            return self(kind, act, lambda: None) if flags & os.O_CREAT else act()

        def synced(handle: int) -> None:
            half = os.fstat(handle).st_size // 2
            self("fsync", lambda: fsync(handle), lambda: os.ftruncate(handle, half))

        def replaced(source: Any, target: Any, **named: Any) -> None:
            half = os.stat(source).st_size // 2
            act = partial(replace, source, target, **named)
            self(suffixed("replace", target), act, lambda: os.truncate(source, half))

        os.open, os.fsync, os.replace = open, synced, replaced  # type: ignore[assignment]


def suffixed(kind: str, path: Any) -> str:
    """'unlink .pt'."""
    return f"{kind} {Path(os.fsdecode(path)).suffix}".strip()


def watching(watch: Watch) -> type[sqlite3.Connection]:
    """Connections whose statements that write are told."""

    class Watching(sqlite3.Connection):
        last = ""

        def execute(self, statement: str, *values: Any) -> Any:
            act = partial(super().execute, statement, *values)
            if statement.startswith(READING) and "=" not in statement.partition("WHERE")[0]:
                return act()
            return watch(self.told(statement), act, lambda: torn(act))

        def executemany(self, statement: str, values: Any) -> Any:
            act = partial(super().executemany, statement, values)
            return watch(self.told(statement), act, lambda: None)

        def told(self, statement: str) -> str:
            word = statement.split()[0]
            before, self.last = self.last, word
            return f"sqlite {word} after {before}" if word == "COMMIT" else f"sqlite {word}"

    return Watching


def torn(act: Callable[[], Any]) -> None:
    """A write to SQLite's log of which half has come to the disk."""
    log = Path(f"{LEDGER}-wal")
    before = log.stat().st_size if log.exists() else 0
    act()
    after = log.stat().st_size if log.exists() else 0
    if after > before:
        os.truncate(log, (before + after) // 2)


def command(asked: dict[str, Any]) -> None:
    """In a child: the command, as the console script runs it."""
    os.chdir(asked["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["relubench", *asked["arguments"]]
    Watch(**asked).patch()
    from relubench.__main__ import run

    run()


def ended(child: int, after: float | None) -> tuple[int, float]:
    """Its exit code, negative for a signal, and how many seconds it has lived."""
    start, killed = time.monotonic(), False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        lived = time.monotonic() - start
        if found:
            return os.waitstatus_to_exitcode(status), lived
        if not killed and lived >= (PATIENCE if after is None else after):
            killed = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def serve() -> None:
    """Answer until stdin ends."""
    for name in NEEDED:
        importlib.import_module(name)
    for line in sys.stdin:
        threads = len(os.listdir("/proc/self/task"))
        assert threads == 1, f"{threads} threads: a child would lack all but one"
        asked = json.loads(line)
        child = os.fork()
        if not child:
            try:
                command(asked)
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                end = sys.exc_info()[1]
                os._exit(int(end.code or 0) if isinstance(end, SystemExit) else 99)
        code, seconds = ended(child, asked.get("after"))
        sys.stdout.write(json.dumps({"code": code, "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
