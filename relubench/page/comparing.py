"""Drawings of comparisons: differences, costs, rates, ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from relubench.formats.plots import COLOURS, INK, MUTED, RULE
from relubench.grouping import grouped
from relubench.metrics.measures import MEASURES, Measure
from relubench.page.drawing import BOTTOM, Drawing, label_width, plain_ticks, short, tip, y_label
from relubench.page.series import Look, legend, legend_height, looks
from relubench.page.study import Study
from relubench.report.columns import head
from relubench.report.figures import meaningful_decimals, signed
from relubench.report.naming import repeated
from relubench.report.ranking import Ranking
from relubench.rows import SETUP, CompareRow, SuggestRow
from relubench.wording import counted

ROW = 22  # px of a row of labels
WORDS = {"better": COLOURS[0], "worse": COLOURS[1], "equivalent": COLOURS[2]}  # by verdict
SEPARATED = ("better", "worse")
SPAN = 20  # ratio of the largest to the smallest from which on an axis is logarithmic


def by_setup(study: Study) -> list[list[CompareRow]]:
    """The rows of each set-up."""
    return list(grouped(study.rows, lambda row: row.setup).values())


def titled(study: Study, what: str, rows: Sequence[CompareRow], *but: str) -> str:
    """What is drawn, of which set-up, over how many repetitions."""
    where = study.where(rows[0], *but)
    return " · ".join(part for part in (what, where, repeated(rows[0])) if part)


def axis_label(measure: Measure) -> str:
    """A measure with its unit, for an axis."""
    return head(measure.name)


# --- differences ----------------------------------------------------------------------------------


def forest(study: Study) -> list[Drawing]:
    """A forest plot per set-up: differences to the reference with their intervals."""
    return [_forest(study, rows) for rows in by_setup(study) if len(rows) > 1]


def _forest(study: Study, rows: Sequence[CompareRow]) -> Drawing:
    others = [row for row in rows if row.verdict != "reference"]
    names = [row.activation for row in others]
    words = [_word(row) for row in others]
    reference = rows[0].reference
    return Drawing(
        titled(study, f"{study.measure.name.replace('_', ' ')} beside {reference}", rows),
        f"Differences to {reference}: " + "; ".join(map(_said(study.measure, rows), others)),
        lambda axes: _draw_forest(axes, others, study.measure),
        height=BOTTOM + 12 + ROW * len(others),
        left=label_width(names),
        right=label_width(words),
    )


def _word(row: CompareRow) -> str:
    return f"{row.diverged} of {row.runs} diverged" if row.diverged else row.verdict


def _said(measure: Measure, rows: Sequence[CompareRow]) -> Callable[[CompareRow], str]:
    """How a tooltip says a difference."""
    halves = [
        (row.difference_high - row.difference_low) / 2
        for row in rows
        if row.difference_low is not None and row.difference_high is not None
    ]
    decimals = meaningful_decimals(halves, measure.scale)

    def say(row: CompareRow) -> str:
        shown = [signed(f, measure, decimals) for f in _ends(row)]
        interval = f" [{shown[0]}, {shown[2]}]" if row.difference_low is not None else ""
        return f"{row.activation} {shown[1]}{interval} {measure.noun}: {_word(row)}"

    return say


def _ends(row: CompareRow) -> tuple[float | None, float | None, float | None]:
    return row.difference_low, row.difference, row.difference_high


def _draw_forest(axes: Axes, rows: Sequence[CompareRow], measure: Measure) -> None:
    say = _said(measure, rows)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    margins = [row.margin for row in rows if row.margin is not None]
    if margins:
        margin = measure.scale * min(margins)
        axes.axvspan(-margin, margin, color=RULE, alpha=0.6, linewidth=0, zorder=0)
    for number, row in enumerate(rows):
        ends = [None if f is None else measure.scale * f for f in _ends(row)]
        colour, filled = WORDS.get(row.verdict, MUTED), row.verdict in WORDS
        _draw_interval(axes, number, ends, colour, filled, say(row), _word(row))
    rows_down(axes, [row.activation for row in rows])
    axes.set_xlabel(f"difference, {measure.noun}")


def _draw_interval(
    axes: Axes,
    number: int,
    ends: Sequence[float | None],
    colour: str,
    filled: bool,
    said: str,
    word: str,
) -> None:
    """One row of a forest: low, center and high, and a word to the right of it."""
    low, center, high = ends
    if center is not None:
        if low is not None and high is not None:
            axes.plot([low, high], [number, number], color=colour, linewidth=2)
        fill = colour if filled else "none"
        (point,) = axes.plot(
            [center], [number], "o", color=colour, markerfacecolor=fill, markersize=7
        )
        tip(point, said)
    row_end(axes, number, word, colour)


def suggestion(study: Study) -> list[Drawing]:
    """What is suggested: differences to the reference over all networks, their intervals."""
    rows = study.suggestion.rows if study.suggestion else ()
    others = [row for row in rows if row.difference is not None]
    if not others:
        return []
    measure, reference = MEASURES[others[0].metric], others[0].reference
    names, words = [row.activation for row in others], [row.verdict for row in others]
    what = f"{measure.name.replace('_', ' ')} beside {reference}, mean of "
    what += counted(len(others[0].networks), "network")
    said = "; ".join(f"{row.activation} {row.verdict}" for row in others)
    return [
        Drawing(
            f"{what} · {counted(len(others[0].seeds), 'paired seed')}",
            f"Differences to {reference}: {said}",
            lambda axes: _draw_suggestion(axes, others, measure),
            height=BOTTOM + 12 + ROW * len(others),
            left=label_width(names),
            right=label_width(words),
        )
    ]


SUGGESTED = {"suggested": COLOURS[0], "not best": COLOURS[1]}  # by verdict


def _draw_suggestion(axes: Axes, rows: Sequence[SuggestRow], measure: Measure) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8)
    margin = measure.scale * (rows[0].margin or 0.0)
    axes.axvspan(-margin, margin, color=RULE, alpha=0.6, linewidth=0, zorder=0)
    for number, row in enumerate(rows):
        colour = SUGGESTED.get(row.verdict, MUTED)
        ends = (row.difference_low, row.difference, row.difference_high)
        _draw_interval(
            axes,
            number,
            [None if f is None else measure.scale * f for f in ends],
            colour,
            row.verdict in SUGGESTED,
            f"{row.activation}: {row.verdict}",
            row.verdict,
        )
    rows_down(axes, [row.activation for row in rows])
    axes.set_xlabel(f"difference, {measure.noun}")


def row_end(axes: Axes, number: int, word: str, colour: str) -> None:
    """A word behind a row."""
    axes.annotate(
        word, (1, number), xycoords=("axes fraction", "data"), xytext=(8, 0),
        textcoords="offset points", va="center", color=colour,
    )  # fmt: skip


def rows_down(axes: Axes, labels: Sequence[str]) -> None:
    """Labels from top to bottom, one a row."""
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


# --- what it costs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What an activation may cost: how an axis and a sentence say it.

    of  a row's figure in the unit of the label; None: not known
    """

    name: str
    label: str
    of: Callable[[Study, CompareRow], float | None]
    unit: str = ""


