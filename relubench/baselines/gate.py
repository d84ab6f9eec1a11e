"""A gate: is what was measured now as good as the baseline, up to a margin? One test per row.

What a row of a gate is: one metric of one activation in one set-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Literal

import numpy as np

from relubench import stats
from relubench.baselines.record import Record, Row, Setup, clock, surroundings
from relubench.metrics.measures import MEASURES
from relubench.plan import Margin
from relubench.report import UNDEFINED, p_value, significant
from relubench.table import Column, Table
from relubench.wording import counted

ALPHA = 0.05
DEFAULT = {"accuracy": MEASURES["accuracy"].margin}
SEEDS = stats.Design()
FEWEST = stats.pairs_needed(1, ALPHA, sides=1)  # paired seeds that can decide anything
Word = Literal["pass", "fail", "undecided", "not compared", "incomplete"]
GRAVEST: tuple[Word, ...] = ("fail", "incomplete", "undecided", "pass", "not compared")


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """What a gate says of one metric of one activation in one set-up.

    why              what the word alone does not say
    margin           in the metric's unit, as the figures are
    baseline, value  means over the n seeds that are compared, a diverged run at its worst
    difference       value - baseline
    p_pass, p_fail   one-sided, of having lost less than the margin, and of more; the latter
                     Holm-adjusted over the gate's rows
    """

    setup: Setup
    metric: str
    word: Word = "not compared"
    why: str = ""
    margin: float | None = None
    n: int = 0
    baseline: float | None = None
    value: float | None = None
    difference: float | None = None
    p_pass: float | None = None
    p_fail: float | None = None

    def text(self, figure: float | None, sign: str = "") -> str:
        """A figure of this metric as people read it: shares in per cent."""
        if figure is None:
            return UNDEFINED
        if MEASURES[self.metric].unit == "fraction":
            return f"{100 * figure:{sign}.2f}"
        return f"{sign if figure > 0 else ''}{significant(figure, 3)}"


def judge(base: Record, new: Record, margins: Mapping[str, Margin]) -> list[GateRow]:
    """The gate's rows in the run's order: of accuracy, and of what else has a margin."""
    weighed = []
    for row in new.rows:
        untimed = clock(base, new, row.setup)
        for name, margin in (DEFAULT | dict(margins)).items():
            blank = GateRow(setup=row.setup, metric=name)
            weighed.append(weigh(blank, base.row(row.setup), row, margin, untimed))
    tested = [gated for _, gated in weighed if gated]
    words = iter(stats.outcomes(tested, ALPHA))
    corrected = iter(stats.holm([gated.p_fail for gated in tested]))
    return [
        replace(row, word=next(words), p_fail=next(corrected)) if gated else row
        for row, gated in weighed
    ]


def weigh(
    blank: GateRow, base: Row, new: Row, margin: Margin, untimed: str | None
) -> tuple[GateRow, stats.Gated | None]:
    """A gate's row with its figures and its test; without a test it has its word and a reason.

    untimed  why the rows' seconds cannot be compared
    """
    name, there, here = blank.metric, figures(base, blank.metric), figures(new, blank.metric)
    if new.lost:
        return replace(blank, word="incomplete", why=f"{counted(new.lost, 'run')} lost"), None
    if name == "seconds" and untimed:
        return replace(blank, why=untimed), None
    if not base.finished and not new.finished:
        return replace(blank, why="no run was finished, nor was one in the baseline"), None
    if not here and not (there and new.finished):
        where = "here" if there else "here, nor in the baseline"
        return replace(blank, why=f"not defined {where}"), None
    if why := _undefined(there, here, base, new):
        return replace(blank, word="incomplete", why=why), None
    return _tested(blank, there, here, margin, new)


def _undefined(there: Mapping[int, float], here: Mapping[int, float], base: Row, new: Row) -> str:
    """Why figures that one of the two lacks leave nothing to judge by; "" where none is lacking.

    What was a figure and is none any more must not drop out of the mean.
    """
    if not there:
        return "not defined in the baseline"
    paired = set(base.seeds) & set(new.seeds)
    finished = [seed for seed, why in zip(new.seeds, new.failed, strict=True) if why is None]
    due = [seed for seed in finished if seed in there or not paired]
    lost = sum(seed not in here for seed in due)
    return f"not defined in {lost} of {counted(len(due), 'run')} here" if lost else ""


def figures(row: Row, name: str) -> dict[int, float]:
    """A metric's figures by seed: a share of a diverged run is its worst; others have none."""
    worst, values = MEASURES[name].worst, row.values.get(name, ())
    found = {
        seed: worst if failed else value
        for seed, failed, value in zip(row.seeds, row.failed, values, strict=False)
    }
    return {seed: value for seed, value in found.items() if value is not None}


def _tested(
    blank: GateRow, there: dict[int, float], here: dict[int, float], margin: Margin, new: Row
) -> tuple[GateRow, stats.Gated]:
    common = sorted(there.keys() & here.keys())
    before = [there[seed] for seed in common] or list(there.values())
    after = [here[seed] for seed in common] or list(here.values())
    size, sign = margin.of(mean(before)), 1 if MEASURES[blank.metric].better == "higher" else -1
    old, now = sign * np.array(before), sign * np.array(after)
    if common:
        gated = stats.non_inferior(now - old, size, SEEDS)
    else:
        gated = stats.non_inferior_unpaired(list(now), list(old), size)
    if not new.finished:  # which no seed of the baseline did: this is not noise
        gated = replace(gated, p_pass=1.0, p_fail=0.0)
    row = replace(
        blank,
        why=_why(gated, bool(common), new, size),
        margin=size,
        n=gated.n,
        baseline=mean(before),
        value=mean(after),
        difference=mean(after) - mean(before),
        p_pass=gated.p_pass,
    )
    return row, gated


