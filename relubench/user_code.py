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

from relubench import compiled, isolation
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

OBJECT = re.compile(r"python\.[0-9a-f]{12}")  # before the colon, of what has no file
# Process-wide: user code is loaded once, and its modules stay in sys.modules (user_imports).
LOADED: dict[tuple[str, str], list[UserImports]] = {}  # by working folder and name: each version
HELD: list[dict[str, str]] = []  # for each `held` that goes on: the digests by name
LENT: dict[str, UserCode] = {}  # objects that a Python call was given, by name, while it goes on


class UserCodeError(RelubenchError):
    """A user's own code that is not there, that raises or that does not do what it must."""


@dataclass(frozen=True, eq=False)
class UserCode:
    """An attribute of a user's file or module, or an object that a Python call was given.

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
    if OBJECT.fullmatch(where):
        return _lent(f"{where}:{attribute}")
    try:
        # Before a line of the user's is run: from here on this process is the child.
        isolation.enter()
    except isolation.Vanished as how:
        raise UserCodeError(f"code of yours has ended the process: {how}") from None
    with DRAWING:
        version = _version(where, attribute)
        if version:
            return _attribute(version.module, version.digest, where, attribute)
        module, digest = _installed(where, attribute)
        return _attribute(module, digest, where, attribute)


def _lent(name: str) -> UserCode:
    if name not in LENT:
        raise UserCodeError(
            f"{name} is an object that a Python call was given, and is not here: name the file "
            "that it stands in, ./FILE.py:NAME"
        )
    return LENT[name]


def _version(where: str, attribute: str) -> UserImports | None:
    """The version of a user's file or module that counts; None for what is installed."""
    held_digest = held_digests().get(where)
    version = _loaded(where, held_digest) or _load(where, attribute)
    if version is None:
        return None
    if held_digest not in (None, version.digest):
        raise UserCodeError(f"{where} has changed since this command began: give it again")
    # Whoever holds code now, holds this version of it, too.
    for digests in HELD:
        digests[where] = version.digest
    return version


def _loaded(where: str, held_digest: str | None) -> UserImports | None:
    """The version that is held; where none is, one whose files are as they were."""
    # The latest first: of several versions it is the likeliest to be current.
    for version in reversed(LOADED.get((os.getcwd(), where), [])):
        if held_digest is None:
            if version.current():
                return version
        elif version.digest == held_digest:
            return version
    return None


def _load(where: str, attribute: str) -> UserImports | None:
    """Run a file or module of the user's; None for what is installed."""
    place = _file(where) if _is_file(where) else _module(where)
    if place is None:
        return None
    versions = LOADED.setdefault((os.getcwd(), where), [])
    key = f"{os.getcwd()}:{where}:{len(versions)}"  # the same in a worker: pickle needs it
    with _as_user_error(where, attribute):
        version = UserImports(key, *place)
    versions.append(version)
    return version


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
    folders = homes(where.partition(".")[0], [os.getcwd(), *sys.path])
    return (folders[0], where) if folders else None


@lru_cache
def _installed(where: str, attribute: str) -> tuple[ModuleType, str]:
    with _as_user_error(where, attribute):
        module = importlib.import_module(where)
    sources = {file: Path(file).read_bytes() for file in files(module)}
    return module, digest_of(sources, os.path.dirname(getattr(module, "__file__", "")))


@contextmanager
def _as_user_error(where: str, attribute: str) -> Iterator[None]:
    """Raise what loading a user's code raises as a UserCodeError, in one line."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:
        # Is it the named module that is not there, or one that it imports?
        missing = _public(getattr(error, "name", None) or "")
        absent = isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{missing}.")
        if absent and missing and not _is_file(where):
            raise UserCodeError(
                f"no module {missing!r} here or among the installed ones: a file is named by "
                f"its path, such as ./{where.split('.')[-1]}.py:{attribute}"
            ) from None
        raise UserCodeError(
            f"{where} cannot be loaded: {brief(error)} (--verbose shows where)"
        ) from error


def brief(error: BaseException) -> str:
    """An exception on one line."""
    first_line = str(error).splitlines()[:1]
    return _public(": ".join([type(error).__name__, *first_line]))


def _public(text: str) -> str:
    """The text without private names of modules, as a user wrote them."""
    return re.sub(rf"{PREFIX}\w+\.", "", text)


@lru_cache
def _attribute(module: ModuleType, digest: str, where: str, attribute: str) -> UserCode:
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        hint = suggestion(attribute, public) or f"known: {', '.join(public) or 'none'}"
        raise UserCodeError(f"{where} has no attribute {attribute!r}: {hint}")
    return UserCode(getattr(module, attribute), digest)


# --- lent: objects of a Python call ---------------------------------------------------------------


def name_of_object(thing: object, digest: str) -> str:
    """The name under which an object is lent: its own, after a digest."""
    named = thing
    while not hasattr(named, "__name__"):
        named = getattr(named, "func", type(named))  # of a partial its function, else the class
    plain = re.sub(r"\W", "", str(getattr(named, "__name__", "")))
    return f"python.{digest}:{plain or 'object'}"


@contextmanager
def lent(objects: Mapping[str, UserCode]) -> Iterator[None]:
    """Let objects be had by their names until the end."""
    LENT.update(objects)
    try:
        yield
    finally:
        for name in objects:
            LENT.pop(name, None)


# --- held: one version for a command and its workers ----------------------------------------------


@contextmanager
def held(digests: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hold code that is loaded here, or whose digest is given: it stays the same until the end.

    An edit meanwhile is for the next command: results must not be kept for code that did not run.
    """
    own = dict(digests or {})
    HELD.append(own)
    try:
        yield
    finally:
        # By identity: two blocks that hold the same code have equal digests.
        HELD[:] = [other for other in HELD if other is not own]


def held_digests() -> dict[str, str]:
    """The digests of all code that is held, by name."""
    merged: dict[str, str] = {}
    for digests in HELD:
        merged.update(digests)
    return merged


def as_held(digests: Mapping[str, str], run: Callable[..., R], *arguments: Any) -> R:
    """Run with this code, or raise UserCodeError: in a worker it may have been edited by now."""
    with held(digests), blamed():
        return run(*arguments)


@contextmanager
def blamed() -> Iterator[None]:
    """Raise what a user's code raises, or an exit that it asks for, as a UserCodeError.

    Exit codes are relubench's: no sys.exit(0) in an activation is to end a gate as if it had
    passed.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated, RelubenchError):
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) or _passed_user_code(error):
            raise UserCodeError(f"code of yours has failed: {brief(error)}") from error
        raise


def _home(code: UserCode) -> str:
    """The module of an object; "" of one that nobody here has written."""
    module = str(getattr(code.thing, "__module__", None) or type(code.thing).__module__)
    return "" if compiled.is_installed(module) else module


def _passed_user_code(error: BaseException) -> bool:
    """Whether a user's code stood between relubench and what was raised."""
    # A frame names its module: a private name, one that is held, or that of
    # an object that was lent.
    held_names = {*held_digests(), *map(_home, LENT.values())}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(PREFIX) or module in held_names:
            return True
    return False
