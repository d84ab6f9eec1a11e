"""Unfinished trainings: their full state, saved every so often at the end of an epoch."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from relubench.files import replacing
from relubench.networks import Networks
from relubench.plan import Stack
from relubench.results import ENGINE, Epoch


@dataclass(frozen=True)
class Unfinished:
    """Where trainings are kept until they end.

    folder  of all of them
    every   seconds from one save to the next
    """

    folder: Path
    every: float

    def of(self, stack: Stack) -> Path:
        """The folder of one stack."""
        return self.folder / stack.key

    def forget(self, stack: Stack) -> None:
        """Remove what was kept of a stack."""
        shutil.rmtree(self.of(stack), ignore_errors=True)


@dataclass(frozen=True, eq=False)
class State:
    """All that a training goes on from at the end of an epoch."""

    networks: Networks
    optimizer: torch.optim.Optimizer
    streams: Sequence[torch.Generator]
    curves: list[list[Epoch]]

    def save(self) -> dict[str, Any]:
        """What torch.load(weights_only=True) reads back."""
        return {
            "tensors": {name: tensor.detach() for name, tensor in self.networks.tensors.items()},
            "optimizer": self.optimizer.state_dict(),
            "streams": [stream.get_state() for stream in self.streams],
            "curves": [[vars(epoch) for epoch in curve] for curve in self.curves],
        }

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what was saved, if there is anything."""
        if saved is None:
            return
        with torch.no_grad():
            for name, tensor in self.networks.tensors.items():
                tensor.copy_(saved["tensors"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        for stream, saved_state in zip(self.streams, saved["streams"], strict=True):
            stream.set_state(saved_state)
        for curve, epochs in zip(self.curves, saved["curves"], strict=True):
            curve[:] = [Epoch(**epoch) for epoch in epochs]


class Checkpoint:
    """The saved state of one training, if `path` is given.

    before  seconds that were trained before this process took over
    """

    def __init__(self, path: Path | None, every: float = 0.0) -> None:
        self.path, self.every, self.before = path, every, 0.0
        self.start = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the training has lasted, all processes together."""
        return self.before + time.perf_counter() - self.start

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self.path is not None and time.perf_counter() - self.saved >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Replace what is saved, as a whole."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path, "checkpoint") as part, part.open("wb") as file:
            torch.save(state | {"seconds": self.seconds, "engine": ENGINE}, file)
            file.flush()
            os.fsync(file.fileno())
        self.saved = time.perf_counter()

    def load(self) -> dict[str, Any] | None:
        """What is saved; None where there is nothing, or nothing of this engine that can be read.

        The training, and the clock, begin here.
        """
        self.start = time.perf_counter()
        if self.path is None or not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            if state.get("engine") != ENGINE:
                return None
            self.before = state["seconds"]
        except Exception:  # torch.load raises whatever a damaged file leads it to
            return None
        return state
