"""Statistics against scipy, printed examples and brute force."""

from __future__ import annotations

import itertools
import math

import baycomp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from relubench import stats

numbers = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=8)


@given(numbers)
def test_sign_flip_counts_all_sign_patterns(difference: list[float]) -> None:
    d = np.array(difference)
    patterns = itertools.product([1, -1], repeat=len(d))
    means = [abs(np.dot(signs, d)) for signs in patterns]
    expected = np.mean([m >= abs(d.sum()) - 1e-9 for m in means])
    assert stats.sign_flip(d) == pytest.approx(expected)


def mean_of(d: np.ndarray) -> float:
    return float(d.mean())


@pytest.mark.parametrize("n", [5, 10, 12])
def test_sign_flip_matches_scipy(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, n)
    expected = scipy_stats.permutation_test(
        (d,), mean_of, permutation_type="samples", n_resamples=2**n
    )
    assert stats.sign_flip(d) == pytest.approx(expected.pvalue, rel=1e-12)


def test_drawn_sign_flips_come_near_those_of_scipy() -> None:
    """Beyond 20 pairs both draw: at p = 0.03 the standard error of 100,000 draws is 0.0005."""
    d = np.random.default_rng(1).normal(0.3, 1, 60)
    expected = scipy_stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=100_000, rng=5
    )
    assert stats.sign_flip(d) == pytest.approx(expected.pvalue, abs=0.003)


def test_interval_is_that_of_the_paired_t_test() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    expected = scipy_stats.ttest_rel(a, b).confidence_interval()
    found = stats.paired(list(a), list(b))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@given(numbers)
def test_swapping_the_two_flips_the_sign(a: list[float]) -> None:
    b = list(reversed(a))
    forth, back = stats.paired(a, b), stats.paired(b, a)
    assert forth.difference == pytest.approx(-(back.difference or 0))
    assert forth.low == pytest.approx(-(back.high or 0))
    assert forth.p == back.p


