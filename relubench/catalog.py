"""What exists: whatever a user may name is a plain function, listed by one decorator."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from relubench import guesses, user_code
from relubench.errors import BadValue, UnknownName
from relubench.user_code import UserCode

if TYPE_CHECKING:
    import typing_extensions

    # A default, which typing has from Python 3.13 on: a bare Entry is one that returns anything.
    R_co = typing_extensions.TypeVar("R_co", covariant=True, default=Any)
else:
    R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

Parameter = bool | int | float | str | tuple[int, ...]  # what `parse` reads and `spell` writes
Parameters = dict[str, Any]  # by name, each of the type that the function's signature declares


class Deferred:
    """A module that is imported when it is first used: `--help` and `list` must not wait for torch.

    An attribute, once read, is kept here, so that a later read costs no more than any other.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


@dataclass(frozen=True)
class Entry(Generic[R_co]):
    """One listed function. Its keyword-only arguments are the parameters a user may set.

    One of them may have no default: it is given first and without its name, as in `csv:FILE`.
    """

    name: str
    function: Callable[..., R_co]

    @property
    def description(self) -> str:
        """The first paragraph of the function's docstring, on one line."""
        return _on_one_line(self._paragraphs[0])

    @property
    def remarks(self) -> str:
        """The docstring's other paragraphs, a line each."""
        return "\n".join(map(_on_one_line, self._paragraphs[1:]))

    @property
    def _paragraphs(self) -> list[str]:
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")

    @cached_property
    def parameters(self) -> Parameters:
        """Each parameter's default, in the order of the signature."""
        return {p.name: p.default for p in self._keywords if p.default is not p.empty}

    @cached_property
    def first(self) -> Parameters:
        """The parameter that must be given, if there is one, with a value of its type."""
        # An annotation is a text here: every module has `from __future__ import annotations`.
        like: Parameters = {"str": "", "float": 0.0}
        return {p.name: like[p.annotation] for p in self._keywords if p.default is p.empty}

    @cached_property
    def _keywords(self) -> list[inspect.Parameter]:
        signature = inspect.signature(self.function).parameters.values()
        return [p for p in signature if p.kind is p.KEYWORD_ONLY]

    def bind(self, given: Parameters) -> Choice[Self]:
        """The entry with these parameters."""
        return Choice(self, given)


def _on_one_line(paragraph: str) -> str:
    return " ".join(paragraph.split())


@dataclass(frozen=True)
class Unread(Entry):
    """A user's own code by its name alone, which has not been run: as it was written."""

    activation: str = "relu"


def _unread() -> None:
    """Stand for code that is not run."""


