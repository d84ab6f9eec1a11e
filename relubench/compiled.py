"""A digest of code that is an object: what it is compiled to, and all that this refers to.

Not of its source: a file may have been edited since it was imported, and what was typed at a
prompt has none. Another version of Python compiles to other instructions, and so to other digests.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from relubench import __version__, libraries, user_imports

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented))
# Told apart by their repr; named, so that torch need not be imported.
BY_WORDS = ("torch.dtype", "torch.device", "torch.layout", "torch.memory_format", "torch.Size")
COMPILED = (BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType)
SLOTS = (MemberDescriptorType, GetSetDescriptorType)
# What Python adds to a class, or makes from the rest of it.
# The first line of a class is among them (Python 3.13): code that only moves stays the same.
MADE = {
    *("__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate_func__"),
    *("__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "_abc_impl"),
    *("__parameters__", "__orig_bases__"),
}
CACHED = ("_compiled_call_impl",)  # what torch keeps of a module, and can make again


class Unknowable(Exception):
    """An object that cannot be told apart from another; the message says what it is."""


def digest(thing: object) -> str:
    """12 hexadecimal digits; raises Unknowable."""
    whole = Digest()
    whole.add(thing)
    return whole.hash.hexdigest()[:12]


def is_installed(module: str) -> bool:
    """Whether a module comes with Python, from a package that is installed, or is relubench's."""
    if module.partition(".")[0] in ("relubench", *sys.builtin_module_names):
        return True
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if file is None:
        origin = getattr(getattr(found, "__spec__", None), "origin", None)
        return origin in ("built-in", "frozen")
    return any(user_imports.installed(str(folder)) for folder in Path(file).parents)


