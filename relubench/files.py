"""Files that appear whole or not at all, and files that are read without trusting them."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from relubench.errors import BadValue

HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
# With host and process: whoever finds one later can tell whether its writer still lives.
PART = re.compile(rf"\..*\.{HOST}-(\d+)-[0-9a-f]{{16}}\.part", re.DOTALL)
LARGEST = 10**8  # bytes of a text
OPEN: set[str] = set()  # names of this process's unfinished files


class Missing(BadValue):
    """A file that is not there."""


@contextmanager
def replacing(path: Path, flag: str) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends well, and vanishes otherwise.

    A block that removes it leaves `path` as it was.

    Raises BadValue, naming the flag, at once where `path` cannot be written. What is not a regular
    file, such as /dev/null, is written to directly.
    """
    try:
        target = _target(path)
        part = _made(target) if target else path
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "it is a loop of links"
        raise BadValue(f"{flag} {path}: cannot be written: {reason}") from None
    try:
        yield part
        if target and part.exists():
            # A new file would have the umask's mode; one that is replaced keeps its own.
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
    except OSError as error:
        # Only the temporary file's errors are this function's; the block may have raised its own.
        if error.filename != str(part):
            raise
        raise BadValue(f"{flag} {path}: cannot be written: {error.strerror}") from error
    finally:
        if target:
            _gone(part)


def write(path: Path, data: bytes | memoryview) -> None:
    """Replace a file as a whole, and have it on the disk by then; raises OSError."""
    part = _made(path)
    try:
        with part.open("r+b") as file:
            file.write(data)
            file.flush()
            # A rename may reach the disk before the data do: after a power cut the file is empty.
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        _gone(part)


@contextmanager
def regular(path: Path, most: int, follow: bool = True) -> Iterator[BinaryIO]:
    """A regular file, open to be read; nothing is waited for, as a pipe would have it.

    most    bytes that it may have
    follow  whether it may be a link to one
    Raises BadValue where it is something else or larger, OSError where it cannot be opened.
    """
    if not follow and path.is_symlink():
        raise BadValue("it is a link")
    # O_NONBLOCK: to open a named pipe that nobody writes to would otherwise wait for ever.
    handle = os.open(path, os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_BINARY"))
    try:
        # Of the open file, not of the path, where something else may stand by now.
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadValue("it is no regular file")
        if status.st_size > most:
            raise BadValue(f"it has more than {most} bytes")
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def text(path: Path) -> str:
    """What a regular file of UTF-8 text says, or a pipe that the shell has opened: `<(…)`, stdin.

    Raises BadValue, with the reason alone, where it cannot be read: Missing where there is none.
    """
    try:
        # What the shell has opened may be a pipe, which `regular` refuses.
        opened = path.parent == Path("/dev/fd") or path == Path("/dev/stdin")
        with _handed(path) if opened else regular(path, LARGEST) as file:
            return io.TextIOWrapper(file, encoding="utf-8-sig").read()
    except FileNotFoundError as error:
        raise Missing(error.strerror) from None
    except OSError as error:
        raise BadValue(error.strerror) from None
    except UnicodeDecodeError:
        raise BadValue("it is not UTF-8 text") from None


@contextmanager
def _handed(path: Path) -> Iterator[io.BytesIO]:
    with path.open("rb") as file:
        # One more than allowed, and no more: a pipe has no size to ask for.
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BadValue(f"it has more than {LARGEST} bytes")
    yield io.BytesIO(content)


def resolved(path: Path) -> Path:
    """Where a path leads to, as far as its links can be followed."""
    return Path(os.path.realpath(path))


def sweep(folder: Path) -> None:
    """Remove unfinished files here of this host's processes that are no more."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            named = PART.fullmatch(entry.name)
            if named and entry.name not in OPEN and not alive(int(named[1]), mine=False):
                with suppress(OSError):  # another user's
                    os.unlink(entry.path)


def alive(process: int, mine: bool = True) -> bool:
    """Whether a process of this host may be alive; of this very one `mine` is said."""
    if process == os.getpid():
        return mine
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # signal 0 is not sent: it only asks whether it could be
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return True


def _target(path: Path) -> Path | None:
    """The file that a path leads to; None where what is there is no regular file.

    Raises OSError where it cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(0, "permission denied")
    if path.parent == Path("/dev") or (path.exists() and not path.is_file()):
        return None
    if _planted(path):
        raise PermissionError(0, "it is a link that another user has made")
    return path.resolve()


def _planted(path: Path) -> bool:
    """Whether it is somebody else's link in a folder where everybody may write.

    Linux does not follow such either (fs.protected_symlinks).
    """
    if os.name != "posix" or not path.is_symlink():
        return False
    folder = path.parent.stat()
    # Sticky and writable for all, as /tmp is.
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
    return bool(shared) and path.lstat().st_uid not in (os.geteuid(), folder.st_uid)


def _made(target: Path) -> Path:
    """A new and empty file beside `target`, where nothing was and no link is followed."""
    sweep(target.parent)
    name = f".{target.name[:40]}.{HOST}-{os.getpid()}-{secrets.token_hex(8)}.part"
    part = target.with_name(name)
    # O_EXCL and a random name: in a folder that others may write to, a file or a link that somebody
    # put there beforehand is not written through. Not tempfile, whose files have mode 0600 whatever
    # the umask; and beside the target, since a rename is atomic within one file system only.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW")
    OPEN.add(name)
    os.close(os.open(part, flags, 0o666))
    return part


def _gone(part: Path) -> None:
    part.unlink(missing_ok=True)
    OPEN.discard(part.name)


def _flag(name: str) -> int:
    """A flag of os.open that not every system has."""
    flag: int = getattr(os, name, 0)
    return flag
