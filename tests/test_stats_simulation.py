"""What the verdicts do over thousands of simulated studies; `python tests/test_stats_simulation.py`
prints the figures.

Paired seeds: independent differences of unit spread; normal, heavy-tailed (t with 3 degrees of
freedom), or differences of two accuracies on 171 rows, with ties. Splits: normal differences with
the correlation n_test / n_total between any two (Nadeau & Bengio's model), and real splits of a
synthetic sample, a new one for each study, on which two classifiers of one kind see five features
each, equally good ones: least squares, nearest centroid, a small network, nearest neighbour.
Datasets: independent scores.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
    differences: np.ndarray = (a - b) / math.sqrt(2 * 171 * 0.97 * 0.03)
    return differences


def correlated(folds: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    shared, own = rng.normal(), rng.normal(size=folds * repeats)
    return math.sqrt(1 / folds) * shared + math.sqrt(1 - 1 / folds) * own


def resampled(folds: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    orders = [rng.permutation(ROWS) for _ in range(repeats)]
    return scored([order[fold::folds] for order in orders for fold in range(folds)], rng)


def held_out(n: int, rng: np.random.Generator) -> np.ndarray:
    return scored([rng.permutation(ROWS)[: ROWS * 3 // 10] for _ in range(n)], rng)


def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(2, rows, 5) features, as good for one learner as for the other, and (rows,) classes ±1."""
    y = rng.choice([-1.0, 1.0], ROWS)
    return rng.normal(size=(2, ROWS, 5)) + 0.4 * y[:, None], y


