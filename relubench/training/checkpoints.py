"""Unfinished trainings: their full state, saved every so often at the end of an epoch."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import files
from relubench.catalog import Deferred
from relubench.errors import BadValue
from relubench.plan import Stack
from relubench.results import ENGINE

if TYPE_CHECKING:
    import torch

    from relubench.training import states
else:
    torch, states = Deferred("torch"), Deferred("relubench.training.states")

SET_ASIDE = ".damaged"
DAYS = 30  # after which nobody is expected to go on with a training
OLD = DAYS * 24 * 3600.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class CheckpointStore:
    """The folder where trainings are kept until they end.

    folder  of all of them
    every   seconds from one save to the next
    tell    takes a note about what cannot be read or written; None: nobody listens
    reasons_told  why nothing can be written, as far as it has been told
    """

    folder: Path
    every: float
    tell: Tell | None = None
    reasons_told: set[str] = field(default_factory=set)

    def path(self, stack: Stack) -> Path:
        """The folder of one stack."""
        return self.folder / stack.key

    def within(self, stack: Stack) -> CheckpointStore:
        """The store for parts of a stack's work."""
        return replace(self, folder=self.path(stack))

    def checkpoint(self, stack: Stack, passed: Stack, context: str) -> Checkpoint:
        """The checkpoint of one pass of a stack.

        context  what else decides its numbers: under another one this state is not found
        """
        context = _with_track(context, stack)
        # The name has the pass and the context: under another device, code or version it is not
        # found.
        path = self.path(stack) / f"{passed.key}-{_digest(context)}.pt"
        belongs = f"{passed.key} {context}"
        return Checkpoint(path, self.every, belongs, self.tell, self.reasons_told)

    def discard(self, stack: Stack, context: str | None = None) -> None:
        """Remove what was kept of a stack, under one context or under all.

        What was set aside under the one stays.
        """
        if context is None:
            shutil.rmtree(self.path(stack), ignore_errors=True)
            return
        own = self.path(stack)
        contexts = {context, _with_track(context, stack)}  # a trial of a rate is not tracked
        # Folders of trials first: a folder goes only when nothing is in it.
        for folder in [*own.glob("*/"), own]:
            files.sweep(folder)
            with suppress(OSError):  # not empty: of another context, or set aside
                for digest in sorted(map(_digest, contexts)):
                    for path in folder.glob(f"*-{digest}.pt"):
                        path.unlink()
                folder.rmdir()

    @property
    def keys(self) -> set[str]:
        """The keys of the stacks that have checkpoints."""
        with suppress(OSError):
            return set(os.listdir(self.folder))
        return set()

    def sweep(self) -> int:
        """Remove what nobody has gone on with for long, as after an edit; returns how many files.

        What was set aside is old one day too.
        """
        removed = 0
        with suppress(OSError):
            for path in sorted(self.folder.rglob("*.pt*")):
                age = time.time() - path.lstat().st_mtime
                if age > OLD and not path.is_dir():
                    path.unlink()
                    removed += 1
                    self._drop_empty(path.parent)
        return removed

    def _drop_empty(self, folder: Path) -> None:
        with suppress(OSError):  # not empty
            while folder != self.folder:
                folder.rmdir()
                folder = folder.parent


def _with_track(context: str, stack: Stack) -> str:
    """A tracked training has a state of its own: the same numbers, and histories of its units."""
    return f"{context} tracked {stack.track}" if stack.track else context


def _digest(context: str) -> str:
    return hashlib.sha256(context.encode()).hexdigest()[:16]


class Checkpoint:
    """The saved state of one training, if `path` is given.

    belongs  to what: the training's cells and all else that decides its numbers
    before   seconds that were trained before this process took over
    """

    def __init__(
        self,
        path: Path | None,
        every: float = 0.0,
        belongs: str = "",
        tell: Tell | None = None,
        reasons_told: set[str] | None = None,
    ) -> None:
        self.path = path
        self.every = every
        self.belongs = belongs
        self.before = 0.0
        self.tell: Tell = tell or (lambda text: None)
        self.reasons_told = set() if reasons_told is None else reasons_told
        self.start = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all processes together."""
        return self.before + time.perf_counter() - self.start

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self.path is not None and time.perf_counter() - self.saved >= self.every

    def save(self, state: dict[str, object]) -> bool:
        """Replace what is saved, as a whole; returns whether that is done.

        Where that fails it is told, once for each reason, and training goes on.
        """
        if self.path is None:
            return False
        written = False
        state = state | {"seconds": self.seconds, "engine": ENGINE, "belongs": self.belongs}
        buffer = io.BytesIO()
        # The checksum is of all but itself: `_checked_seconds` takes it out before it compares.
        torch.save(state | {"checksum": states.checksum(state)}, buffer)
        # Whole in memory, then replaced: a process that is killed leaves the last state.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write(self.path, buffer.getbuffer())
            written = True
        except (OSError, BadValue) as error:
            why = str(getattr(error, "strerror", None) or error)
            if why not in self.reasons_told:
                self.reasons_told.add(why)
                self.tell(f"{self.path}: the unfinished run cannot be kept: {why}")
        # Also where that failed: it is tried again after a while, and not in every epoch.
        self.saved = time.perf_counter()
        return written

    def resume(self, state: states.State) -> None:
        """Take over what is saved, if there is anything; the training, and the clock, begin here.

        What is not a whole state of this training is set aside, and it begins anew.
        """
        self.start = time.perf_counter()
        if self.path is None:
            return
        try:
            saved = self._read(state.largest_file)
            if saved is not None:
                seconds = self._checked_seconds(saved)
                state.restore(saved)
                self.before = seconds
        except states.Damaged as damage:
            self._set_aside(self.path, str(damage))

    def _read(self, most: int) -> states.Saved:
        """Load the file, executing nothing of it; None where there is none."""
        assert self.path is not None
        try:
            with files.regular(self.path, most, follow=False) as file:
                # On the CPU, where what it says can be checked; `restore` copies it to the device.
                return torch.load(file, map_location="cpu", weights_only=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except BadValue as error:
            raise states.Damaged(str(error)) from error
        except Exception as error:  # torch.load raises whatever a damaged file leads it to
            raise states.Damaged("it cannot be read") from error

    def _checked_seconds(self, saved: states.Saved) -> float:
        """Its seconds, where it is whole and belongs to this training."""
        if not isinstance(saved, dict):
            raise states.Damaged("it is no state")
        if saved.get("belongs") != self.belongs or saved.get("engine") != ENGINE:
            raise states.Damaged("it is of another training")
        rest = {key: value for key, value in saved.items() if key != "checksum"}
        try:
            same = states.checksum(rest) == saved.get("checksum")
        except Exception as error:  # tensors that are none any more
            raise states.Damaged("it is not as it was written") from error
        if not same:
            raise states.Damaged("it is not as it was written")
        seconds = saved.get("seconds")
        if type(seconds) is not float or not 0 <= seconds < math.inf:
            raise states.Damaged("its seconds cannot be")
        return seconds

    def _set_aside(self, path: Path, why: str) -> None:
        numbers = itertools.count()
        free = path
        # lexists: a link that leads nowhere has the name, too.
        while os.path.lexists(free):
            free = path.with_name(f"{path.name}{SET_ASIDE}{next(numbers) or ''}")
        try:
            path.rename(free)
        except OSError as error:
            self.tell(f"{path}: {why}; it cannot be set aside ({error.strerror}); begun anew")
        else:
            self.tell(f"{path}: {why}; set aside as {free.name}, and the run begins anew")
