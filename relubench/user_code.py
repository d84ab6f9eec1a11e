"""A user's own code, by `package.module:attribute` or `./file.py:attribute`."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from relubench import isolation
from relubench.errors import RelubenchError, Terminated, suggestion
from relubench.user_imports import (
    DRAWING,
    PREFIX,
    UserImports,
    digest_of,
    files,
    homes,
    module_name,
)

R = TypeVar("R")

LOADED: dict[tuple[str, str], list[UserImports]] = {}  # by working folder and name: each version
HELD: list[dict[str, str]] = []  # for each `held` that goes on: the digests by name


class UserCodeError(RelubenchError):
    """A user's own code that is not there, that raises or that does not do what it must."""


@dataclass(frozen=True, eq=False)
class UserCode:
    """What such a name stands for.

    thing   the attribute
    sha256  digest of its source: its file, and what that takes from the same folder and below
    """

    thing: Any
    sha256: str


def named(where: str) -> bool:
    """Whether this, the part of a name before the first colon, is a file or a dotted module."""
    return "." in where or "/" in where


def load(where: str, attribute: str) -> UserCode:
    """The attribute of a file or module; raises UserCodeError in one line.

    A file is run again only when it, or what it imports from beside it, has changed; while code is
    `held`, not even then. Modules are looked for in the working folder too.
    """
    if not attribute or "=" in attribute:
        raise UserCodeError(f"{where!r} names no attribute: write {where}:NAME")
    try:
        isolation.enter()
    except isolation.Vanished as how:
        raise UserCodeError(f"code of yours has ended the process: {how}") from None
    with DRAWING:
        own = _own(where, attribute)
        module, digest = (own.module, own.digest) if own else _installed(where, attribute)
        return _attribute(module, digest, where, attribute)


def _own(where: str, attribute: str) -> UserImports | None:
    """The version of a user's file or module that counts; None for what is installed."""
    versions = LOADED.setdefault((os.getcwd(), where), [])
    wanted = held_digests().get(where)
    for own in reversed(versions):
        if own.digest == wanted or (wanted is None and own.current()):
            break
    else:
        place = _file(where) if _is_file(where) else _module(where)
        if place is None:
            return None
        key = f"{os.getcwd()}:{where}:{len(versions)}"  # the same in a worker: pickle needs it
        with _told(where, attribute):
            own = UserImports(key, *place)
        versions.append(own)
    if wanted not in (None, own.digest):
        raise UserCodeError(f"{where} has changed since this command began: give it again")
    for held_here in HELD:
        held_here[where] = own.digest
    return own


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where


def _file(where: str) -> tuple[str, str, str]:
    path = Path(where).expanduser().absolute()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UserCodeError(f"cannot read {where}: {error.strerror} ({path})") from None
    return (*module_name(str(path), source), str(path))


def _module(where: str) -> tuple[str, str] | None:
    found = homes(where.partition(".")[0], [os.getcwd(), *sys.path])
    return (found[0], where) if found else None


@lru_cache
def _installed(where: str, attribute: str) -> tuple[ModuleType, str]:
    with _told(where, attribute):
        module = importlib.import_module(where)
    sources = {file: Path(file).read_bytes() for file in files(module)}
    return module, digest_of(sources, os.path.dirname(getattr(module, "__file__", "")))


@contextmanager
def _told(where: str, attribute: str) -> Iterator[None]:
    """What is raised here is an UserCodeError."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        missing = _public(getattr(error, "name", None) or "")
        absent = isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{missing}.")
        if absent and missing and not _is_file(where):
            raise UserCodeError(
                f"no module {missing!r} here or among the installed ones: a file is named by "
                f"its path, such as ./{where.split('.')[-1]}.py:{attribute}"
            ) from None
        told = f"{where} cannot be loaded: {brief(error)} (--verbose shows where)"
        raise UserCodeError(told) from error


def brief(error: BaseException) -> str:
    """An exception on one line."""
    return _public(": ".join([type(error).__name__, *str(error).splitlines()[:1]]))


def _public(text: str) -> str:
    return re.sub(rf"{PREFIX}\w+\.", "", text)


@lru_cache
def _attribute(module: ModuleType, digest: str, where: str, attribute: str) -> UserCode:
    known = [name for name in vars(module) if not name.startswith("_")]
    if not hasattr(module, attribute):
        hint = suggestion(attribute, known) or f"known: {', '.join(known) or 'none'}"
        raise UserCodeError(f"{where} has no attribute {attribute!r}: {hint}")
    return UserCode(getattr(module, attribute), digest)


# --- held: one version for a command and its workers ----------------------------------------------


@contextmanager
def held(digests: Mapping[str, str] | None = None) -> Iterator[None]:
    """Code that has been loaded here, or that has its digest given, is the same until the end.

    An edit meanwhile is for the next command: results must not be kept for code that did not run.
    """
    mine = dict(digests or {})
    HELD.append(mine)
    try:
        yield
    finally:
        HELD[:] = [each for each in HELD if each is not mine]


def held_digests() -> dict[str, str]:
    """Of all that is held, by name."""
    return {where: digest for each in HELD for where, digest in each.items()}


def as_held(digests: Mapping[str, str], run: Callable[..., R], *arguments: Any) -> R:
    """Run with this code, or raise UserCodeError: in a worker it may have been edited by now."""
    with held(digests), blamed():
        return run(*arguments)


@contextmanager
def blamed() -> Iterator[None]:
    """What a user's code raises, or an exit that it asks for, is an UserCodeError.

    Exit codes are relubench's: no sys.exit(0) in a unit is to end a gate as if it had passed.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated, RelubenchError):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) or _yours(error):
            raise UserCodeError(f"code of yours has failed: {brief(error)}") from error
        raise


def _yours(error: BaseException) -> bool:
    """Whether a user's code stood between relubench and what was raised."""
    places = held_digests()
    names = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return any(name.startswith(PREFIX) or name in places for name in names)
