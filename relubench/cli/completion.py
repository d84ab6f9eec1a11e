"""What a shell completes: names from the catalogues, without running what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relubench import commands, config
from relubench.config.options import NAMED_KINDS
from relubench.errors import RelubenchError


def completed(key: str) -> Callable[[str], list[str]]:
    """The completion of a flag: the last name of a comma list, by its beginning."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in _names(key) if name.startswith(begun)]

    return complete


def _names(key: str) -> Iterable[str]:
    """What may stand there; nothing where it is no name."""
    if key == "benchmark":
        # A broken benchmarks.toml must not print an error into a line that is being typed.
        try:
            return config.read(None, commands.CATALOGS).tables
        except RelubenchError:
            return ()
    return commands.CATALOGS.get(NAMED_KINDS.get(key, key), ())
