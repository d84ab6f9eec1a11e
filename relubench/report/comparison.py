"""compare: a row per activation, its difference to the reference, what that allows to be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from relubench.grouping import grouped
from relubench.metrics.measures import SEQUENCE, Measure
from relubench.plan import Plan
from relubench.report import beginnings, claims, convergence
from relubench.report.columns import (
    difference_bars,
    figure_of,
    head,
    percent_column,
    perturbations,
    perturbed_accuracy,
    spread_column,
)
from relubench.report.compare_rows import compare_rows
from relubench.report.evidence import (
    ComparisonOptions,
)
from relubench.report.figures import (
    UNDEFINED,
    meaningful_decimals,
    p_value,
    signed,
    significant,
)
from relubench.report.naming import (
    more_repetitions,
    name_column,
    sizes,
    title,
    varying,
)
from relubench.report.notes import definitions, failures, perturbation_notes, quick, reported
from relubench.report.ranking import over_datasets, rankings
from relubench.report.task_table import over_tasks
from relubench.results import RunResult
from relubench.rows import SETUP, AgainstRow, CompareRow, PairRow, SetupRow
from relubench.table import AnyTable, Column, Table

MARKS = {"best": "bold", "not worse": "underline"}
TONES = {"better": "good", "worse": "bad", "diverged": "bad", "undecided": "quiet"}


def compare(
    results: Sequence[RunResult], plan: Plan, options: ComparisonOptions | None = None
) -> Table[CompareRow]:
    """A row per set-up and activation: mean ± sd, difference to the reference, verdict."""
    options = options or ComparisonOptions()
    rows = over_datasets(compare_rows(results, plan, options), options)
    return _table(rows, results, plan, options)


def comparisons(
    results: Sequence[RunResult], plan: Plan, options: ComparisonOptions
) -> list[AnyTable]:
    """`compare`'s table; then every pair where that was asked, and the ranks over datasets."""
    rows = over_datasets(compare_rows(results, plan, options), options)
    pairs = [_pairs(rows, varying(rows, *SETUP), options)] if options.every_pair else []
    table = _table(rows, results, plan, options)
    return [table, *over_tasks(results), *pairs, *rankings(rows, options)]


def _table(
    rows: Sequence[CompareRow],
    results: Sequence[RunResult],
    plan: Plan,
    options: ComparisonOptions,
) -> Table[CompareRow]:
    others = varying(rows, *SETUP)
    names = varying(rows, *SETUP, "activation") or ["activation"]
    silent = ["silent"] if any(row.silent is not None for row in rows) else []
    return Table(
        rows,
        [*map(name_column, names), *_columns(rows, plan, options, silent)],
        title(rows, names),
        [
            *claims.notes(rows, others, options),
            *reported(rows),
            *definitions(["dead"]),
            *beginnings.starts(rows),
            *beginnings.decided(rows),
            *failures(results),
            *convergence.shortfalls(rows),
            *([] if plan.quick else convergence.falling(results)),
            *quick(plan),
        ],
        group=lambda row: row.setup,
        answers=[
            *([] if plan.quick else convergence.majority(results)),
            *claims.answers(rows, others, options),
        ],
        asides=[
            *claims.asides(rows, others, options),
            *definitions(silent),
            *convergence.meanings(rows),
            *perturbation_notes(perturbations(rows)),
        ],
        bars=difference_bars(rows, options.measure, lambda row: TONES.get(row.verdict, "")),
        best=lambda row: row.standing == "best",
    )


def _has(rows: Sequence[CompareRow], name: str) -> bool:
    return any(row.get(name) is not None for row in rows)


def decided(results: Sequence[RunResult], plan: Plan, options: ComparisonOptions) -> bool:
    """Whether no comparison is undecided; what diverged will not be decided by more seeds."""
    rows = compare_rows(results, plan, options)
    verdicts = [row.verdict for row in rows]
    for row in rows:
        verdicts += [pair.verdict for pair in row.against or ()]
    return "undecided" not in verdicts


def _columns(
    rows: Sequence[CompareRow], plan: Plan, options: ComparisonOptions, silent: Sequence[str]
) -> list[Column[CompareRow]]:
    """The measure compared, then what it costs."""
    measure = options.measure
    # Decimals from the intervals; where there are none, from the spreads of the means.
    decimals = meaningful_decimals(map(_half_width, rows), measure.scale)
    if not any(map(_half_width, rows)):
        decimals = _decimals(rows, measure)
    spreads = meaningful_decimals(row.accuracy_sd for row in rows)
    short = any(row.until for row in rows)  # its own columns take the room of these
    classified = any(row.accuracy is not None for row in rows) or measure.task == "classes"
    scores = ["accuracy"] if classified else []
    if rows and all(row.tasks for row in rows):
        scores = [name for name in SEQUENCE[:3] if _has(rows, name)]
    others = scores if short else [*scores, "dead", *silent]
    chance = Column("P(better)", _chance, key="probability", rank=7)
    rope = Column("P(below, in, above rope)", _posterior, key="rope", rank=1)
    seconds: Column[CompareRow] = Column(
        "s/run", lambda row: significant(row.seconds), key="seconds", rank=6
    )
    difference: Column[CompareRow] = Column(
        f"vs {plan.reference} (95 % CI)",
        lambda row: _difference(row, measure, decimals),
        key="difference",
    )
    p: Column[CompareRow] = Column("p", lambda row: p_value(row.p), rank=3)
    verdict = Column("verdict", _verdict_text, left=True, tone=_tone, short=_verdict_word)
    # With one activation there is nothing to compare: no columns of differences.
    compared = any(row.verdict != "reference" or row.diverged for row in rows)
    return [
        _mean_column(rows, measure),
        *([difference, p] if compared else []),
        *([chance] if any(row.probability is not None for row in rows) else []),
        *([rope] if options.rope and any(row.rope is not None for row in rows) else []),
        *convergence.columns(rows, plan.reference, measure.name),
        *(
            Column(f"{name} %", perturbed_accuracy(name, spreads), rank=2)
            for name in perturbations(rows)
        ),
        *(_number_column(name) for name in ("r2", "loss") if _beside(rows, name, measure)),
        *(percent_column(name, rank=2) for name in others if name != measure.name),
        *(sizes(rows) if measure.name != "parameters" else []),
        *([] if short or measure.name == "seconds" else [seconds]),
        *([verdict] if compared else []),
    ]


