"""Comparisons of made-up results: the test follows the design, and no claim goes beyond it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from fabricated import BASE, FIXED, plan, result, runs
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from relubench import report
from relubench.formats import render
from relubench.metrics.measures import MEASURES
from relubench.plan import Margin, Split
from relubench.report import ComparisonOptions
from relubench.results import RunResult
from relubench.rows import CompareRow
from relubench.table import Table


def rows(table: Table[Any]) -> dict[str, dict[str, Any]]:
    return {str(row["activation"]): dict(row) for row in table.records}


def compared(results: list[RunResult], **terms: Any) -> dict[str, dict[str, Any]]:
    return rows(report.compare(results, plan(results), dataclasses.replace(FIXED, **terms)))


def shifted(activation: str, shifts: list[float], dataset: str = "iris") -> list[RunResult]:
    return [
        result(activation, s, a + d, dataset=dataset)
        for s, (a, d) in enumerate(zip(BASE, shifts, strict=False))
    ]


def over_folds(activation: str, shift: float, folds: int = 5, repeats: int = 2) -> list[RunResult]:
    """Two seeds a fold, whose mean is the shift and a little that differs from fold to fold."""
    return [
        result(
            activation,
            seed,
            0.9 + shift + (0.001 * (f + r) if shift else 0) + (0.02 if seed else -0.02),
            Split(folds=folds, fold=f, repeat=r),
        )
        for r in range(repeats)
        for f in range(folds)
        for seed in range(2)
    ]


ALTERNATING = [0.01, -0.01] * 5
CLOSE = [0.001, -0.001, 0.0015, -0.0005, 0.0, 0.001, -0.001, 0.0005, -0.0015, 0.0]


def test_every_design_reads_as_it_should(golden: Callable[[str, str], None]) -> None:
    seeds = [*runs("relu", 0.0), *runs("gelu", 0.02), *shifted("elu", CLOSE)]
    folds = [*over_folds("relu", 0), *over_folds("gelu", 0.02), *over_folds("tanh", -0.001)]
    several = [
        *(r for d in "abcdefg" for r in shifted("relu", [0.0] * 6, d)),
        *(r for d in "abcdefg" for r in shifted("gelu", [0.01, 0.02, 0.01] * 2, d)),
        *(r for d in "abcdefg" for r in shifted("elu", [-0.01, 0.02, 0.01] * 2, d)),
    ]
    rope = ComparisonOptions(rope=Margin(0.005), every_pair=True)
    tables = [
        *(table.explained for table in report.comparisons(seeds, plan(seeds), FIXED)),
        *(t.explained for t in report.comparisons(seeds, plan(seeds), ComparisonOptions())),
        *report.comparisons(folds, plan(folds), rope),
        *report.comparisons(several, plan(several), ComparisonOptions())[1:],
    ]
    golden("compared.txt", render(tables, "text"))


def test_paired_seeds_on_a_fixed_split_get_the_sign_flip_test() -> None:
    found = compared([*runs("relu", 0.0), *runs("gelu", 0.02)])["gelu"]
    assert found["design"] == "paired seeds"
    assert found["test"] == "exact sign-flip, Holm over 1 comparison"
    assert found["p"] == pytest.approx(2 / 2**10)
    assert (found["probability"], found["rope"], found["ratio"]) == (1.0, None, None)
    assert found["probability_low"] == pytest.approx(0.7225, abs=1e-4)  # Wilson's, 10 of 10


@pytest.mark.parametrize("folds", [False, True])
def test_what_shares_rows_gets_the_corrected_t_test(folds: bool) -> None:
    """Nadeau and Bengio's formula written out; the made-up runs test on 50 and train on 100."""
    if folds:
        results = [*over_folds("relu", 0), *over_folds("gelu", 0.01)]
        differences = [0.01 + 0.001 * (f + r) for r in range(2) for f in range(5)]
    else:
        results = [*runs("relu", 0.0), *shifted("gelu", ALTERNATING)]
        differences = [d - 0.001 * (s % 3) for s, d in enumerate(ALTERNATING)]
    found = rows(report.compare(results, plan(results)))["gelu"]
    error = np.std(differences, ddof=1) * np.sqrt(1 / 10 + 50 / 100)
    t = np.mean(differences) / error
    assert found["design"] == ("folds" if folds else "drawn hold-outs")
    assert found["pairs"] == 10
    assert found["p"] == pytest.approx(2 * scipy_stats.t.sf(abs(t), 9))
    half = scipy_stats.t.ppf(0.975, 9) * error
    assert found["difference_high"] == pytest.approx(np.mean(differences) + half)
    inside = scipy_stats.t.cdf((np.array([0.01, -0.01]) - np.mean(differences)) / error, 9)
    assert found["rope"] == pytest.approx(inside[0] - inside[1])
    assert found["rope_left"] + found["rope"] + found["rope_right"] == pytest.approx(1)
    assert (found["probability"] is None) == folds


