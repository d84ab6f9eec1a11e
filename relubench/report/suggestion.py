"""suggest: which activation to use, as a table and in sentences that follow from its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relubench import __version__
from relubench.metrics.measures import MEASURES, Measure
from relubench.plan import Plan
from relubench.report import convergence
from relubench.report.advice import listed
from relubench.report.claims import NEW_DATA, SPEAKS
from relubench.report.columns import difference_bars, head, percent_column
from relubench.report.evidence import ComparisonOptions
from relubench.report.figures import (
    UNDEFINED,
    meaningful_decimals,
    p_value,
    percent,
    plus_minus,
    signed,
    significant,
)
from relubench.report.notes import QUICK_NOTE, definitions, failures
from relubench.report.suggest_rows import Ended, suggest_rows
from relubench.results import RunResult
from relubench.rows import SuggestRow
from relubench.table import Column, Table
from relubench.wording import counted

TONES = {"suggested": "good", "not best": "bad", "diverged": "bad", "undefined": "quiet"}
STOPPED = {
    "decided": "it is decided",
    "last look": "that was the last look",
    "budget": "the next look would not end within the budget (a larger --budget goes on from here)",
}
DEARER, SPARES = 1.2, 0.02  # times the seconds, share of dead units: from there on it is said


def suggestion(
    results: Sequence[RunResult], plan: Plan, options: ComparisonOptions, ended: Ended
) -> Table[SuggestRow]:
    """A row per activation over all networks; which to use stands above, how sure it is below."""
    rows = suggest_rows(results, plan, options, ended)
    return Table(
        rows,
        _columns(rows),
        title(rows),
        [
            *sentences(rows),
            *failures(results),
            *([] if plan.quick else convergence.falling(results)),
            *definitions(["dead"]),
            *([QUICK_NOTE] if plan.quick else []),
        ],
        answers=[answer(rows)],
        asides=asides(rows),
        bars=difference_bars(rows, MEASURES[rows[0].metric], _tone),
        best=lambda row: row.verdict == "suggested",
    )


def title(rows: Sequence[SuggestRow]) -> str:
    """What was trained, in one line."""
    row = rows[0]
    parts = (
        row.dataset,
        counted(len(row.networks), "network"),
        counted(len(row.seeds), "paired seed"),
        counted(row.n_train, "training example"),
        f"{row.device}, {counted(row.threads, 'thread')}",
    )
    return " · ".join(parts)


# --- what to do -----------------------------------------------------------------------------------


def answer(rows: Sequence[SuggestRow]) -> str:
    """Which activation to use, in a sentence that follows from the rows alone."""
    chosen = next((row for row in rows if row.verdict == "suggested"), None)
    where = rows[0].dataset
    if chosen is None:
        return f"No activation is suggested for {where}: runs of each of them diverged."
    if not any(row.learned for row in rows):
        return _nothing_learned(rows, chosen)
    if chosen.activation == chosen.reference:
        return _keep(rows, chosen)
    return _change(rows, chosen)


def _nothing_learned(rows: Sequence[SuggestRow], chosen: SuggestRow) -> str:
    best = rows[0]
    share, mean = percent(chosen.largest_class), percent(best.mean)
    if chosen.largest_class is None:
        return (
            f"It does not matter which activation {chosen.dataset} gets: none is shown to do "
            f"better than to give the mean target always. Keep {chosen.activation}, and look at "
            "the targets."
        )
    if (best.mean or 0.0) > chosen.largest_class + (best.margin or 0.0):
        return (
            f"Keep {chosen.activation}: none is shown yet to do better on {chosen.dataset} than to "
            f"name the largest class always, which is right on {share} %; the best mean is "
            f"{mean} % ({best.activation}). More rows or a larger --budget may show it."
        )
    return (
        f"It does not matter which activation {chosen.dataset} gets: none is shown to do better "
        f"than to name the largest class always, which is right on {share} %; the best mean is "
        f"{mean} % ({best.activation}). Keep {chosen.activation}, and look at the labels."
    )


def _keep(rows: Sequence[SuggestRow], chosen: SuggestRow) -> str:
    where, keep = chosen.dataset, f"keep {chosen.activation}"
    if chosen.near:
        return (
            f"It does not matter which activation {where} gets: {keep}; no other is better by "
            f"{_margin(chosen)} or more (95 % confidence)."
        )
    if sum(row.best for row in rows) == 1:
        return f"Keep {chosen.activation}: it is the best of {_number(rows)} on {where}."
    limit = _limit(chosen)
    most = f"; if one is, then by {limit} at most" if limit else ""
    return f"Keep {chosen.activation}: no activation is shown to be better on {where}{most}."


def _change(rows: Sequence[SuggestRow], chosen: SuggestRow) -> str:
    use, where = chosen.activation, chosen.dataset
    others = [row.activation for row in rows if row.best and row is not chosen]
    if chosen.difference is None:
        gain = f"{use}: {chosen.reference} {_failed(rows)}"
    else:
        gain = f"{use} rather than {chosen.reference}: {_gain(chosen)}"
    if not others:
        return f"Use {gain} on {where}, and none of {_number(rows)} is as good."
    return f"Use {gain} on {where}; {listed(others)} may be as good."


def _failed(rows: Sequence[SuggestRow]) -> str:
    """What kept the reference from being compared."""
    row = next((row for row in rows if row.activation == row.reference), None)
    if row is None:
        return "was not trained"
    return f"diverged in {row.diverged} of {counted(row.runs, 'run')}"


def _gain(row: SuggestRow) -> str:
    measure = MEASURES[row.metric]
    decimals = _decimals([row], measure)
    size = abs(row.difference or 0.0) * measure.scale
    text = f"{_with_unit(f'{size:.{decimals}f}', measure)} better"
    if row.difference_low is None or row.difference_high is None:
        return text
    ends = sorted(measure.sign * end for end in (row.difference_low, row.difference_high))
    low, high = (f"{end * measure.scale:z.{decimals}f}" for end in ends)
    return f"{text} ({low} to {high})"


def _margin(row: SuggestRow) -> str:
    measure = MEASURES[row.metric]
    size = f"{(row.margin or 0.0) * measure.scale:.3g}"
    one = size == "1" and measure.noun == "points"
    return f"{size} point" if one else _with_unit(size, measure)


def _limit(row: SuggestRow) -> str:
    """The most that a choice gives away; "" where that has no limit."""
    if row.gives_away is None:
        return ""
    measure = MEASURES[row.metric]
    return _with_unit(significant(row.gives_away * measure.scale), measure)


def _with_unit(size: str, measure: Measure) -> str:
    """A difference with its unit, where it has one; errors of numbers have that of the targets."""
    return f"{size} {measure.noun or measure.name}"


def _number(rows: Sequence[SuggestRow]) -> str:
    return f"the {counted(len(rows), 'activation')}"


# --- how sure, at what cost -----------------------------------------------------------------------


def sentences(rows: Sequence[SuggestRow]) -> list[str]:
    """How sure it is, what it costs and where it makes no difference, from the rows alone."""
    chosen = next((row for row in rows if row.verdict == "suggested"), None)
    lines = [_stop(rows[0])]
    if chosen is None:
        return lines
    return [*lines, _sure(rows, chosen), *_cost(rows, chosen), *_alike(rows, chosen)]


def _stop(row: SuggestRow) -> str:
    look = f"look {row.look} of {len(row.looks)}, {counted(len(row.seeds), 'seed')}"
    return f"Stopped at {look}: {STOPPED[row.stopped]}."


def _sure(rows: Sequence[SuggestRow], chosen: SuggestRow) -> str:
    ruled_out = [row.activation for row in rows if row.p_best is not None and not row.best]
    out = f"{listed(ruled_out)} {'are' if len(ruled_out) > 1 else 'is'} not the best; " * bool(
        ruled_out
    )
    limit = f"{_limit(chosen)} at most" if chosen.gives_away else "nothing"
    most = f"to take {chosen.activation} gives away {limit}"
    if chosen.gives_away is None:
        most = "no limit is known"
    wrong = f"{100 * chosen.alpha_in_all:g} %"
    return (
        f"How sure: {out}{most}. Such statements, all looks and activations together, are wrong in "
        f"at most {wrong} of studies. {SPEAKS.get(chosen.design, NEW_DATA)}"
    )


def _cost(rows: Sequence[SuggestRow], chosen: SuggestRow) -> list[str]:
    """What the choice costs beside the reference, or that it costs nothing."""
    if chosen.seconds is None:
        return []
    text = f"{chosen.activation} trains in {significant(chosen.seconds)} s a run"
    reference = next((row for row in rows if row.activation == row.reference), None)
    beside = chosen.activation != chosen.reference and reference is not None
    if beside and chosen.seconds_ratio is not None:
        text += f", {significant(chosen.seconds_ratio)} times what {chosen.reference} takes"
    if chosen.dead is not None:
        text += f"; {percent(chosen.dead)} % of its units are dead"
        if beside and reference and reference.dead is not None:
            text += f" ({chosen.reference}: {percent(reference.dead)} %)"
    return [f"Cost: {text}."]


def _alike(rows: Sequence[SuggestRow], chosen: SuggestRow) -> list[str]:
    """Which others are shown to be as good as the best within the margin."""
    alike = [row.activation for row in rows if row.near and row is not chosen]
    if alike:
        return [f"It does not matter within {_margin(chosen)}: {listed(alike)} are as good."]
    if chosen.near:
        return []
    return [f"None is shown to be within {_margin(chosen)} of the best."]


def asides(rows: Sequence[SuggestRow]) -> list[str]:
    """The methods, as a paper says them."""
    row = rows[0]
    levels = ", ".join(str(seeds) for seeds in row.looks)
    test = (
        "the exact sign-flip test (Fisher 1935), the limits are Student's"
        if row.ratio is None
        else "the corrected resampled t test (Nadeau & Bengio 2003), each seed with its own "
        "stratified hold-out"
    )
    return [
        f"Methods: {counted(len(rows), 'activation')} were trained in "
        f"{counted(len(row.networks), 'network')} ({'; '.join(row.networks)}); each run took the "
        "learning rate that was best on a tenth of its training set, which it then learned from as "
        f"well. {row.metric.capitalize()} was averaged over the networks, seed by seed, and each "
        "activation compared with the best of all (Hsu 1981) by one-sided "
        f"tests with Bonferroni's correction over the {counted(len(rows) - 1, 'other')}: {test}. "
        f"Looks were declared after {levels} seeds, whatever the budget; each spends its seeds' "
        f"part of {row.alpha_in_all:g} (Lan & DeMets 1983), here {row.alpha:.2g}. Intervals of "
        "differences hold together over activations. relubench "
        f"{__version__}, torch {row.torch}."
    ]


# --- columns --------------------------------------------------------------------------------------


def _columns(rows: Sequence[SuggestRow]) -> list[Column[SuggestRow]]:
    measure = MEASURES[rows[0].metric]
    spread = meaningful_decimals((row.mean_sd for row in rows), measure.scale)
    several = rows[0].networks if len(rows[0].networks) > 1 else []
    return [
        Column("activation", lambda row: row.activation, left=True),
        Column(head(measure.name), _mean(measure, spread), key="mean"),
        Column(f"vs {rows[0].reference}", _difference(rows, measure), key="difference"),
        Column("loses at most", _most(rows, measure), key="gives_away", rank=1),
        Column("p best", lambda row: p_value(row.p_best), key="p_best", rank=3),
        Column("verdict", lambda row: row.verdict, left=True, tone=_tone),
        percent_column("dead", rank=2),
        Column("s/run", lambda row: significant(row.seconds), key="seconds", rank=4),
        *(_network(name, measure, spread) for name in several),
    ]


def _tone(row: SuggestRow) -> str:
    return TONES.get(row.verdict, "")


def _mean(measure: Measure, decimals: int) -> Callable[[SuggestRow], str]:
    return lambda row: plus_minus(row.mean, row.mean_sd, decimals, measure.scale)


def _difference(rows: Sequence[SuggestRow], measure: Measure) -> Callable[[SuggestRow], str]:
    decimals = _decimals(rows, measure)

    def show(row: SuggestRow) -> str:
        if row.activation == row.reference:
            return "reference"
        if row.difference is None:
            return UNDEFINED
        ends = (row.difference_low, row.difference_high)
        low, high = (signed(end, measure, decimals) for end in ends)
        return f"{signed(row.difference, measure, decimals)} [{low}, {high}]"

    return show


def _decimals(rows: Sequence[SuggestRow], measure: Measure) -> int:
    halves = []
    for row in rows:
        if row.difference_low is not None and row.difference_high is not None:
            halves.append((row.difference_high - row.difference_low) / 2)
    return meaningful_decimals(halves, measure.scale)


def _most(rows: Sequence[SuggestRow], measure: Measure) -> Callable[[SuggestRow], str]:
    decimals = meaningful_decimals((row.gives_away for row in rows), measure.scale)

    def show(row: SuggestRow) -> str:
        if row.gives_away is None:
            return UNDEFINED
        return f"{measure.scale * row.gives_away:.{decimals}f}"

    return show


def _network(name: str, measure: Measure, decimals: int) -> Column[SuggestRow]:
    return Column(
        name,
        lambda row: percent(row.by_network.get(name), decimals, measure.scale),
        rank=5,
    )
