"""What a call was given: values as a command line has them, and what stands behind their names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relubench import compiled, user_code
from relubench.config.options import NAMED_KINDS, declared
from relubench.datasets import in_memory
from relubench.errors import BadValue, RelubenchError, suggestion
from relubench.user_code import UserCode

if TYPE_CHECKING:
    from relubench.datasets import Dataset

OBJECTS = ("activation", "model")  # kinds that a user's own code may be


class UnknownOption(RelubenchError, TypeError):
    """A keyword that a call does not have."""


@dataclass
class Given:
    """Options by key, as a command line would say them, and things by their names.

    unknowable  of each object that no digest can be had of, why
    """

    options: dict[str, object] = field(default_factory=dict)
    data: dict[str, Dataset] = field(default_factory=dict)
    objects: dict[str, UserCode] = field(default_factory=dict)
    unknowable: list[str] = field(default_factory=list)

    def check_ledger(self) -> None:
        """Refuse to keep runs of objects that cannot be told from others."""
        if self.unknowable:
            raise BadValue(
                *(
                    f"{why}: the ledger cannot keep its runs: no_ledger=True"
                    for why in self.unknowable
                )
            )


def given(command: str, options: Mapping[str, object]) -> Given:
    """The options of a command that are not None; raises UnknownOption and BadValue."""
    _check_known(command, options)
    made = Given()
    for key, value in options.items():
        if value is not None:
            made.options[key] = _value(key, value, made)
    return made


def _check_known(command: str, options: Mapping[str, object]) -> None:
    known = {option.key for option in declared() if command in option.commands}
    for key in options:
        if key in known:
            continue
        hint = suggestion(key, known) or f"known: {', '.join(sorted(known))}"
        if any(key == option.key for option in declared()):
            hint = "other calls have it, and this one has not"
        raise UnknownOption(f"{command}() has no option {key!r}: {hint}")


def _value(key: str, value: object, made: Given) -> object:
    kind = NAMED_KINDS.get(key, key)
    if kind == "dataset":
        return _datasets(value, made)
    if kind in OBJECTS:
        several = value if isinstance(value, list | tuple) else [value]
        names = [_code(key, one, made) for one in several]
        return names[0] if key in NAMED_KINDS else names
    return _plain(value)


def _plain(value: Any) -> object:
    """A value of Python's own: arrays, ranges and paths become lists, numbers and texts."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy's, torch's, pandas'
        return value.tolist()
    if isinstance(value, range | set | frozenset):
        return list(value)
    return value


# --- data -----------------------------------------------------------------------------------------


def _datasets(value: object, made: Given) -> list[str]:
    if isinstance(value, Mapping):
        return [_dataset(one, made, str(label)) for label, one in value.items()]
    # A tuple of names is several datasets; one of arrays is a single one, (X, y).
    if isinstance(value, list) or (isinstance(value, tuple) and _are_names(value)):
        return [_dataset(one, made) for one in value]
    return [_dataset(value, made)]


def _are_names(values: Iterable[object]) -> bool:
    return all(isinstance(one, str) for one in values)


def _dataset(value: object, made: Given, label: str = "") -> str:
    """The name of a dataset; data are lent under theirs, which tells them from all others."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    dataset = in_memory.dataset(value)
    name = in_memory.name_of(dataset, label)
    made.data[name] = dataset
    return in_memory.spelt(dataset, name)


# --- objects --------------------------------------------------------------------------------------


def _code(key: str, value: object, made: Given) -> str:
    """The name of an activation or a model; an object is lent under one with its digest."""
    if isinstance(value, str):
        return value
    if not callable(value):
        kind = type(value).__name__
        raise BadValue(f"{key}: got {kind}, must be a name, a function, a class or an nn.Module")
    value = getattr(value, "_orig_mod", value)  # of torch.compile
    try:
        digest = compiled.digest(value)
    except compiled.Unknowable as what:
        # A name that no other object has: its runs are trained, and never found again.
        digest = secrets.token_hex(6)
        shown = user_code.name_of_object(value, digest).partition(":")[2]
        made.unknowable.append(f"{key} {shown} has no digest, since {what}")
    name = user_code.name_of_object(value, digest)
    made.objects[name] = UserCode(value, digest)
    return name
