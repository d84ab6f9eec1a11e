"""Rows of a ledger: finished runs with a checksum, which are checked when they are read."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

from pydantic import TypeAdapter

from relubench.plan import Cell
from relubench.results import Context, RunResult

RESULT: TypeAdapter[RunResult] = TypeAdapter(RunResult)
TIME = "%Y-%m-%dT%H:%M:%SZ"
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class Unreadable(Exception):
    """A row that is no finished run; the message says why."""


@dataclass(frozen=True)
class Record:
    """A row of the file, valid or not.

    key       of the cell
    context   what else decides its numbers, as JSON
    result    the RunResult, as JSON
    finished  when, UTC
    checksum  of these four; None in ledgers that had none
    """

    key: str
    context: str
    result: str
    finished: str
    checksum: str | None = None

    @classmethod
    def of(cls, result: RunResult, context: Context) -> Record:
        """A run that has just been finished."""
        text = RESULT.dump_json(result).decode()
        finished = time.strftime(TIME, time.gmtime())
        return cls(result.cell.key, str(context), text, finished).summed

    @property
    def summed(self) -> Record:
        """The same with its checksum."""
        return Record(*self.texts, checksum(*self.texts))

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """The columns that the checksum is of."""
        return self.key, self.context, self.result, self.finished

    @property
    def name(self) -> str:
        """The name of the row: the cell's key, and eight digits for the context."""
        return named(self.key, self.context)

    def read(self, cell: Cell | None = None) -> RunResult:
        """The run, of this cell if one is given; raises Unreadable."""
        if not all(isinstance(text, str) for text in self.texts):
            raise Unreadable("it is no text")
        # The checksum first: what it vouches for is as relubench wrote it.
        if self.checksum is not None and self.checksum != checksum(*self.texts):
            raise Unreadable("its checksum is another")
        try:
            result = RESULT.validate_json(self.result)
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise Unreadable("its result is none") from None
        # A key is a hash of the cell: a row put under another's key would be taken for its result.
        if result.cell != cell and (cell or result.cell.key != self.key):
            raise Unreadable("its result is another cell's")
        if self.checksum is None and not all(map(math.isfinite, _figures(result))):
            raise Unreadable("its result has figures that are not finite")
        if not _is_context(self.context):
            raise Unreadable("its context is none")
        if not WHEN.fullmatch(self.finished):
            raise Unreadable("its time is none")
        return result


def named(key: str | bytes, context: str | bytes) -> str:
    """The name of a row; what is no plain text in its key is escaped."""
    key, context = _text(key), _text(context)
    is_plain = re.fullmatch(r"[\w.-]+", key, re.ASCII)
    plain = key if is_plain else ascii(key)[1:-1]
    digest = hashlib.sha256(context.encode()).hexdigest()
    return f"{plain}/{digest[:8]}"


def _text(column: str | bytes) -> str:
    if isinstance(column, bytes):
        return column.decode(errors="backslashreplace")
    return column


# As JSON, so that texts cannot run into each other; repr for the bytes of a damaged column.
LISTED = json.JSONEncoder(default=repr)


def checksum(*texts: object) -> str:
    """16 hexadecimal digits of a digest of these."""
    return hashlib.sha256(LISTED.encode(texts).encode()).hexdigest()[:16]


# A ledger has many rows and few contexts.
@lru_cache
def _is_context(text: str) -> bool:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    types: dict[str, type] = {field.name: str for field in fields(Context)}
    types |= {"engine": int, "threads": int}
    # By type, not isinstance: `true` would pass for an engine.
    return {name: type(value) for name, value in values.items()} == types


def _figures(result: RunResult) -> Iterator[float]:
    """The numbers that are defined in a result's scores and curve, and its seconds."""
    yield result.seconds
    yield from (score for score in result.scores.values() if score is not None)
    for epoch in result.curve:
        yield from (figure for figure in vars(epoch).values() if figure is not None)
