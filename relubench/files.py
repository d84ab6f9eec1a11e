"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relubench.errors import BadValue


@contextmanager
def replacing(path: Path, flag: str) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, and vanishes otherwise.

    Raises BadValue, naming the flag, at once where `path` cannot be written. What is not a regular
    file, such as /dev/null, is written to directly.
    """
    target = path.resolve()
    special = target.exists() and not target.is_file() and not target.is_dir()
    part = target if special else target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(0, "permission denied")
        part.open("ab").close()
    except OSError as error:
        raise BadValue(f"{flag} {path}: cannot be written: {error.strerror}") from None
    if special:
        yield part
        return
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