class Digest:
    """A digest that grows; an object that comes up again is only named."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[object] = []  # alive, so that no other object gets its id

    def add(self, value: object) -> None:
        """Take a value in, and all that it refers to."""
        if isinstance(value, PLAIN):
            self._words(type(value).__name__, repr(value))
            return
        if id(value) in self.seen:
            self._words("again", str(self.seen[id(value)]))
            return
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        for kind, take in TAKEN:
            if isinstance(value, kind):
                take(self, value)
                return
        self._object(value)

    def _words(self, *words: str) -> None:
        for word in words:
            text = word.encode("utf-8", "surrogatepass")
            # Each after its length: "ab", "c" and "a", "bc" must not be one.
            self.hash.update(b"%d:%b" % (len(text), text))

    def _list(self, values: Any) -> None:
        self._words(type(values).__name__, str(len(values)))
        for value in values:
            self.add(value)

    def _mapping(self, values: Mapping[object, object]) -> None:
        self._words("mapping", str(len(values)))
        for key, value in values.items():
            self.add(key)
            self.add(value)

    def _set(self, values: Any) -> None:
        # Sorted: the order of a set follows from hashes, which differ from process to process.
        self._words(type(values).__name__, *sorted(map(digest, values)))

    def _module(self, module: ModuleType) -> None:
        if is_installed(module.__name__):
            self._library(module.__name__, "")
            return
        files = {file: Path(file).read_bytes() for file in user_imports.files(module)}
        if not files:
            raise Unknowable(f"the module {module.__name__}, which has no file")
        base = str(Path(str(module.__file__)).parent)
        self._words("module", user_imports.digest_of(files, base))

    def _library(self, module: str, name: str) -> None:
        top = module.partition(".")[0]
        version = __version__ if top == "relubench" else libraries.version(top or "-")
        self._words("library", module, name, version)

    # --- code

    def _code(self, code: CodeType) -> None:
        # Neither file nor lines: what only moves does the same.
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._words("code", *map(str, counts), code.co_code.hex(), code.co_exceptiontable.hex())
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._words(*map(repr, names))
        for constant in code.co_consts:
            self.add(constant)

    def _function(self, function: FunctionType) -> None:
        module = function.__module__ or ""
        if is_installed(module):
            self._library(module, function.__qualname__)
            # What a library's function has closed over may be anybody's.
            if not function.__closure__:
                return
        self.add(function.__code__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        free = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in free:
            with _named(name):
                self.add(cell.cell_contents)
        self.add(dict(vars(function)))
        # What a function looks up when it is called is part of what it does.
        for name in sorted(set(_globals_of(function.__code__))):
            if name in function.__globals__:
                self._words("global", name)
                with _named(name):
                    self.add(function.__globals__[name])

    def _bound(self, method: MethodType) -> None:
        self.add(method.__func__)
        self.add(method.__self__)

    def _compiled(self, function: Any) -> None:
        owner = getattr(function, "__self__", None)
        self._library(getattr(function, "__module__", None) or "", function.__qualname__)
        if owner is not None and not isinstance(owner, ModuleType):
            self.add(owner)

    def _partial(self, made: functools.partial[Any]) -> None:
        for part in (made.func, made.args, made.keywords):
            self.add(part)

    def _property(self, made: property) -> None:
        for part in (made.fget, made.fset, made.fdel):
            self.add(part)

    def _wrapped(self, made: Any) -> None:
        self.add(made.__func__)

    def _class(self, made: type) -> None:
        if is_installed(made.__module__):
            self._library(made.__module__, made.__qualname__)
            return
        self._words("class", made.__qualname__)
        for base in made.__bases__:
            self.add(base)
        for name, value in vars(made).items():
            if name in MADE or isinstance(value, SLOTS):
                continue
            self._words("attribute", name)
            with _named(f"{made.__qualname__}.{name}"):
                self.add(value)

    # --- values

    def _object(self, value: Any) -> None:
        """Anything else: its class and what it holds."""
        kind = type(value)
        spelt = f"{kind.__module__}.{kind.__qualname__}"
        if kind.__name__ == "OptimizedModule":  # torch.compile's: it does what the module does
            self.add(value._orig_mod)
        elif spelt in BY_WORDS or isinstance(value, enum.Enum | re.Pattern):
            self._words(spelt, repr(value))
        elif hasattr(value, "detach") and hasattr(value, "untyped_storage"):
            self._tensor(value)
        # numpy's; an array of objects would give their addresses.
        elif hasattr(value, "tobytes") and hasattr(value, "dtype") and value.dtype != object:
            self._words(spelt, value.dtype.str, str(value.shape))
            self.hash.update(value.tobytes())
        elif hasattr(value, "__wrapped__"):
            self.add(inspect.unwrap(value))
        elif hasattr(value, "__dict__"):
            self.add(kind)
            self.add({name: held for name, held in vars(value).items() if name not in CACHED})
        else:
            raise Unknowable(f"an object of type {kind.__qualname__}")

    def _tensor(self, value: Any) -> None:
        torch = sys.modules["torch"]
        plain = value.detach().cpu().contiguous()
        self._words(str(plain.dtype), str(tuple(plain.shape)), str(value.requires_grad))
        if plain.numel():
            # As bytes: numpy knows no bfloat16.
            self.hash.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())


class _named:
    """Say by which name something unknowable was come upon."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Once, by the innermost name: the outer ones only led there.
        if isinstance(error, Unknowable) and " is " not in str(error):
            raise Unknowable(f"{self.name} is {error}") from None


def _globals_of(code: CodeType) -> Iterator[str]:
    """The names that code, and code inside it, looks up outside of functions."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


TAKEN: tuple[tuple[Any, Callable[[Digest, Any], None]], ...] = (
    ((tuple, list), Digest._list),
    ((set, frozenset), Digest._set),
    (Mapping, Digest._mapping),
    (ModuleType, Digest._module),
    (CodeType, Digest._code),
    (FunctionType, Digest._function),
    (MethodType, Digest._bound),
    (COMPILED, Digest._compiled),
    (functools.partial, Digest._partial),
    (property, Digest._property),
    ((staticmethod, classmethod), Digest._wrapped),
    (type, Digest._class),
)
