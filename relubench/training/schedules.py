"""Schedules: the learning rate from step to step, as a factor of the recipe's.

A schedule is a function of how far a training has come. Each gives what torch.optim.lr_scheduler
does, step by step: tests/test_schedules.py holds them to it. Where one network learns from several
parts in turn, folds or tasks, every part begins the schedule anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from relubench.catalog import Catalog, Choice, Entry
from relubench.errors import BadValue
from relubench.plan import Recipe

SCHEDULES: Catalog[Entry[float]] = Catalog("schedule", Entry)


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    step   steps since the warm-up ended; 0 while it lasts
    steps  all of them, from there to the end
    epoch  epochs that are finished, the warm-up's among them
    """

    step: int
    steps: int
    epoch: int


@SCHEDULES.add()
def constant(progress: Progress) -> float:
    """The same rate to the end"""
    return 1.0


@SCHEDULES.add()
def cosine(progress: Progress, *, to: float = 0.0) -> float:
    """Half a cosine, down to the fraction `to` of the rate (arXiv:1608.03983, without restarts)"""
    return to + (1 - to) * (1 + math.cos(math.pi * progress.step / progress.steps)) / 2


@SCHEDULES.add()
def linear(progress: Progress, *, to: float = 0.0) -> float:
    """A straight line, down to the fraction `to` of the rate"""
    return 1 + (to - 1) * progress.step / progress.steps


@SCHEDULES.add()
def step(progress: Progress, *, at: tuple[int, ...] = (81, 122), gamma: float = 0.1) -> float:
    """Times `gamma` after each of the epochs `at`; by default as on CIFAR-10 in arXiv:1512.03385"""
    return float(gamma ** sum(progress.epoch >= epoch for epoch in at))


@SCHEDULES.add()
def onecycle(
    progress: Progress, *, up: float = 0.3, begin: float = 0.04, to: float = 4e-6
) -> float:
    """Up to the rate from the fraction `begin` of it, then down to `to` (arXiv:1708.07120)

    It rises over the fraction `up` of the steps, both ways along half a cosine; momentum stays.
    """
    if not 0 < up < 1:
        raise BadValue(f"onecycle: up must be between 0 and 1, got {up:g}")
    top, end = up * progress.steps - 1, progress.steps - 1
    if progress.step <= top:
        return _between(begin, 1.0, progress.step / top if top else 0.0)
    return _between(1.0, to, (progress.step - top) / (end - top))


def _between(first: float, last: float, share: float) -> float:
    """Half a cosine from one factor to another."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class RateFactors:
    """The factors of a recipe: its schedule, after a linear warm-up.

    warmup  steps, as '100', or a fraction of all, as '0.05'
    """

    schedule: Choice[Entry[float]]
    warmup: str | None

    @classmethod
    def of(cls, recipe: Recipe) -> RateFactors | None:
        """Those of a recipe; None where its rate stays as it is."""
        if not (recipe.schedule or recipe.warmup):
            return None
        return cls(SCHEDULES.choose(recipe.schedule or "constant"), recipe.warmup)

    def at(self, step: int, steps: int, per_epoch: int) -> float:
        """The factor at a step, from 0, of a training of so many.

        The warm-up is LinearLR(start_factor=1 / (n + 1), total_iters=n).
        """
        rising = warmup_steps(self.warmup, steps)
        progress = Progress(max(0, step - rising), max(1, steps - rising), step // per_epoch)
        return min(1.0, (step + 1) / (rising + 1)) * self.schedule(progress)


def warmup_steps(warmup: str | None, steps: int) -> int:
    """The steps of a warm-up in a training of `steps`."""
    if warmup is None:
        return 0
    return int(warmup) if warmup.isdecimal() else round(float(warmup) * steps)


def check(recipe: Recipe) -> None:
    """Refuse a schedule whose parameters have no meaning, or that warms up twice."""
    factors = RateFactors.of(recipe)
    if factors is None:
        return
    if recipe.warmup and factors.schedule.entry.name == "onecycle":
        raise BadValue("--schedule onecycle begins with a warm-up of its own: leave --warmup out")
    lowest = min(factors.at(step, 10, 1) for step in range(10))
    if lowest < 0:
        raise BadValue(f"--schedule {recipe.schedule}: the rate would be below 0")