def _figure(name: str) -> Callable[[Study, CompareRow], float | None]:
    def of(study: Study, row: CompareRow) -> float | None:
        figure = row.get(name)
        return None if figure is None else MEASURES[name].scale * figure

    return of


def _kibibytes(study: Study, row: CompareRow) -> float | None:
    kept = study.kept_bytes.get((row.setup, row.activation))
    return None if kept is None else kept / 1024


COSTS = (
    Cost("seconds", "seconds of training", _figure("seconds")),
    Cost("dead", "dead units %", _figure("dead"), " %"),
    Cost("memory", "KiB that training keeps per example", _kibibytes, " KiB"),
    Cost("parameters", "parameters", _figure("parameters")),
)


def pareto(study: Study) -> list[Drawing]:
    """What is compared beside what it costs: seconds, dead units, memory, parameters."""
    drawings = []
    for rows in by_setup(study):
        for cost in COSTS:
            paid = {row.activation: cost.of(study, row) for row in rows if row.mean is not None}
            known = {name: figure for name, figure in paid.items() if figure is not None}
            if cost.name != study.measure.name and len(set(known.values())) > 1:
                shown = [row for row in rows if row.activation in known]
                drawings.append(_pareto(study, shown, cost, known))
    return drawings


def _pareto(
    study: Study, rows: Sequence[CompareRow], cost: Cost, paid: Mapping[str, float]
) -> Drawing:
    seen, measure = looks(study.activations), study.measure
    names = [row.activation for row in rows]
    what = f"{measure.name.replace('_', ' ')} and {cost.label.removesuffix(' %')}"

    def say(row: CompareRow) -> str:
        at = f"{paid[row.activation]:.4g}{cost.unit}"
        return f"{row.activation} {measure.scale * (row.mean or 0):.4g} at {at}"

    return Drawing(
        titled(study, what, rows),
        f"{what}: {'; '.join(map(say, rows))}",
        lambda axes: _draw_pareto(axes, rows, paid, cost.label, measure, seen, say),
        height=230 + legend_height(names, seen),
        bottom=BOTTOM + legend_height(names, seen),
    )


