"""What functions make of normal numbers, and what weights hold second moments through layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

STEP = 2.0**-12  # of the midpoint rule
REACH = 10  # standard deviations: beyond lies a fraction of 1e-23
DRAWN = 2**14  # points over several pre-activations
NUDGE = 0.05  # of log sd: over it the growth is taken
UNHELD = 1.32  # growths above: after eight layers of 64 the second moment is off by over 2 times
HE = 2.0  # gain² where none is defined


@dataclass(frozen=True)
class Hold:
    """How weights hold the second moment of an activation's pre-activations at 1.

    variance  gain² = 1 / E f(z)²; that of relu where it is not defined
    first     the same for a layer that sees the data: 1, or gain² where this is held as well
    growth    how many times as large a small relative deviation is one layer later
    defined   whether E f(z)² is finite and not 0
    """

    variance: float
    first: float
    growth: float = math.nan
    defined: bool = True

    @property
    def gain(self) -> float | None:
        """1 / √E f(z)²"""
        return math.sqrt(self.variance) if self.defined else None

    @property
    def steady(self) -> bool:
        """Whether deviations stay small through several layers."""
        return self.growth <= UNHELD


def hold(second: Callable[[float], float]) -> Hold:
    """What holds an activation of which `second` says E f(sd · z)² by sd.

    Moments count to 12 digits, so that sums taken in another order give the same weights.
    """
    moment = float(f"{second(1.0):.12g}")
    # Not finite, as of exp(x²), or 0: relu's gain stands in.
    if not 0 < moment < math.inf:
        return Hold(HE, HE, defined=False)
    up, down = second(math.exp(NUDGE)), second(math.exp(-NUDGE))
    # By the variance, whose logarithm moves twice as far as that of the sd; central differences.
    growth = math.log(up / down) / (4 * NUDGE) if up > 0 < down else math.inf
    variance = 1 / moment
    # Whether data of second moment 1, under weights of this gain, come out at 1 again: relu's do.
    scales = math.isclose(second(math.sqrt(variance)), 1, rel_tol=1e-9)
    return Hold(variance, variance if scales else 1.0, abs(growth))


@lru_cache
def standard_normal(pieces: int) -> tuple[Tensor, Tensor]:
    """Points (n, pieces) and weights (n,) that integrate over standard normal numbers.

    One piece: the midpoint rule, with kinks on the edges of its cells. More: a Sobol sequence.
    """
    if pieces == 1:
        z = (torch.arange(-REACH / STEP, REACH / STEP, device="cpu").double() + 0.5) * STEP
        weights = torch.exp(-(z**2) / 2) * STEP / math.sqrt(2 * math.pi)
        return z.unsqueeze(1), weights
    uniform = torch.quasirandom.SobolEngine(pieces, scramble=True, seed=0).draw(
        DRAWN, dtype=torch.float64
    )
    # A point of the sequence may be 0, whose quantile is infinite.
    points = torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12))
    return points, torch.full((DRAWN,), 1 / DRAWN, dtype=torch.float64)


def among(width: int) -> tuple[Tensor, Tensor]:
    """The same for what takes in its neighbours: points (n, width), drawn."""
    stream = torch.Generator("cpu").manual_seed(0)
    # As many numbers in all as the sequence has points.
    points = torch.randn(DRAWN // width, width, generator=stream, dtype=torch.float64, device="cpu")
    count = len(points)
    return points, torch.full((count,), 1 / count, dtype=torch.float64, device="cpu")
