"""The laws of verdicts, gates and looks; power against statsmodels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestPower

from relubench import stats

SEEDS, FOLDS = stats.Design(), stats.Design(ratio=1 / 9)
designs = st.sampled_from([SEEDS, FOLDS])
numbers = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=9)
margins = st.sampled_from([0.5, 3.0, 11.0])
OPPOSITE = {"better": "worse", "worse": "better"}


def word(d: np.ndarray, design: stats.Design = SEEDS, margin: float | None = None) -> str:
    return stats.verdicts([stats.evidence(d, design, margin)])[0].word


@given(numbers, designs, margins)
def test_swapping_the_two_turns_the_verdict(
    values: list[float], design: stats.Design, margin: float
) -> None:
    d = np.array(values)
    there, back = stats.evidence(d, design, margin), stats.evidence(-d, design, margin)
    assert 0 < there.p <= 1
    assert there.p == pytest.approx(back.p)
    assert there.p_inside == pytest.approx(back.p_inside)
    assert word(-d, design, margin) == OPPOSITE.get(found := word(d, design, margin), found)


@given(numbers, designs)
def test_a_wider_margin_is_easier_to_stay_inside(values: list[float], design: stats.Design) -> None:
    d = np.array(values)
    found = [stats.evidence(d, design, margin).p_inside for margin in (0.5, 3.0, 11.0, 50.0)]
    assert all(0 < (p or 0) <= 1 for p in found)
    assert all((a or 0) >= (b or 0) - 1e-12 for a, b in itertools.pairwise(found))
    gated = [stats.non_inferior(d, margin, design) for margin in (0.5, 3.0, 11.0, 50.0)]
    assert all(a.p_pass >= b.p_pass - 1e-12 for a, b in itertools.pairwise(gated))
    assert all(a.p_fail <= b.p_fail + 1e-12 for a, b in itertools.pairwise(gated))


def test_equivalence_is_two_one_sided_tests() -> None:
    """The larger p of scipy's t tests against the two bounds, with no overlap of splits."""
    d, margin = np.random.default_rng(2).normal(0.1, 1, 12), 0.8
    low = scipy_stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    high = scipy_stats.ttest_1samp(d, margin, alternative="less").pvalue
    found = stats.evidence(d, stats.Design(ratio=0.0), margin)
    assert found.p_inside == pytest.approx(max(low, high))
    assert found.p == pytest.approx(scipy_stats.ttest_1samp(d, 0).pvalue)


def test_the_four_words() -> None:
    d = np.random.default_rng(0).normal(0, 1, 12)
    assert word(d + 3) == "better"
    assert word(d - 3) == "worse"
    assert word(d - d.mean(), margin=2.0) == "equivalent"
    assert word(d - d.mean()) == "undecided"
    assert word(np.array([])) == "undecided"
    assert word(np.array([5.0, 5.0, 5.0, 5.0, 5.0])) == "undecided"  # p = 0.0625


def test_words_are_corrected_over_the_comparisons() -> None:
    found = stats.evidence(np.arange(1.0, 7), SEEDS)  # p = 0.03125
    assert [v.word for v in stats.verdicts([found])] == ["better"]
    assert [v.word for v in stats.verdicts([found, found])] == ["undecided"] * 2


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
@pytest.mark.parametrize("effect", [0.3, 0.5, 0.62])
def test_seeds_needed_are_those_of_the_t_test(effect: float, alpha: float) -> None:
    expected = TTestPower().solve_power(effect, power=0.8, alpha=alpha)
    assert stats.repeats_needed(effect, 1.0, SEEDS, alpha) == math.ceil(expected)


@pytest.mark.parametrize("level", [0.05, 0.001])
@pytest.mark.parametrize(("n", "effect"), [(4, 2.0), (10, 1.2), (25, 1.4)])
def test_power_over_folds_is_noncentral_t(n: int, effect: float, level: float) -> None:
    """Nadeau and Bengio's statistic at a mean of so many spreads, by scipy."""
    noncentrality = effect / math.sqrt(1 / n + 1 / 9)
    reached = scipy_stats.nct.sf(scipy_stats.t.isf(level, n - 1), n - 1, noncentrality)
    assert stats.power(n, effect, math.inf, FOLDS, level) == pytest.approx(reached, abs=1e-3)


def test_seeds_needed_for_equivalence_clear_both_bounds() -> None:
    """Power of two one-sided tests over many seeds: Φ(√n a - z) + Φ(√n b - z) - 1."""
    n = stats.repeats_needed(0.2, 1.0, SEEDS, 0.05, farther=0.25)
    reached = [
        sum(scipy_stats.norm.cdf(math.sqrt(k) * d - 1.645) for d in (0.2, 0.25)) - 1
        for k in (n - 2, n)
    ]
    assert reached[0] < 0.8 <= reached[1]


def test_seeds_needed_are_reckoned_at_the_level_that_holm_leaves() -> None:
    """One that is shown no longer counts among those that the level is divided by."""
    noise = np.resize([1.0, -1.0], 10)
    shown, open_ = (stats.evidence(noise + shift, SEEDS) for shift in (9.0, 0.5))
    alone, beside_shown, beside_open = (
        stats.verdicts(found)[-1].more for found in ([open_], [shown, open_], [open_, open_])
    )
    assert alone == beside_shown
    assert alone is not None
    assert beside_open is not None
    assert alone < beside_open