def _draw_pareto(
    axes: Axes,
    rows: Sequence[CompareRow],
    paid: Mapping[str, float],
    label: str,
    measure: Measure,
    seen: dict[str, Look],
    say: Callable[[CompareRow], str],
) -> None:
    at = {row.activation: (paid[row.activation], measure.scale * (row.mean or 0)) for row in rows}
    for row in rows:
        look, (x, y) = seen[row.activation], at[row.activation]
        separated = row.verdict in SEPARATED
        # Joined only where a test separates the two: a line alone would suggest a trade-off.
        if separated and row.reference in at:
            places = zip(at[row.reference], (x, y), strict=True)
            axes.plot(*map(list, places), color=MUTED, linewidth=0.8, zorder=1)
        if row.mean_sd:
            ends = _around(y, measure.scale * row.mean_sd, measure)
            axes.vlines(x, *ends, color=look.colour, alpha=0.35, linewidth=1)
        fill = look.colour if separated or row.verdict == "reference" else "none"
        (point,) = axes.plot(
            [x], [y], look.mark, color=look.colour, markerfacecolor=fill, markersize=7,
            label=row.activation if look.named else None, linestyle="",
        )  # fmt: skip
        tip(point, say(row))
    costs = [x for x, _ in at.values()]
    if min(costs) > 0 and max(costs) > SPAN * min(costs):
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    axes.margins(0.08)
    axes.set_xlabel(label)
    y_label(axes, axis_label(measure))
    legend(axes, list(at))


def _around(center: float, spread: float, measure: Measure) -> tuple[float, float]:
    """center ± spread, within what a share can be."""
    low, high = center - spread, center + spread
    return (max(0.0, low), min(100.0, high)) if measure.scale == 100 else (low, high)


# --- learning rates -------------------------------------------------------------------------------


BUT_RATE = [key for key in SETUP if key != "lr"]


def rates(study: Study) -> list[Drawing]:
    """What is compared by learning rate, a curve per activation with its best rate marked."""
    # Where each run chose its rate there is no rate to draw it at.
    fixed = [row for row in study.rows if row.lr is not None]
    drawings = []
    for rows in grouped(fixed, lambda row: tuple(row.get(key) for key in BUT_RATE)).values():
        if len({row.lr for row in rows}) > 1:
            drawings.append(_rates(study, rows))
    return drawings


def _rates(study: Study, rows: Sequence[CompareRow]) -> Drawing:
    seen = looks(study.activations)
    by_activation = grouped(sorted(rows, key=lambda row: row.lr or 0), lambda row: row.activation)
    best = {name: _best(same, study.measure) for name, same in by_activation.items()}
    found = [f"{name} {row.lr:g}" for name, row in best.items() if row]
    height = legend_height(list(by_activation), seen)
    return Drawing(
        titled(study, f"{study.measure.name.replace('_', ' ')} by learning rate", rows, "lr"),
        f"Best learning rates: {', '.join(found)}",
        lambda axes: _draw_rates(axes, by_activation, best, study.measure, seen),
        height=240 + height,
        bottom=BOTTOM + height,
    )


