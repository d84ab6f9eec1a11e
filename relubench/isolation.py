"""A process apart for a user's own code: whatever that does, the exit code is relubench's own."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread


@dataclass
class Guard:
    """Of this process.

    armed  whether it is to stay behind, and go on in a child, before it runs such code
    tell   a child's pipe for its exit code
    """

    armed: bool = False
    tell: int | None = None


GUARD = Guard()


class Vanished(Exception):
    """The child has ended without a word: in how, which is its argument."""


def arm() -> None:
    """From now on `enter` divides this process, on Linux; elsewhere fork is not to be relied on."""
    GUARD.armed = sys.platform.startswith("linux")


def enter() -> None:
    """Go on in a child, once; the parent waits here and ends with the exit code that it is told.

    os._exit in a user's code ends a process at once, with a code of its choice, and nothing can be
    done about it from inside. Raises Vanished, in the parent, where the child told no code.
    """
    if not GUARD.armed:
        return
    GUARD.armed = False
    told, tell = os.pipe()
    alive, hold = os.pipe()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    with warnings.catch_warnings(action="ignore"):  # of threads: none of ours runs yet
        child = os.fork()
    if not child:
        for end in (told, hold):
            os.close(end)
        GUARD.tell = tell
        Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        return
    for end in (tell, alive):
        os.close(end)
    _wait(child, told)


def _end_with_parent(alive: int) -> None:
    """A parent that is killed closes its end of the pipe."""
    os.read(alive, 1)
    os._exit(128 + signal.SIGKILL)


def _wait(child: int, told: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    code = os.read(told, 1)
    _, status = os.waitpid(child, 0)
    if code:
        os._exit(code[0])
    ended = os.waitstatus_to_exitcode(status)
    if ended < 0:
        raise Vanished(f"signal {-ended}, {signal.strsignal(-ended)}")
    raise Vanished(f"os._exit({ended})")


def tell(code: object) -> None:
    """Say, in a child, with which code relubench ends."""
    if GUARD.tell is not None and isinstance(code, int) and 0 <= code <= 255:
        os.write(GUARD.tell, bytes([code]))
