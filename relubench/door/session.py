"""One call in a process that lives on: nothing of it is left behind, nothing old is believed."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from relubench import datasets, user_code
from relubench.datasets import in_memory
from relubench.door.given import Given
from relubench.errors import Stopped


@contextmanager
def session(given: Given) -> Iterator[None]:
    """Lend what a call was given; files are read anew, and random state is as it was afterwards.

    An interrupt is a KeyboardInterrupt, with what the command line would say.
    """
    datasets.forget()
    try:
        with (
            in_memory.lent(given.data),
            user_code.lent(given.objects),
            user_code.held(),
            user_code.blamed(),
            _same_random_state(),
        ):
            yield
    # What Python code expects of Ctrl-C; the command line's sentence is kept.
    except Stopped as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    finally:
        datasets.forget()


@contextmanager
def _same_random_state() -> Iterator[None]:
    """A caller's own draws go on as if nothing had been called."""
    # As far as they are imported: whoever has not imported torch has not seeded it.
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    python = random.getstate()
    legacy = numpy.random.get_state() if numpy else None
    draws = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy and legacy is not None:
            numpy.random.set_state(legacy)
        if torch and draws is not None:
            torch.set_rng_state(draws)
