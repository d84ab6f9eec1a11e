"""What only computing tells of an activation: curve, moments, where it is flat; in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from relubench.activations import Activation
from relubench.activations.moments import standard_normal
from relubench.catalog import Choice
from relubench.models.layers import Act
from relubench.models.layers import pieces as pieces_of
from relubench.models.weights import holding
from relubench.results import FLAT
from relubench.rows import Interval

STEP = 1 / 64  # between the points where derivatives are looked for: kinks are ends of steps
SEARCHED = 16.0  # derivatives are looked for up to here: beyond, float64 makes 0 of a small one
FAR = (1e4, 1e6)  # a value that still grows between these has no bound


def measure(choice: Choice[Activation], x: Sequence[float]) -> dict[str, Any]:
    """The fields of a profile that only computing tells."""
    pieces, outputs = arity(choice)
    points, weights = standard_normal(pieces)
    value, derivatives = _evaluate(choice, points)
    flat = _flat(choice, pieces)
    # Of several pre-activations: at some point all derivatives are 0, as below 0 of both.
    dies_at_a_point = pieces > 1 and bool((derivatives == 0).all(dim=1).any())
    moments = holding(choice)
    low, high = _bounds(choice, pieces)
    at = torch.tensor(x, dtype=torch.float64).unsqueeze(1)
    # The first piece moves, the others stay at 0.
    curve, curve_derivatives = _evaluate(choice, F.pad(at, (0, pieces - 1)))
    return dict(
        pieces=pieces,
        outputs=outputs,
        mean=float((weights * value).sum()),
        second_moment=float((weights * value**2).sum()),
        gain=moments.gain,
        growth=_finite_or_none(moments.growth),
        steady=moments.steady,
        low=low,
        high=high,
        can_die=bool(flat) or dies_at_a_point,
        flat=flat,
        faint=_faint(choice, flat) if pieces == 1 else [],
        value=_finite(curve),
        slope=_finite(curve_derivatives[:, 0]),
    )


def arity(choice: Choice[Activation]) -> tuple[int, int]:
    """Pre-activations that an activation takes per neuron, and outputs that it gives."""
    pieces = pieces_of(choice)
    outputs = _act(choice)(torch.zeros(1, pieces, dtype=torch.float64))
    return pieces, outputs.shape[1]


def _act(choice: Choice[Activation]) -> Act:
    act = Act(choice, 1).double().eval()
    act.reset_parameters()
    return act


def _evaluate(choice: Choice[Activation], points: Tensor) -> tuple[Tensor, Tensor]:
    """The first output, (n,), and its derivatives, (n, pieces), at points (n, pieces)."""
    z = points.clone().requires_grad_()
    value = _act(choice)(z)[:, 0]
    (derivatives,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), derivatives


def _bounds(choice: Choice[Activation], pieces: int) -> tuple[float | None, float | None]:
    """Least and largest value; None where it still grows far from 0."""
    # "Still grows": between FAR's two distances by more than 1, which no bounded activation does.
    if pieces == 1:
        # Midpoints and ends: a least value at a kink, which lies on an end, is met as well.
        inner = torch.cat([_midpoints(), _midpoints() + STEP / 2]).unsqueeze(1)
        directions = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    else:
        directions, _ = standard_normal(pieces)
        inner = torch.cat([0 * directions[:1], directions])
    near, _ = _evaluate(choice, torch.cat([inner, directions * FAR[0]]))
    far, _ = _evaluate(choice, directions * FAR[1])
    near, far = near.nan_to_num(0.0), far.nan_to_num(0.0)
    low = float(near.min()) + 0.0  # not -0.0
    high = float(near.max()) + 0.0
    grows_down = bool(far.min() < low - 1)
    grows_up = bool(far.max() > high + 1)
    return None if grows_down else low, None if grows_up else high


def _midpoints() -> Tensor:
    count = round(SEARCHED / STEP)
    return (torch.arange(-count, count).double() + 0.5) * STEP


def _flat(choice: Choice[Activation], pieces: int) -> list[Interval]:
    """Intervals of derivative 0: from the catalogue at the defaults, else measured."""
    # What the catalogue says holds for the defaults only.
    if choice.given or choice.entry.sha256:
        return _runs(choice, lambda steepness: steepness == 0) if pieces == 1 else []
    return [(_finite_or_none(low), _finite_or_none(high)) for low, high in choice.entry.flat]


def _faint(choice: Choice[Activation], flat: Sequence[Interval]) -> list[Interval]:
    """Tails where the derivative is under FLAT, but never 0."""
    tails = [ends for ends in _runs(choice, lambda s: s < FLAT) if None in ends]
    flat_below = any(low is None for low, _ in flat)
    flat_above = any(high is None for _, high in flat)
    faint = []
    for low, high in tails:
        zero = (low is None and flat_below) or (high is None and flat_above)
        if not zero:
            faint.append((low, high))
    return faint


def _runs(choice: Choice[Activation], condition: Callable[[Tensor], Tensor]) -> list[Interval]:
    """Intervals of x where the derivative's magnitude is so; one at the search's end has no end."""
    x = _midpoints()
    _, derivatives = _evaluate(choice, x.unsqueeze(1))
    inside = condition(derivatives[:, 0].abs())
    # 0 before and behind, so that an interval at the search's end has both edges.
    outside = torch.tensor([0])
    edges = torch.diff(inside.int(), prepend=outside, append=outside)
    starts = (edges == 1).nonzero().flatten()
    ends = (edges == -1).nonzero().flatten()
    intervals = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        low = None if start == 0 else float(x[start]) - STEP / 2
        high = None if end == len(x) else float(x[end - 1]) + STEP / 2
        # A single point is where the derivative passes 0, as silu's does: no interval.
        if end - start > 1 or None in (low, high):
            intervals.append((low, high))
    return intervals


def _finite(figures: Tensor) -> list[float | None]:
    return [_finite_or_none(figure) for figure in figures.tolist()]


def _finite_or_none(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