def _best(rows: Sequence[CompareRow], measure: Measure) -> CompareRow | None:
    """The rate with the best mean, among those at which every run finished."""
    known = [row for row in rows if row.mean is not None and not row.diverged]
    return max(known, key=lambda row: measure.sign * (row.mean or 0), default=None)


def _draw_rates(
    axes: Axes,
    by_activation: dict[str, list[CompareRow]],
    best: dict[str, CompareRow | None],
    measure: Measure,
    seen: dict[str, Look],
) -> None:
    scale = measure.scale
    tried: set[float] = set()
    for name, rows in by_activation.items():
        tried |= {row.lr or 0 for row in rows}
        look, known = seen[name], [row for row in rows if row.mean is not None]
        x, y = [row.lr or 0 for row in known], [scale * (row.mean or 0) for row in known]
        bands = [
            _around(at, scale * (row.mean_sd or 0), measure)
            for at, row in zip(y, known, strict=True)
        ]
        label = name if look.named else None
        axes.plot(x, y, marker=look.mark, markersize=4, label=label, **look.line)
        if look.named and bands:
            low, high = zip(*bands, strict=True)
            axes.fill_between(x, low, high, color=look.colour, alpha=0.12, linewidth=0)
        for row in known:
            said = f"{name} at {row.lr:g}: {scale * (row.mean or 0):.4g}, n {row.n}"
            size = 10 if row is best[name] else 5
            (point,) = axes.plot(
                [row.lr or 0], [scale * (row.mean or 0)], look.mark, color=look.colour,
                markersize=size, markerfacecolor="none" if row is best[name] else look.colour,
            )  # fmt: skip
            tip(point, said)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, sorted(filter(None, tried)))
    axes.set_xlabel("learning rate (large mark: best)")
    y_label(axes, axis_label(measure))
    legend(axes, list(by_activation))


# --- several datasets -----------------------------------------------------------------------------


def ranks(study: Study) -> list[Drawing]:
    """Mean ranks over datasets; activations that no test separates stand beside one bar."""
    drawings = []
    for comparison in study.compared:
        for row, ranking in comparison.ranked:
            drawings.append(_ranks(study, row, ranking, against_reference=True))
            if len(ranking.names) > 2:
                drawings.append(_ranks(study, row, ranking, against_reference=False))
    return drawings


def _ranks(study: Study, row: CompareRow, ranking: Ranking, against_reference: bool) -> Drawing:
    order = sorted(range(len(ranking.names)), key=lambda i: ranking.mean_ranks[i])
    places = {number: place for place, number in enumerate(order)}
    alpha, reference = study.options.alpha, ranking.names.index(row.reference)
    # The pairs that no test separates, by their places.
    level = set()
    for pair in ranking.pairs:
        concerned = not against_reference or reference in (pair.first, pair.second)
        if concerned and pair.p_holm >= alpha:
            level.add(frozenset((places[pair.first], places[pair.second])))
    if against_reference:
        alike = {places[reference]}.union(*level)
        # One bar: the reference and all that are not separated from it.
        bars = [sorted(alike)]
    else:
        bars = [list(range(low, high + 1)) for low, high in _cliques(len(order), level)]
    names = [ranking.names[number] for number in order]
    means = [ranking.mean_ranks[number] for number in order]
    which = f"beside {row.reference}" if against_reference else "over all pairs"
    what = f"ranks of {study.measure.name.replace('_', ' ')} {which}"
    where = study.where(row, "dataset")
    parts = (what, where, counted(ranking.datasets, "dataset"))
    said = ", ".join(f"{name} {mean:.2g}" for name, mean in zip(names, means, strict=True))
    return Drawing(
        " · ".join(part for part in parts if part),
        f"Mean ranks, 1 the best: {said}",
        lambda axes: _draw_ranks(axes, names, means, bars, row.reference),
        height=BOTTOM + 12 + ROW * len(names),
        left=label_width(names),
        right=16 + 10 * max(1, len(bars)),
    )