def test_undecided_says_how_many_more_and_for_what() -> None:
    noise = np.resize([1.0, -1.0], 10)

    def seen(shift: float, margin: float | None = None) -> stats.Verdict:
        return stats.verdicts([stats.evidence(noise + shift, SEEDS, margin)])[0]

    assert seen(0.5).towards == "difference"
    assert 20 < (seen(0.5).more or 0) < 40
    assert seen(0.01, margin=0.5).towards == "equivalence"
    assert seen(0.01).more is None  # 80,000 seeds are no advice
    few = stats.verdicts([stats.evidence(np.full(3, 0.1), SEEDS)])[0]
    assert few.more == 3  # six pairs is what the test needs


def test_more_splits_of_the_same_rows_have_an_end() -> None:
    assert math.isinf(stats.repeats_needed(0.9, 1.0, FOLDS, 0.05))
    assert stats.repeats_needed(2.0, 1.0, FOLDS, 0.05) < 10


# the gate


def gate(d: np.ndarray, margin: float, rows: int = 1) -> str:
    return stats.outcomes([stats.non_inferior(d, margin, SEEDS)] * rows)[0]


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8])
def test_a_repeated_baseline_passes(n: int) -> None:
    assert gate(np.zeros(n), 0.005, rows=12) == "pass"


def test_a_gate_that_measured_nothing_is_undecided() -> None:
    assert gate(np.array([]), 1.0) == "undecided"
    assert stats.outcomes([stats.non_inferior_unpaired([], [1.0], 1.0)]) == ["undecided"]
    assert stats.outcomes([]) == []


def test_three_outcomes() -> None:
    d = np.random.default_rng(1).normal(0, 0.3, 10)
    assert gate(d, 1.0) == "pass"
    assert gate(d - 2.0, 1.0) == "fail"
    assert gate(d - 1.0, 1.0) == "undecided"
    assert gate(d[:4] + 9.0, 1.0) == "undecided"  # 1/2^4 is above 0.05


def test_failures_are_corrected_over_the_rows_and_passes_are_not() -> None:
    d = np.full(5, -2.0) + np.arange(5) / 10
    assert gate(d, 1.0) == "fail"
    assert gate(d, 1.0, rows=2) == "undecided"
    assert gate(-d, 1.0, rows=99) == "pass"


@given(numbers, margins)
def test_no_row_both_passes_and_fails(values: list[float], margin: float) -> None:
    found = stats.non_inferior(np.array(values), margin, SEEDS)
    assert found.p_pass + found.p_fail >= 1


def test_unpaired_seeds_are_shifted_and_ranked() -> None:
    base, new = [0.90, 0.91, 0.92, 0.93], [0.80, 0.81, 0.82, 0.83]
    lost = stats.non_inferior_unpaired(new, base, 0.05)
    assert lost.p_fail == lost.smallest == pytest.approx(1 / 70)
    assert stats.outcomes([lost]) == ["fail"]
    assert stats.outcomes([stats.non_inferior_unpaired(base, new, 0.05)]) == ["pass"]
    assert not stats.non_inferior_unpaired(base, base, 0.05).identical


# looks


@given(st.integers(1, 40), st.integers(0, 200), st.sampled_from([0.01, 0.05]))
def test_looks_grow_to_the_last_seed_and_spend_alpha(first: int, more: int, alpha: float) -> None:
    found = stats.looks(first, first + more, alpha)
    counts = [look.seeds for look in found]
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (first, first + more)
    assert len(found) <= 5
    assert math.fsum(look.alpha for look in found) == pytest.approx(alpha)
    assert all(look.alpha > 0 for look in found)


def test_looks_from_10_to_40() -> None:
    assert [look.seeds for look in stats.looks(10, 40)] == [10, 14, 20, 28, 40]
    assert stats.looks(10, 10) == [stats.Look(10, 0.05)]


@pytest.mark.parametrize(
    ("a", "b", "margin"),
    [
        *[(0.14, 0.15, 0.01), (0.15, 0.14, 0.01), (0.97, 0.98, 0.01), (0.3, 0.1, 0.2)],
        *[(1.1, 1.0, 0.1), (0.92, 0.9, 0.02), (0.7, 0.75, 0.05)],
    ],
)
@pytest.mark.parametrize("design", [SEEDS, FOLDS])
def test_exactly_the_margin_is_not_inside_it(
    a: float, b: float, margin: float, design: stats.Design
) -> None:
    """As the gate has it: what the last bits of a - b say, is no evidence."""
    d = np.full(8, a - b)
    assert stats.evidence(d, design, margin).p_inside == 1
    inside = stats.evidence(d * 0.99, design, margin).p_inside
    assert inside is not None
    assert inside < 0.05
    gated = stats.non_inferior(-np.abs(d), margin, design)
    assert gated.p_pass == stats.evidence(d, design, margin).p_inside
