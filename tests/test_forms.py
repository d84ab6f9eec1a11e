"""Quick forms beside full ones: the order of activations, and how sure a rank correlation is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from fabricated import result

from relubench.cli import main
from relubench.metrics.measures import MEASURES
from relubench.report.forms import Forms, table
from relubench.results import RunResult
from relubench.stats import rank_correlation


@pytest.mark.parametrize("decimals", [9, 0])  # without and with ties
def test_a_rank_correlation_is_scipys(decimals: int) -> None:
    draws = np.random.default_rng(1)
    for n in (3, 5, 12, 40):
        x, y = (draws.normal(size=(2, n)) + np.arange(n) / 5).round(decimals)
        found = rank_correlation(x.tolist(), y.tolist())
        assert found is not None
        assert found[0] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
        assert -1 <= found[1] <= found[0] <= found[2] <= 1


def test_two_orders_or_a_constant_have_no_rank_correlation() -> None:
    assert rank_correlation([1.0, 2.0], [2.0, 1.0]) is None
    assert rank_correlation([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_the_interval_of_few_perfect_pairs_is_wide_and_mirrors_its_opposite() -> None:
    """Four items come to one order of 24 by chance: that is no proof."""
    numbers = [1.0, 2.0, 3.0, 4.0]
    same, turned = rank_correlation(numbers, numbers), rank_correlation(numbers, numbers[::-1])
    assert same is not None
    assert turned is not None
    assert (same[0], same[2], turned[0], turned[1]) == (1, 1, -1, -1)
    assert same[1] < 0 < turned[2]
    assert same[1] == pytest.approx(-turned[2], abs=0.05)


def test_the_interval_of_many_pairs_is_that_of_bonett_and_wright() -> None:
    """Psychometrika 65 (2000): tanh(atanh r ± 1.96 √((1 + r²/2) / (n - 3)))."""
    x = np.random.default_rng(2).normal(size=(2, 60))
    found = rank_correlation(x[0].tolist(), (x[0] + x[1]).tolist())
    assert found is not None
    half = 1.96 * np.sqrt((1 + found[0] ** 2 / 2) / 57)
    ends = np.tanh(np.arctanh(found[0]) + np.array([-half, half]))
    assert found[1:] == pytest.approx(ends, abs=0.04)


def test_19_of_20_intervals_hold_the_correlation() -> None:
    draws, normal, inside = np.random.default_rng(3), 0.6, 0
    truth = 6 / np.pi * np.arcsin(normal / 2)
    for _ in range(100):
        x, other = draws.normal(size=(2, 6))
        found = rank_correlation(x.tolist(), (normal * x + 0.8 * other).tolist())
        assert found is not None
        inside += found[1] <= truth <= found[2]
    assert inside >= 92  # at 95 of 100, fewer would be one case in ten


def form(accuracies: dict[str, float], seeds: int = 2, lr: float = 0.1) -> list[RunResult]:
    found = []
    for name, accuracy in accuracies.items():
        found += [result(name, seed, accuracy, lr=lr) for seed in range(seeds)]
    return found


def row(quick: list[RunResult], full: list[RunResult]) -> dict[str, Any]:
    (record,) = table([Forms("b", MEASURES["accuracy"], quick, full, 0)]).records
    return record


def test_forms_are_ordered_by_their_mean_ranks_over_set_ups() -> None:
    full = {"relu": 0.7, "elu": 0.9, "tanh": 0.8, "gelu": 0.6}
    other = {"relu": 0.95, "elu": 0.94, "tanh": 0.93}  # without gelu, in another order
    found = row(form(other, lr=0.2), [*form(full), *form(other, lr=0.2)])
    assert found["activations"] == 3  # that both have
    assert found["quick_order"] == ["relu", "elu", "tanh"]
    # Ranks over two set-ups: relu 3 and 1, elu 1 and 2, tanh 2 and 3.
    assert found["full_order"] == ["elu", "relu", "tanh"]
    assert found["correlation"] == pytest.approx(0.5)
    assert row(form(full), form(full))["correlation"] == 1


def test_a_loss_is_ordered_from_below_and_a_diverged_activation_has_no_rank() -> None:
    runs = form({"relu": 0.7, "elu": 0.9, "tanh": 0.8})
    (record,) = table([Forms("b", MEASURES["loss"], runs, runs, 0)]).records
    assert record["full_order"] == ["relu", "tanh", "elu"]
    lost = [result("gelu", 0, None), *runs]
    found = row(runs, lost)
    assert found["activations"] == 3
    assert row(lost, lost)["correlation"] is None


BENCHMARK = """
[benchmark.b]
dataset = "iris"
model = "ffnn:hidden=4"
activation = ["relu", "elu", "tanh"]
epochs = 3
seeds = 2
quick = { epochs = 1 }
"""


def test_the_ledger_shows_both_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("benchmarks.toml").write_text(BENCHMARK, encoding="utf-8")
    forms = ["ledger", "small-predicts-large", "--quiet"]
    assert main(["compare", "b", "--quick", "--quiet"]) == 0
    assert main([*forms, "b"]) == 2
    assert "relubench compare NAME --quick trains one" in capsys.readouterr().err
    assert main(["compare", "b", "--quiet", "-a", "relu,elu"]) == 0
    capsys.readouterr()
    assert main([*forms, "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["quick_runs"], record["full_runs"], record["missing"]) == (6, 4, 2)
    assert (record["activations"], record["correlation"]) == (2, None)
    assert main(["compare", "b", "--quiet"]) == 0
    capsys.readouterr()
    assert main([*forms, "b", "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert sorted(record["full_order"]) == ["elu", "relu", "tanh"]
    assert record["correlation"] is not None
    assert main([*forms, "c"]) == 2
    assert "unknown benchmark 'c'" in capsys.readouterr().err
