"""Items by what they share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Key = TypeVar("Key")


def grouped(items: Iterable[T], key: Callable[[T], Key]) -> dict[Key, list[T]]:
    """Items by their key; groups and members are in order of appearance."""
    groups: dict[Key, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def joined(lists: Iterable[Iterable[T]]) -> list[T]:
    """The members of several lists, one list after the other."""
    return list(itertools.chain.from_iterable(lists))


def comma_parts(texts: Iterable[str]) -> list[str]:
    """The parts of comma lists: ["a, b", "c"] are a, b and c; blanks around a part do not count."""
    parts = joined(text.split(",") for text in texts)
    return [part.strip() for part in parts]
