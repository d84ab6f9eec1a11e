"""A process of its own for a user's code: whatever that does, the exit code is relubench's.

Process-wide: `enter` forks, once, and from then on the parent does nothing but wait.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread

from relubench import screen


@dataclass
class Guard:
    """The state of this process.

    armed      whether it is to stay behind, and go on in a child, before it runs a user's code
    exit_pipe  in a child: the pipe for its exit code
    """

    armed: bool = False
    exit_pipe: int | None = None


GUARD = Guard()


class Vanished(Exception):
    """The child has ended without telling an exit code; the argument says how."""


def arm() -> None:
    """Let `enter` divide this process, on Linux alone: elsewhere fork cannot be relied on."""
    GUARD.armed = sys.platform.startswith("linux")


def enter() -> None:
    """Go on in a child, once; the parent waits here and ends with the exit code that it is told.

    os._exit in a user's code ends a process at once, with a code of its choice, and nothing can be
    done about it from inside. Raises Vanished, in the parent, where the child told no code.
    """
    if not GUARD.armed:
        return
    GUARD.armed = False
    # By a pipe, not by the child's status: os._exit in a user's code would choose that.
    exit_code, exit_pipe = os.pipe()
    # Nothing is written here: its end tells the child that its parent is gone.
    parent_lives, hold = os.pipe()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            # Otherwise both processes would print what is still buffered.
            stream.flush()
    with warnings.catch_warnings(action="ignore"):  # of threads: none of ours runs yet
        child = screen.forked(os.fork)
    if not child:
        # Each side closes what is the other's, or no end of a pipe would ever be seen.
        for end in (exit_code, hold):
            os.close(end)
        GUARD.exit_pipe = exit_pipe
        Thread(target=_end_with_parent, args=(parent_lives,), daemon=True).start()
        return
    for end in (exit_pipe, parent_lives):
        os.close(end)
    _wait(child, exit_code)


def _end_with_parent(parent_lives: int) -> None:
    """End when the parent does: a parent that is killed closes its end of the pipe."""
    os.read(parent_lives, 1)
    # As a shell would report it.
    os._exit(128 + signal.SIGKILL)


def _wait(child: int, exit_code: int) -> None:
    """Hand signals on to the child, and end with the exit code that it tells."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    # Waits: for a byte, or for the pipe's end when the child is gone.
    code = os.read(exit_code, 1)
    _, status = os.waitpid(child, 0)
    if code:
        os._exit(code[0])
    ended = os.waitstatus_to_exitcode(status)
    if ended < 0:
        raise Vanished(f"signal {-ended}, {signal.strsignal(-ended)}")
    raise Vanished(f"os._exit({ended})")


def tell(code: object) -> None:
    """Tell the parent, if there is one, with which code relubench ends."""
    if GUARD.exit_pipe is not None and isinstance(code, int) and 0 <= code <= 255:
        os.write(GUARD.exit_pipe, bytes([code]))
