"""What units cost, as a Table: medians over rounds, beside relu and a plain copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relubench.plan import Machine
from relubench.profiling.timing import Timings
from relubench.report import QUICK_NOTE
from relubench.table import Column, Row, Table
from relubench.wording import counted

REFERENCE = "relu"
RIVAL = "tanh"  # what relu is said to be cheaper than


def rows(timings: Sequence[Timings], machine: Machine, torch: str) -> list[dict[str, Any]]:
    """A row per size and unit, the cheapest in training first; low and high are quartiles.

    A ratio is taken round by round, before the median.
    """
    reference = {t.elements: t for t in timings if t.activation == REFERENCE}
    found = []
    for timing in timings:
        base = reference[timing.elements]
        found.append(
            {
                "activation": timing.activation,
                "elements": timing.elements,
                **_quartiles("forward_ns", timing.forward),
                **_quartiles("forward_backward_ns", timing.forward_backward),
                "saved_bytes": timing.saved,
                **_quartiles("relative", _ratios(timing.forward_backward, base.forward_backward)),
                **_quartiles("forward_relative", _ratios(timing.forward, base.forward)),
                "reference": REFERENCE,
                "copy_ns": float(np.median(timing.copy)),
                "share_of_copy": float(np.median(_ratios(timing.forward, timing.copy))),
                "device": machine.device,
                "threads": machine.threads,
                "dtype": machine.dtype,
                "torch": torch,
                "rounds": len(timing.forward),
            }
        )
    sizes = list(reference)
    return sorted(found, key=lambda row: (sizes.index(row["elements"]), row["forward_backward_ns"]))


def _ratios(figures: Sequence[float], base: Sequence[float]) -> list[float]:
    return [figure / other for figure, other in zip(figures, base, strict=True)]


def _quartiles(key: str, figures: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(figures, (0.25, 0.5, 0.75)).tolist()
    return {key: middle, f"{key}_low": low, f"{key}_high": high}


def table(timings: Sequence[Timings], machine: Machine, torch: str, quick: bool = False) -> Table:
    """The rows for people, and under them whether relu is cheaper."""
    found = [row | {"quick": quick} for row in rows(timings, machine, torch)]
    several = len({row["elements"] for row in found}) > 1
    columns = [
        *([Column("elements", lambda row: count_text(row["elements"]))] if several else []),
        Column("activation", lambda row: row["activation"], left=True),
        Column("forward ns", lambda row: f"{row['forward_ns']:.2f}"),
        Column("× copy", lambda row: f"{row['share_of_copy']:.1f}"),
        Column("forward+backward ns", lambda row: f"{row['forward_backward_ns']:.2f}"),
        Column(f"× {REFERENCE} [quartiles]", _relative_text),
        Column("saved B", lambda row: f"{row['saved_bytes']:.3g}"),
    ]
    title = [
        "per element",
        "" if several else f"{count_text(found[0]['elements'])} elements",
        machine.dtype,
        f"{machine.device}, {counted(machine.threads, 'thread')}",
        counted(found[0]["rounds"], "interleaved round"),
        f"torch {torch}",
    ]
    return Table(
        found,
        columns,
        " · ".join(part for part in title if part),
        [*_answers(found), *NOTES, *([QUICK_NOTE] if quick else [])],
        group=lambda row: row["elements"],
    )


NOTES = (
    "forward: in evaluation, without a graph. forward+backward: in training, with the gradients of "
    "the input and of learned parameters. Medians over rounds [quartiles]; ratios are taken round "
    "by round.",
    "× copy: forward beside Tensor.clone of as many elements, the least that a unit with an output "
    "of its own can do. saved: bytes per element that autograd keeps for the backward pass, the "
    "unit's input or output included, learned parameters not.",
)


def _answers(found: Sequence[Row]) -> list[str]:
    """Whether the reference is cheaper: than its rival at each size, than all at the largest."""
    rivals = [row for row in found if row["activation"] == RIVAL]
    said = [
        f"At {count_text(row['elements'])} elements, forward and backward, {RIVAL} takes "
        f"{_relative_text(row)} times {REFERENCE}'s time."
        for row in rivals
    ]
    largest = max(row["elements"] for row in found)
    others = [r for r in found if r["elements"] == largest and r["activation"] != REFERENCE]
    dearer = sum(row["relative_low"] > 1 for row in others)
    cheaper = [r for r in others if r["relative_high"] < 1]
    if others:
        names = ", ".join(f"{row['activation']} ({row['relative']:.2f})" for row in cheaper)
        said.append(
            f"At {count_text(largest)} elements, {REFERENCE} is cheaper than {dearer} of "
            f"{counted(len(others), 'other unit')}, dearer than {len(cheaper)}"
            + (f": {names}" if names else "")
            + "; of the rest the quartiles hold 1."
        )
    return said


def count_text(count: int) -> str:
    """'16 Ki', '1 Mi', '1,000'."""
    for scale, suffix in ((2**20, " Mi"), (2**10, " Ki")):
        if count % scale == 0:
            return f"{count // scale}{suffix}"
    return f"{count:,}"


def _relative_text(row: Row) -> str:
    low, middle, high = (row[f"relative{end}"] for end in ("_low", "", "_high"))
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"
