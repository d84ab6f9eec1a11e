"""What was once measured or read, kept in the user's cache: a JSON file of entries for each kind.

Nothing in it is trusted: what is read is checked by who asked, and found out again where it is
damaged, missing or cannot be written.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from relubench import files


@dataclass(frozen=True)
class UserCache:
    """One file of entries; `most` bytes of it are read."""

    name: str
    most: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(platformdirs.user_cache_dir("relubench")) / self.name

    def entries(self) -> dict[str, Any]:
        """All entries, whatever they hold; none where the file is damaged."""
        try:
            with files.regular(self.path, self.most) as file:
                entries = json.loads(file.read())
        except (OSError, ValueError, RecursionError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def keep(self, key: str, value: object) -> None:
        """Add or replace an entry; without a cache it is found out again."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Read again just before: another process may have added an entry. Of two at the very
            # same time one is lost, and found out again.
            text = json.dumps({**self.entries(), key: value}, indent=0)
            files.write(self.path, text.encode())
