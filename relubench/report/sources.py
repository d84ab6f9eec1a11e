"""Where something was published, and which rows it is about."""

from __future__ import annotations

from relubench.config import Published
from relubench.rows import ClaimedRow, PublishedRow
from relubench.table import Row

NAMES = ("dataset", "model", "activation", "head", "lr")


def named(entry: Published, row: Row) -> bool:
    """Whether something published is about a row with these names; nobody revived units there."""
    if row.get("revive"):
        return False
    names = {name: getattr(entry, name) for name in NAMES}
    return all(name is None or name == row.get(key) for key, name in names.items())


def confirmed_text(row: PublishedRow | ClaimedRow) -> str:
    """Whether the source was read."""
    return "yes" if row.confirmed else "no"


def source_text(row: PublishedRow | ClaimedRow) -> str:
    """The source, and whether it was read."""
    return f"{row.source}{'' if row.confirmed else ' (not confirmed)'}"
