"""The gate on made-up records: what passes, what fails, and what it may not decide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from fabricated import compare_row
from scipy import stats as scipy_stats
from test_baseline import SETUP, recorded, row

from relubench.baselines import gate
from relubench.baselines.record import Record
from relubench.formats import render
from relubench.metrics.measures import MEASURES
from relubench.plan import Margin
from relubench.rows import GateRow
from relubench.table import Table

SPREAD = (0.001, -0.002, 0.0, 0.002, -0.001, 0.0015, -0.0015, 0.0005, -0.0005, 0.0)
DIVERGED = "diverged: the loss is not finite"
LOST = "lost: its worker died"


def run(
    shift: float = 0.0, n: int = 10, metric: str = "accuracy", noise: float = 0.0, **facts: Any
) -> Record:
    """Seeds around 0.5, all with a shift and each with its own noise."""
    figures = [0.5 + shift + noise * SPREAD[i % 10] for i in range(n)]
    values = row(n=n).values | {metric: tuple(figures)}
    return recorded(row(n=n, **({"values": values} | facts)))


def one(base: Record, new: Record, metric: str = "accuracy", **margins: Margin) -> GateRow:
    """The gate's row of a metric."""
    (found,) = [each for each in gate.judge(base, new, margins) if each.metric == metric]
    return found


def word(base: Record, new: Record, metric: str = "accuracy", **margins: Margin) -> str:
    return one(base, new, metric, **margins).gate


@pytest.mark.parametrize("metric", MEASURES)
def test_twice_the_margin_in_the_worse_direction_fails_in_every_metric(metric: str) -> None:
    worse = -0.1 if MEASURES[metric].better == "higher" else 0.1
    margin = {metric: Margin(0.05)}
    base = run(metric=metric)
    assert word(base, run(worse, metric=metric, noise=1), metric, **margin) == "fail"
    assert word(base, run(-worse, metric=metric, noise=1), metric, **margin) == "pass"
    assert word(base, run(worse / 4, metric=metric, noise=1), metric, **margin) == "pass"


def test_accuracy_is_always_in_the_gate() -> None:
    rows = gate.judge(run(), run(-0.1), {"dead": Margin(0.01)})
    assert [(each.metric, each.gate) for each in rows] == [("accuracy", "fail"), ("dead", "pass")]
    assert one(run(), run()).margin == MEASURES["accuracy"].margin.size == 0.01
    assert word(run(), run(-0.1), accuracy=Margin(0.2)) == "pass"


def test_a_relative_margin_is_of_the_baselines_mean() -> None:
    found = one(run(metric="loss"), run(0.2, metric="loss"), "loss", loss=Margin(0.1, True))
    assert (found.margin, found.baseline, found.value) == pytest.approx((0.05, 0.5, 0.7))
    assert found.difference == pytest.approx(0.2)
    assert found.gate == "fail"


def test_p_is_that_of_all_sign_patterns() -> None:
    shift, margin = -0.012, 0.01
    found = one(run(), run(shift, 8, noise=3))
    losses = [shift + 3 * each for each in SPREAD[:8]]
    for p, shifted in (
        (found.p_pass, [each + margin for each in losses]),
        (found.p_fail, [-each - margin for each in losses]),
    ):
        patterns = itertools.product((1, -1), repeat=8)
        sums = [sum(s * d for s, d in zip(signs, shifted, strict=True)) for signs in patterns]
        assert p == pytest.approx(sum(s >= sum(shifted) - 1e-12 for s in sums) / 2**8)


@pytest.mark.parametrize("n", [1, 2, 4, 10])
def test_what_repeats_its_baseline_passes_at_any_size(n: int) -> None:
    assert word(run(n=n, noise=1), run(n=n, noise=1)) == "pass"


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("shift", [-0.4, -0.001, 0.4])
def test_fewer_than_five_seeds_decide_nothing(n: int, shift: float) -> None:
    found = one(run(n=n), run(shift, n))
    assert found.gate == "undecided"
    assert "5 can" in str(found.reason)


@pytest.mark.parametrize("noise", [0, 1])
def test_a_loss_of_the_margin_is_undecided(noise: float) -> None:
    assert word(run(), run(-0.01, noise=noise)) == "undecided"


def test_failures_are_corrected_over_the_rows() -> None:
    """Six seeds: 1/64 is under 0.05 for one to three rows, and not for four."""
    units = ["relu", "gelu", "tanh", "elu"]

    def many(count: int, shift: float) -> Record:
        only = run(shift, 6).rows[0]
        return recorded(*(replace(only, setup=SETUP | {"activation": u}) for u in units[:count]))

    for count, expected in ((3, "fail"), (4, "undecided")):
        rows = gate.judge(many(count, 0.0), many(count, -0.1), {})
        assert {each.gate for each in rows} == {expected}
        assert rows[0].p_fail == pytest.approx(count / 64)
    said = gate.notes(rows, many(4, 0.0), many(4, -0.1))
    assert any("6 paired seeds over 4 rows cannot fail" in note for note in said)
    assert any("--seeds 7 can" in note for note in said)


def test_diverged_runs_are_losses() -> None:
    some = run(failed=(DIVERGED,) * 6 + (None,) * 4)
    found = one(run(), some)
    assert found.gate == "fail"
    assert found.value == pytest.approx(0.2)
    assert "6 of 10 runs diverged" in str(found.reason)
    assert word(run(), run(failed=(DIVERGED,) + (None,) * 9)) == "undecided"
    assert word(some, some) == "pass"  # no more than before
    assert word(some, run()) == "pass"
    assert one(run(metric="dead"), replace(some), "dead", dead=Margin(0.01)).value == 0.96