def _cliques(count: int, level: set[frozenset[int]]) -> list[tuple[int, int]]:
    """The longest runs of places of which no two are separated, from … to."""
    runs: list[tuple[int, int]] = []
    # Places are by mean rank: a clique of them is an interval, grown from each place in turn.
    for low in range(count):
        high = low
        while high + 1 < count and all(
            frozenset((other, high + 1)) in level for other in range(low, high + 1)
        ):
            high += 1
        # Not one that lies within the run before it.
        if high > low and (not runs or high > runs[-1][1]):
            runs.append((low, high))
    return runs


def _draw_ranks(
    axes: Axes,
    names: Sequence[str],
    means: Sequence[float],
    bars: Sequence[Sequence[int]],
    reference: str,
) -> None:
    axes.hlines(range(len(names)), 1, means, color=RULE, linewidth=1)
    for place, (name, mean) in enumerate(zip(names, means, strict=True)):
        colour = INK if name == reference else COLOURS[0]
        (point,) = axes.plot([mean], [place], "o", color=colour, markersize=7)
        tip(point, f"{name}: mean rank {mean:.2f}")
    for number, places in enumerate(bars):
        axes.plot(
            [1.03 + 0.04 * number] * len(places), list(places), color=INK, linewidth=3,
            marker="o", markersize=4, clip_on=False,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_xlim(0.8, max(2, len(names)) + 0.2)
    rows_down(axes, names)
    axes.set_xlabel("mean rank, 1 the best; one bar: not separated")


def wins(study: Study) -> list[Drawing]:
    """On how many datasets an activation is better than the reference, alike, or worse."""
    drawings = []
    for comparison in study.compared:
        for row, ranking in comparison.ranked:
            where = study.where(row, "dataset")
            same = [each for each in comparison.rows if study.where(each, "dataset") == where]
            drawings.append(_wins(study, row, ranking, same))
    return drawings


def _wins(study: Study, first: CompareRow, ranking: Ranking, rows: Sequence[CompareRow]) -> Drawing:
    one = {row.activation: row for row in rows if row.datasets_won is not None}
    ordered = sorted(one.values(), key=lambda row: row.mean_rank or 0)
    names = [row.activation for row in ordered]
    what = f"won, tied and lost beside {first.reference}"
    parts = (what, study.where(first, "dataset"), counted(ranking.datasets, "dataset"))
    said = "; ".join(_record(row) for row in ordered)
    return Drawing(
        " · ".join(part for part in parts if part),
        f"{what}: {said}",
        lambda axes: _draw_wins(axes, ordered, ranking.datasets),
        height=BOTTOM + 36 + ROW * len(names),
        left=label_width(names),
        bottom=BOTTOM + 24,
    )


def _record(row: CompareRow) -> str:
    return f"{row.activation} {row.datasets_won}, {row.datasets_tied}, {row.datasets_lost}"


def _draw_wins(axes: Axes, rows: Sequence[CompareRow], datasets: int) -> None:
    begin = [0] * len(rows)
    words = (("won", COLOURS[0]), ("tied", RULE), ("lost", COLOURS[1]))
    for word, colour in words:
        counts = [row.get(f"datasets_{word}") for row in rows]
        bars = axes.barh(range(len(rows)), counts, 0.65, begin, color=colour, label=word)
        for bar, row in zip(bars, rows, strict=True):
            tip(bar, f"{_record(row)} (won, tied, lost)")
        begin = [at + count for at, count in zip(begin, counts, strict=True)]
    axes.set_xlim(0, datasets)
    axes.set_xticks(range(0, datasets + 1, max(1, datasets // 6)))
    rows_down(axes, [row.activation for row in rows])
    axes.set_xlabel("datasets")
    legend(axes, [word for word, _ in words])
