"""A user's own code, by `package.module:attribute` or `./file.py:attribute`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from relubench.errors import RelubenchError, suggestion

INSTALLED = Path(sysconfig.get_path("purelib"))


class OwnCodeError(RelubenchError):
    """A user's own code that is not there, that raises or that does not do what it must."""


@dataclass(frozen=True, eq=False)
class Own:
    """What such a name stands for.

    thing   the attribute
    sha256  digest of its source: its file, and what that takes from the same folder and below
    """

    thing: Any
    sha256: str


def named(where: str) -> bool:
    """Whether this, the part of a name before the first colon, is a file or a dotted module."""
    return "." in where or "/" in where


def load(where: str, attribute: str) -> Own:
    """The attribute of a file or module; raises OwnCodeError in one line.

    A file is read each time and run again only when it has changed. Modules are looked for in the
    working folder too.
    """
    if not attribute or "=" in attribute:
        raise OwnCodeError(f"{where!r} names no attribute: write {where}:NAME")
    if not (where.endswith(".py") or "/" in where):
        _importable(os.getcwd())
        return _of_module(where, attribute)
    path = Path(where).expanduser().absolute()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise OwnCodeError(f"cannot read {where}: {error.strerror} ({path})") from None
    return _of_file(where, path, source, attribute)


@lru_cache
def _of_module(name: str, attribute: str) -> Own:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise OwnCodeError(
                f"no module {error.name!r} here or among the installed ones: a file is named by "
                f"its path, such as ./{name.split('.')[-1]}.py:{attribute}"
            ) from None
        raise _raised(name, error) from error
    except (Exception, SystemExit) as error:
        raise _raised(name, error) from error
    return _attribute(module, name, attribute)


@lru_cache
def _of_file(where: str, path: Path, source: bytes, attribute: str) -> Own:
    return _attribute(_run(where, path, source), where, attribute)


@lru_cache
def _run(where: str, path: Path, source: bytes) -> ModuleType:
    """The module of exactly these bytes, which no cache of compiled files can replace."""
    digest = hashlib.sha256(bytes(path) + source).hexdigest()
    module = ModuleType(f"{path.stem}_{digest[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    _importable(str(path.parent))
    try:
        exec(compile(source, path, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise _raised(where, error) from error
    return module


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def _raised(where: str, error: BaseException) -> OwnCodeError:
    return OwnCodeError(f"{where} cannot be loaded: {brief(error)} (--verbose shows where)")


def brief(error: BaseException) -> str:
    """An exception on one line."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _attribute(module: ModuleType, where: str, attribute: str) -> Own:
    known = [name for name in vars(module) if not name.startswith("_")]
    if not hasattr(module, attribute):
        hint = suggestion(attribute, known) or f"known: {', '.join(known) or 'none'}"
        raise OwnCodeError(f"{where} has no attribute {attribute!r}: {hint}")
    digest = hashlib.sha256()
    for path in sorted({Path(file) for file in _files(module)}):
        digest.update(path.read_bytes())
    return Own(getattr(module, attribute), digest.hexdigest()[:16])


def _files(module: ModuleType) -> Iterator[str]:
    """The source files of a module and of what it takes from its own folder and below.

    Installed packages may lie below too, in a .venv: they count for a module of theirs only.
    """
    folder = Path(module.__file__ or "").parent
    installed = INSTALLED if INSTALLED not in (folder, *folder.parents) else None
    seen: set[str] = set()
    left = [module]
    while left:
        values = list(vars(left[-1]).values())
        file = getattr(left.pop(), "__file__", None)
        above = Path(file or "").parents
        if file is None or file in seen or folder not in above or installed in above:
            continue
        seen.add(file)
        yield file
        left += filter(inspect.ismodule, values)
        homes = [v.__module__ for v in values if inspect.isclass(v) or inspect.isfunction(v)]
        left += [sys.modules[home] for home in homes if home in sys.modules]
