"""Published figures beside measured ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import scipy

from relubench.config import OF_COST, OF_UNITS, RATIOS, Published
from relubench.plan import Plan
from relubench.report import claimed
from relubench.report.columns import text_of
from relubench.report.evidence import ComparisonOptions
from relubench.report.figures import UNDEFINED
from relubench.report.hidden_units import layer_means
from relubench.report.naming import varying
from relubench.report.ratios import ratio_rows
from relubench.report.sources import confirmed_text, named, source_text
from relubench.report.task_table import task_rows
from relubench.results import RunResult
from relubench.rows import CompareRow, PublishedRow, PublishedVerdict
from relubench.table import AnyTable, Column, Row, Table
from relubench.wording import counted

CONFIDENCE = 0.95
ACCURACIES = ("accuracy", "cv_accuracy", "train_accuracy", "held_out")
SHARES = (
    *(*ACCURACIES, "token_accuracy"),
    *("online_accuracy", "task_accuracy", "first_task_accuracy"),
    *OF_UNITS,
)
UNITS = {"seconds": "s", "loss": "nats", "train_loss": "nats"}
NAMES = ("dataset", "model", "activation", "beside", "head", "lr", "layer")
RULE = (
    "agrees: the published figure lies within ± of the measured mean, the 95 % prediction interval "
    "of as many runs as were published, from the spread of the runs measured here (and the "
    "published one, where it is known)."
)


def of_comparison(
    entries: Sequence[Published],
    rows: Sequence[CompareRow],
    results: Sequence[RunResult],
    plan: Plan,
    options: ComparisonOptions,
    why_not: str,
) -> list[AnyTable]:
    """What `compare` prints: figures beside measured ones, then what was claimed without one.

    rows     of the comparison of these results
    why_not  why these runs are not the published ones; "" where they are
    """
    entries = beside(entries, plan.reference)
    entries = [entry for entry in entries if entry.metric not in OF_COST]
    measured: list[Row] = [*rows, *layer_means(results), *task_rows(results)]
    measured += ratio_rows(results, {entry.beside or "" for entry in entries})
    figures = [entry for entry in entries if _is_figure(entry)]
    claims = [entry for entry in entries if entry.claimed]
    tables: list[AnyTable] = [table(figures, measured, why_not)] if figures else []
    return [*tables, *claimed.tables(claims, rows, results, plan, options)]


def of_units(
    entries: Sequence[Published], results: Sequence[RunResult], why_not: str
) -> list[AnyTable]:
    """What `deadcount` prints: published shares of hidden units beside measured ones."""
    figures = [entry for entry in entries if entry.metric in OF_UNITS and _is_figure(entry)]
    # That of one task needs the tasks, which compare shows.
    figures = [entry for entry in figures if entry.number is None]
    return [table(figures, layer_means(results), why_not)] if figures else []


def beside(entries: Sequence[Published], reference: str) -> list[Published]:
    """The entries, each ratio beside the reference where it names nothing else."""
    named = []
    for entry in entries:
        ratio = entry.metric in RATIOS and not entry.beside
        named.append(entry.model_copy(update={"beside": reference}) if ratio else entry)
    return named


def _is_figure(entry: Published) -> bool:
    """Whether there is more to it than a direction."""
    return entry.value is not None or not entry.claimed


def table(
    entries: Sequence[Published], measured: Sequence[Row], why_not: str
) -> Table[PublishedRow]:
    """A row for each published figure and each measured row that it is about.

    What all rows share, a reason why nothing can be compared or a source, stands below them.
    measured  means of some runs each, with `n` and, by `<metric>_sd`, their spread
    why_not   why these runs are not the published ones; "" where they are
    """
    pairs = itertools.product(entries, measured)
    rows = [_row(entry, row, why_not) for entry, row in pairs if about(entry, row)]
    metric = _shared(rows, _metric)
    title = counted(len(rows), "published figure") + (f", {metric}" if metric else "")
    return Table(rows, _columns(rows), title, _notes(rows))


def _columns(rows: Sequence[PublishedRow]) -> list[Column[PublishedRow]]:
    verdicts: list[Column[PublishedRow]] = [
        Column("within ±", lambda row: figure(row.margin, row.metric)),
        Column("verdict", text_of("verdict"), left=True, wrap=True),
    ]
    sure: Column[PublishedRow] = Column("confirmed", confirmed_text, left=True)
    place: Column[PublishedRow] = Column("source", source_text, left=True, wrap=True)
    return [
        *(Column(name, _name(name), left=True) for name in varying(rows, *NAMES)),
        *([Column("task", _task, key="number")] if varying(rows, "number") else []),
        *([Column("figure", _metric, left=True)] if varying(rows, "metric") else []),
        Column("measured", lambda row: figure(row.measured, row.metric, row.measured_sd)),
        Column("published", lambda row: figure(row.published, row.metric, row.published_sd)),
        Column("difference", lambda row: change(row.difference, row.metric)),
        *([] if _shared(rows, _reason) else verdicts),
        *([place] if varying(rows, "source") else [sure] if varying(rows, "confirmed") else []),
    ]


def _notes(rows: Sequence[PublishedRow]) -> list[str]:
    """What stands for a column that would say the same of every row, and what else there is."""
    source = _shared(rows, source_text) or _shared(rows, lambda row: row.source)
    return [
        *filter(None, [_shared(rows, _reason)]),
        *([f"published: {source}"] if source else []),
        *dict.fromkeys(row.note for row in rows if row.note),
        *([] if _shared(rows, _reason) else [RULE]),
    ]


def _shared(rows: Sequence[PublishedRow], show: Callable[[PublishedRow], str]) -> str:
    """What every row shows; "" where they differ."""
    texts = {show(row) for row in rows}
    return texts.pop() if len(texts) == 1 else ""


def _reason(row: PublishedRow) -> str:
    """Why nothing can be compared; "" where something can."""
    return str(row.verdict) if row.verdict.reason else ""


def _metric(row: PublishedRow) -> str:
    """What was published, and its measure."""
    sign = "%" if row.metric in SHARES else UNITS.get(row.metric, "")
    return f"{row.metric.replace('_', ' ')} {sign}".rstrip()


def _name(key: str) -> Callable[[PublishedRow], str]:
    """How a name reads; figures of several kinds need not all have it."""
    return lambda row: "" if row.get(key) is None else str(row.get(key))


def _task(row: PublishedRow) -> str:
    return "all" if row.number is None else str(row.number)


def about(entry: Published, row: Row) -> bool:
    """Whether a published figure is about a row: of this layer, task or ratio, if it is of one."""
    part = (row.get("layer"), row.get("number"), row.get("beside"))
    return named(entry, row) and _part(entry) == part


def _part(entry: Published) -> tuple[str | None, int | None, str | None]:
    """Layer, task, and what it is beside: of the rows that hold such a figure."""
    if entry.number is not None:
        return None, entry.number, None
    if entry.metric in OF_UNITS:
        return entry.layer or "total", None, None
    return None, None, entry.beside if entry.metric in RATIOS else None


def _row(entry: Published, row: Row, why_not: str) -> PublishedRow:
    mean, sd, n = row.get(entry.metric), row.get(f"{entry.metric}_sd"), row.get("n")
    if sd is None and entry.metric == row.get("metric"):
        sd = row.get("mean_sd")  # of what is compared
    difference = less(mean, entry.value)
    within = None
    if difference is not None and sd is not None:
        within = margin(sd, n, entry.runs, entry.sd)
    return PublishedRow(
        dataset=row.get("dataset"),
        model=row.get("model"),
        activation=row.get("activation"),
        head=row.get("head"),
        lr=row.get("lr"),
        beside=row.get("beside"),
        metric=entry.metric,
        layer=row.get("layer"),
        number=row.get("number"),
        n=n,
        measured=mean,
        measured_sd=sd,
        published=entry.value,
        published_sd=entry.sd,
        difference=difference,
        margin=within,
        verdict=verdict(entry, mean, sd, n, why_not),
        source=entry.source,
        confirmed=entry.confirmed,
        note=entry.note,
    )


def verdict(
    entry: Published, mean: float | None, sd: float | None, n: int, why_not: str = ""
) -> PublishedVerdict:
    """agrees, differs, or why neither can be said; `mean` and `sd` are of n runs."""
    # The first reason that there is: later ones would not matter if it went away.
    reason = why_not or entry.incomparable
    if entry.value is None:
        reason = reason or "no figure was published"
    if mean is None:
        reason = reason or "no run was finished"
    if reason or mean is None or entry.value is None:
        return PublishedVerdict("cannot be compared", reason)
    if sd is None:
        return PublishedVerdict("cannot be compared", f"{counted(n, 'run')} here, without a spread")
    within = abs(mean - entry.value) <= margin(sd, n, entry.runs, entry.sd)
    return PublishedVerdict("agrees" if within else "differs")


def margin(sd: float, n: int, runs: int = 1, published_sd: float | None = None) -> float:
    """Half the prediction interval of the mean of further `runs`, from n runs of spread `sd`.

    With one run t·sd·√(1 + 1/n); t has n - 1 degrees of freedom, in either case.
    """
    # Without a published spread theirs is taken to be like ours.
    theirs = sd if published_sd is None else published_sd
    # A prediction interval, not a confidence interval: the published mean is a draw of its own.
    error = math.sqrt(sd**2 / n + theirs**2 / runs)
    return float(scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * error)


def figure(value: float | None, metric: str, spread: float | None = None) -> str:
    """A figure of a metric as people read it, ± its spread where that is known."""
    if value is None:
        return UNDEFINED
    scale = 100 if metric in SHARES else 1
    text = f"{scale * value:.2f}"
    return text if spread is None else f"{text} ± {scale * spread:.2f}"


def change(value: float | None, metric: str) -> str:
    """A difference between figures of a metric, with its sign."""
    if value is None:
        return UNDEFINED
    return f"{(100 if metric in SHARES else 1) * value:+z.2f}"


def less(a: float | None, b: float | None) -> float | None:
    """a - b, where both are defined."""
    return None if a is None or b is None else a - b