E = TypeVar("E", bound=Entry)
E_co = TypeVar("E_co", bound=Entry, covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


# Equal by identity alone: parameters are a dict, which has no hash. Compare the spelling instead.
@dataclass(frozen=True, eq=False)
class Choice(Generic[E_co]):
    """An entry with every parameter settled: what `leaky_relu:negative_slope=0.2` means."""

    entry: E_co
    given: Parameters

    @property
    def parameters(self) -> Parameters:
        """The parameters given, and the defaults of the rest."""
        return {**self.entry.parameters, **self.given}

    def __call__(self: Choice[Entry[R]], *args: object, **more: object) -> R:
        """Call the function with these parameters."""
        return self.entry.function(*args, **self.parameters, **more)

    def __str__(self) -> str:
        """The one spelling of what it means: parameters at their default are left out."""
        # Results are kept under this text, so that two ways to write one choice must not differ.
        parts = [self.entry.name]
        parts += [spell(self.given[key]) for key in self.entry.first]
        for key, value in self.given.items():
            if key not in self.entry.first and value != self.entry.parameters[key]:
                parts.append(f"{key}={spell(value)}")
        return ":".join(parts)


class Catalog(dict[str, E]):
    """What a user may name, by name.

    beside  what else may be named, in a line for `list`
    """

    def __init__(self, kind: str, entry: Callable[..., E], beside: str = "") -> None:
        super().__init__()
        self.kind, self.entry, self.beside = kind, entry, beside
        self.own: Callable[[str, UserCode], E] | None = None
        self.libraries: Mapping[str, Callable[[str], E]] = {}
        self.aliases: dict[str, str] = {}
        self.reads = True

    def provide(
        self,
        own: Callable[[str, UserCode], E],
        libraries: Mapping[str, Callable[[str], E]] | None = None,
        beside: str = "",
    ) -> None:
        """Take entries from elsewhere, too; a package's `sources` says from where.

        own        makes an entry of a user's own code, which is named by its place: user_code
        libraries  each makes an entry of what it has by a name: `torchvision.resnet18`
        beside     what these may be, in a line for `list`
        """
        self.own, self.libraries, self.beside = own, libraries or {}, beside

    def unread(self) -> Catalog[E]:
        """The same names; of a user's own code nothing is run, and a name of it is not checked."""
        other = copy.copy(self)
        other.reads = False
        return other

    def __missing__(self, name: str) -> E:
        raise UnknownName(self.kind, name, known=self)

    def add(self, spelt: str = "", also: str = "", **facts: Any) -> Callable[[F], F]:
        """Decorator: list a function under its own name; its docstring is its description.

        spelt  the name, where Python has no such name for a function
        also   another name that it was published under
        """

        def register(function: F) -> F:
            name = spelt or function.__name__
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is listed twice")
            if not function.__doc__:
                raise ValueError(f"{self.kind} {name!r} has no docstring")
            self[name] = self.entry(name, function, **facts)
            if also:
                self.aliases[also] = name
            return function

        return register

    def choose(self, text: str) -> Choice[E]:
        """The entry and parameters that `name:key=value:key=value` stands for.

        What must be given comes first and without a key, as in `csv:FILE:target=COL`.
        Raises UnknownName for the name, BadValue for a parameter or its value, UserCodeError.
        """
        # 1. A name and its pairs, which colons join.
        name, *pairs = self._uncalled(text.strip()).split(":")
        if not name:
            raise BadValue(f"{text!r} names no {self.kind}")
        self._refuse_several(text)
        if not self.reads and self._is_own(name, pairs):
            unread: Any = Unread(text.strip(), _unread)  # no E: it stands for one nobody has read
            return Choice(unread, {})
        # 2. What the name means: of relubench, of a library, or a user's own.
        entry = self._entry(name, pairs)
        if entry.first and DRIVE.fullmatch(":".join(pairs[:2])):  # its colon joins nothing
            pairs[:2] = [":".join(pairs[:2])]
        # 3. The parameters: what has no default comes first and unnamed, the others by name.
        settings: Parameters = {}
        for key, like in entry.first.items():
            text_of_first = pairs.pop(0) if pairs else ""
            settings[key] = _first(entry, key, text_of_first, like)
        for pair in pairs:
            key, value = _parameter(self.kind, entry, pair)
            if key in settings:
                raise BadValue(f"{entry.name}: {key} is given twice")
            settings[key] = value
        # In the order of the signature, so that one choice has one spelling.
        order = (*entry.first, *entry.parameters)
        return entry.bind({key: settings[key] for key in order if key in settings})

    def _entry(self, name: str, pairs: list[str]) -> E:
        """What a name means; where it goes on after the first colon, that is taken from `pairs`."""
        library, _, thing = name.partition(".")
        # torchvision:resnet18 is nearly right: a dot belongs there.
        if name in self.libraries:
            raise BadValue(f"{self.kind} {name!r}: did you mean '{name}.{(pairs or ['NAME'])[0]}'?")
        if self._of_library(name, pairs):
            return self.libraries[library](thing)
        if self.own and self._is_own(name, pairs):
            attribute = pairs.pop(0) if pairs else ""
            return self.own(f"{name}:{attribute}", user_code.load(name, attribute))
        spelt = self._spelt(name)
        if spelt not in self and (meant := guesses.name(self.kind, name, pairs)):
            raise BadValue(f"unknown {self.kind} {name!r}: {meant}")
        return self[spelt]

    def _spelt(self, name: str) -> str:
        """As it is listed: LeakyReLU and fashion-mnist can mean one name only."""
        if name in self:
            return name
        if name.lower() in self.aliases:
            return self.aliases[name.lower()]
        # Only if it can be but one: otherwise the error lists what is near.
        alike = [listed for listed in self if _letters(listed) == _letters(name)]
        return alike[0] if len(alike) == 1 else name

    def _uncalled(self, text: str) -> str:
        """`relu()` is relu; of `elu(alpha=1)` it is said how that is written here."""
        called = CALL.fullmatch(text)
        if not called or self._spelt(called[1]) not in self:
            return text
        if arguments := called[2].replace(" ", "").strip(","):
            meant = ":".join([self._spelt(called[1]), *arguments.split(",")])
            raise BadValue(f"{text!r}: parameters are joined by colons: did you mean {meant!r}?")
        return called[1]

    def _refuse_several(self, text: str) -> None:
        """Names that are joined by something other than a comma."""
        names = [self._spelt(name) for name in guesses.SEPARATED.split(text.strip())]
        if len(names) > 1 and all(name in self for name in names):
            meant = ",".join(names)
            raise BadValue(f"{text!r}: names are joined by commas: did you mean {meant!r}?")

    def _of_library(self, name: str, pairs: list[str]) -> bool:
        return name.partition(".")[0] in self.libraries and not (pairs and "=" not in pairs[0])

    def _is_own(self, name: str, pairs: list[str]) -> bool:
        named = self.own is not None and user_code.named(name)
        return named and not self._of_library(name, pairs)


Catalogs = Mapping[str, Catalog[Any]]  # by kind
CALL = re.compile(r"(\w+)\(([^()]*)\)?")
DRIVE = re.compile(r"[A-Za-z]:[\\/].*")  # C:\data\x.csv


def _letters(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


def _first(entry: Entry, key: str, text: str, like: Parameter) -> Parameter:
    if not text:
        raise BadValue(f"{entry.name} needs a {key}: {entry.name}:{key.upper()}")
    try:
        return parse(text, like)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise BadValue(f"{entry.name}: {text!r} is not {KINDS[type(like)]}") from None


def _parameter(kind: str, entry: Entry, pair: str) -> tuple[str, Parameter]:
    key, equals, text = pair.partition("=")
    if key not in entry.parameters:
        hint = guesses.parameter(kind, entry.name, entry.parameters, pair)
        raise BadValue(f"{entry.name} has no parameter {key!r}: {hint}")
    default = entry.parameters[key]
    try:
        return key, parse(text if equals else "", default)
    except (ValueError, ZeroDivisionError, OverflowError):
        wanted = f"{KINDS[type(default)]}, such as {spell(default)}"
        raise BadValue(f"{entry.name}: {key}={text!r} is not {wanted}") from None


KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"} | {
    tuple: "whole numbers joined by x"
}


def parse(text: str, like: Parameter) -> Parameter:
    """A parameter's value, of the type of `like`; fractions such as 1/3 are numbers too.

    Raises ValueError or ZeroDivisionError for anything else, infinity included.
    """
    if isinstance(like, bool):  # before int, which True is too
        return ("false", "true").index(text) == 1
    if isinstance(like, float):
        # 1/3 is a number too, so that papers' slopes can be typed as printed.
        numerator, _, denominator = text.partition("/")
        value = float(numerator) / float(denominator or 1)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    if isinstance(like, tuple):
        return tuple(int(part) for part in text.split("x"))
    return type(like)(text)


def spell(value: object) -> str:
    """A parameter's value as the user types it: the inverse of `parse`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value)
