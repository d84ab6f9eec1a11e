"""Words around numbers."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """'1 seed', '2 seeds'."""
    return f"{count} {noun}{'s' * (count != 1)}"
