"""Published figures beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import scipy

from relubench.config import Published
from relubench.report.columns import text_of
from relubench.report.figures import UNDEFINED
from relubench.report.naming import varying
from relubench.table import Column, Row, Table
from relubench.wording import counted

CONFIDENCE = 0.95
SHARES = ("accuracy", "cv_accuracy", "train_accuracy", "dead")
UNITS = {"seconds": "s", "loss": "nats", "train_loss": "nats"}
NAMES = ("dataset", "model", "activation", "head", "lr")
RULE = (
    "agrees: the published figure lies within ± of the measured mean, the 95 % prediction interval "
    "of as many runs as were published, from the spread of the runs measured here (and the "
    "published one, where it is known)."
)


def table(entries: Sequence[Published], measured: Sequence[Row], why_not: str) -> Table:
    """A row for each published figure and each measured row that it is about.

    What all rows share, a reason why nothing can be compared or a source, stands below them.
    measured  a row per set-up and activation, as compare has them
    why_not   why these runs are not the published ones; "" where they are
    """
    rows = [_row(entry, row, why_not) for entry in entries for row in measured if about(entry, row)]
    metric = _shared(rows, _unit)
    title = counted(len(rows), "published figure") + (f", {metric}" if metric else "")
    return Table(rows, _columns(rows), title, _notes(rows))


def _columns(rows: Sequence[Row]) -> list[Column]:
    verdicts = [
        Column("within ±", lambda row: figure(row, "margin")),
        Column("verdict", text_of("verdict"), left=True, wrap=True),
    ]
    sure = Column("confirmed", lambda row: "yes" if row["confirmed"] else "no", left=True)
    place = Column("source", _source, left=True, wrap=True)
    return [
        *(Column(name, text_of(name), left=True) for name in varying(rows, *NAMES)),
        *([Column("figure", _unit, left=True)] if varying(rows, "metric") else []),
        Column("measured", lambda row: figure(row, "measured", "measured_sd")),
        Column("published", lambda row: figure(row, "published", "published_sd")),
        Column("difference", lambda row: figure(row, "difference")),
        *([] if _shared(rows, _reason) else verdicts),
        *([place] if varying(rows, "source") else [sure] if varying(rows, "confirmed") else []),
    ]


def _notes(rows: Sequence[Row]) -> list[str]:
    """What stands for a column that would say the same of every row, and what else there is."""
    source = _shared(rows, _source) or _shared(rows, itemgetter("source"))
    return [
        *filter(None, [_shared(rows, _reason)]),
        *([f"published: {source}"] if source else []),
        *dict.fromkeys(row["note"] for row in rows if row["note"]),
        *([] if _shared(rows, _reason) else [RULE]),
    ]


def _shared(rows: Sequence[Row], show: Callable[[Row], str]) -> str:
    """What every row shows; "" where they differ."""
    texts = {show(row) for row in rows}
    return texts.pop() if len(texts) == 1 else ""


def _reason(row: Row) -> str:
    """Why nothing can be compared; "" where something can."""
    verdict: str = row["verdict"]
    return verdict if ":" in verdict else ""


def _unit(row: Row) -> str:
    metric = row["metric"]
    unit = "%" if metric in SHARES else UNITS.get(metric, "")
    return f"{metric.replace('_', ' ')} {unit}".rstrip()


def about(entry: Published, row: Row) -> bool:
    """Whether a published figure is about a row with these names."""
    asked = {name: getattr(entry, name) for name in NAMES}
    return all(wanted is None or wanted == row[name] for name, wanted in asked.items())


def _row(entry: Published, row: Row, why_not: str) -> dict[str, Any]:
    mean, sd, n = row.get(entry.metric), row.get(f"{entry.metric}_sd"), row["n"]
    difference = less(mean, entry.value)
    return {
        **{name: row[name] for name in NAMES},
        "metric": entry.metric,
        "n": n,
        "measured": mean,
        "measured_sd": sd,
        "published": entry.value,
        "published_sd": entry.sd,
        "difference": difference,
        "margin": None if difference is None or sd is None else margin(sd, n, entry.runs, entry.sd),
        "verdict": verdict(entry, mean, sd, n, why_not),
        "source": entry.source,
        "confirmed": entry.confirmed,
        "note": entry.note,
    }


def verdict(
    entry: Published, mean: float | None, sd: float | None, n: int, why_not: str = ""
) -> str:
    """agrees, differs, or why neither can be said; `mean` and `sd` are of n runs."""
    reason = why_not or entry.incomparable
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
    theirs = sd if published_sd is None else published_sd
    error = math.sqrt(sd**2 / n + theirs**2 / runs)
    return float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * error)


def figure(row: Row, key: str, spread: str = "") -> str:
    """A row's figure as people read it, ± its spread where that is named and known."""
    if row[key] is None:
        return UNDEFINED
    scale = 100 if row["metric"] in SHARES else 1
    sign = "+z" if key == "difference" else ""
    text = f"{scale * row[key]:{sign}.2f}"
    return f"{text} ± {scale * row[spread]:.2f}" if spread and row[spread] is not None else text


def _source(row: Row) -> str:
    return f"{row['source']}{'' if row['confirmed'] else ' (not confirmed)'}"


def less(a: float | None, b: float | None) -> float | None:
    """a - b, where both are defined."""
    return None if a is None or b is None else a - b
