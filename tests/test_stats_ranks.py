"""Rank tests against scipy, autorank and the examples printed in Demšar, JMLR 7 (2006)."""

from __future__ import annotations

import itertools
from functools import partial

import autorank
import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from relubench import stats
from relubench.stats.ranks import mid_ranks

# AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 datasets, Demšar's table 6. Its ranks on the 13th
# row come of more digits than are printed: 2 for cf and 3 for m+cf, though both are 0.975.
DEMSAR = [
    [0.763, 0.768, 0.771, 0.798],
    [0.599, 0.591, 0.590, 0.569],
    [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657],
    [0.882, 0.888, 0.886, 0.898],
    [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685],
    [0.583, 0.583, 0.563, 0.625],
    [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000],
    [0.940, 0.962, 0.965, 0.962],
    [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975],
    [0.957, 0.978, 0.946, 0.970],
]
ALL = list(itertools.combinations(range(4), 2))
scores = st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=8)


def test_mean_ranks_and_chi2_are_those_printed() -> None:
    """Printed: 3.143, 2.000, 2.893, 1.964 and χ² = 9.28, without the correction for ties.

    Ties take C = Σ (t³ - t) / (N (k³ - k)) = (3 · 6 + 60) / 840 away from what χ² can reach.
    """
    found = stats.friedman(DEMSAR)
    assert found.mean_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.chi2 * (1 - 78 / 840) == pytest.approx(9.28, abs=0.01)


def test_friedman_is_that_of_autorank() -> None:
    found = stats.friedman(DEMSAR)
    names = ["C4.5", "m", "cf", "m+cf"]
    table = pandas.DataFrame(DEMSAR, columns=names)
    expected = autorank.autorank(table, force_mode="nonparametric")
    assert expected.omnibus == "friedman"
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    ranks = expected.rankdf["meanrank"]
    assert found.mean_ranks == pytest.approx([ranks[name] for name in names])


def test_wilcoxon_rejects_what_demsar_rejects() -> None:
    """Printed: C4.5+m against C4.5, T = 12 over 14 datasets, below the critical 21 at 0.05.

    The paper splits the ranks of zeros and drops one of an odd number; here zeros keep no vote.
    """
    difference = stats.differences([r[1] for r in DEMSAR], [r[0] for r in DEMSAR])
    assert stats.wilcoxon(difference) < 0.05
    (cell,) = stats.matrix(DEMSAR, [(1, 0)])
    assert (cell.wins, cell.ties, cell.losses) == (10, 2, 2)


@pytest.mark.parametrize("n", [4, 6, 11, 25])
def test_wilcoxon_is_that_of_scipy(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, n)
    expected = scipy_stats.wilcoxon(d, method="exact").pvalue
    assert stats.wilcoxon(d) == pytest.approx(expected, abs=1e-12)


@given(scores)
def test_wilcoxon_with_ties_and_zeros_counts_all_signs(values: list[float]) -> None:
    """Pratt's ranks; every sign pattern, by brute force."""
    d = np.array(values)
    ranks = scipy_stats.rankdata(np.abs(d)) * (d != 0)
    observed = abs(np.dot(np.sign(d), ranks))
    sums = [abs(np.dot(s, ranks)) for s in itertools.product([1, -1], repeat=len(d))]
    assert stats.wilcoxon(d) == pytest.approx(np.mean(np.array(sums) >= observed - 1e-9))
    assert stats.wilcoxon(-d) == stats.wilcoxon(d)


def test_last_bits_are_no_difference_in_rank() -> None:
    assert stats.wilcoxon(np.array([0.1 + 0.2, -0.3, 1.0])) == stats.wilcoxon(
        np.array([0.3, -0.3, 1.0])
    )
    assert stats.mann_whitney_above([0.1 + 0.2], [0.3]) == 1.0


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 8), (12, 10)])
def test_mann_whitney_is_that_of_scipy(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.5, 1, n), rng.normal(0, 1, m)
    known = partial(scipy_stats.mannwhitneyu, a, b, method="exact")
    above, both = stats.mann_whitney_above(list(a), list(b)), stats.mann_whitney(list(a), list(b))
    assert above == pytest.approx(known(alternative="greater").pvalue, abs=1e-12)
    assert both == pytest.approx(known(alternative="two-sided").pvalue, abs=1e-12)


@given(scores, scores)
def test_mann_whitney_with_ties_counts_all_choices(a: list[float], b: list[float]) -> None:
    a, b = a[:5], b[:5]
    ranks = scipy_stats.rankdata(a + b)
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, len(a))]
    expected = np.mean(np.array(sums) >= ranks[: len(a)].sum() - 1e-9)
    assert stats.mann_whitney_above(a, b) == pytest.approx(expected)
    assert stats.mann_whitney(a, b) == stats.mann_whitney(b, a)


def test_a_diverged_run_loses() -> None:
    found = stats.friedman([[0.9, None, 0.8], [None, None, 0.1], [0.5, 0.4, None]])
    assert found.mean_ranks == pytest.approx([(1 + 2.5 + 1) / 3, (3 + 2.5 + 2) / 3, 2.0])
    (cell,) = stats.matrix([[0.9, None], [None, None], [0.5, 0.4]], [(0, 1)])
    assert (cell.wins, cell.ties, cell.losses, cell.difference) == (2, 1, 0, None)
    assert stats.mann_whitney_above([0.1, 0.2, 0.3], [None, None, None]) == 0.05


def test_a_loss_by_divergence_is_the_largest() -> None:
    assert stats.wilcoxon(np.array([-np.inf, 1.0, 2.0])) == stats.wilcoxon(
        np.array([-9.0, 1.0, 2.0])
    )


def test_level_candidates_are_level() -> None:
    assert stats.friedman([[1.0, 1.0, 1.0]] * 6) == stats.Friedman(0.0, 1.0, (2.0, 2.0, 2.0))
    assert stats.wilcoxon(np.zeros(7)) == 1.0


def test_the_matrix_turns_and_is_corrected_over_the_pairs_asked_for() -> None:
    cells = stats.matrix(DEMSAR, ALL)
    turned = stats.matrix(DEMSAR, [(j, i) for i, j in ALL])
    assert [c.p_holm for c in cells] == stats.holm([c.p for c in cells])
    for there, back in zip(cells, turned, strict=True):
        assert (there.wins, there.losses, there.p) == (back.losses, back.wins, back.p)
        assert there.difference == pytest.approx(-(back.difference or 0.0))
    (alone,) = stats.matrix(DEMSAR, ALL[:1])
    assert alone.p_holm == alone.p == cells[0].p


@pytest.mark.parametrize("levels", [2, 3, 50])
def test_ranks_and_friedman_are_scipys(levels: int) -> None:
    drawn = np.random.default_rng(levels).integers(0, levels, (12, 5)).astype(float)
    for row in drawn:
        assert np.array_equal(mid_ranks(row), scipy_stats.rankdata(row))
    found, expected = stats.friedman(drawn.tolist()), scipy_stats.friedmanchisquare(*drawn.T)
    assert found.chi2 == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
