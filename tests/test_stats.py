"""Statistics against scipy, printed examples and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from relubench import stats

numbers = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=8)


@given(numbers)
def test_sign_flip_counts_all_sign_patterns(difference: list[float]) -> None:
    d = np.array(difference)
    patterns = itertools.product([1, -1], repeat=len(d))
    means = [abs(np.dot(signs, d)) for signs in patterns]
    expected = np.mean([m >= abs(d.sum()) - 1e-9 for m in means])
    assert stats.sign_flip(d) == pytest.approx(expected)


@pytest.mark.parametrize("n", [5, 10, 12])
def test_sign_flip_matches_scipy(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, n)
    expected = scipy_stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=math.inf
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
    assert stats.mean_sd([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert stats.mean_sd([1.0]) == (1.0, None)
    assert stats.mean_sd([]) == (None, None)
