"""Sentences about a comparison: what its figures allow to be said, by which test, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

from relubench import __version__, stats
from relubench.grouping import grouped
from relubench.metrics.measures import Measure
from relubench.plan import Cell, Plan
from relubench.report import advice
from relubench.report.evidence import ComparisonOptions, pairs, repetition
from relubench.report.figures import meaningful_decimals, p_value, signed, significant
from relubench.report.naming import more_repetitions, repeated, said_of, setup_row
from relubench.rows import CompareRow, Correction
from relubench.stats import Design
from relubench.wording import counted

# 30 % of the rows against 70 %, as `folds.holdout` draws them.
HOLDOUT = 3 / 7  # n_test / n_train of a drawn hold-out
NEW_DATA = "It speaks of new data from the same source, as far as one sample can."
SPEAKS = {
    "paired seeds": "It speaks of these rows under other seeds, not of new data.",
    "drawn hold-outs": NEW_DATA,
    "folds": NEW_DATA,
}
CHANCE = {
    "paired seeds": "",
    "drawn hold-outs": " P(better) speaks of these rows under other seeds.",
    "folds": "",
}
ANSWERS = 6  # set-ups, of which each has a sentence above the table
GROUPS_APART = " that part no group"
HOLDOUTS = {
    None: "hold-out",
    "classes": "stratified hold-out",
    "groups": "hold-out that parts no group",
    "classes and groups": "hold-out that parts no group, stratified as far as that goes",
}
NOUNS = {"paired seeds": "paired seed", "drawn hold-outs": "random split", "folds": "split"}


def notes(
    rows: Sequence[CompareRow], names: Sequence[str], options: ComparisonOptions
) -> list[str]:
    """What a reader of the figures must know: why it stopped, what went wrong, which test."""
    lines = [options.stopped] if options.stopped else []
    lines += advice.advise(rows, names)
    for members in _by_design(rows):
        lines += [_test(members), *_limits(members, options)]
    return [*lines, *_shared(rows, options.measure)]


def asides(
    rows: Sequence[CompareRow], names: Sequence[str], options: ComparisonOptions
) -> list[str]:
    """The verdicts in words, the interval, a methods section, how each verdict came about."""
    lines = _verdicts(rows, names, options.measure)
    for members in _by_design(rows):
        lines += [_interval(members), _methods_section(members, options)]
    tested = [row for row in rows if row.p is not None]
    return [*lines, *(_reason(row, names, options) for row in tested)]


def _by_design(rows: Sequence[CompareRow]) -> list[list[CompareRow]]:
    """The rows that were tested, those of one design and test together."""
    tested = [row for row in rows if row.p is not None]
    return list(grouped(tested, lambda row: (row.design, row.test)).values())


def answers(
    rows: Sequence[CompareRow], names: Sequence[str], options: ComparisonOptions
) -> list[str]:
    """The answer to each set-up's question, a sentence each, of ANSWERS set-ups at most."""
    setups = list(grouped(rows, said_of(names)).values())
    lines = [_answer(members, names, options.measure) for members in setups[:ANSWERS]]
    said = [line for line in lines if line]
    more = len(setups) - ANSWERS
    return [*said, f"{counted(more, 'more set-up')} below."] if said and more > 0 else said


def _answer(rows: Sequence[CompareRow], names: Sequence[str], measure: Measure) -> str:
    """Who beat the reference, and by how much; else what gain is still possible. "": no test."""
    tested = [row for row in rows if row.p is not None]
    if not tested:
        return ""
    reference = tested[0].reference
    where = ", ".join(said_of(names)(tested[0])) or tested[0].dataset
    better = [row for row in tested if row.verdict == "better"]
    worse = [row.activation for row in tested if row.verdict == "worse"]
    loses = f"; {advice.listed(worse)} {_lose(worse)}" if worse else ""
    if better:
        # The largest gain first, and with its interval; the others in brackets behind it.
        first, *others = sorted(better, key=lambda row: -_gain(row, measure)[0])
        sizes = [f"{row.activation} ({_size(row, measure)})" for row in others]
        also = f", and so {_do(others)} {advice.listed(sizes)}" if others else ""
        return (
            f"{first.activation} beat {reference} on {where} by {_by(first, measure)}{also}{loses}."
        )
    most = max(_gain(row, measure)[1] for row in tested)
    margin = max(row.margin or 0.0 for row in tested)
    # Without an interval nothing bounds what may be gained.
    if not math.isfinite(most):
        return f"No activation is shown to beat {reference} on {where}{loses}."
    gain = f"{significant(most * measure.scale)} {measure.noun}"
    # All intervals end inside the margin: even the best case is a difference that counts for none.
    if most <= margin:
        gains = f"gains above {gain} are" if most > 0 else "any gain is"
        keep = f"{gains} unlikely{loses}; keep {reference}"
        return f"No activation beat {reference} on {where}; {keep}."
    possible = f"gains up to {gain} remain possible"
    return f"No activation is shown to beat {reference} on {where}; {possible}{loses}."