def test_one_plain_partition_is_called_a_heuristic() -> None:
    results = [*over_folds("relu", 0, repeats=1), *over_folds("gelu", 0.01, repeats=1)]
    assert any("heuristic" in note for note in report.compare(results, plan(results)).notes)


def test_equivalent_is_tested_and_not_assumed() -> None:
    base = runs("relu", 0.0)
    close = [
        dataclasses.replace(r, cell=dataclasses.replace(r.cell, activation="elu")) for r in base
    ]
    nearly = shifted("gelu", [0.001 * (s % 3) + d for s, d in enumerate(CLOSE)])
    found = compared([*base, *close, *nearly])
    assert found["elu"]["verdict"] == found["gelu"]["verdict"] == "equivalent"
    assert found["gelu"]["margin"] == 0.01
    tight = compared([*base, *nearly], margin=Margin(0.0002))["gelu"]
    assert (tight["verdict"], tight["margin"]) == ("undecided", 0.0002)
    few = compared([*base[:4], *nearly[:4]])["gelu"]  # 1 / 2^4 is no proof
    assert few["verdict"] == "undecided"


def test_undecided_says_how_many_more() -> None:
    results = [*runs("relu", 0.0, 6), *shifted("gelu", [0.03, -0.01, 0.02, 0.0, 0.03, -0.02])]
    found = compared(results)["gelu"]
    assert found["verdict"] == "undecided"
    assert found["more_seeds"] > 0
    assert found["more_repeats"] is None
    text = render([report.compare(results, plan(results), FIXED)], "text")
    assert f"undecided: about {found['more_seeds']} more seeds" in text


def test_over_folds_undecided_asks_for_repeats() -> None:
    splits = [*over_folds("relu", 0, repeats=1), *over_folds("gelu", 0.0014, repeats=1)]
    table = report.compare(splits, plan(splits), ComparisonOptions(margin=Margin(0.0001)))
    found = rows(table)["gelu"]
    assert (found["verdict"], found["more_seeds"]) == ("undecided", None)
    assert found["more_repeats"] >= 1
    assert "more repeat" in render([table], "text")


def test_a_lower_share_of_dead_units_is_better() -> None:
    def dead(run: RunResult, count: int) -> RunResult:
        layers = tuple(dataclasses.replace(layer, dead=count) for layer in run.layers)
        return dataclasses.replace(run, layers=layers)

    base = [dead(r, 3) for r in runs("relu", 0.0)]
    results = [*base, *(dead(r, 1 + r.cell.seed % 2) for r in runs("gelu", -0.1))]
    found = compared(results, measure=MEASURES["dead"])["gelu"]
    assert (found["verdict"], found["metric"]) == ("better", "dead")
    assert found["difference"] == pytest.approx(1.5 * 2 / 12 - 6 / 12)
    assert found["probability"] == 1.0
    assert found["standing"] == "best"


def test_a_margin_in_per_cent_of_seconds_is_of_the_reference() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.0)]
    found = compared(results, measure=MEASURES["seconds"])["gelu"]
    assert found["margin"] == pytest.approx(0.1 * 0.5)
    assert found["verdict"] == "equivalent"


def test_seconds_of_one_pass_are_one_measurement() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.0)]
    shared = [
        dataclasses.replace(r, environment=dataclasses.replace(r.environment, stack=10))
        for r in results
    ]
    table = report.compare(
        shared, plan(shared), dataclasses.replace(FIXED, measure=MEASURES["seconds"])
    )
    gelu = rows(table)["gelu"]
    assert gelu["verdict"] == "undecided"
    assert gelu["mean"] == 0.5
    for key in ("mean_sd", "p", "p_unadjusted", "p_equivalent", "probability", "difference_low"):
        assert gelu[key] is None
    assert gelu["difference"] == 0
    assert "±" not in render([table], "text").split("seconds s")[1].split("%")[0]
    assert any("--stack 1" in note for note in table.notes)


