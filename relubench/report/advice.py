"""What went wrong with a unit and what fared better: sentences from the figures alone."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.grouping import grouped
from relubench.table import Row
from relubench.wording import counted

LOST = 0.1  # share of dead hidden units from which on it is said
OFFSET = 1.0  # standard deviations between the mean output and 0 from which on it is said
SENTENCES = 2  # per set-up
NAMED = 3  # units in a list


def advise(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """At most SENTENCES per set-up, the gravest first.

    rows   of `compare`: means over the finished runs of a set-up and activation
    names  the keys that tell the set-ups of these rows apart
    """
    said = []
    for setup, members in grouped(rows, lambda row: tuple(str(row[n]) for n in names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        found = [*_diverged(members), *_dead(members), *_offset(members)]
        said += [f"{where}{sentence}" for sentence in found[:SENTENCES]]
    return said


def _diverged(rows: Sequence[Row]) -> list[str]:
    """Units of which runs diverged, and those of which none did."""
    bad = sorted((row for row in rows if row["diverged"]), key=lambda row: row["n"] / _runs(row))
    if not bad:
        return []
    worst, *others = (f"{row['diverged']} of {_runs(row)}" for row in bad)
    counts = [f"{bad[0]['activation']} diverged in {worst} runs"]
    counts += [f"{row['activation']} in {n}" for row, n in zip(bad[1:], others, strict=True)]
    steady = _listed([row["activation"] for row in rows if not row["diverged"]])
    others_none = f"; {steady} in none" if steady else ""
    return [f"{_listed(counts)} {_rate(bad[0])}{others_none}."]


def _rate(row: Row) -> str:
    return "at its best lr" if row["lr"] is None else f"at lr {row['lr']:g}"


def _runs(row: Row) -> int:
    count: int = row["n"] + row["diverged"]
    return count


def _dead(rows: Sequence[Row]) -> list[str]:
    """Units that lose a large share of their neurons, where another loses at most half as many."""
    known = sorted((row for row in rows if row["dead"] is not None), key=lambda row: -row["dead"])
    if not known:
        return []
    best = min(known, key=lambda row: (row["dead"], -row["accuracy"]))
    losing = [row for row in known if row["dead"] >= max(LOST, 2 * best["dead"])]
    if not losing:
        return []
    worst, *others = (f"{row['activation']}: {100 * row['dead']:.1f} %" for row in losing)
    also = f" ({_listed(others)})" if others else ""
    rate = "its best" if best["lr"] is None else "the same rate"
    return [
        f"{worst} of its hidden units are dead {_rate(best)}{also}; "
        f"{best['activation']} at {rate}: {100 * best['dead']:.1f} %."
    ]


def _offset(rows: Sequence[Row]) -> list[str]:
    """The unit whose outputs lie furthest to one side of 0, and the one nearest to mean 0."""
    known = [row for row in rows if row["sd_activation"] and row["mean_activation"] is not None]
    known.sort(key=lambda row: abs(row["mean_activation"]) / row["sd_activation"])
    if not known or abs(known[-1]["mean_activation"]) < OFFSET * known[-1]["sd_activation"]:
        return []
    best, worst = (
        f"{row['mean_activation']:+z.2f} ± {row['sd_activation']:.2f}"
        for row in (known[0], known[-1])
    )
    nearest = f"; {known[0]['activation']}: {best}" if len(known) > 1 else ""
    return [f"{known[-1]['activation']}: its mean output, {worst} (sd), is far from 0{nearest}."]


def _listed(texts: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c', 'a, b, c and 4 others'."""
    if len(texts) > NAMED:
        texts = [*texts[:NAMED], counted(len(texts) - NAMED, "other")]
    *most, last = texts or [""]
    return f"{', '.join(most)} and {last}" if most else last