def scored(tests: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    x, y = sample(rng)
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


ADVICE = [
    *(("seeds", effect, family) for effect in (0.7, 1.0, 1.5) for family in (1, 3, 8)),
    *(("equivalence", margin, family) for margin in (0.8, 1.0) for family in (1, 8)),
    *(("10×1", effect, family) for effect in (1.3, 1.6) for family in (1, 8)),
]
ADVISED = 600


@functools.cache
def advised(kind: str, effect: float, family: int) -> tuple[int, int, float]:
    """The repeats asked for, the fewest that could decide, how often the word then comes.

    One comparison has this effect, or for equivalence this margin; the others of its family, all
    against one reference, are such as stay undecided.
    """
    folds = FOLDS.get(kind, (10, 1))
    ratio = 1 / (folds[0] - 1)
    design = stats.Design(ratio) if kind in FOLDS else SEEDS
    margin = effect if kind == "equivalence" else None
    level, sides = ALPHA / family, 2 if margin is None else 1
    n = int(stats.repeats_needed(effect, 1.0, design, level, margin))
    idle = stats.evidence(np.resize([1.0, -1.0], n) * 9, design, margin)
    rng, hits = np.random.default_rng(7), 0
    for _ in range(ADVISED):
        d = rng.normal(size=n) + (0 if margin else effect)
        if kind in FOLDS:
            d += math.sqrt(ratio) * rng.normal()
        found = [stats.evidence(d, design, margin), *[idle] * (family - 1)]
        hits += stats.verdicts(found, ALPHA)[0].word in ("better", "equivalent")
    least = 2 if kind in FOLDS else stats.pairs_needed(1, level, sides)
    return n, least, hits / ADVISED


@pytest.mark.parametrize(("kind", "effect", "family"), ADVICE)
def test_the_repeats_asked_for_decide_four_times_in_five(
    kind: str, effect: float, family: int
) -> None:
    """Or more often, where the test needs so many to decide anything, and one fewer is too few."""
    n, least, rate = advised(kind, effect, family)
    assert rate >= 0.75
    assert rate <= 0.87 or n <= least + 1


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


# equally good learners: (2, splits, rows) classes from (splits, rows) rows to learn from


def centroid(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The class whose mean is nearer."""
    means = [(part @ x) / part.sum(1)[:, None] for part in (train * (y == s) for s in (1, -1))]
    above, below = (((x[:, None] - mean[:, :, None]) ** 2).sum(-1) for mean in means)
    return np.where(above < below, 1.0, -1.0)


def nearest(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The class of the one nearest example."""
    apart = ((x[:, :, None] - x[:, None]) ** 2).sum(-1)
    classes: np.ndarray = y[np.where(train[:, None], apart[:, None], np.inf).argmin(-1)]
    return classes


def network(
    x: np.ndarray, y: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """8 relu units, 100 full steps of Adam at 0.02, other initial weights in each split."""
    splits, units = len(train), 8
    x = np.concatenate([x, np.ones((2, ROWS, 1))], -1).astype(np.float32)
    hidden = rng.normal(0, math.sqrt(2 / 5), (2, 6, splits * units)).astype(np.float32)
    hidden[:, 5] = 0
    output = rng.normal(0, math.sqrt(1 / units), (2, 1, splits, units)).astype(np.float32)
    weights = [hidden, output, np.zeros((2, 1, splits), np.float32)]
    means = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    share = (train / train.sum(1)[:, None]).T.astype(np.float32)
    classes = np.float32(y[:, None] > 0)

    def forward() -> tuple[np.ndarray, np.ndarray]:
        of_units = np.maximum(x @ hidden, 0).reshape(2, ROWS, splits, units)
        return of_units, (of_units * output).sum(-1) + weights[2]

    for step in range(1, 101):
        of_units, score = forward()
        slope = share * (1 / (1 + np.exp(-score)) - classes)
        back = (slope[..., None] * output * (of_units > 0)).reshape(2, ROWS, -1)
        gradients = [
            x.transpose(0, 2, 1) @ back,
            np.einsum("lrs,lrsu->lsu", slope, of_units)[:, None],
            slope.sum(1, keepdims=True),
        ]
        for weight, gradient, (first, second) in zip(weights, gradients, means, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            size = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            weight -= 0.02 * first / (1 - 0.9**step) / size
    predicted: np.ndarray = np.sign(forward()[1]).transpose(0, 2, 1)
    return predicted


LEARNERS = {
    "nearest centroid": (centroid, 2000),
    "small network": (network, 1000),
    "nearest neighbour": (nearest, 2000),
}
DESIGNS = ("10 hold-outs", "20 hold-outs", "10 folds", "5×2", "2×5", "10×3")  # folds × repeats


def tested_rows(design: str, rng: np.random.Generator) -> np.ndarray:
    """(splits, rows), which of them each split tests."""
    parts: list[np.ndarray] = []
    if "hold-outs" in design:
        count = int(design.split()[0])
        parts = [rng.permutation(ROWS)[: ROWS * 3 // 10] for _ in range(count)]
    else:
        folds, repeats = map(int, design.replace(" folds", "×1").split("×"))
        orders = [rng.permutation(ROWS) for _ in range(repeats)]
        parts = [order[fold::folds] for order in orders for fold in range(folds)]
    return np.array([np.isin(np.arange(ROWS), part) for part in parts])


def learned_rates(name: str, count: int) -> dict[str, float]:
    """How often each design's verdict tells two equally good learners apart, one sample a study."""
    learner, _ = LEARNERS[name]
    rng, false = np.random.default_rng(5), dict.fromkeys(DESIGNS, 0)
    for _ in range(count):
        x, y = sample(rng)
        parts = {design: tested_rows(design, rng) for design in DESIGNS}
        right = learner(x, y, ~np.concatenate(list(parts.values())), rng) == y
        first = 0
        for design, tests in parts.items():
            hits = right[:, first : first + len(tests)] * tests
            first += len(tests)
            accuracy = hits.sum(-1) / tests.sum(-1)
            ratio = tests[0].sum() / (~tests[0]).sum()
            found = stats.evidence(accuracy[0] - accuracy[1], stats.Design(ratio))
            false[design] += stats.verdicts([found])[0].word in ("better", "worse")
    return {design: hits / count for design, hits in false.items()}


def in_the_manual(name: str) -> list[float]:
    """Its row of rates, as shares."""
    page = Path(__file__).parents[1] / "relubench" / "manual" / "statistics.md"
    text = page.read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", text, re.M)
    *rates, studies = row.split(" | ")
    assert int(studies) == LEARNERS[name][1]
    return [float(rate) / 100 for rate in rates]


@pytest.mark.parametrize("name", LEARNERS)
def test_real_learners_err_as_the_manual_says(name: str) -> None:
    """Over half as many studies; also where that is more than alpha."""
    count = LEARNERS[name][1] // 2
    found = learned_rates(name, count)
    for rate, said in zip(found.values(), in_the_manual(name), strict=True):
        assert abs(rate - said) <= 0.0005 + 3 * math.sqrt(0.05 * 0.95 / count)
    assert found["10 folds"] <= ALPHA


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
    assert found["skewed"] >= 0.86  # a limit of every interval here: the manual says so


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
    for name in LEARNERS:
        yield f"{name:28}{in_per_cent(learned_rates(name, LEARNERS[name][1]))}"
    for kind, effect, family in ADVICE:
        n, _, rate = advised(kind, effect, family)
        yield f"advice, {kind}, {effect}, Holm over {family}: {n} decide in {100 * rate:.1f}"
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
