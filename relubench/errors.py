"""What can go wrong in a way the user can mend: one line that says what was got, known, to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RelubenchError(Exception):
    """Shown as one line, without a traceback; the process ends with `exit_code`."""

    exit_code = 2


class BadValue(RelubenchError, ValueError):
    """A flag, key or parameter has a value that cannot be used."""


MANY = 20  # names that a line can hold


class UnknownName(RelubenchError, ValueError):
    """A name that stands in no catalogue."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        few = f"known: {', '.join(names) or 'none'}"
        hint = suggestion(name, names) or (few if len(names) <= MANY else f"{len(names)} are known")
        where = "relubench list" if kind == "kind" else f"relubench list {kind}s"
        super().__init__(f"unknown {kind} {name!r}: {hint} ({where})")


class DataError(RelubenchError):
    """A dataset is not there, or is not what it should be."""


class ClusterError(RelubenchError):
    """A cluster that was lost while it trained."""


class NotComparable(RelubenchError):
    """A baseline that a run cannot be held against; a line for each reason."""

    exit_code = 4


class Stopped(RelubenchError):
    """The user interrupted the run."""

    exit_code = 130


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch says that no memory is left."""
    said = str(error)
    torch_says = "can't allocate memory" in said or "out of memory" in said
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and torch_says)


def suggestion(name: str, known: Iterable[str]) -> str:
    """'did you mean …?' for the nearest known name, or '' where none is near."""
    by_lower = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"did you mean {by_lower[near[0]]!r}?" if near else ""