@pytest.mark.parametrize("folds", [None, 5])
@pytest.mark.parametrize("stack", [2, 5, 10])
def test_one_measurement_has_no_spread(folds: int | None, stack: int) -> None:
    """Whatever the passes took: a p of seconds that several runs share is of no test."""
    results = []
    for name, took in (("relu", 0.00123), ("gelu", 0.0045), ("tanh", 0.01)):
        for number, r in enumerate(runs(name, 0.0)):
            cut = Split() if folds is None else Split(folds=5, fold=number % 5, repeat=number // 5)
            environment = dataclasses.replace(r.environment, stack=stack)
            cell = dataclasses.replace(r.cell, split=cut)
            took_here = took * (1 + number // stack)
            results.append(
                dataclasses.replace(r, cell=cell, environment=environment, seconds=took_here)
            )
    terms = dataclasses.replace(FIXED, measure=MEASURES["seconds"], every_pair=True)
    table = report.compare(results, plan(results), terms)
    for row in rows(table).values():
        assert row["mean_sd"] is None
        assert row["p"] is None
        assert all(each["p"] is None for each in row["against"])
    shown = {texts[0]: texts[1] for texts in table.texts}
    assert float(shown["relu"]) == pytest.approx(
        0.00123 * np.mean([1 + n // stack for n in range(10)]), rel=0.05
    )
    assert "–, –" not in render([table], "text")


def test_a_diverged_run_loses_its_pair() -> None:
    lucky = [result("gelu", s, a + 0.05 if s > 1 else None) for s, a in enumerate(BASE)]
    found = compared([*runs("relu", 0.0), *lucky])["gelu"]
    assert (found["verdict"], found["probability"]) == ("diverged", 0.8)


def test_all_pairs_are_corrected_together_and_mirror_each_other() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.02), *runs("tanh", -0.03)]
    first, every = report.comparisons(
        results, plan(results), dataclasses.replace(FIXED, every_pair=True)
    )
    found = rows(first)
    assert found["gelu"]["comparisons"] == 3
    assert found["gelu"]["p"] == pytest.approx(3 * 2 / 2**10)
    of_tanh = {each["activation"]: each for each in found["tanh"]["against"]}
    of_gelu = {each["activation"]: each for each in found["gelu"]["against"]}
    assert of_tanh["gelu"]["difference"] == pytest.approx(-of_gelu["tanh"]["difference"])
    assert (of_tanh["gelu"]["verdict"], of_gelu["tanh"]["verdict"]) == ("worse", "better")
    assert of_tanh["gelu"]["difference_low"] == pytest.approx(-of_gelu["tanh"]["difference_high"])
    assert len(every.records) == 3


SHIFTS = {  # of each activation on each dataset, in points of accuracy
    "a": {"gelu": 3.1, "tanh": -2.8, "elu": 0.2},
    "b": {"gelu": 2.9, "tanh": -0.1, "elu": 0.95},
}


def over_setups(family: Literal["setup", "all"], every_pair: bool = False) -> Table[CompareRow]:
    draws = np.random.default_rng(3)
    shifts = {d: {"relu": 0.0} | named for d, named in SHIFTS.items()}
    results = [
        run
        for dataset, named in shifts.items()
        for name, shift in named.items()
        for run in shifted(name, list(0.01 * shift + 0.003 * draws.normal(size=10)), dataset)
    ]
    return report.compare(
        results, plan(results), ComparisonOptions(family=family, every_pair=every_pair)
    )


def alone(row: dict[str, Any]) -> tuple[float, float]:
    """The row's p-values of no difference and of the margin, by scipy from the row's interval."""
    error = (row["difference_high"] - row["difference"]) / scipy_stats.t.ppf(0.975, 9)
    inside = (row["margin"] - abs(row["difference"])) / error
    return 2 * scipy_stats.t.sf(abs(row["difference"]) / error, 9), scipy_stats.t.sf(inside, 9)


@pytest.mark.parametrize("family", ["setup", "all"])
def test_a_family_is_corrected_as_one(family: Literal["setup", "all"]) -> None:
    """Verdicts and both p-values against statsmodels' Holm over a set-up, or over everything."""
    table = over_setups(family)
    tested: list[dict[str, Any]] = [
        dict(row) for row in table.records if row["verdict"] != "reference"
    ]
    parts = [tested] if family == "all" else [tested[:3], tested[3:]]
    for part in parts:
        raw = np.array([alone(row) for row in part])
        differ, inside = (multipletests(p, method="holm")[1] for p in raw.T)
        assert [row["p"] for row in part] == pytest.approx(differ)
        assert [row["p_equivalent"] for row in part] == pytest.approx(inside)
        for row, p, p_inside in zip(part, differ, inside, strict=True):
            shown = "better" if row["difference"] > 0 else "worse"
            held = "equivalent" if p_inside < 0.05 else "undecided"
            assert row["verdict"] == (shown if p < 0.05 else held)
            assert (row["comparisons"], row["family"]) == (len(part), family)
    says = {"setup": "Holm over the 3 comparisons of each set-up", "all": "all 6 comparisons of 2"}
    assert any(says[family] in note for note in table.notes)


def test_a_larger_family_shows_less() -> None:
    small, large = over_setups("setup"), over_setups("all")
    assert [r["p_unadjusted"] for r in small.records] == [r["p_unadjusted"] for r in large.records]
    pairs = [(a.p, b.p) for a, b in zip(small.rows, large.rows, strict=True) if a.p and b.p]
    assert len(pairs) == len([row for row in large.rows if row.p])
    assert all(a <= b for a, b in pairs)
    assert any(a < 0.05 <= b for a, b in pairs)


def test_one_set_up_is_a_family_of_its_own_and_all_pairs_belong_to_it() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.02)]
    one = [
        report.compare(results, plan(results), ComparisonOptions(family=f))
        for f in ("setup", "all")
    ]
    assert one[0].notes == one[1].notes
    assert {row["comparisons"] for row in over_setups("all", every_pair=True).records} == {12}


