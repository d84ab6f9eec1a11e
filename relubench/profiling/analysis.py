"""What a unit looks like: its curve, its moments, where it is flat; all in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from relubench.activations import Activation
from relubench.activations.moments import standard_normal
from relubench.catalog import Choice
from relubench.models.initialisation import INITS
from relubench.models.layers import Act
from relubench.models.layers import pieces as pieces_of
from relubench.models.weights import holding
from relubench.results import FLAT
from relubench.rows import ActivationProfileRow, Interval

STEP = 1 / 64  # between the points of a curve: kinks at such multiples are hit
WINDOW = 5.0  # a curve reaches so far on both sides of 0, and past every kink under FARTHEST
FARTHEST = 10.0
SEARCHED = 16.0  # slopes are looked for up to here: beyond, float64 makes 0 of a small one
FAR = (1e4, 1e6)  # a value that still grows between these has no bound


def window(choices: Iterable[Choice[Activation]]) -> Tensor:
    """Points for the curves of all of these, past every near kink, in steps of STEP."""
    kinks = [kink for choice in choices for kink in choice.entry.kinks if abs(kink) < FARTHEST]
    low, high = min([-WINDOW, *(k - 1 for k in kinks)]), max([WINDOW, *(k + 1 for k in kinks)])
    return torch.arange(math.floor(low / STEP), math.ceil(high / STEP) + 1).double() * STEP


def profile(choice: Choice[Activation], x: Tensor) -> ActivationProfileRow:
    """Everything that can be said of one unit, its curve at `x`."""
    entry, (pieces, outputs) = choice.entry, arity(choice)
    points, weights = standard_normal(pieces)
    value, slopes = _evaluate(choice, points)
    mean, second = (float((weights * value**power).sum()) for power in (1, 2))
    flat, held = _flat(choice, pieces), holding(choice)
    low, high = _bounds(choice, pieces)
    curve, steepness = _evaluate(choice, F.pad(x.unsqueeze(1), (0, pieces - 1)))
    return ActivationProfileRow(
        name=str(choice),
        family=entry.family,
        formula=entry.description,
        remarks=entry.remarks,
        paper=entry.paper,
        year=entry.year,
        parameters=choice.parameters,
        learned=list(entry.learns),
        kinks=entry.kinks,
        noisy=entry.noisy,
        pieces=pieces,
        outputs=outputs,
        init=entry.init,
        init_std=INITS[entry.init].sd,
        mean=mean,
        second_moment=second,
        gain=held.gain,
        growth=_finite_or_none(held.growth),
        steady=held.steady,
        low=low,
        high=high,
        can_die=bool(flat) or (pieces > 1 and bool((slopes == 0).all(dim=1).any())),
        flat=flat,
        faint=_faint(choice, flat) if pieces == 1 else [],
        x=x.tolist(),
        value=_finite(curve),
        slope=_finite(steepness[:, 0]),
    )


def arity(choice: Choice[Activation]) -> tuple[int, int]:
    """How many pre-activations the unit takes, and how many outputs it gives."""
    pieces = pieces_of(choice)
    return pieces, _act(choice)(torch.zeros(1, pieces, dtype=torch.float64)).shape[1]


def _act(choice: Choice[Activation]) -> Act:
    act = Act(choice, 1).double().eval()
    act.reset_parameters()
    return act


def _evaluate(choice: Choice[Activation], points: Tensor) -> tuple[Tensor, Tensor]:
    """The first output, (n,), and its slopes, (n, pieces), at points (n, pieces)."""
    z = points.clone().requires_grad_()
    value = _act(choice)(z)[:, 0]
    (slopes,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slopes


def _bounds(choice: Choice[Activation], pieces: int) -> tuple[float | None, float | None]:
    """Least and largest value; None where it still grows far from 0."""
    inner = torch.cat([_midpoints(), _midpoints() + STEP / 2])
    points = torch.cat([inner.unsqueeze(1), torch.tensor([[-1.0], [1.0]]) * FAR[0]])
    further = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * FAR[1]
    if pieces > 1:
        drawn, _ = standard_normal(pieces)
        points, further = torch.cat([0 * drawn[:1], drawn, drawn * FAR[0]]), drawn * FAR[1]
    near, far = (_evaluate(choice, at)[0].nan_to_num(0.0) for at in (points, further))
    low, high = float(near.min()) + 0.0, float(near.max()) + 0.0  # not -0.0
    return None if far.min() < low - 1 else low, None if far.max() > high + 1 else high


def _midpoints() -> Tensor:
    count = round(SEARCHED / STEP)
    return (torch.arange(-count, count).double() + 0.5) * STEP


def _flat(choice: Choice[Activation], pieces: int) -> list[Interval]:
    """Where the slope is exactly 0: the catalogue's word at the defaults, else by looking."""
    if choice.given or choice.entry.sha256:
        return _runs(choice, lambda steepness: steepness == 0) if pieces == 1 else []
    return [(_finite_or_none(low), _finite_or_none(high)) for low, high in choice.entry.flat]


def _faint(choice: Choice[Activation], flat: Sequence[Interval]) -> list[Interval]:
    """Tails where the slope is under FLAT, but never 0."""
    tails = [ends for ends in _runs(choice, lambda s: s < FLAT) if None in ends]
    return [
        (low, high)
        for low, high in tails
        if not any((low is None and a is None) or (high is None and b is None) for a, b in flat)
    ]


def _runs(choice: Choice[Activation], wanted: Callable[[Tensor], Tensor]) -> list[Interval]:
    """Intervals of x where the slope's magnitude is `wanted`; one at the search's end has none."""
    x = _midpoints()
    inside = wanted(_evaluate(choice, x.unsqueeze(1))[1][:, 0].abs())
    edges = torch.diff(inside.int(), prepend=torch.tensor([0]), append=torch.tensor([0]))
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    found = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        low = None if start == 0 else float(x[start]) - STEP / 2
        high = None if end == len(x) else float(x[end - 1]) + STEP / 2
        if end - start > 1 or None in (low, high):
            found.append((low, high))
    return found


def _finite(figures: Tensor) -> list[float | None]:
    return [_finite_or_none(figure) for figure in figures.tolist()]


def _finite_or_none(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
