"""Sentences about a comparison: what its figures allow to be said, by which test, and why."""

from __future__ import annotations

from collections.abc import Sequence

from relubench import __version__, stats
from relubench.grouping import grouped, joined
from relubench.metrics.measures import Measure
from relubench.plan import Cell, Plan
from relubench.report import advice
from relubench.report.evidence import ComparisonOptions, pairs, repetition
from relubench.report.figures import meaningful_decimals, p_value, signed
from relubench.report.naming import more_repetitions, repeated, setup_row, texts_of
from relubench.rows import CompareRow, Correction
from relubench.stats import Design
from relubench.wording import counted

HOLDOUT = 3 / 7  # n_test / n_train of a drawn hold-out
NEW_DATA = "Both speak of new data from the same source, as far as one sample can"
SPEAKS = {
    "paired seeds": "Both speak of these rows under other seeds, not of new data.",
    "drawn hold-outs": f"{NEW_DATA}; P(better) speaks of these rows under other seeds.",
    "folds": f"{NEW_DATA}.",
}
NOUNS = {"paired seeds": "paired seed", "drawn hold-outs": "random split", "folds": "split"}


def sentences(
    rows: Sequence[CompareRow], names: Sequence[str], options: ComparisonOptions
) -> list[str]:
    """A sentence per set-up, the tests, their limits; how each verdict came about, on request."""
    tested = [row for row in rows if row.p is not None]
    by_design = list(grouped(tested, lambda row: (row.design, row.test)).values())
    lines = [options.stopped] if options.stopped else []
    lines += [*_verdicts(rows, names, options.measure), *advice.advise(rows, names)]
    lines += joined(_method(members, options) for members in by_design)
    lines += _shared(rows, options.measure)
    if options.explain:
        lines += [_methods_section(members, options) for members in by_design]
        lines += [_reason(row, names, options) for row in tested]
    return lines


def methods(rows: Sequence[CompareRow], options: ComparisonOptions) -> list[str]:
    """A methods section, a paragraph for each design and test; none where nothing was tested."""
    tested = [row for row in rows if row.p is not None]
    by_design = grouped(tested, lambda row: (row.design, row.test)).values()
    return [_methods_section(members, options) for members in by_design]


def test_name(design: Design, repetitions: int) -> str:
    """The test that a design allows."""
    if design.ratio is not None:
        return f"corrected resampled t (n_test/n_train {design.ratio:.2g})"
    if repetitions > stats.EXACT_LIMIT:
        return f"sign-flip, {stats.DRAWN} drawn patterns"
    return "exact sign-flip"


def outlook(plan: Plan, options: ComparisonOptions) -> list[str]:
    """What the designs of a plan can show at best, to be said before it is trained."""
    designs = grouped(plan.cells, lambda cell: _design(cell, options)).items()
    setups = grouped(plan.cells, lambda cell: setup_row(cell).setup).values()
    counts = [_count(cells, plan, options) for cells in setups]
    lines = []
    for (name, ratio), cells in designs:
        count = sum(counts) if options.family == "all" else _count(cells, plan, options)
        over = Correction(count, len(counts), options.family == "all")
        repetitions = len({repetition(cell) for cell in cells})
        if not _count(cells, plan, options):
            what = counted(repetitions, NOUNS[name])
            lines.append(f"{what}: nothing is compared with {plan.reference}")
        else:
            lines.append(_at_best(name, ratio, repetitions, over, options.alpha))
    return lines


def _count(cells: Sequence[Cell], plan: Plan, options: ComparisonOptions) -> int:
    """How many comparisons a set-up with the activations of these cells has."""
    activations = list(dict.fromkeys(cell.activation for cell in cells))
    return len(pairs(activations, plan.reference, options.every_pair))


def _design(cell: Cell, options: ComparisonOptions) -> tuple[str, float | None]:
    if folds := cell.split.folds:
        return "folds", 1 / (folds - 1)
    fixed = cell.dataset in options.published
    return ("paired seeds", None) if fixed else ("drawn hold-outs", HOLDOUT)


def _at_best(
    name: str, ratio: float | None, repetitions: int, over: Correction, alpha: float
) -> str:
    what, count = counted(repetitions, NOUNS[name]), over.comparisons
    if ratio is None:
        least = stats.smallest_p(repetitions)
        corrected = f", after {over} none below {min(1.0, count * least):.3g}" if count > 1 else ""
        return f"{what}: no two-sided p below {least:.3g}{corrected}"
    if repetitions < 2:
        return f"{what}: no test; it has no spread"
    least = stats.smallest_difference(repetitions, ratio, alpha / count)
    folds = stats.smallest_difference(30, 1 / 9, alpha / count)
    advice = f"; with --folds 10 --repeats 3, {folds:.2g}" if name == "drawn hold-outs" else ""
    return (
        f"{what}: only a mean difference above {least:.2g} standard deviations can reach "
        f"p < {alpha:g} ({over}){advice}"
    )


