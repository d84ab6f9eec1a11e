"""What activations cost, as a Table: medians over rounds, beside relu and a plain copy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from relubench.plan import Machine
from relubench.profiling.timing import Timings
from relubench.report import QUICK_NOTE
from relubench.rows import CostRatioRow, CostRow
from relubench.stats import mean_sd
from relubench.table import Column, Table
from relubench.wording import counted

REFERENCE = "relu"
RIVAL = "tanh"  # what relu is said to be cheaper than


def rows(
    timings: Sequence[Timings], machine: Machine, torch: str, quick: bool = False
) -> list[CostRow]:
    """A row per size and activation, the cheapest in training first; low and high are quartiles.

    A ratio is taken round by round, before the median.
    """
    reference = {timing.elements: timing for timing in timings if timing.activation == REFERENCE}
    rows = [_row(timing, reference[timing.elements], machine, torch, quick) for timing in timings]
    sizes = list(reference)
    return sorted(rows, key=lambda row: (sizes.index(row.elements), row.forward_backward_ns))


def _row(timing: Timings, base: Timings, machine: Machine, torch: str, quick: bool) -> CostRow:
    relative = _ratios(timing.forward_backward, base.forward_backward)
    quartiles = {
        **_quartiles("forward_ns", timing.forward),
        **_quartiles("forward_backward_ns", timing.forward_backward),
        **_quartiles("relative", relative),
        **_quartiles("forward_relative", _ratios(timing.forward, base.forward)),
    }
    return CostRow(
        activation=timing.activation,
        elements=timing.elements,
        **quartiles,
        saved_bytes=timing.saved,
        reference=REFERENCE,
        copy_ns=float(np.median(timing.copy)),
        share_of_copy=float(np.median(_ratios(timing.forward, timing.copy))),
        device=machine.device,
        threads=machine.threads,
        dtype=machine.dtype,
        torch=torch,
        rounds=len(timing.forward),
        quick=quick,
    )


def ratio_rows(timings: Sequence[Timings], beside: Sequence[str]) -> list[CostRatioRow]:
    """A row per activation at the largest size and each of those `beside` that was timed."""
    largest = max(timing.elements for timing in timings)
    timed = [timing for timing in timings if timing.elements == largest]
    bases = [timing for timing in timed if timing.activation in beside]
    return [_ratio_row(*pair) for pair in itertools.product(timed, bases)]


def _ratio_row(timing: Timings, base: Timings) -> CostRatioRow:
    relative, relative_sd = mean_sd(_ratios(timing.forward_backward, base.forward_backward))
    forward, forward_sd = mean_sd(_ratios(timing.forward, base.forward))
    return CostRatioRow(
        activation=timing.activation,
        beside=base.activation,
        elements=timing.elements,
        n=len(timing.forward),
        relative=relative,
        relative_sd=relative_sd,
        forward_relative=forward,
        forward_relative_sd=forward_sd,
        saved_relative=timing.saved / base.saved if base.saved else None,
        saved_relative_sd=0.0 if base.saved else None,
    )


def _ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    return [figure / other for figure, other in zip(figures, base, strict=True)]


def _quartiles(key: str, figures: Sequence[float]) -> dict[str, Any]:
    low, middle, high = np.quantile(figures, (0.25, 0.5, 0.75)).tolist()
    return {key: middle, f"{key}_low": low, f"{key}_high": high}


def table(
    timings: Sequence[Timings], machine: Machine, torch: str, quick: bool = False
) -> Table[CostRow]:
    """The rows for people, and under them whether relu is cheaper."""
    costs = rows(timings, machine, torch, quick)
    several = len({row.elements for row in costs}) > 1
    size: Column[CostRow] = Column("elements", lambda row: count_text(row.elements))
    columns: list[Column[CostRow]] = [
        *([size] if several else []),
        Column("activation", lambda row: row.activation, left=True),
        Column("forward ns", lambda row: f"{row.forward_ns:.2f}"),
        Column("× copy", lambda row: f"{row.share_of_copy:.1f}"),
        Column("forward+backward ns", lambda row: f"{row.forward_backward_ns:.2f}"),
        Column(f"× {REFERENCE} [quartiles]", _relative_text),
        Column("saved B", lambda row: f"{row.saved_bytes:.3g}"),
    ]
    title = [
        "per element",
        "" if several else f"{count_text(costs[0].elements)} elements",
        machine.dtype,
        f"{machine.device}, {counted(machine.threads, 'thread')}",
        counted(costs[0].rounds, "interleaved round"),
        f"torch {torch}",
    ]
    return Table(
        costs,
        columns,
        " · ".join(part for part in title if part),
        [*_answers(costs), *NOTES, *([QUICK_NOTE] if quick else [])],
        group=lambda row: row.elements,
    )


NOTES = (
    "forward: in evaluation, without a graph. forward+backward: in training, with the gradients of "
    "the input and of learned parameters. Medians over rounds [quartiles]; ratios are taken round "
    "by round.",
    "× copy: forward beside Tensor.clone of as many elements, the least that an activation with an "
    "output of its own can do. saved: bytes per element that autograd keeps for the backward pass, "
    "the activation's input or output included, learned parameters not.",
)


def _answers(rows: Sequence[CostRow]) -> list[str]:
    """Whether the reference is cheaper: than its rival at each size, than all at the largest."""
    rivals = [row for row in rows if row.activation == RIVAL]
    sentences = [
        f"At {count_text(row.elements)} elements, forward and backward, {RIVAL} takes "
        f"{_relative_text(row)} times {REFERENCE}'s time."
        for row in rivals
    ]
    largest = max(row.elements for row in rows)
    others = [row for row in rows if row.elements == largest and row.activation != REFERENCE]
    # By quartiles, not by medians: what lies within them may be chance.
    slower = sum(row.relative_low > 1 for row in others)
    faster = [row for row in others if row.relative_high < 1]
    if others:
        names = ", ".join(f"{row.activation} ({row.relative:.2f})" for row in faster)
        sentences.append(
            f"At {count_text(largest)} elements, {REFERENCE} is faster than {slower} of "
            f"{counted(len(others), 'other activation')} and slower than {len(faster)}"
            + (f": {names}" if names else "")
            + "; the others' quartiles include its time."
        )
    return sentences


def count_text(count: int) -> str:
    """'16 Ki', '1 Mi', '1,000'."""
    for scale, suffix in ((2**20, " Mi"), (2**10, " Ki")):
        if count % scale == 0:
            return f"{count // scale}{suffix}"
    return f"{count:,}"


def _relative_text(row: CostRow) -> str:
    return f"{row.relative:.2f} [{row.relative_low:.2f}, {row.relative_high:.2f}]"
