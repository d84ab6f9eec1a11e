"""Lines to stderr, what is shown while a command works, and what kind of terminal stdout is."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable

from relubench import screen
from relubench.cli import live
from relubench.events import Event
from relubench.execution.progress import Console, nothing
from relubench.formats import UNFOLDED
from relubench.printable import plain


def say(text: str) -> None:
    """A line to stderr, if it is open; it may hold anybody's text, and stays one line."""
    text = plain(text)
    if screen.usable():  # by words: a terminal would break it anywhere
        text = "\n".join(textwrap.wrap(text, screen.size()[0] - 1, break_on_hyphens=False)) or text
    write(text)


def write(text: str) -> None:
    """A line to stderr as it is; one that cannot be written stops nothing."""
    screen.write(f"{text}\n")


def console(quiet: bool, verbose: bool = False) -> Console:
    """Notes and progress on stderr: painted on a terminal, plain lines elsewhere.

    A worker process can be sent what takes the notes, and has the same stderr.
    """
    # What __main__ painted before any flag was read goes, too.
    if quiet:
        screen.stop()
        return Console(nothing, nothing, lambda finished, outlook: iter(finished))
    shown = live.Live() if screen.usable() else live.Lines(say)
    return Console(
        note=say,
        detail=say if verbose else nothing,
        track=shown.track,
        steps=shown.steps,
        phase=shown.phase,
        hear=_heard_by(shown.state),
    )


def _heard_by(state: live.State) -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        state.hear(event)
        if text := live.told(event):
            say(text)

    return hear


def width_and_colour() -> tuple[int, bool]:
    """How wide stdout is, and whether it shows colours."""
    if not sys.stdout.isatty():
        return UNFOLDED, False
    # https://no-color.org: set to anything but "".
    plain = os.environ.get("NO_COLOR") or "CI" in os.environ or os.environ.get("TERM") == "dumb"
    return shutil.get_terminal_size().columns, not plain
