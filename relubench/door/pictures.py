"""Rows as pictures: learning curves, and differences with their intervals."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relubench import user_code
from relubench.errors import BadValue
from relubench.grouping import grouped
from relubench.report.naming import varying
from relubench.rows import SETUP, CompareRow, EpochRow, RunRow, SetupRow, SuggestRow
from relubench.table import Curve, Panel, Table
from relubench.wording import counted

DIGEST = re.compile(rf"{user_code.OBJECT.pattern}:")
TICK = 0.15  # of a line: half the height of the stroke at a mean


def labels(rows: Sequence[SetupRow]) -> list[str]:
    """What tells each row's set-up and activation from the others."""
    names = [*varying(rows, *SETUP), "activation"]
    whole = [_joined(row, names) for row in rows]
    short = [DIGEST.sub("", label) for label in whole]
    # Without the digests of objects, as long as that leaves as many apart as there were.
    return short if len(set(short)) == len(set(whole)) else whole


def _joined(row: SetupRow, names: Sequence[str]) -> str:
    return ", ".join(str(row.get(name)) for name in names)


def curves(rows: Sequence[RunRow], tables: Sequence[Table[EpochRow]]) -> Panel:
    """Mean training loss by epoch, a curve per set-up and activation.

    Raises BadValue where nothing was trained.
    """
    members = grouped(zip(labels(rows), tables, strict=True), lambda member: member[0])
    drawn = []
    for label, runs in members.items():
        losses = _means([_losses(table) for _, table in runs])
        if losses:
            epochs = [float(epoch) for epoch in range(1, len(losses) + 1)]
            drawn.append(Curve(f"{label} (n = {len(runs)})", epochs, losses))
    if not drawn:
        raise BadValue("these runs have no learning curves to draw")
    return Panel("learning curves, as training saw them", drawn)


def _losses(table: Table[EpochRow]) -> list[float | None]:
    return [row.loss for row in table.rows]


def _means(losses: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of each epoch that all runs have; None from where one of them diverged."""
    means: list[float | None] = []
    for of_epoch in zip(*losses, strict=False):
        defined = [loss for loss in of_epoch if loss is not None]
        whole = len(defined) == len(of_epoch)
        means.append(sum(defined) / len(defined) if whole else None)
    return means


def differences(rows: Sequence[CompareRow]) -> Panel:
    """A line per activation from one end of its interval to the other, with a stroke at the mean.

    The first stands highest, at as many as there are. Raises BadValue where nothing is compared.
    """
    drawn = []
    for row, label in zip(rows, labels(rows), strict=True):
        if row.difference is not None and row.verdict != "reference":
            drawn.append((row, label))
    if not drawn:
        raise BadValue("these rows have no differences to draw: compare two activations or more")
    counts = sorted({row.n for row, _ in drawn})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return Panel(f"95 % intervals, n = {n}", _lines(drawn))


def suggested(rows: Sequence[SuggestRow]) -> Panel:
    """The same of rows of suggest, whose intervals hold together over activations.

    Raises BadValue where nothing was compared with the reference.
    """
    drawn = [(row, row.activation) for row in rows if row.difference is not None]
    if not drawn:
        raise BadValue("these rows have no differences to draw: nothing is beside the reference")
    seeds = len(drawn[0][0].seeds)
    return Panel(f"intervals that hold together, n = {counted(seeds, 'seed')}", _lines(drawn))


def _lines(drawn: Sequence[tuple[CompareRow | SuggestRow, str]]) -> list[Curve]:
    """A line per row and label, from the top down."""
    highest = len(drawn)
    return [_line(row, label, highest - down) for down, (row, label) in enumerate(drawn)]


def _line(row: CompareRow | SuggestRow, label: str, y: float) -> Curve:
    mean = row.difference or 0.0
    low = mean if row.difference_low is None else row.difference_low
    high = mean if row.difference_high is None else row.difference_high
    # To the mean, up, down, and on: one line that has its stroke in it.
    x = [low, mean, mean, mean, mean, mean, high]
    return Curve(label, x, [y, y, y + TICK, y, y - TICK, y, y])