def test_what_a_family_can_show_is_known_before() -> None:
    results = [r for d in "ab" for n in ("relu", "gelu", "elu") for r in shifted(n, [0.0] * 10, d)]
    terms = ComparisonOptions(family="all", published=frozenset("ab"))
    (line,) = report.outlook(plan(results), terms)
    assert "after Holm over all 4 comparisons of 2 set-ups none below 0.00781" in line


def test_the_dataset_is_the_unit_of_ranks() -> None:
    names = "abcdefgh"
    results = [
        *(r for d in names for r in shifted("relu", [0.0] * 6, d)),
        *(r for n, d in enumerate(names) for r in shifted("gelu", [0.01 + 0.001 * n] * 6, d)),
        *(r for n, d in enumerate(names) for r in shifted("elu", [-0.01 - 0.001 * n] * 6, d)),
    ]
    table, ranks = report.comparisons(results, plan(results), ComparisonOptions())
    found = {row["activation"]: row for row in table.records}
    assert [row["activation"] for row in ranks.records] == ["gelu", "relu", "elu"]
    assert found["gelu"]["mean_rank"] == 1
    assert [found["gelu"][f"datasets_{what}"] for what in ("won", "tied", "lost")] == [8, 0, 0]
    assert found["gelu"]["datasets_p"] == pytest.approx(2 * 2 / 2**8)  # Holm over two
    assert not any("can show nothing" in note for note in ranks.notes)


def test_few_datasets_show_nothing_and_a_diverged_one_is_lost() -> None:
    results = [
        *(r for d in "abc" for r in shifted("relu", [0.0] * 6, d)),
        *(r for d in "abc" for r in shifted("gelu", [0.01] * 6, d)),
    ]
    last = results[-1].cell
    results[-1] = result("gelu", last.seed, None, dataset=last.dataset)
    table, ranks = report.comparisons(results, plan(results), ComparisonOptions())
    found = {row["activation"]: row for row in table.records}
    assert (found["gelu"]["datasets_won"], found["gelu"]["datasets_lost"]) == (2, 1)
    assert any("3 datasets can show nothing here" in note for note in ranks.notes)


def test_one_dataset_has_no_ranks() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.02)]
    (table,) = report.comparisons(results, plan(results), FIXED)
    assert all(row["mean_rank"] is None for row in table.records)


@pytest.mark.parametrize(
    ("activations", "seeds", "terms", "says"),
    [
        (2, 5, FIXED, "5 paired seeds: no two-sided p below 0.0625"),
        (4, 10, FIXED, "below 0.00195, after Holm over 3 comparisons none below 0.00586"),
        (
            2,
            10,
            ComparisonOptions(),
            "10 random splits: only a mean difference above 1.6 standard deviations",
        ),
        (2, 1, ComparisonOptions(), "1 random split: no test"),
        (1, 5, FIXED, "nothing is compared"),
    ],
)
def test_what_a_design_can_show_is_known_before(
    activations: int, seeds: int, terms: ComparisonOptions, says: str
) -> None:
    names = ["relu", "gelu", "tanh", "elu"][:activations]
    (line,) = report.outlook(plan([r for n in names for r in runs(n, 0.0, seeds)]), terms)
    assert says in line


def test_the_explanation_names_test_margin_and_versions() -> None:
    results = [*runs("relu", 0.0), *runs("gelu", 0.02)]
    notes = report.compare(results, plan(results), FIXED).asides
    (methods,) = [note for note in notes if note.startswith("Methods: ")]
    for word in (
        "exact sign-flip",
        "10 paired seeds",
        "Holm",
        "±1 point by",
        "relubench",
        "torch 2",
    ):
        assert word in methods
    assert any(note.startswith("gelu: p 0.0020") for note in notes)


def test_the_best_is_marked_and_those_not_told_from_it() -> None:
    elu = shifted("elu", [0.02 + d for d in ALTERNATING])
    found = compared([*runs("relu", 0.0), *runs("gelu", 0.02), *elu])
    standing = {name: row["standing"] for name, row in found.items()}
    assert standing == {"gelu": "best", "elu": "not worse", "relu": None}