def _beside(rows: Sequence[CompareRow], name: str, measure: Measure) -> bool:
    """Whether a score is to stand beside what is compared: of texts the loss too."""
    if name == "loss" and not any(row.perplexity is not None for row in rows):
        return False
    return name != measure.name and any(row.get(name) is not None for row in rows)


def _number_column(name: str) -> Column[CompareRow]:
    return Column(head(name), figure_of(name, 3), key=name, rank=2)


def _mean_column(rows: Sequence[CompareRow], measure: Measure) -> Column[CompareRow]:
    """Mean ± sd of what is compared, the best marked."""
    decimals = _decimals(rows, measure)
    column = spread_column("mean", decimals, measure)
    return Column(column.head, column.show, key=measure.name, mark=_standing_mark)


def _standing_mark(row: CompareRow) -> str:
    return MARKS[row.standing] if row.standing else ""


def _decimals(rows: Sequence[CompareRow], measure: Measure) -> int:
    """How many decimals a mean has; single measurements of seconds are shown to about 1 %."""
    spreads = [row.mean_sd for row in rows]
    if measure.unit == "s" and not any(spreads):
        spreads = [row.mean and row.mean / 50 for row in rows]
    return meaningful_decimals(spreads, measure.scale)


def _half_width(row: CompareRow | PairRow) -> float | None:
    low, high = row.difference_low, row.difference_high
    return None if low is None or high is None else (high - low) / 2


def _difference(row: CompareRow | PairRow, measure: Measure, decimals: int) -> str:
    if row.verdict == "reference":
        return "reference"
    if row.difference is None:
        return UNDEFINED
    center = signed(row.difference, measure, decimals)
    low = signed(row.difference_low, measure, decimals)
    high = signed(row.difference_high, measure, decimals)
    return center if row.difference_low is None else f"{center} [{low}, {high}]"


def _chance(row: CompareRow) -> str:
    return UNDEFINED if row.probability is None else f"{row.probability:.2f}"


def _posterior(row: CompareRow) -> str:
    if row.rope is None:
        return UNDEFINED
    return f"{row.rope_left:.2f}, {row.rope:.2f}, {row.rope_right:.2f}"


def _tone(row: CompareRow) -> str:
    return TONES.get(row.verdict, "")


def _verdict_word(row: CompareRow) -> str:
    return f"{row.diverged} of {row.runs} diverged" if row.diverged else row.verdict


def _verdict_text(row: CompareRow) -> str:
    diverged = f"{row.diverged} of {row.runs} diverged"
    if row.verdict == "diverged":
        return diverged
    text = row.verdict
    if more := more_repetitions(row):
        text += f": about {more}"
    return f"{text}, {diverged}" if row.diverged else text


def _pairs(
    rows: Sequence[CompareRow], names: Sequence[str], options: ComparisonOptions
) -> Table[PairRow]:
    """Every pair of activations once, set-up after set-up."""
    pairs: list[PairRow] = []
    for members in grouped(rows, lambda row: row.setup).values():
        seen = set()
        for row in members:
            seen.add(row.activation)  # each pair stands in the rows of both
            later = [pair for pair in row.against or () if pair.activation not in seen]
            pairs += [_pair(row, pair) for pair in later]
    decimals = meaningful_decimals(map(_half_width, pairs), options.measure.scale)
    columns: list[Column[PairRow]] = [
        *map(name_column, names),
        Column("activation", lambda row: row.activation, left=True),
        Column("beside", lambda row: row.beside, left=True),
        Column("difference (95 % CI)", lambda row: _difference(row, options.measure, decimals)),
        Column("p", lambda row: p_value(row.p)),
        Column("verdict", lambda row: row.verdict, left=True),
    ]
    return Table(pairs, columns, "every pair", group=lambda row: row.setup)


def _pair(row: CompareRow, other: AgainstRow) -> PairRow:
    names = {field.name: row.get(field.name) for field in fields(SetupRow)}
    return PairRow(
        **names,
        beside=other.activation,
        difference=other.difference,
        difference_low=other.difference_low,
        difference_high=other.difference_high,
        p=other.p,
        verdict=other.verdict,
    )
