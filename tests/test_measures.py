"""Margins: points of a share, per cent of anything else, or a number in the metric's unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relubench import config
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.errors import BadValue, UnknownName
from relubench.metrics.measures import MEASURES, margins
from relubench.models import MODELS
from relubench.plan import Margin


def test_list_metrics_names_whatever_can_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metrics"]) == 0
    words = capsys.readouterr().out.replace(",", " ").replace(".", " ").split()
    assert set(MEASURES) <= set(words)


@pytest.mark.parametrize("name", MEASURES)
def test_per_cent_is_points_of_a_share_and_relative_otherwise(name: str) -> None:
    share = MEASURES[name].unit == "fraction"
    margin = margins(f"{name}=2%")[name]
    assert margin == Margin(0.02, relative=not share)
    assert margin.of(5.0) == (0.02 if share else 0.1)


@pytest.mark.parametrize(
    "value",
    [
        "accuracy=0.5%,seconds=0.1",
        ["accuracy=0.5%", "seconds=.1"],
        {"accuracy": "0.5%", "seconds": 0.1},
        ["accuracy = 0.5 %,seconds=0.10"],
    ],
)
def test_a_list_and_a_table_say_the_same(value: Any) -> None:
    assert margins(value) == {"accuracy": Margin(0.005), "seconds": Margin(0.1)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accuracy", "write METRIC=SIZE"),
        ("accuracy=0.5", "accuracy is a fraction"),
        ("accuracy=101%", "100 points"),
        ("accuracy=-1%", "must be a number from 0"),
        ("accuracy=nan%", "must be a number from 0"),
        ("accuracy=", "must be a number from 0"),
        ("seconds=" + "9" * 400, "must be a number from 0"),
        ("accuracy=1%,accuracy=2%", "given twice"),
        ("", "write METRIC=SIZE"),
    ],
)
def test_what_is_no_margin_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadValue, match=says):
        margins(text)


def test_an_unknown_metric_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        margins("acuracy=1%")


def test_a_benchmark_has_margins_and_the_flag_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('[benchmark.a]\nmargin = {accuracy = "0.5%", loss = 0.1}\n', encoding="utf-8")
    read = config.read(path, CATALOGS)
    table = config.resolve(read, "a", {}, CATALOGS)
    assert table.margin == {"accuracy": Margin(0.005), "loss": Margin(0.1)}
    flags = {"margin": ["dead=1%"]}
    settings = config.resolve(read, "a", flags, CATALOGS)
    plan = config.plan(settings, "compare", False, MODELS)
    assert plan.margins == {"dead": Margin(0.01)}
