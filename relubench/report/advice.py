"""What went wrong with an activation and what fared better: sentences from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.grouping import grouped
from relubench.report.naming import said_of
from relubench.rows import CompareRow
from relubench.wording import counted

MANY_DEAD = 0.1  # fraction of dead hidden units from which on it is said
OFFSET = 1.0  # standard deviations between the mean output and 0 from which on it is said
SENTENCES = 2  # per set-up
NAMED = 3  # activations in a list


def advise(rows: Sequence[CompareRow], names: Sequence[str]) -> list[str]:
    """At most SENTENCES per set-up, the gravest first.

    rows   of `compare`: means over the finished runs of a set-up and activation
    names  the keys that tell the set-ups of these rows apart
    """
    sentences = []
    for setup, members in grouped(rows, said_of(names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        # In the order of what hurts most: no result, fewer units, outputs far from 0.
        gravest = [*_diverged(members), *_dead(members), *_offset(members)][:SENTENCES]
        sentences += [f"{where}{sentence}" for sentence in gravest]
    return sentences


def _diverged(rows: Sequence[CompareRow]) -> list[str]:
    """Activations of which runs diverged, and those of which none did."""
    # The worst first: by the fraction of runs that were finished.
    bad = sorted((row for row in rows if row.diverged), key=lambda row: row.n / row.runs)
    if not bad:
        return []
    worst, *others = (f"{row.diverged} of {row.runs}" for row in bad)
    counts = [f"{bad[0].activation} diverged in {worst} runs"]
    counts += [f"{row.activation} in {n}" for row, n in zip(bad[1:], others, strict=True)]
    steady = listed([row.activation for row in rows if not row.diverged])
    others_none = f"; {steady} in none" if steady else ""
    return [f"{listed(counts)} {_rate(bad[0])}{others_none}."]


def _rate(row: CompareRow) -> str:
    return "at its best lr" if row.lr is None else f"at lr {row.lr:g}"


def _dead(rows: Sequence[CompareRow]) -> list[str]:
    """Activations that lose many of their neurons, where another loses at most half as many."""
    counted_rows = [(row.dead, row) for row in rows if row.dead is not None]
    if not counted_rows:
        return []
    counted_rows.sort(key=lambda pair: -pair[0])
    least = counted_rows[-1][0]
    fewest_dead = [row for dead, row in counted_rows if dead == least]
    best = max(fewest_dead, key=lambda row: row.accuracy or 0.0)
    # Twice the least, or a tenth of all: what every activation loses is not the activation's doing.
    limit = max(MANY_DEAD, 2 * least)
    losing = [
        f"{row.activation}: {100 * dead:.1f} %" for dead, row in counted_rows if dead >= limit
    ]
    if not losing:
        return []
    worst, *others = losing
    also = f" ({listed(others)})" if others else ""
    rate = "its best" if best.lr is None else "the same rate"
    return [
        f"{worst} of its hidden units are dead {_rate(best)}{also}; "
        f"{best.activation} at {rate}: {100 * least:.1f} %."
    ]


def _offset(rows: Sequence[CompareRow]) -> list[str]:
    """The activation whose outputs lie furthest to one side of 0, and the one nearest to mean 0."""
    outputs = [
        (row.activation, row.mean_activation, row.sd_activation)
        for row in rows
        if row.sd_activation and row.mean_activation is not None
    ]
    if not outputs:
        return []
    # In units of its own standard deviation: an offset only matters beside the spread.
    outputs.sort(key=lambda output: abs(output[1]) / output[2])
    nearest, furthest = outputs[0], outputs[-1]
    name, mean, sd = furthest
    if abs(mean) < OFFSET * sd:
        return []
    other = f"; {nearest[0]}: {nearest[1]:+z.2f} ± {nearest[2]:.2f}" if len(outputs) > 1 else ""
    return [f"{name}: its mean output, {mean:+z.2f} ± {sd:.2f} (sd), is far from 0{other}."]


def listed(texts: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c', 'a, b, c and 4 others'."""
    if len(texts) > NAMED:
        texts = [*texts[:NAMED], counted(len(texts) - NAMED, "other")]
    *most, last = texts or [""]
    return f"{', '.join(most)} and {last}" if most else last