def _gain(row: CompareRow, measure: Measure) -> tuple[float, float]:
    """How much better than the reference: the mean, and the better end of its interval."""
    better = row.difference_high if measure.sign > 0 else row.difference_low
    mean = row.difference or 0.0
    return measure.sign * mean, math.inf if better is None else measure.sign * better


def _by(row: CompareRow, measure: Measure) -> str:
    """A difference without its sign, with its interval."""
    ends = sorted(abs(end or 0.0) for end in (row.difference_low, row.difference_high))
    size = f"{_size(row, measure)} {measure.noun}"
    if row.difference_low is None or row.difference_high is None:
        return size
    decimals = meaningful_decimals([_width(row)], measure.scale)
    low, high = (f"{end * measure.scale:.{decimals}f}" for end in ends)
    return f"{size} (95 % CI {low} to {high})"


def _size(row: CompareRow, measure: Measure) -> str:
    """A difference without its sign and unit."""
    decimals = meaningful_decimals([_width(row)], measure.scale)
    return f"{abs(row.difference or 0.0) * measure.scale:.{decimals}f}"


def _do(rows: Sequence[CompareRow]) -> str:
    return "do" if len(rows) > 1 else "does"


def _lose(names: Sequence[str]) -> str:
    return "lose to it" if len(names) > 1 else "loses to it"


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
    # Where no seed draws which rows train, seeds are paired and independent; else splits overlap.
    fixed = cell.dataset in options.published or cell.split.one_holdout
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
    # 10 folds × 3 repeats: 30 splits, each with a ninth of its training rows as test rows.
    folds = stats.smallest_difference(30, 1 / 9, alpha / count)
    drawn = name == "drawn hold-outs"
    advice = f"; with --folds 10 --repeats 3, {significant(folds)}" if drawn else ""
    return (
        f"{what}: only a mean difference above {significant(least)} standard deviations can reach "
        f"p < {alpha:g} ({over}){advice}"
    )


def _verdicts(rows: Sequence[CompareRow], names: Sequence[str], measure: Measure) -> list[str]:
    """What the figures allow to say, a sentence per set-up and word."""
    lines = []
    decimals = meaningful_decimals([_width(row) for row in rows], measure.scale)
    for setup, members in grouped(rows, said_of(names)).items():
        where = f"{', '.join(setup)}: " if setup else ""
        reference = members[0].reference
        # Differences by name and size, then who is alike; "undecided" only
        # where it is all there is.
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


def _test(rows: Sequence[CompareRow]) -> str:
    """How p was found, and of what it speaks."""
    first = rows[0]
    apart = GROUPS_APART if "groups" in (first.respected or "") else ""
    return f"p: {first.test}, over {_repeats(rows)}{apart}. {SPEAKS[first.design]}"


def _repeats(rows: Sequence[CompareRow]) -> str:
    """How many pairs there are."""
    fewest, most = min(row.pairs for row in rows), max(row.pairs for row in rows)
    count = str(most) if fewest == most else f"{fewest} to {most}"
    return f"{count} {NOUNS[rows[0].design]}s"


def _interval(rows: Sequence[CompareRow]) -> str:
    """How the interval was found."""
    overlap = "" if rows[0].ratio is None else "for the overlap of the splits but "
    not_for = f"corrected {overlap}not for" if overlap else "not corrected for"
    methods = " or ".join(dict.fromkeys(str(row.interval) for row in rows))
    return (
        f"interval: 95 % {methods} of the mean paired difference, {not_for} the comparisons."
        f"{CHANCE[rows[0].design]}"
    )


def _limits(rows: Sequence[CompareRow], options: ComparisonOptions) -> list[str]:
    """What so few repeats can never show."""
    first, most = rows[0], max(row.pairs for row in rows)
    lines = []
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
    drawn = ""
    if first.design == "drawn hold-outs":
        drawn = f", each with its own {HOLDOUTS[first.respected]}"
    elif first.design == "folds" and "groups" in (first.respected or ""):
        drawn = GROUPS_APART
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
    who = ", ".join(said_of((*names, "activation"))(row))
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
