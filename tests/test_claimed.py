"""Directions that were claimed, beside what the tests of a comparison show of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricated import FIXED, plan, runs

from relubench.cli import main
from relubench.config import Published
from relubench.metrics.measures import MEASURES
from relubench.report import claimed, compare
from relubench.report.published import of_comparison
from relubench.results import RunResult
from relubench.table import AnyTable


def claim(**facts: Any) -> Published:
    usual: dict[str, Any] = {"activation": "elu", "source": "a paper", "confirmed": False}
    return Published(**usual | facts)


def tables(entry: Published, results: list[RunResult], metric: str = "accuracy") -> list[AnyTable]:
    options = replace(FIXED, measure=MEASURES[metric])
    rows = compare(results, plan(results), options).rows
    return claimed.tables([entry], rows, results, plan(results), options)


@pytest.mark.parametrize(
    ("shift", "n", "higher", "lower"),
    [
        (0.03, 10, "holds", "reversed"),
        (-0.03, 10, "reversed", "holds"),
        (0.0, 10, "alike", "alike"),
        (0.03, 3, "undecided", "undecided"),  # three pairs can show nothing
    ],
)
def test_a_claim_holds_where_the_comparison_shows_it(
    shift: float, n: int, higher: str, lower: str
) -> None:
    results = [*runs("relu", 0.0, n), *runs("elu", shift, n)]
    for direction, word in (("higher", higher), ("lower", lower)):
        (table,) = tables(claim(claimed=direction), results)
        (row,) = table.records
        assert (row["claimed"], row["beside"], row["verdict"]) == (direction, "relu", word)
        assert row["pairs"] == n


@pytest.mark.parametrize(("direction", "word"), [("lower", "holds"), ("higher", "reversed")])
def test_lower_is_better_for_a_loss_and_still_lower(direction: str, word: str) -> None:
    """Whatever the table above compares: a claim is tested on its own figure."""
    results = [*runs("relu", 0.0), *(replace_loss(run) for run in runs("elu", 0.0))]
    for compared in ("accuracy", "train_loss"):
        (table,) = tables(claim(claimed=direction, metric="train_loss"), results, compared)
        assert table.records[0]["verdict"] == word
        assert table.records[0]["difference"] == pytest.approx(-0.05, abs=0.02)


def replace_loss(run: RunResult) -> RunResult:
    """0.1 before; differences that differ, as those of real runs do."""
    return replace(run, scores=run.scores | {"train_loss": 0.05 + 0.001 * run.cell.seed})


def test_a_claim_beside_another_activation_says_how_to_test_it() -> None:
    results = [*runs("relu", 0.0), *runs("elu", 0.03)]
    (table,) = tables(claim(claimed="higher", beside="tanh"), results)
    (row,) = table.records
    assert row["verdict"] == "cannot be said: it is compared with relu (--reference tanh)"
    assert row["difference"] is row["p"] is None


def test_nothing_is_said_of_the_reference_or_where_nothing_was_claimed() -> None:
    results = [*runs("relu", 0.0), *runs("elu", 0.03)]
    assert tables(claim(activation="relu", claimed="higher"), results) == []
    assert tables(claim(activation="tanh", claimed="higher"), results) == []


def test_a_figure_with_a_direction_stands_in_both_tables() -> None:
    results = [*runs("relu", 0.0), *runs("elu", 0.03)]
    rows = compare(results, plan(results), FIXED).rows
    both = claim(claimed="higher", value=0.94)
    given = (rows, results, plan(results), FIXED, "it was quick")
    titles = [table.title for table in of_comparison([both], *given)]
    assert titles == ["1 published figure, accuracy %", "1 claimed direction, accuracy points"]
    alone = of_comparison([claim(claimed="higher")], *given)
    assert [table.title for table in alone] == titles[1:]


def test_compare_prints_claims_in_a_quick_run_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[benchmark.b]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 2\nseeds = 2\n'
    text += 'activation = ["relu", "elu"]\nquick = { epochs = 1 }\n[[benchmark.b.published]]\n'
    text += 'activation = "elu"\nclaimed = "lower"\nsource = "a paper"\nconfirmed = false\n'
    Path("benchmarks.toml").write_text(text, encoding="utf-8")
    assert main(["compare", "b", "--quick", "--quiet"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 claimed direction, accuracy points" in out
    assert "lower than relu" in out
    assert "claimed: a paper (not confirmed)" in out
    assert "published figure" not in out