def test_one_pair_has_no_interval_and_none_has_nothing() -> None:
    assert stats.paired([1.0], [0.5]) == stats.Paired(0.5, None, None, 1.0, 1)
    assert stats.paired([], []) == stats.Paired(None, None, None, None, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    """Holm 1979: go up the sorted p, stop at the first above alpha / (hypotheses left)."""
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(np.argsort(p_values, kind="stable")):
            if p_values[index] > alpha / (len(p_values) - rank):
                break
            rejected.add(int(index))
        adjusted = stats.holm(p_values)
        near = {i for i, p in enumerate(adjusted) if abs(p - alpha) < 1e-12}
        assert {i for i, p in enumerate(adjusted) if p <= alpha} | near == rejected | near


def test_five_pairs_cannot_reach_five_percent() -> None:
    assert stats.smallest_p(5) == stats.sign_flip(np.arange(1.0, 6)) == 0.0625
    assert stats.pairs_needed(1) == 6
    assert stats.pairs_needed(8) == 9  # 8 · 2/2^9 = 0.03125


def test_mean_and_sd() -> None:
    assert stats.mean_sd([1.0, 3.0]) == pytest.approx((2.0, math.sqrt(2)))
    assert stats.mean_sd([1.0]) == (1.0, None)
    assert stats.mean_sd([]) == (None, None)


# intervals, probabilities


@settings(max_examples=20, deadline=None)
@given(numbers)
def test_intervals_hold_the_mean_and_turn_with_the_sign(values: list[float]) -> None:
    d = np.array(values)
    for limits in (stats.t_interval, stats.bca_interval):
        found, turned = limits(d), limits(-d)
        assert found.low is not None
        assert found.high is not None
        assert found.low - 1e-9 <= d.mean() <= found.high + 1e-9
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(numbers, st.sampled_from([0.01, 0.1, 3.0, 70.0]))
def test_the_unit_of_the_score_does_not_matter(values: list[float], scale: float) -> None:
    d = np.array(values)
    plain, scaled = stats.bca_interval(d), stats.bca_interval(d * scale)
    assert plain.low is not None
    assert plain.high is not None
    assert (scaled.low, scaled.high) == pytest.approx(
        (plain.low * scale, plain.high * scale), abs=1e-9 * scale
    )
    assert stats.sign_flip(d * scale) == stats.sign_flip(d)
    assert stats.wilcoxon(d * scale) == stats.wilcoxon(d)
    above, one = stats.corrected_t_above(d, 0.1), stats.corrected_t_above(d * scale, 0.1)
    assert one == pytest.approx(above)


@pytest.mark.parametrize("n", [3, 20, 33])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_bca_is_that_of_scipy_at_the_expanded_level(n: int, scale: float) -> None:
    """Hesterberg, arXiv:1411.5279: Φ(-√(n/(n-1)) · t) in each tail; of the same stream."""
    d = scale * np.random.default_rng(4).gumbel(size=n)
    tail = scipy_stats.norm.cdf(-math.sqrt(n / (n - 1)) * scipy_stats.t.ppf(0.975, n - 1))
    expected = scipy_stats.bootstrap(
        ((d - d.mean()) / d.std(ddof=1),),
        lambda z, axis: np.round(np.mean(z, axis=axis), 10),  # equal means must be ties
        confidence_level=1 - 2 * tail,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = stats.bca_interval(d)
    limits = [d.mean() + d.std(ddof=1) * end for end in expected]
    assert (found.low, found.high) == pytest.approx(limits, rel=1e-9)
    assert found.method == "BCa"


def test_twenty_pairs_have_a_bootstrap() -> None:
    """Φ(-√(20/19) · 2.093) = 0.0159 in each tail; streams differ."""
    d = np.random.default_rng(4).gumbel(size=20)
    expected = scipy_stats.bootstrap(
        (d,), np.mean, confidence_level=1 - 2 * 0.0159, n_resamples=9999, rng=7
    ).confidence_interval
    found = stats.interval(d)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    assert found == stats.bca_interval(d)
    assert stats.interval(d[:19]).method == "t"


def test_degenerate_samples_have_stated_intervals() -> None:
    assert stats.interval(np.array([0.3])) == stats.Interval(None, None, "none")
    assert stats.bca_interval(np.full(30, 0.25)) == stats.Interval(0.25, 0.25, "t")
    assert stats.bca_interval(np.array([1.0, 2.0])).method == "t"


@given(numbers)
def test_chance_is_wilson_with_ties_as_half_a_win(values: list[float]) -> None:
    d = np.array(values)
    found, turned = stats.chance(d), stats.chance(-d)
    count = found.wins + found.ties / 2
    assert (found.wins, found.losses) == (turned.losses, turned.wins)
    assert found.probability == pytest.approx(1 - (turned.probability or 0.0))
    expected = proportion_confint(count, len(d), method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


def test_chance_of_one_win_in_ten_is_that_of_scipy() -> None:
    found = stats.chance(np.array([1.0] + [-1.0] * 9))
    expected = scipy_stats.binomtest(1, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert stats.chance(np.array([])).probability is None


# sign flips on two halves, and what a design can show


def test_two_halves_count_what_doubling_counts() -> None:
    d = np.random.default_rng(3).normal(0.3, 1, 18)
    sums = stats.signs.signed_sums(d)
    assert stats.sign_flip_above(d) == np.mean(sums >= d.sum() - 1e-9)


@given(numbers)
def test_one_sided_p_values_overlap_in_the_observed_pattern(values: list[float]) -> None:
    d = np.array(values)
    above, below = stats.sign_flip_above(d), stats.sign_flip_above(-d)
    assert 0 < above <= 1
    assert above + below >= 1 + 2.0 ** -len(d) - 1e-12


def test_what_a_design_can_show_at_best() -> None:
    """Two-sided: 3 against 3 gives 0.1, 4 against 4 gives 2/70."""
    assert stats.smallest_p_unpaired(3, 3) == stats.mann_whitney([3, 4, 5], [0, 1, 2]) == 0.1
    assert stats.smallest_p_unpaired(4, 4) == pytest.approx(2 / 70)
    assert stats.smallest_p(6) == stats.wilcoxon(np.arange(1.0, 7)) == 0.03125
    assert stats.Design().smallest_p(5, sides=1) == 0.03125
    assert stats.Design(ratio=0.1).smallest_p(5) is None


# overlapping splits


@given(numbers, st.sampled_from([0.0, 1 / 9, 0.25, 3 / 7]))
def test_corrected_t_is_the_t_test_of_values_spread_further(
    values: list[float], ratio: float
) -> None:
    """√(1/J + r) = √(1/J) √(1 + J r): scipy's t test, its statistic divided by the last factor."""
    d = np.array(values)
    found = stats.corrected_t(d, ratio)
    if np.ptp(d) == 0:
        return
    t = float(scipy_stats.ttest_1samp(d, 0).statistic) / math.sqrt(1 + len(d) * ratio)
    assert found.p == pytest.approx(2 * scipy_stats.t.sf(abs(t), len(d) - 1))
    assert found.low is not None
    assert found.low <= d.mean() <= (found.high or 0.0) + 1e-12


@pytest.mark.parametrize(("folds", "repeats"), [(10, 1), (5, 2), (10, 10)])
@pytest.mark.parametrize("rope", [0.01, 0.05])
def test_correlated_t_is_that_of_baycomp(folds: int, repeats: int, rope: float) -> None:
    """baycomp speaks of y - x and has x on the left."""
    x, y = np.random.default_rng(folds + repeats).normal(0.9, 0.03, (2, folds * repeats))
    found = stats.correlated_t(y - x, 1 / (folds - 1), rope)
    assert found is not None
    expected = baycomp.CorrelatedTTest.probs(x, y, rope=rope, runs=repeats)
    assert (found.left, found.rope, found.right) == pytest.approx(expected, abs=1e-9)


def test_posterior_without_a_region_is_the_one_sided_p() -> None:
    d = np.random.default_rng(0).normal(0.2, 1, 10)
    found = stats.correlated_t(d, 1 / 9, 0.0)
    assert found is not None
    assert found.left == pytest.approx(stats.corrected_t_above(d, 1 / 9))
    assert found.left + found.right == pytest.approx(1)


def test_splits_without_a_spread() -> None:
    same = np.full(10, 0.1)
    assert stats.corrected_t_above(same, 1 / 9) == stats.sign_flip_above(same) == 2.0**-10
    assert stats.correlated_t(same, 1 / 9, 0.1) == stats.Posterior(0.0, 1.0, 0.0)
    assert stats.corrected_t(np.array([0.1]), 1 / 9).p == 1.0
    assert stats.correlated_t(same[:1], 1 / 9, 0.1) is None


def test_seeds_inside_a_split_are_averaged_first() -> None:
    values = {(1, 0): 4.0, (0, 0): 1.0, (0, 1): 2.0, (1, 1): 8.0}
    assert list(stats.by_split(values)) == [1.5, 6.0]
    assert "heuristic" in (stats.caveat(10, 1) or "")
    assert stats.caveat(5, 2) is None


@pytest.mark.parametrize(("n", "ratio"), [(2, 0.5), (10, 3 / 7), (30, 1 / 9)])
def test_the_smallest_difference_is_where_p_reaches_alpha(n: int, ratio: float) -> None:
    least = stats.smallest_difference(n, ratio, 0.05)
    values = np.linspace(-1, 1, n)
    spread = values / values.std(ddof=1)
    assert stats.corrected_t(spread + least, ratio).p == pytest.approx(0.05)
