"""`python -m relubench` and the console script: signals in, exit status out."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from relubench import isolation, screen

TRAINING = ("train", "cv", "compare", "suggest", "deadcount")
HEARD = [0.0]  # when, last: a terminal's interrupt reaches parent and child, which gets it twice


def run() -> None:
    """Run the command line.

    It ends in os._exit, when everything is written: to take the interpreter apart takes over a
    second once torch is loaded. After an interrupt Python would also wait for passes that train
    side by side, and turn 130 into a death by SIGINT where the interrupt came inside an exec(), as
    dataclasses use at import.
    """
    code: Any = 130
    yield_cores()
    begin(sys.argv[1:])
    try:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
        isolation.arm()
        # Here: signals are to be heard, and the first line painted, before seconds of imports.
        from relubench.cli import main

        code = main()
    except KeyboardInterrupt:
        _leave(130)
    except SystemExit as stop:
        code = stop.code
    screen.stop()
    isolation.tell(code)
    # 128 + SIGINT or SIGTERM: interrupted. Another Ctrl-C must not cut short what is still written.
    if code in (130, 143):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        # os._exit would skip what libraries have registered for the end.
        atexit._run_exitfuncs()
    _end(code)


def _leave(code: int) -> None:
    """Say that it was interrupted, and end at once."""
    screen.stop()
    isolation.tell(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.stderr is not None:
        sys.stderr.write("relubench: interrupted\n")
    _end(code)


def _end(code: object) -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    if code is None:
        code = 0
    os._exit(code if isinstance(code, int) else 1)


def _importing(name: str) -> bool:
    """Whether a module is being imported at this very moment."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    # importlib's own mark while the module's code runs.
    return bool(getattr(spec, "_initializing", False))


def begin(arguments: list[str]) -> None:
    """Say at once what a command that trains is at: what it needs takes seconds to be imported."""
    # By hand: nothing that reads options is imported yet.
    quiet = {"-q", "--quiet", "-h", "--help"} & set(arguments)
    if arguments and arguments[0] in TRAINING and not quiet:
        line = f"relubench {' '.join(arguments)}: reading the plan …"
        screen.show(lambda width, height: [line.encode("ascii", "replace").decode()])


def yield_cores() -> None:
    """OpenMP's threads soon sleep where they wait for each other; set before it is loaded.

    By default GNU's spin for milliseconds: beside another busy process two threads then took twice
    the time that they take so, and three times that of one. Alone they are as fast.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def terminate(signum: int, frame: object) -> None:
    """Raise Terminated: a SystemExit that no user's code has called."""
    from relubench.errors import Terminated

    raise Terminated(143)


def interrupt(signum: int, frame: object) -> None:
    """Raise KeyboardInterrupt, and again each second, since a library may swallow the first."""
    now = time.monotonic()
    if signum == signal.SIGINT and now - HEARD[0] < 0.5:
        return
    HEARD[0] = now
    if _importing("torch"):
        # Where an exception meets its C++, the process is aborted; nothing is lost yet.
        _leave(130)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 1)
    raise KeyboardInterrupt


if __name__ == "__main__":
    run()
