"""Published figures beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from relubench.config import Published
from relubench.formats import Column, Row, Table, counted

CONFIDENCE = 0.95
UNDEFINED = "–"
NAMES = ("dataset", "model", "activation", "head", "lr")
RULE = (
    "agrees: the published figure lies within ± of the measured mean, the 95 % prediction interval "
    "of as many runs as were published, from the spread of the runs measured here (and the "
    "published one, where it is known). All but seconds in %."
)


def table(entries: Sequence[Published], measured: Sequence[Row], why_not: str) -> Table:
    """A row for each published figure and each measured row that it is about.

    measured  a row per set-up and activation, as compare has them
    why_not   why these runs are not the published ones; "" where they are
    """
    rows = [
        _row(entry, row, why_not) for entry in entries for row in measured if _about(entry, row)
    ]
    varying = [name for name in NAMES if len({row[name] for row in rows}) > 1]
    columns = [
        *(Column(name, _text_of(name), left=True) for name in varying),
        Column("figure", lambda row: row["metric"].replace("_", " "), left=True),
        Column("measured", lambda row: _figure(row, "measured", "measured_sd")),
        Column("published", lambda row: _figure(row, "published", "published_sd")),
        Column("difference", lambda row: _figure(row, "difference")),
        Column("within ±", lambda row: _figure(row, "margin")),
        Column("verdict", _text_of("verdict"), left=True, wrap=True),
        Column("source", _source, left=True, wrap=True),
    ]
    notes = [*dict.fromkeys(row["note"] for row in rows if row["note"]), RULE]
    return Table(rows, columns, counted(len(rows), "published figure"), notes)


def _about(entry: Published, row: Row) -> bool:
    asked = {name: getattr(entry, name) for name in NAMES}
    return all(wanted is None or wanted == row[name] for name, wanted in asked.items())


def _row(entry: Published, row: Row, why_not: str) -> dict[str, Any]:
    mean, sd, n = row[entry.metric], row.get(f"{entry.metric}_sd"), row["n"]
    known = mean is not None and entry.value is not None
    return {
        **{name: row[name] for name in NAMES},
        "metric": entry.metric,
        "n": n,
        "measured": mean,
        "measured_sd": sd,
        "published": entry.value,
        "published_sd": entry.sd,
        "difference": mean - entry.value if known else None,
        "margin": margin(sd, n, entry.runs, entry.sd) if known and sd is not None else None,
        "verdict": verdict(entry, mean, sd, n, why_not),
        "source": entry.source,
        "confirmed": entry.confirmed,
        "note": entry.note,
    }


def verdict(
    entry: Published, mean: float | None, sd: float | None, n: int, why_not: str = ""
) -> str:
    """agrees, differs, or why neither can be said; `mean` and `sd` are of n runs."""
    reason = entry.incomparable or why_not
    if entry.value is None:
        reason = reason or "no figure was published"
    if mean is None:
        reason = reason or "no run was finished"
    if reason or mean is None or entry.value is None:
        return f"cannot be compared: {reason}"
    if sd is None:
        return f"cannot be compared: {counted(n, 'run')} here, without a spread"
    within = abs(mean - entry.value) <= margin(sd, n, entry.runs, entry.sd)
    return "agrees" if within else "differs"


def margin(sd: float, n: int, runs: int = 1, published_sd: float | None = None) -> float:
    """Half the prediction interval of the mean of further `runs`, from n runs of spread `sd`.

    With one run t·sd·√(1 + 1/n); t has n - 1 degrees of freedom, in either case.
    """
    from scipy.stats import t  # slow to import

    theirs = sd if published_sd is None else published_sd
    error = math.sqrt(sd**2 / n + theirs**2 / runs)
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * error)


def _figure(row: Row, key: str, spread: str = "") -> str:
    if row[key] is None:
        return UNDEFINED
    scale = 1 if row["metric"] == "seconds" else 100
    sign = "+z" if key == "difference" else ""
    text = f"{scale * row[key]:{sign}.2f}"
    return f"{text} ± {scale * row[spread]:.2f}" if spread and row[spread] is not None else text


def _text_of(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _source(row: Row) -> str:
    return f"{row['source']}{'' if row['confirmed'] else ' (not confirmed)'}"