def _why(gated: stats.Gated, paired: bool, new: Row, margin: float) -> str:
    diverged = sum(why is not None for why in new.failed)
    said = [f"{diverged} of {counted(len(new.seeds), 'run')} diverged"] if diverged else []
    if not paired:
        said.append("no seed is the baseline's: Mann-Whitney")
    if not gated.identical and gated.smallest is not None and gated.smallest >= ALPHA:
        said.append(f"{counted(gated.n, 'paired seed')} decide nothing, {FEWEST} can")
    return ", ".join(said)


def exit_code(rows: Sequence[GateRow], strict: bool) -> int:
    """3: a row failed; 4: runs were lost, nothing was compared or, `strict`, undecided."""
    words = {row.word for row in rows}
    if "fail" in words:
        return 3
    nothing = not words & {"pass", "undecided"}
    return 4 if nothing or "incomplete" in words or (strict and "undecided" in words) else 0


def with_gate(table: Table, rows: Sequence[GateRow]) -> Table:
    """compare's table whose rows also have `gate`, the gravest word, and `gates`, the metrics'."""

    def keys(row: Mapping[str, Any]) -> dict[str, Any]:
        own = [g for g in rows if all(row[key] == value for key, value in g.setup.items())]
        word = next((word for word in GRAVEST if word in {g.word for g in own}), None)
        return {"gate": word, "gates": [machine_row(g) for g in own]}

    return replace(table, rows=[{**row, **keys(row)} for row in table.rows])


def machine_row(row: GateRow) -> dict[str, Any]:
    """A gate's row for machines, without the set-up, which its compare row names."""
    names = ("metric", "n", "baseline", "value", "difference", "margin", "p_pass", "p_fail")
    found = {name: getattr(row, name) for name in names}
    return {"gate": row.word, **found, "reason": row.why or None}


def table(rows: Sequence[GateRow], base: Record, new: Record, path: str) -> Table:
    """The gate for people: a row per metric, what it means below."""
    shown = [{**row.setup, "metric": row.metric, "row": row} for row in rows]
    varying = [key for key in rows[0].setup if len({row.setup[key] for row in rows}) > 1]
    columns = [
        *(_column(key) for key in varying or ["activation"]),
        Column("metric", lambda row: _head(row["row"]), left=True),
        Column("baseline", lambda row: row["row"].text(row["row"].baseline)),
        Column("now", lambda row: row["row"].text(row["row"].value)),
        Column("change", lambda row: row["row"].text(row["row"].difference, "+")),
        Column("margin", lambda row: row["row"].text(row["row"].margin)),
        Column("n", lambda row: str(row["row"].n)),
        Column("p pass", lambda row: p_value(row["row"].p_pass)),
        Column("p fail", lambda row: p_value(row["row"].p_fail)),
        Column("gate", lambda row: _word(row["row"]), left=True, wrap=True),
    ]
    title = f"gate: {path}, {summary(rows)}"
    return Table(shown, columns, title, notes(rows, base, new))


def _column(key: str) -> Column:
    return Column(key.replace("_", " "), lambda row: str(row[key]), left=True)


def _head(row: GateRow) -> str:
    measure = MEASURES[row.metric]
    unit = "%" if measure.unit == "fraction" else measure.unit
    return f"{row.metric} {unit} {'↑' if measure.better == 'higher' else '↓'}"


def _word(row: GateRow) -> str:
    return f"{row.word}: {row.why}" if row.why else row.word


def summary(rows: Iterable[GateRow]) -> str:
    """'1 fail, 3 pass'."""
    words = [row.word for row in rows]
    return ", ".join(f"{words.count(word)} {word}" for word in GRAVEST if word in words)


def notes(rows: Sequence[GateRow], base: Record, new: Record) -> list[str]:
    """What the words mean, what the design cannot show, and what is not as in the baseline."""
    tested = [row for row in rows if row.margin is not None]
    said = []
    if tested:
        said.append(
            "pass: less than the margin is lost, or nothing has changed at all; fail: more than "
            "the margin is lost. One-sided, exact sign-flip over the paired seeds, at "
            f"{ALPHA}: pass in each row, fail over {counted(len(tested), 'row')} (Holm)."
        )
    most = max((row.n for row in tested), default=0)
    needed = stats.pairs_needed(max(1, len(tested)), ALPHA, sides=1)
    if tested and most < needed:
        said.append(
            f"{counted(most, 'paired seed')} over {counted(len(tested), 'row')} cannot fail, "
            f"whatever is lost: --seeds {needed} can, in the baseline too."
        )
    for row in new.rows:
        there = base.row(row.setup).seeds
        if left := set(row.seeds) ^ set(there) if set(row.seeds) & set(there) else set():
            said.append(f"seeds in one of the two only, left out: {_listed(left)}.")
            break
    if differ := surroundings(base, new):
        said.append(f"Compared all the same: {'; '.join(differ)}.")
    return said


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
