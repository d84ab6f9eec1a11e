"""The last lines of a terminal, painted again and again; what is printed meanwhile goes above.

Nothing is imported for it but what Python has: it says what is going on before anything else is
there. The cursor stays visible and no other screen is taken, so that a process that is killed
leaves a terminal that works.
"""

from __future__ import annotations

import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOBase
from typing import TextIO

EVERY = 0.2  # seconds between two paintings
Lines = Callable[[int, int], Sequence[str]]  # of a terminal so wide and high


class Screen:
    """Lines at the end of a terminal that a thread keeps fresh, until `stop`."""

    def __init__(self, stream: TextIO, lines: Lines) -> None:
        self.stream = stream
        self.lines = lines
        self._painted: list[str] = []
        self._in_line = False  # what was printed last has not ended its line
        # Reentrant: a signal's handler may print while the main thread paints.
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)

    def start(self) -> None:
        """Paint now, and from now on."""
        self._paint()
        self._thread.start()

    def stop(self) -> None:
        """Take the lines away; what was printed stays."""
        self._stopped.set()
        with self._lock:
            self._erase()

    def print(self, text: str) -> None:
        """Print above the lines."""
        with self._lock:
            self._erase()
            self._put(text)
            self._in_line = not text.endswith("\n")

    def _keep_fresh(self) -> None:
        while not self._stopped.wait(EVERY):
            self._paint()

    def _paint(self) -> None:
        with self._lock:
            # In the middle of a line there is no place to paint: it goes on behind it.
            if self._stopped.is_set() or self._in_line:
                return
            width, height = self.size
            # A column and a line less: a terminal that wraps or scrolls would move what is above.
            fresh = [cut(line, width - 1) for line in self.lines(width, height)][: height - 1]
            # Nothing new: no byte for a terminal that may be far away.
            if fresh == self._painted:
                return
            erase = self._erasing()
            self._painted = fresh
            self._put(erase + "\n".join(fresh))

    def _erase(self) -> None:
        if self._painted:
            self._put(self._erasing())
            self._painted = []

    def _erasing(self) -> str:
        """What takes the painted lines away: of a terminal made narrower, each may be several."""
        if not self._painted:
            return ""
        width, _ = self.size
        rows = sum(max(1, -(-columns(line) // width)) for line in self._painted)
        # To the first column, up to the first painted line, and erase from there to the end.
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone stops nothing
            self.stream.write(text)
            self.stream.flush()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal."""
        try:
            size = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24


class Above(TextIOBase):
    """A stream whose text goes above the painted lines, or to stderr where there are none."""

    encoding = "utf-8"

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, text: str) -> int:
        """Print it."""
        write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def columns(text: str) -> int:
    """How many columns a text takes; those of styles take none."""
    plain = text if text.isascii() and "\x1b" not in text else without_styles(text)
    if plain.isascii():
        return len(plain)
    # Wide and fullwidth signs take two columns.
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in plain)


def without_styles(text: str) -> str:
    """The text alone, without colours and weights."""
    before, *parts = text.split("\x1b[")
    return before + "".join(part.partition("m")[2] for part in parts)


def cut(text: str, width: int) -> str:
    """The text as far as so many columns hold it."""
    if columns(text) <= width:
        return text
    text = without_styles(text)
    while columns(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


# --- the one of this process ----------------------------------------------------------------------

_NOW: list[Screen] = []


def usable() -> bool:
    """Whether stderr is a terminal on which lines can be painted."""
    # A log of continuous integration keeps every painting; pythonw has no stderr.
    if sys.stderr is None or "CI" in os.environ or os.environ.get("TERM", "dumb") == "dumb":
        return False
    with suppress(ValueError):
        return sys.stderr.isatty()
    return False


def show(lines: Lines) -> None:
    """Paint these from now on, where that is possible."""
    if _NOW:
        _NOW[0].lines = lines
    elif usable():
        _NOW.append(Screen(sys.stderr, lines))
        _NOW[0].start()


def size() -> tuple[int, int]:
    """Columns and lines of the terminal that is painted on."""
    return (_NOW[0] if _NOW else Screen(sys.stderr, lambda width, height: [])).size


def colour() -> bool:
    """Whether what is painted may have colours."""
    return bool(_NOW) and not os.environ.get("NO_COLOR")


def forked(fork: Callable[[], int]) -> int:
    """Fork where the child paints on, and the parent no more; what `fork` returns."""
    # A thread does not live on in a child: painting stops before, and begins anew behind.
    lines = [screen.lines for screen in _NOW]
    stop()
    child = fork()
    if not child:
        for painted in lines:
            show(painted)
    return child


def leave() -> None:
    """Paint no more in a copy of this process, whose lines the original keeps fresh."""
    _NOW.clear()


def write(text: str) -> None:
    """Print to stderr, above the painted lines where there are any."""
    if _NOW:
        _NOW[0].print(text)
    elif sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def stop() -> None:
    """Take the lines away."""
    while _NOW:
        _NOW.pop().stop()
