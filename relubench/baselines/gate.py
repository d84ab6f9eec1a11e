"""A gate: is what was measured now as good as the baseline, up to a margin? One test per row.

What a row of a gate is: one metric of one activation in one set-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np

from relubench import stats
from relubench.baselines.record import Record, Row, clock, surroundings, usual_metric
from relubench.metrics.measures import MEASURES
from relubench.plan import Margin
from relubench.report import UNDEFINED, p_value, significant
from relubench.rows import CompareRow, GatedCompareRow, GateRow, GateWord
from relubench.table import Column, Table
from relubench.wording import counted

ALPHA = 0.05
SEEDS = stats.Design()
FEWEST = stats.pairs_needed(1, ALPHA, sides=1)  # paired seeds that can decide anything
# The first of these that a row has is what the row is called by.
GRAVEST: tuple[GateWord, ...] = ("fail", "incomplete", "undecided", "pass", "not compared")


def figure_text(row: GateRow, figure: float | None, sign: str = "") -> str:
    """A figure of the row's metric as people read it: fractions in per cent."""
    if figure is None:
        return UNDEFINED
    if MEASURES[row.metric].unit == "fraction":
        return f"{100 * figure:{sign}.2f}"
    return f"{sign if figure > 0 else ''}{significant(figure, 3)}"


def judge(base: Record, new: Record, margins: Mapping[str, Margin]) -> list[GateRow]:
    """The gate's rows in the run's order: of accuracy, or rmse, and of what else has a margin."""
    weighed = []
    for row in new.rows:
        # Seconds only compare on one machine: everything else does anywhere.
        untimed = clock(base, new, row.setup)
        usual = usual_metric(row.setup)
        for name, margin in ({usual: MEASURES[usual].margin} | dict(margins)).items():
            blank = GateRow(setup=row.setup, metric=name)
            weighed.append(weigh(blank, base.row(row.setup), row, margin, untimed))
    tested = [gated for _, gated in weighed if gated]
    # Holm over fails alone: a false alarm anywhere stops a build, a false pass is one row's.
    words = iter(stats.outcomes(tested, ALPHA))
    corrected = iter(stats.holm([gated.p_fail for gated in tested]))
    return [
        replace(row, gate=next(words), p_fail=next(corrected)) if gated else row
        for row, gated in weighed
    ]


def weigh(
    blank: GateRow, base: Row, new: Row, margin: Margin, untimed: str | None
) -> tuple[GateRow, stats.Gated | None]:
    """A gate's row with its figures and its test; without a test it has its word and a reason.

    untimed  why the rows' seconds cannot be compared
    """
    name, there, here = blank.metric, figures(base, blank.metric), figures(new, blank.metric)
    # In this order: each reason makes those that follow meaningless.
    if new.lost:
        return replace(blank, gate="incomplete", reason=f"{counted(new.lost, 'run')} lost"), None
    if name == "seconds" and untimed:
        return replace(blank, reason=untimed), None
    if not base.finished and not new.finished:
        return replace(blank, reason="no run was finished, nor was one in the baseline"), None
    if not here and not (there and new.finished):
        where = "here" if there else "here, nor in the baseline"
        return replace(blank, reason=f"not defined {where}"), None
    if reason := _undefined(there, here, base, new):
        return replace(blank, gate="incomplete", reason=reason), None
    return _tested(blank, there, here, margin, new)


def _undefined(there: Mapping[int, float], here: Mapping[int, float], base: Row, new: Row) -> str:
    """Why figures that one of the two lacks leave nothing to judge by; "" where none is lacking.

    What was a figure and is none any more must not drop out of the mean.
    """
    if not there:
        return "not defined in the baseline"
    # Runs that were finished and have a figure in the baseline must have one here.
    paired = set(base.seeds) & set(new.seeds)
    ends = zip(new.seeds, new.failed, strict=True)
    finished = [seed for seed, reason in ends if reason is None]
    due = [seed for seed in finished if seed in there or not paired]
    lost = sum(seed not in here for seed in due)
    return f"not defined in {lost} of {counted(len(due), 'run')} here" if lost else ""


def figures(row: Row, name: str) -> dict[int, float]:
    """A metric's figures by seed: a fraction of a diverged run is its worst; others have none."""
    # A run that diverged counts as the worst there is, where there is a
    # worst: it must not drop out.
    worst, values = MEASURES[name].worst, row.values.get(name, ())
    by_seed = {
        seed: worst if failed else value
        for seed, failed, value in zip(row.seeds, row.failed, values, strict=False)
    }
    return {seed: value for seed, value in by_seed.items() if value is not None}


def _tested(
    blank: GateRow, there: dict[int, float], here: dict[int, float], margin: Margin, new: Row
) -> tuple[GateRow, stats.Gated]:
    common = sorted(there.keys() & here.keys())
    before = [there[seed] for seed in common] or list(there.values())
    after = [here[seed] for seed in common] or list(here.values())
    size = margin.of(mean(before))
    sign = 1 if MEASURES[blank.metric].better == "higher" else -1
    # Turned so that more is better, as the tests have it.
    old, now = sign * np.array(before), sign * np.array(after)
    # Paired wherever a seed is in both: it drew the same split and weights, so most noise cancels.
    if common:
        gated = stats.non_inferior(now - old, size, SEEDS)
    else:
        gated = stats.non_inferior_unpaired(list(now), list(old), size)
    # A sign-flip test of few seeds cannot reach alpha, however clear the case is.
    if not new.finished:  # which no seed of the baseline did: this is not noise
        gated = replace(gated, p_pass=1.0, p_fail=0.0)
    row = replace(
        blank,
        reason=_reason(gated, bool(common), new) or None,
        margin=size,
        n=gated.n,
        baseline=mean(before),
        value=mean(after),
        difference=mean(after) - mean(before),
        p_pass=gated.p_pass,
    )
    return row, gated


