"""Published figures beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from relubench import stats
from relubench.config import Published
from relubench.formats import Column, Row, Table, counted
from relubench.plan import Plan, grouped
from relubench.report.figures import mean_of
from relubench.report.naming import SETUP, by_setup, varying
from relubench.report.notes import failures, quick
from relubench.results import RunResult

CONFIDENCE = 0.95
UNDEFINED = "–"
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
    rows = [
        _row(entry, row, why_not) for entry in entries for row in measured if _about(entry, row)
    ]
    metric = _shared(rows, _unit)
    title = counted(len(rows), "published figure") + (f", {metric}" if metric else "")
    return Table(rows, _columns(rows), title, _notes(rows))


def _columns(rows: Sequence[Row]) -> list[Column]:
    verdicts = [
        Column("within ±", lambda row: _figure(row, "margin")),
        Column("verdict", _text_of("verdict"), left=True, wrap=True),
    ]
    sure = Column("confirmed", lambda row: "yes" if row["confirmed"] else "no", left=True)
    place = Column("source", _source, left=True, wrap=True)
    return [
        *(Column(name, _text_of(name), left=True) for name in varying(rows, *NAMES)),
        *([Column("figure", _unit, left=True)] if varying(rows, "metric") else []),
        Column("measured", lambda row: _figure(row, "measured", "measured_sd")),
        Column("published", lambda row: _figure(row, "published", "published_sd")),
        Column("difference", lambda row: _figure(row, "difference")),
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


def _about(entry: Published, row: Row) -> bool:
    asked = {name: getattr(entry, name) for name in NAMES}
    return all(wanted is None or wanted == row[name] for name, wanted in asked.items())


def _row(entry: Published, row: Row, why_not: str) -> dict[str, Any]:
    mean, sd, n = row.get(entry.metric), row.get(f"{entry.metric}_sd"), row["n"]
    difference = _less(mean, entry.value)
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
    from scipy.stats import t  # slow to import

    theirs = sd if published_sd is None else published_sd
    error = math.sqrt(sd**2 / n + theirs**2 / runs)
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * error)


def protocols(results: Sequence[RunResult], plan: Plan, entries: Sequence[Published]) -> Table:
    """Two rows per set-up and activation: accuracy over folds and on the test part.

    Both as they should be measured, every fold with fresh weights, and with the weights carried
    from fold to fold, as one network that in the end has learned from all of them.
    """
    rows: list[dict[str, Any]] = []
    for setup, runs in by_setup(results, "activation", *SETUP).items():
        for figure, fresh, carried in (
            ("cv_accuracy", _over_folds(runs), _over_carried(runs)),
            ("accuracy", _tested(runs, carried=False), _tested(runs, carried=True)),
        ):
            row = dict(setup) | {"metric": figure, "fresh": fresh[0], "fresh_sd": fresh[1]}
            row |= {"carried": carried[0], "carried_sd": carried[1]}
            about = (e for e in entries if e.metric == figure and _about(e, row))
            value = next((entry.value for entry in about), None)
            rows.append(row | {"difference": _less(carried[0], fresh[0]), "published": value})
    names = varying(rows, "activation", *SETUP)
    columns = [
        *(Column(name.replace("_", " "), _text_of(name), left=True) for name in names),
        Column("accuracy %", lambda row: FIGURES[row["metric"]], left=True, key="metric"),
        Column("fresh", lambda row: _figure(row, "fresh", "fresh_sd")),
        Column("carried", lambda row: _figure(row, "carried", "carried_sd")),
        Column("difference", lambda row: _figure(row, "difference")),
        *([Column("published", lambda row: _figure(row, "published"))] if entries else []),
    ]
    pairs = zip(rows[::2], rows[1::2], strict=True)
    notes = [
        *(_worth(cv, test, names) for cv, test in pairs),
        "fresh: every fold begins anew, and so does its scaler. carried: one scaler for all folds, "
        "and one network that learns from one fold after the other, so that it is scored on "
        "examples that it has learned; on the test part after the last fold. ± sd over folds, "
        "over seeds.",
        *failures(results),
        *quick(plan),
    ]
    return Table(rows, columns, "weights fresh in every fold, and carried from fold to fold", notes)


FIGURES = {"cv_accuracy": "over folds", "accuracy": "test part"}
Spread = tuple[float | None, float | None]


def _over_folds(runs: Sequence[RunResult]) -> Spread:
    """Mean and sd over folds, the seeds of a fold averaged first."""
    folds = [run for run in runs if run.cell.split.fold is not None]
    return _spread(
        mean_of([run.scores.get("accuracy") for run in same])
        for same in grouped(folds, lambda run: run.cell.split).values()
    )


def _over_carried(runs: Sequence[RunResult]) -> Spread:
    through = [run for run in runs if run.cell.split.carried]
    by_repeat = grouped(through, lambda run: run.cell.split.repeat).values()
    if any(run.failed for run in through):
        return None, None
    return _spread(
        mean_of(list(fold))
        for same in by_repeat
        for fold in zip(*(run.folds for run in same), strict=True)
    )


def _tested(runs: Sequence[RunResult], carried: bool) -> Spread:
    """Mean and sd over seeds of the test part's accuracy."""
    return _spread(
        run.scores.get("accuracy")
        for run in runs
        if run.cell.split.fold is None and run.cell.split.carried is carried
    )


def _spread(figures: Iterable[float | None]) -> Spread:
    found = list(figures)
    known = [figure for figure in found if figure is not None]
    return stats.mean_sd(known if len(known) == len(found) else [])


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _worth(cv: Row, test: Row, names: Sequence[str]) -> str:
    """What the leak is worth, in a sentence."""
    who = ", ".join(str(cv[name]) for name in names) or str(cv["activation"])
    if cv["difference"] is None or test["difference"] is None:
        return f"{who}: not all runs were finished, so nothing is said of the leak."
    said = (
        f"{who}: carrying weights from fold to fold is worth {100 * cv['difference']:+.2f} points "
        f"over folds and {100 * test['difference']:+.2f} on the test part"
    )
    if test["published"] is None:
        return f"{said}."
    off, fresh = (abs(test[key] - test["published"]) for key in ("carried", "fresh"))
    side = "nearer to" if off < fresh else "farther from"
    return (
        f"{said}, {100 * abs(fresh - off):.2f} {side} the published {100 * test['published']:.2f} "
        f"({100 * off:.2f} from it instead of {100 * fresh:.2f})."
    )


def _figure(row: Row, key: str, spread: str = "") -> str:
    if row[key] is None:
        return UNDEFINED
    scale = 100 if row["metric"] in SHARES else 1
    sign = "+z" if key == "difference" else ""
    text = f"{scale * row[key]:{sign}.2f}"
    return f"{text} ± {scale * row[spread]:.2f}" if spread and row[spread] is not None else text


def _text_of(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _source(row: Row) -> str:
    return f"{row['source']}{'' if row['confirmed'] else ' (not confirmed)'}"
