"""Advice from made-up rows: what is said, what is not, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fabricated import compare_row

from relubench.report.advice import advise
from relubench.rows import CompareRow


def row(activation: str, **figures: Any) -> CompareRow:
    sound = {"n": 10, "diverged": 0, "dead": 0.0, "mean_activation": 0.1, "sd_activation": 1.0}
    return compare_row(activation, **({"lr": 0.1, "accuracy": 0.9} | sound | figures))


def test_nothing_is_said_of_sound_units() -> None:
    assert advise([row("relu", dead=0.09), row("gelu", mean_activation=-0.99)], []) == []


def test_dead_units_are_set_beside_the_unit_that_loses_least() -> None:
    rows = [
        row("relu", dead=0.34),
        row("elu", accuracy=0.8),
        row("leaky_relu"),
        row("selu", dead=0.2),
    ]
    assert advise(rows, []) == [
        "relu: 34.0 % of its hidden units are dead at lr 0.1 (selu: 20.0 %); "
        "leaky_relu at the same rate: 0.0 %."
    ]


def test_where_each_run_has_its_own_rate_none_is_named() -> None:
    rows = [row("relu", dead=0.5, diverged=1, n=9, lr=None), row("elu", lr=None)]
    assert advise(rows, []) == [
        "relu diverged in 1 of 10 runs at its best lr; elu in none.",
        "relu: 50.0 % of its hidden units are dead at its best lr; elu at its best: 0.0 %.",
    ]


def test_dead_units_are_no_advice_where_no_unit_loses_half_as_many() -> None:
    assert advise([row("relu", dead=0.34), row("gelu", dead=0.2)], []) == []
    assert advise([row("relu", dead=0.34)], []) == []


def test_divergence_is_counted_over_all_runs() -> None:
    rows = [row("relu"), row("elu", n=7, diverged=3), row("tanh")]
    assert advise(rows, []) == ["elu diverged in 3 of 10 runs at lr 0.1; relu and tanh in none."]
    gone = {"n": 0, "diverged": 10, "accuracy": None, "dead": None, "sd_activation": None}
    rows = [row("elu", n=7, diverged=3), row("silu", **gone, mean_activation=None)]
    assert advise(rows, []) == ["silu diverged in 10 of 10 runs and elu in 3 of 10 at lr 0.1."]


def test_a_mean_beyond_its_spread_is_said_with_both_figures() -> None:
    rows = [
        row("sigmoid", mean_activation=0.5, sd_activation=0.25),
        row("tanh", mean_activation=0.0),
    ]
    assert advise(rows, []) == [
        "sigmoid: its mean output, +0.50 ± 0.25 (sd), is far from 0; tanh: +0.00 ± 1.00."
    ]
    assert advise([row("softplus", mean_activation=-2.0)], []) == [
        "softplus: its mean output, -2.00 ± 1.00 (sd), is far from 0."
    ]


def test_the_gravest_two_are_said_of_each_set_up() -> None:
    bad = [
        row("relu", dead=0.5, diverged=1, n=9),
        row("sigmoid", mean_activation=1.0, sd_activation=0.5),
    ]
    said = advise([replace(each, lr=lr) for lr in (0.1, 0.3) for each in bad], ["lr"])
    assert [line.split()[3] for line in said] == ["diverged", "50.0", "diverged", "50.0"]
    assert [line.split(":")[0] for line in said] == ["lr 0.1", "lr 0.1", "lr 0.3", "lr 0.3"]


def test_a_long_list_is_cut() -> None:
    rows = [row("elu", n=7, diverged=3), *(row(name) for name in "abcde")]
    assert advise(rows, []) == [
        "elu diverged in 3 of 10 runs at lr 0.1; a, b, c and 2 others in none."
    ]