def _reason(gated: stats.Gated, paired: bool, new: Row) -> str:
    diverged = sum(why is not None for why in new.failed)
    reasons = [f"{diverged} of {counted(len(new.seeds), 'run')} diverged"] if diverged else []
    if not paired:
        reasons.append("no seed is the baseline's: Mann-Whitney")
    if not gated.identical and gated.smallest is not None and gated.smallest >= ALPHA:
        reasons.append(f"{counted(gated.n, 'paired seed')} decide nothing, {FEWEST} can")
    return ", ".join(reasons)


def exit_code(rows: Sequence[GateRow], strict: bool) -> int:
    """3: a row failed; 4: runs were lost, nothing was compared or, `strict`, undecided."""
    words = {row.gate for row in rows}
    if "fail" in words:
        return 3
    # Nothing was tested: that is no pass, or a gate that compares nothing would be green for ever.
    nothing = not words & {"pass", "undecided"}
    return 4 if nothing or "incomplete" in words or (strict and "undecided" in words) else 0


def with_gate(table: Table[CompareRow], rows: Sequence[GateRow]) -> Table[GatedCompareRow]:
    """compare's table whose rows also have `gate`, the gravest word, and `gates`, the metrics'."""
    return Table(
        [_gated(row, rows) for row in table.rows],
        table.columns,
        table.title,
        table.notes,
        group=table.group,
        heading=table.heading,
    )


def _gated(row: CompareRow, rows: Sequence[GateRow]) -> GatedCompareRow:
    own = [gate for gate in rows if _is_about(gate, row)]
    words = {gate.gate for gate in own}
    gravest = next((word for word in GRAVEST if word in words), None)
    return GatedCompareRow(**vars(row), gate=gravest, gates=own)


def _is_about(gate: GateRow, row: CompareRow) -> bool:
    return all(row.get(key) == value for key, value in gate.setup.items())


def table(rows: Sequence[GateRow], base: Record, new: Record, path: str) -> Table[GateRow]:
    """The gate for people: a row per metric, what it means below."""
    varying = [key for key in rows[0].setup if _varies(rows, key)]
    columns: list[Column[GateRow]] = [
        *(_column(key) for key in varying or ["activation"]),
        Column("metric", _metric, left=True),
        Column("baseline", lambda row: figure_text(row, row.baseline)),
        Column("now", lambda row: figure_text(row, row.value)),
        Column("change", lambda row: figure_text(row, row.difference, "+")),
        Column("margin", lambda row: figure_text(row, row.margin)),
        Column("n", lambda row: str(row.n)),
        Column("p pass", lambda row: p_value(row.p_pass)),
        Column("p fail", lambda row: p_value(row.p_fail)),
        Column("gate", _word, left=True, wrap=True),
    ]
    title = f"gate: {path}, {summary(rows)}"
    return Table(rows, columns, title, notes(rows, base, new))


def _varies(rows: Sequence[GateRow], key: str) -> bool:
    return len({row.setup[key] for row in rows}) > 1


def _column(key: str) -> Column[GateRow]:
    return Column(key.replace("_", " "), lambda row: str(row.setup[key]), left=True)


def _metric(row: GateRow) -> str:
    measure = MEASURES[row.metric]
    unit = "%" if measure.unit == "fraction" else measure.unit
    return f"{row.metric} {unit} {'↑' if measure.better == 'higher' else '↓'}"


def _word(row: GateRow) -> str:
    return f"{row.gate}: {row.reason}" if row.reason else row.gate


def summary(rows: Iterable[GateRow]) -> str:
    """'1 fail, 3 pass'."""
    words = [row.gate for row in rows]
    return ", ".join(f"{words.count(word)} {word}" for word in GRAVEST if word in words)


def notes(rows: Sequence[GateRow], base: Record, new: Record) -> list[str]:
    """What the words mean, what the design cannot show, and what is not as in the baseline."""
    tested = [row for row in rows if row.margin is not None]
    sentences = []
    if tested:
        sentences.append(
            "pass: less than the margin is lost, or nothing has changed at all; fail: more than "
            "the margin is lost. One-sided, exact sign-flip over the paired seeds, at "
            f"{ALPHA}: pass in each row, fail over {counted(len(tested), 'row')} (Holm)."
        )
    most = max((row.n for row in tested), default=0)
    needed = stats.pairs_needed(max(1, len(tested)), ALPHA, sides=1)
    if tested and most < needed:
        sentences.append(
            f"{counted(most, 'paired seed')} over {counted(len(tested), 'row')} cannot fail, "
            f"whatever is lost: --seeds {needed} can, in the baseline too."
        )
    for row in new.rows:
        there = base.row(row.setup).seeds
        paired = set(row.seeds) & set(there)
        unpaired = set(row.seeds) ^ set(there)
        if paired and unpaired:
            sentences.append(f"seeds in one of the two only, left out: {_listed(unpaired)}.")
            break
    if differ := surroundings(base, new):
        sentences.append(f"Compared all the same: {'; '.join(differ)}.")
    return sentences


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
