"""Flags in, exit code out: the only room that knows Typer, and the only one that prints."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback

import typer

from relubench import user_code
from relubench.cli.app import app
from relubench.cli.hints import hint
from relubench.cli.terminal import say
from relubench.errors import RelubenchError, Terminated, out_of_memory
from relubench.printable import plain

CODES = (2, 4, 130)  # of what stops a command: 0 and 3 are for what has come to its end
__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where ± has no code, a ? must do
    try:
        with user_code.held():  # an edit meanwhile is for the next command
            return app(arguments, "relubench", standalone_mode=False, obj=arguments) or 0
    except RelubenchError as error:
        return _failed(arguments, str(error), error.exit_code if error.exit_code in CODES else 2)
    # A command line that cannot be read: Typer's sentence, and what was meant.
    except typer.TyperException as error:
        return _failed(arguments, plain(hint(error.format_message(), arguments)), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(arguments, "interrupted", 130)
    except Terminated:  # before SystemExit, which it is one of
        raise
    except SystemExit as stop:
        # Not Typer's: a user's code, or a library, has asked for an exit.
        if stop.code != 1:
            return _failed(arguments, f"ended by SystemExit: {stop.code}", 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Typer's 1: nobody reads stdout any more
        return 141  # what a shell reports of a process that SIGPIPE ended
    except OSError as error:
        return _failed(arguments, f"cannot write to stdout: {error.strerror}", 2)
    except Exception as error:
        if out_of_memory(error):
            reason = (str(error).splitlines() or [""])[0]
            return _failed(arguments, plain(f"out of memory{reason and f': {reason}'}"), 2)
        # 70 is EX_SOFTWARE of sysexits.h; every code that means something is lower, or a signal's.
        return _failed(arguments, plain(f"bug in relubench: {type(error).__name__}: {error}"), 70)


def _failed(arguments: list[str], message: str, exit_code: int) -> int:
    # __main__ raises an interrupt again each second until somebody has heard it.
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)  # an interrupt has been heard
    if {"-v", "--verbose"} & set(arguments):
        for line in traceback.format_exc().splitlines():
            say(line)
    for line in message.split("\n"):
        say(f"relubench: {line}")
    return exit_code