def test_where_all_runs_diverged_few_seeds_are_enough() -> None:
    ruined = run(n=2, failed=(DIVERGED,) * 2)
    rows = gate.judge(run(n=2), ruined, {"seconds": Margin(0.2, True)})
    assert [each.gate for each in rows] == ["fail", "not compared"]
    assert gate.exit_code(rows, strict=False) == 3


def test_a_run_that_measured_nothing_never_passes() -> None:
    ruined = run(failed=(DIVERGED,) * 10)
    rows = gate.judge(ruined, ruined, {})
    assert [each.gate for each in rows] == ["not compared"]
    assert gate.exit_code(rows, strict=False) == 4
    assert gate.exit_code([], strict=False) == 4
    silent = recorded(row(n=10, figure=None))
    assert gate.exit_code(gate.judge(run(), silent, {}), strict=False) == 4


def test_lost_runs_are_not_losses_but_no_pass_either() -> None:
    rows = gate.judge(run(), run(failed=(LOST,) + (None,) * 9), {})
    assert [each.gate for each in rows] == ["incomplete"]
    assert gate.exit_code(rows, strict=False) == 4


def test_a_figure_that_is_no_longer_defined_does_not_drop_out_of_the_mean() -> None:
    margin = {"dead": Margin(0.01)}
    partly = run(metric="dead")
    values = partly.rows[0].values | {"dead": (None, None, *partly.rows[0].values["dead"][2:])}
    partly = replace(partly, rows=(replace(partly.rows[0], values=values),))
    found = one(run(metric="dead"), partly, "dead", **margin)
    assert (found.gate, found.reason) == ("incomplete", "not defined in 2 of 10 runs here")
    assert word(partly, run(metric="dead"), "dead", **margin) == "pass"
    assert word(partly, partly, "dead", **margin) == "pass"
    never = recorded(row(n=10, values={**values, "dead": (None,) * 10}))
    assert word(never, run(metric="dead"), "dead", **margin) == "incomplete"
    assert word(never, never, "dead", **margin) == "not compared"


def test_seconds_of_another_machine_are_not_compared() -> None:
    slow, fast = run(0.4, metric="seconds"), run(metric="seconds")
    margin = {"seconds": Margin(0.2, True)}
    assert word(fast, slow, "seconds", **margin) == "fail"
    elsewhere = replace(slow, machine="another")
    found = one(fast, elsewhere, "seconds", **margin)
    assert found.gate == "not compared"
    assert found.reason == "machine: M, 2 cores in the baseline, another here"
    assert gate.exit_code(gate.judge(fast, elsewhere, margin), strict=True) == 0


def test_other_seeds_are_compared_unpaired() -> None:
    other = run(-0.1, noise=1, seeds=tuple(range(100, 110)))
    found = one(run(noise=1), other)
    assert found.gate == "fail"
    assert "Mann-Whitney" in str(found.reason)
    shifted = [0.5 - 0.1 + each + 0.01 for each in SPREAD]
    known = scipy_stats.mannwhitneyu(
        [0.5 + each for each in SPREAD], shifted, alternative="greater", method="exact"
    )
    assert found.p_fail == pytest.approx(known.pvalue)


def test_common_seeds_are_paired_and_the_rest_is_told() -> None:
    found = one(run(), run(n=6))
    assert (found.n, found.gate) == (6, "pass")
    said = gate.notes([found], run(), run(n=6))
    assert any(note.endswith("6, 7, 8, 9.") for note in said)


def words(*found: str) -> list[GateRow]:
    return [GateRow(setup=SETUP, metric="accuracy", gate=each) for each in found]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "code", "strict"),
    [
        (["pass"], 0, 0),
        (["pass", "undecided"], 0, 4),
        (["pass", "not compared"], 0, 0),
        (["not compared"], 4, 4),
        (["pass", "incomplete"], 4, 4),
        (["fail", "incomplete", "undecided"], 3, 3),
    ],
)
def test_exit_codes(found: Sequence[str], code: int, strict: int) -> None:
    assert gate.exit_code(words(*found), strict=False) == code
    assert gate.exit_code(words(*found), strict=True) == strict


def test_rows_for_machines_have_the_gravest_word() -> None:
    rows = gate.judge(run(), run(-0.1), {"dead": Margin(0.01)})
    own = compare_row(**SETUP)
    (found,) = gate.with_gate(Table([own], []), rows).records
    gates: Any = found["gates"]
    assert found["gate"] == "fail"
    assert [each["gate"] for each in gates] == ["fail", "pass"]
    assert gates[0]["margin"] == 0.01
    (unknown,) = gate.with_gate(Table([own], []), []).rows
    assert (unknown.gate, unknown.gates) == (None, [])


def test_the_table_reads_as_it_should(golden: Any) -> None:
    values = row(n=10).values
    base = recorded(*(row(unit, n=10) for unit in ("relu", "gelu", "tanh")))
    new = recorded(
        row("relu", n=10),
        row("gelu", n=10, values=values | {"accuracy": tuple(0.8 + each for each in SPREAD)}),
        row("tanh", n=10, values=values | {"accuracy": tuple(0.89 + each for each in SPREAD)}),
        machine="N, 4 cores",
        torch="3",
    )
    rows = gate.judge(base, new, {"seconds": Margin(0.2, True)})
    golden("gate.txt", render([gate.table(rows, base, new, "base.json")], "text"))