def _verdicts(rows: Sequence[CompareRow], names: Sequence[str], measure: Measure) -> list[str]:
    """What the figures allow to say, a sentence per set-up and word."""
    lines = []
    decimals = meaningful_decimals([_width(row) for row in rows], measure.scale)
    for setup, members in grouped(rows, texts_of(names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        reference = members[0].reference
        for verdict in ("better", "worse"):
            differences = [
                f"{row.activation} ({signed(row.difference, measure, decimals)} {measure.noun})"
                for row in members
                if row.verdict == verdict
            ]
            if differences:
                lines.append(f"{where}{verdict} than {reference}: {', '.join(differences)}.")
        alike = [row.activation for row in members if row.verdict == "equivalent"]
        if alike:
            margin = _margin(members, measure)
            lines.append(f"{where}equivalent to {reference} (inside {margin}): {', '.join(alike)}.")
        verdicts = {row.verdict for row in members}
        if "undecided" in verdicts and not verdicts & {"better", "worse", "equivalent"}:
            lines.append(f"{where}undecided: no activation is shown to differ from {reference}.")
    return lines


def _width(row: CompareRow) -> float | None:
    low, high = row.difference_low, row.difference_high
    return None if low is None or high is None else (high - low) / 2


def _margin(rows: Sequence[CompareRow], measure: Measure) -> str:
    """The margin as people read it; where it differs from row to row, from … to."""
    margins = sorted({row.margin * measure.scale for row in rows if row.margin is not None})
    ends = dict.fromkeys(f"{margin:.3g}" for margin in (margins[0], margins[-1]))
    noun = "point" if list(ends) == ["1"] and measure.unit == "fraction" else measure.noun
    return f"±{' to '.join(ends)} {noun}"


def _method(rows: Sequence[CompareRow], options: ComparisonOptions) -> list[str]:
    """How p was found, of what it speaks, and what so few repeats can never show."""
    first, most = rows[0], max(row.pairs for row in rows)
    fewest = min(row.pairs for row in rows)
    count = str(most) if fewest == most else f"{fewest} to {most}"
    overlap = "" if first.ratio is None else "for the overlap of the splits but "
    not_for = f"corrected {overlap}not for" if overlap else "not corrected for"
    methods = " or ".join(dict.fromkeys(str(row.interval) for row in rows))
    lines = [
        f"p: {first.test}, over {count} {NOUNS[first.design]}s; interval: 95 % {methods} of "
        f"the mean paired difference, {not_for} the comparisons. {SPEAKS[first.design]}"
    ]
    if first.folds and (warning := stats.caveat(first.folds, first.repeats or 1)):
        lines.append(warning)
    # Holm multiplies the smallest p by the number of comparisons; that of n pairs is 2 / 2ⁿ.
    least = min(1.0, stats.smallest_p(most) * first.comparisons)
    if first.ratio is None and least >= options.alpha:
        lines.append(
            f"{counted(most, 'paired seed')} can show no difference here: over "
            f"{counted(first.comparisons, 'comparison')} no corrected p is below {least:.3g}; "
            f"--seeds {stats.pairs_needed(first.comparisons, options.alpha)} could."
        )
    return lines


def _shared(rows: Sequence[CompareRow], measure: Measure) -> list[str]:
    """Why seconds may decide nothing."""
    if measure.name == "seconds" and any(row.stack > 1 for row in rows):
        return [
            "Runs of one pass share its seconds, which is one measurement: --stack 1 times each."
        ]
    return []


def _methods_section(rows: Sequence[CompareRow], options: ComparisonOptions) -> str:
    """The sentence that a paper's methods section would use."""
    first, measure = rows[0], options.measure
    source = "Nadeau & Bengio 2003" if first.ratio is not None else "Fisher 1935"
    bayes = ""
    if options.rope and first.ratio is not None:
        bayes = (
            " Posterior probabilities are those of the Bayesian correlated t test (Corani & "
            f"Benavoli 2015) with a region of practical equivalence of ±{first.rope_limit:.3g}."
        )
    drawn = ", each with its own stratified hold-out" if first.design == "drawn hold-outs" else ""
    pair = "All pairs of activations" if options.every_pair else "Activations"
    beside = "" if options.every_pair else f" with {first.reference}"
    return (
        f"Methods: {pair} were compared{beside} on {measure.name} by the {first.test.name} test "
        f"({source}), two-sided, over {repeated(first)}{drawn}, with Holm's correction "
        f"{first.test.correction.scope} at alpha = {options.alpha:.3g}; equivalence was tested "
        f"inside {_margin(rows, measure)} by "
        "two one-sided tests (Schuirmann 1987), corrected likewise; intervals are 95 % intervals "
        f"of the mean paired difference, uncorrected.{bayes} relubench {__version__}, "
        f"torch {first.torch}."
    )


def _reason(row: CompareRow, names: Sequence[str], options: ComparisonOptions) -> str:
    """How one verdict came about."""
    who = ", ".join(texts_of((*names, "activation"))(row))
    alone = f"p {p_value(row.p)} ({p_value(row.p_unadjusted)} alone)"
    inside = f"of equivalence {p_value(row.p_equivalent)}"
    chance = ""
    low, high = row.probability_low, row.probability_high
    if row.probability is not None:
        chance = f"; P(better) {row.probability:.2f} [{low:.2f}, {high:.2f}]"
    return f"{who}: {alone}, {inside}, level {options.alpha:.3g}{chance}: {_because(row)}."


def _because(row: CompareRow) -> str:
    if row.verdict == "diverged":
        return "diverged runs leave nothing to decide"
    if row.verdict != "undecided":
        return row.verdict
    if more := more_repetitions(row):
        return f"undecided; about {more} would decide if what was seen is the truth"
    return "undecided, and no number of further runs is foreseen to change that"
