"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relubench.errors import BadValue


@contextmanager
def replacing(path: Path, flag: str) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, and vanishes otherwise.

    A block that removes it leaves `path` as it was.

    Raises BadValue, naming the flag, at once where `path` cannot be written. What is not a regular
    file, such as /dev/null, is written to directly.
    """
    try:
        if path.parent == Path("/dev") or (path.exists() and not (path.is_file() or path.is_dir())):
            target = part = path
        else:
            target = path.resolve()
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(0, "permission denied")
        part.open("ab").close()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "it is a loop of links"
        raise BadValue(f"{flag} {path}: cannot be written: {reason}") from None
    if part == path:
        yield part
        return
    try:
        yield part
        if part.exists():
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
