"""How soon training comes to a target."""

from __future__ import annotations

import dataclasses
import json

import pytest
from fabricated import plan, result

from relubench import config, report
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.metrics.measures import MEASURES
from relubench.report import ComparisonOptions
from relubench.results import Epoch, RunResult


def run(
    errors: list[float | None], activation: str = "relu", seed: int = 0, until: str = "0.25"
) -> RunResult:
    """A run of 8 seconds with these errors in its epochs, its losses twice as large."""
    made_up = result(activation, seed, None if None in errors else 0.9)
    curve = tuple(
        Epoch() if error is None else Epoch(loss=2 * error, accuracy=1 - error) for error in errors
    )
    recipe = dataclasses.replace(made_up.cell.recipe, epochs=len(errors))
    target = until if "=" in until else f"train_error={until}"
    cell = dataclasses.replace(made_up.cell, until=target, recipe=recipe)
    return dataclasses.replace(made_up, cell=cell, curve=curve, seconds=8.0)


@pytest.mark.parametrize(
    ("errors", "until", "epochs", "seconds"),
    [
        ([0.75, 0.5, 0.25, 0.125], "0.25", 3, 6.0),
        ([0.75, 0.2, 0.3, 0.1], "0.25", 2, 4.0),  # the first time
        ([0.25, 0.2], "0.25", 1, 4.0),
        ([0.75, 0.5], "0.25", None, None),
        ([0.75, 0.5, 0.25, 0.125], "train_loss=0.25", 4, 8.0),
        ([0.2, None], "0.25", None, None),  # diverged
    ],
)
def test_epochs_are_counted_to_the_first_that_reaches_the_target(
    errors: list[float | None], until: str, epochs: int | None, seconds: float | None
) -> None:
    found = run(errors, until=until)
    assert (found.epochs_until, found.seconds_until) == (epochs, seconds)
    assert MEASURES["epochs_until"].of(found) == epochs


def test_the_ratio_is_the_mean_of_the_seeds_ratios() -> None:
    """Epochs 1 and 2 of relu, 4 and 3 of tanh: 4 / 1 and 3 / 2."""
    runs = [run([0.2, 0.1, 0.1, 0.1]), run([0.5, 0.2, 0.1, 0.1], seed=1)]
    runs += [run([0.9, 0.8, 0.7, 0.2], "tanh"), run([0.9, 0.8, 0.2, 0.2], "tanh", 1)]
    table = report.compare(runs, plan(runs), ComparisonOptions(measure=MEASURES["epochs_until"]))
    rows = {row["activation"]: row for row in table.records}
    assert rows["tanh"]["epochs_until"] == rows["tanh"]["mean"] == 3.5
    assert rows["tanh"]["epochs_until_ratio"] == 2.75
    assert rows["relu"]["epochs_until_ratio"] == 1.0
    assert [row["activation"] for row in table.records] == ["relu", "tanh"]  # the fewest first


def test_where_a_run_does_not_come_so_far_no_mean_is_defined() -> None:
    runs = [run([0.2, 0.1]), run([0.5, 0.2], seed=1), run([0.9, 0.1], "tanh")]
    runs.append(run([0.9, 0.8], "tanh", 1))
    table = report.compare(runs, plan(runs), ComparisonOptions(measure=MEASURES["epochs_until"]))
    tanh = next(row for row in table.records if row["activation"] == "tanh")
    assert (tanh["epochs_until"], tanh["epochs_until_ratio"], tanh["reached"]) == (None, None, 1)
    assert (
        "tanh: 1 of 2 runs did not come so far in 2 epochs, so no mean is defined." in table.notes
    )


def test_each_run_takes_its_best_rate_and_the_rows_say_which(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [
        "-d",
        "iris",
        "-m",
        "ffnn:hidden=8",
        "-a",
        "relu,tanh",
        "--epochs",
        "8",
        "--seeds",
        "3",
    ]
    common = [*names, "--lr", "0.0001,0.05", "--no-ledger", "--quiet", "--format", "json"]
    assert main(["train", *common, "--until", "train_error=20%"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert len(runs) == 6
    assert {(row["lr"], row["rates"], row["until"]) for row in runs} == {
        (0.05, "0.0001,0.05", "train_error=0.2")
    }
    for row in runs:
        errors = [1 - epoch["accuracy"] <= 0.2 for epoch in row["curve"]]
        assert row["epochs_until"] == errors.index(True) + 1
    assert main(["compare", *common, "--until", "train_error=0.2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in rows} == {"epochs_until"}
    assert [row["chosen_lr"] for row in rows] == [[0.05], [0.05]]
    assert main(["train", *common]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 12  # without it a rate is a set-up


@pytest.mark.parametrize("text", ["train_loss=0.001", "train_loss=1e-3", " train_loss = .001"])
def test_a_target_has_one_spelling(text: str) -> None:
    settings = config.resolve(config.Benchmarks("", {}), None, {"until": text}, CATALOGS)
    assert settings.until == "train_loss=0.001"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--until", "accuracy=0.9"], "must be such as train_error=0.25"),
        (["--until", "train_error=25"], "an error is a fraction below 1"),
        (["--until", "train_loss=10%"], "a loss is in nats"),
        (["--until", "train_error"], "must be such as train_error=0.25"),
        (["--best-lr"], "chooses among several rates"),
        (["--metric", "seconds_until"], "say until what"),
    ],
)
def test_what_cannot_be_reached_is_refused(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "-d", "iris", "--no-ledger", *flags]) == 2
    assert said in capsys.readouterr().err
