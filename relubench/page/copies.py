"""Work that is done side by side, in copies of this process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from relubench import isolation, screen

Piece = Callable[[], str]
Copy = tuple[ForkProcess, Connection]  # and the pipe that brings what it made

FEWEST = 6  # pieces for each process: fewer are done before a copy has begun
NUMBER = 4  # bytes of a piece's number


@contextmanager
def begun(pieces: Sequence[Piece]) -> Iterator[Callable[[], list[str]]]:
    """Begin these in copies of this process, where that pays and it may be copied.

    What is given does what nobody has begun, and returns what each piece made, in their order.
    """
    numbers = _numbers(len(pieces))
    copies = [_copy(pieces, numbers) for _ in range(_how_many(len(pieces)))]
    try:
        yield lambda: _gathered(pieces, numbers, copies)
    finally:
        os.close(numbers)
        for process, results in copies:
            process.terminate()
            process.join()
            results.close()


def _how_many(pieces: int) -> int:
    """Copies beside this process."""
    # Still armed: on Linux, and no user's code has been run in this process.
    if not isolation.GUARD.armed:
        return 0
    return max(0, min(len(os.sched_getaffinity(0)), pieces // FEWEST) - 1)


def _numbers(count: int) -> int:
    """A pipe that gives each number below `count` once, whoever reads it; then it is at its end."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(number.to_bytes(NUMBER, "big") for number in range(count)))
    os.close(writing)
    return reading


def _copy(pieces: Sequence[Piece], numbers: int) -> Copy:
    results, made = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_work, args=(pieces, numbers, made), daemon=True)
    with warnings.catch_warnings(action="ignore"):  # of a fork beside threads: it draws alone
        process.start()
    made.close()  # so that its death is seen as the end of the pipe
    return process, results


def _work(pieces: Sequence[Piece], numbers: int, results: Connection) -> None:
    """What a copy does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the original's to hear
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    screen.leave()
    gc.disable()  # what is collected may close a file that is the original's
    made: dict[int, str] = {}
    # A piece that fails here is done again by the original, which tells of it.
    with suppress(Exception):
        _make(pieces, numbers, made)
    results.send(made)


def _make(pieces: Sequence[Piece], numbers: int, made: dict[int, str]) -> None:
    """Make the pieces that nobody has begun."""
    # So few bytes are read at once: no two processes get parts of one number.
    while number := os.read(numbers, NUMBER):
        at = int.from_bytes(number, "big")
        made[at] = pieces[at]()


def _gathered(pieces: Sequence[Piece], numbers: int, copies: Sequence[Copy]) -> list[str]:
    made: dict[int, str] = {}
    _make(pieces, numbers, made)
    for _, results in copies:
        with suppress(EOFError, OSError):  # it died: its pieces are made below
            made |= results.recv()
    return [made[at] if at in made else piece() for at, piece in enumerate(pieces)]
