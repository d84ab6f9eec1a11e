"""What the verdicts do over thousands of simulated studies; `python tests/test_stats_simulation.py`
prints the figures.

Paired seeds: independent differences of unit spread; normal, heavy-tailed (t with 3 degrees of
freedom), or differences of two accuracies on 171 rows, with ties. Splits: normal differences with
the correlation n_test / n_total between any two (Nadeau & Bengio's model), and real splits of a
synthetic sample, a new one for each study, on which two least-squares classifiers see five features
each, equally good ones. Datasets: independent scores.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats as scipy_stats

from relubench import stats

pytestmark = pytest.mark.slow

ALPHA, STUDIES = 0.05, 2000
ABOVE = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / STUDIES)  # within the simulation's error
MARGIN = 1.5  # in spreads
ROWS = 120  # of a synthetic sample
SEEDS = stats.Design()
FOLDS = {"10×1": (10, 1), "5×2": (5, 2)}
COUNTS = [5, 6, 10, 20]
Draw = Callable[[np.random.Generator], np.ndarray]


def normal(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=n)


def heavy(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_t(3, n) / math.sqrt(3)


def accuracies(n: int, rng: np.random.Generator) -> np.ndarray:
    a, b = rng.binomial(171, 0.97, (2, n))
    return (a - b) / math.sqrt(2 * 171 * 0.97 * 0.03)


def correlated(folds: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    shared, own = rng.normal(), rng.normal(size=folds * repeats)
    return math.sqrt(1 / folds) * shared + math.sqrt(1 - 1 / folds) * own


def resampled(folds: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    orders = [rng.permutation(ROWS) for _ in range(repeats)]
    return scored([order[fold::folds] for order in orders for fold in range(folds)], rng)


def held_out(n: int, rng: np.random.Generator) -> np.ndarray:
    return scored([rng.permutation(ROWS)[: ROWS * 3 // 10] for _ in range(n)], rng)


def scored(tests: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    y = rng.choice([-1.0, 1.0], ROWS)
    x = rng.normal(size=(2, ROWS, 5)) + 0.4 * y[:, None]
    found = []
    for test in tests:
        train = np.setdiff1d(np.arange(ROWS), test)
        gram = x[:, train].transpose(0, 2, 1)
        weights = np.linalg.solve(gram @ x[:, train], gram @ y[train, None])
        right = (x[:, test] @ weights)[..., 0] * y[test] > 0
        found.append(right[0].mean() - right[1].mean())
    return np.array(found)


NOISE = {"normal": normal, "heavy": heavy, "accuracies": accuracies}


def studies(name: str, draw: Draw) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(sum(name.encode()))
    return (draw(rng) for _ in range(STUDIES))


def share(name: str, draw: Draw, holds: Callable[[np.ndarray], bool]) -> float:
    return float(np.mean([holds(d) for d in studies(name, draw)]))


def differs(d: np.ndarray, design: stats.Design) -> bool:
    return stats.evidence(d, design).p < ALPHA


def inside(d: np.ndarray, design: stats.Design) -> bool:
    return (stats.evidence(d, design, MARGIN).p_inside or 0) < ALPHA


def gated(d: np.ndarray, design: stats.Design) -> str:
    return stats.outcomes([stats.non_inferior(d, MARGIN, design)])[0]


def skewed(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.exponential(size=n) - 1


def cases() -> Iterator[tuple[str, Draw, stats.Design]]:
    for noise, draw in NOISE.items():
        for n in COUNTS:
            yield f"{n} seeds, {noise}", functools.partial(draw, n), SEEDS
    for name, (folds, repeats) in FOLDS.items():
        design = stats.Design(ratio=1 / (folds - 1))
        yield f"{name} folds, correlated", functools.partial(correlated, folds, repeats), design


def skewed_rates(n: int) -> dict[str, float]:
    """Where differences are skewed, the tests at a margin have no claim to alpha."""
    draw, name = functools.partial(skewed, n), f"{n} skewed"
    return {
        "pass at the margin": share(name, draw, lambda d: gated(d - MARGIN, SEEDS) == "pass"),
        "fail at the margin": share(name, draw, lambda d: gated(d - MARGIN, SEEDS) == "fail"),
    }


CASES = {name: (draw, design) for name, draw, design in cases()}


def error_rates(name: str) -> dict[str, float]:
    """Each false word at the difference at which it is most often said."""
    draw, design = CASES[name]
    return {
        "better or worse at 0": share(name, draw, lambda d: differs(d, design)),
        "equivalent at the margin": share(name, draw, lambda d: inside(d + MARGIN, design)),
        "pass at the margin": share(name, draw, lambda d: gated(d - MARGIN, design) == "pass"),
        "fail at the margin": share(name, draw, lambda d: gated(d - MARGIN, design) == "fail"),
    }


def power(name: str) -> dict[str, float]:
    draw, design = CASES[name]
    return {
        "better or worse at 1": share(name, draw, lambda d: differs(d + 1, design)),
        "equivalent at 0": share(name, draw, lambda d: inside(d, design)),
    }


@pytest.mark.parametrize("name", CASES)
def test_no_word_is_false_more_often_than_alpha(name: str) -> None:
    assert max(error_rates(name).values()) <= ABOVE


def advised(effect: float, sides: int, design: stats.Design) -> tuple[int, float]:
    """The seeds asked for at this distance, and how often they decide."""
    n = math.ceil(stats.repeats_needed(effect, 1.0, design, ALPHA, sides))
    hits = {
        2: lambda d: stats.evidence(d + effect, design).p < ALPHA,
        1: lambda d: (stats.evidence(d, design, effect).p_inside or 0) < ALPHA,
    }
    return n, share(f"advice {effect}", functools.partial(normal, n), hits[sides])


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("effect", [0.7, 1.0])
def test_the_seeds_asked_for_decide_four_times_in_five(effect: float, sides: int) -> None:
    assert advised(effect, sides, SEEDS)[1] == pytest.approx(0.8, abs=0.06)


# splits of a real sample


def resampled_rates(name: str) -> dict[str, float]:
    """The corrected test beside the plain t test that it replaces."""
    folds, repeats = FOLDS[name]
    draw = functools.partial(resampled, folds, repeats)
    ratio = 1 / (folds - 1)
    return {
        "corrected t": share(name, draw, lambda d: differs(d, stats.Design(ratio=ratio))),
        "plain t": share(name, draw, lambda d: differs(d, stats.Design(ratio=0.0))),
    }


@pytest.mark.parametrize("name", FOLDS)
def test_folds_of_a_sample_raise_no_more_false_alarms(name: str) -> None:
    found = resampled_rates(name)
    assert found["corrected t"] <= ABOVE
    assert found["plain t"] > ALPHA


def held_out_rates(n: int) -> dict[str, float]:
    """False differences where each seed holds out its own 30 %."""
    name, draw = f"{n} drawn hold-outs", functools.partial(held_out, n)
    return {
        "corrected t": share(name, draw, lambda d: differs(d, stats.Design(ratio=3 / 7))),
        "sign-flip": share(name, draw, lambda d: differs(d, SEEDS)),
    }


@pytest.mark.parametrize("n", [5, 10, 20])
def test_drawn_hold_outs_need_the_correction(n: int) -> None:
    rates = held_out_rates(n)
    assert rates["corrected t"] <= ABOVE
    assert n == 5 or rates["sign-flip"] > 2 * ABOVE  # what it says of these rows only


# several comparisons, datasets, unpaired seeds, looks


def families() -> dict[str, float]:
    """Any false difference among several comparisons that share a reference, or all pairs."""
    rng = np.random.default_rng(8)

    def against_reference() -> bool:
        a, b = rng.normal(size=(8, 10)), rng.normal(size=10)
        found = [stats.evidence(row - b, SEEDS) for row in a]
        return any(v.word != "undecided" for v in stats.verdicts(found))

    def over_datasets(datasets: int) -> bool:
        pairs = [(i, j) for i in range(4) for j in range(i)]
        cells = stats.matrix(rng.normal(size=(datasets, 4)).tolist(), pairs)
        return min(cell.p_holm for cell in cells) < ALPHA

    def omnibus(datasets: int) -> bool:
        return stats.friedman(rng.normal(size=(datasets, 4)).tolist()).p < ALPHA

    def unpaired(n: int) -> bool:
        return stats.mann_whitney(*rng.normal(size=(2, n)).tolist()) < ALPHA

    trials: dict[str, Callable[[], bool]] = {
        "8 comparisons, 10 seeds, Holm": against_reference,
        "6 pairs over 10 datasets, Wilcoxon and Holm": lambda: over_datasets(10),
        "6 pairs over 20 datasets, Wilcoxon and Holm": lambda: over_datasets(20),
        "Friedman, 4 over 6 datasets": lambda: omnibus(6),
        "Friedman, 4 over 20 datasets": lambda: omnibus(20),
        "Mann-Whitney, 5 and 5 seeds": lambda: unpaired(5),
        "Mann-Whitney, 10 and 10 seeds": lambda: unpaired(10),
    }
    return {
        name: float(np.mean([trial() for _ in range(STUDIES)])) for name, trial in trials.items()
    }


def test_families_of_comparisons_keep_alpha() -> None:
    assert max(families().values()) <= ABOVE


def grown(shift: float) -> dict[str, float]:
    """Studies that grow from 8 to 24 seeds and stop at the first word of a difference."""
    plan = stats.looks(8, 24, ALPHA)
    ends = []
    for d in studies("looks", functools.partial(normal, 24)):
        words = (word_at(d + shift, look) for look in plan)
        ends.append(next((seeds for seeds in words if seeds), 0))
    seeds = [end or plan[-1].seeds for end in ends]
    return {"decided": float(np.mean(np.array(ends) > 0)), "seeds": float(np.mean(seeds))}


def word_at(d: np.ndarray, look: stats.Look) -> int:
    p = stats.sign_flip(d[: look.seeds])
    return look.seeds if p < look.alpha else 0


def test_looks_keep_alpha() -> None:
    assert grown(0.0)["decided"] <= ABOVE


# intervals


def coverage(draw: Draw, name: str, mean: float, limits: Callable[..., stats.Interval]) -> float:
    """Over half as many studies: a bootstrap takes its time."""

    def covers(d: np.ndarray) -> bool:
        found = limits(d)
        assert found.low is not None
        assert found.high is not None
        return found.low <= mean <= found.high

    half = itertools.islice(studies(name, draw), STUDIES // 2)
    return float(np.mean([covers(d) for d in half]))


def covered(n: int) -> dict[str, float]:
    noises = NOISE | {"skewed": skewed}
    return {
        name: coverage(functools.partial(draw, n), f"{n} {name}", 0.0, stats.interval)
        for name, draw in noises.items()
    }


@pytest.mark.parametrize("n", COUNTS)
def test_intervals_cover(n: int) -> None:
    found = covered(n)
    assert all(0.93 <= found[name] <= 0.97 for name in ("normal", "accuracies"))
    assert 0.92 <= found["heavy"] <= 0.98
    assert found["skewed"] >= 0.86  # a limit of every interval here: the README says so


def covered_by_folds(name: str) -> float:
    folds, repeats = FOLDS[name]
    limits = functools.partial(stats.t_interval, ratio=1 / (folds - 1))
    return coverage(functools.partial(correlated, folds, repeats), name, 0.0, limits)


@pytest.mark.parametrize("name", FOLDS)
def test_intervals_over_folds_cover(name: str) -> None:
    assert 0.93 <= covered_by_folds(name) <= 0.97


def chance_coverage(n: int) -> tuple[float, float]:
    """Of the Wilson interval, exactly: mean over P = 0.05 … 0.95, and at 0.5."""
    found = [stats.chance(np.repeat([1.0, -1.0], [k, n - k])) for k in range(n + 1)]
    true = np.linspace(0.05, 0.95, 181)
    weight = scipy_stats.binom.pmf(np.arange(n + 1)[:, None], n, true)
    low, high = (np.array([getattr(f, end) for f in found])[:, None] for end in ("low", "high"))
    by_truth = (weight * ((low <= true) & (true <= high))).sum(axis=0)
    return float(by_truth.mean()), float(by_truth[90])


@pytest.mark.parametrize("n", COUNTS)
def test_the_chance_interval_covers_on_average(n: int) -> None:
    assert 0.93 <= chance_coverage(n)[0] <= 0.97


# the gate


def gate_rates(n: int, margin: float, rows: int) -> dict[str, float]:
    """Runs of so many rows: false alarms, a loss in one row that is caught, runs that pass."""
    rng = np.random.default_rng(100 * n + rows)
    alarms, caught, passed = [], [], []
    for d in (rng.normal(size=(rows, n)) for _ in range(STUDIES)):
        same = stats.outcomes([stats.non_inferior(row, margin, SEEDS) for row in d])
        d[0] -= 2 * margin
        worse = stats.outcomes([stats.non_inferior(row, margin, SEEDS) for row in d])
        alarms.append("fail" in same)
        caught.append(worse[0] == "fail")
        passed.append(set(same) == {"pass"})
    names = ("false alarm", "twice the margin caught", "no change passes")
    return dict(zip(names, (float(np.mean(x)) for x in (alarms, caught, passed)), strict=True))


@pytest.mark.parametrize("margin", [0.01, 0.3, 1.1])
@pytest.mark.parametrize("rows", [1, 9])
def test_the_gate_raises_no_false_alarms(margin: float, rows: int) -> None:
    assert gate_rates(8, margin, rows)["false alarm"] <= ABOVE


@pytest.mark.parametrize(("rows", "margin"), [(1, 1.1), (4, 1.5), (9, 1.9)])
def test_the_gate_catches_twice_the_margin(rows: int, margin: float) -> None:
    """With ten seeds and a margin of so many spreads of the paired differences."""
    assert gate_rates(10, margin, rows)["twice the margin caught"] >= 0.9


# the figures


def in_per_cent(rates: dict[str, float]) -> str:
    return " · ".join(f"{name} {100 * rate:.1f}" for name, rate in rates.items())


def lines() -> Iterator[str]:
    yield f"{STUDIES} studies a figure, α = 0.05, margin {MARGIN} spreads, figures in per cent"
    for name in CASES:
        yield f"{name:28}{in_per_cent(error_rates(name) | power(name))}"
    for n in COUNTS:
        yield f"{n} seeds, skewed           {in_per_cent(skewed_rates(n))}"
    for name in FOLDS:
        yield f"{name + ' folds, real':28}{in_per_cent(resampled_rates(name))}"
    for n in (5, 10, 20):
        yield f"{f'{n} drawn hold-outs, real':28}{in_per_cent(held_out_rates(n))}"
    for sides, effect in itertools.product((2, 1), (0.7, 1.0)):
        n, rate = advised(effect, sides, SEEDS)
        yield f"advice, {sides}-sided, distance {effect}: {n} seeds decide in {100 * rate:.1f}"
    yield from (f"{name:48}{100 * rate:.1f}" for name, rate in families().items())
    for shift in (0.0, 0.5, 1.0):
        found = grown(shift)
        yield f"looks {shift:g}: decided {100 * found['decided']:.1f}, {found['seeds']:.1f} seeds"
    for n in COUNTS:
        chance, at_half = chance_coverage(n)
        rates = covered(n) | {"chance": chance, "chance at 0.5": at_half}
        yield f"interval, {n} seeds: {in_per_cent(rates)}"
    for name in FOLDS:
        yield f"interval, {name} folds: {100 * covered_by_folds(name):.1f}"
    for n, rows in itertools.product((8, 10), (1, 4, 9)):
        for margin in (0.01, 1.0, 1.1, 1.5, 1.9):
            rates = gate_rates(n, margin, rows)
            yield f"gate, {n} seeds, {rows} rows, margin {margin}: {in_per_cent(rates)}"


if __name__ == "__main__":
    for line in lines():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
