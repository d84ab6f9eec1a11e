"""The studies' figures that the manual prints and that take less than five minutes: run again."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from relubench.cli import main

PAGE = Path(__file__).parents[1] / "relubench" / "manual" / "studies.md"
STUDIES = PAGE.read_text(encoding="utf-8")
SHIPPED = Path(__file__).parents[1] / "benchmarks.toml"
NUMBER = r"-?\d+(?:\.\d+)?"


def table(start: str) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table whose first head starts so."""
    (block,) = re.findall(rf"^\| {re.escape(start)}.*\n(?:\|.*\n)+", STUDIES, re.M)
    (heads, _, *rows) = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()
    ]
    return heads, rows


def run(arguments: list[str], folder: Path) -> list[dict[str, Any]]:
    written = folder / "rows.json"
    flags = ["--threads", "1", "--no-ledger", "--quiet", "--format", "json", "-o", str(written)]
    assert main([*arguments, *flags]) == 0
    rows: list[dict[str, Any]] = json.loads(written.read_text(encoding="utf-8"))
    return rows


def one(rows: list[dict[str, Any]], **of: Any) -> dict[str, Any]:
    (found,) = [row for row in rows if all(row[key] == value for key, value in of.items())]
    return found


def near(printed: str, share: float, sd: float) -> bool:
    """Whether a printed percentage is this share, but for what another CPU's last bits change."""
    return abs(float(printed) - 100 * share) <= max(0.15, 100 * sd / 2)


@pytest.mark.slow
def test_dead_units_over_rates_are_those_of_dying_relu(tmp_path: Path) -> None:
    heads, lines = table("`relubench compare dying-relu`")
    rows = run(["compare", "dying-relu"], tmp_path)
    rates = [float(re.findall(NUMBER, head)[0]) for head in heads[1:]]
    rows = [row for row in rows if row["revive"] is None]
    assert len(lines) * len(rates) == len(rows) == 25
    for activation, *cells in lines:
        for rate, cell in zip(rates, cells, strict=True):
            row = one(rows, activation=activation, lr=rate)
            dead, accuracy = cell.split(", ")
            assert near(dead, row["dead"], 0.02), (activation, rate, row["dead"])
            assert near(accuracy, row["accuracy"], row["accuracy_sd"]), (activation, rate, row)


@pytest.mark.slow
def test_dead_units_with_redo_are_those_of_dying_relu(tmp_path: Path) -> None:
    heads, lines = table("relu: dead, accuracy")
    rows = run(["compare", "dying-relu", "-a", "relu"], tmp_path)
    rates = [float(re.findall(NUMBER, head)[0]) for head in heads[1:]]
    for name, *cells in lines:
        for rate, cell in zip(rates, cells, strict=True):
            row = one(rows, revive=None if name == "none" else name, lr=rate)
            dead, _, accuracy, _ = re.findall(NUMBER, cell)
            assert near(dead, row["dead"], 0.04), (name, rate, row["dead"])
            assert near(accuracy, row["accuracy"], row["accuracy_sd"]), (name, rate, row)


@pytest.mark.slow
def test_histories_are_those_of_dying_relu(tmp_path: Path) -> None:
    heads, lines = table("`relubench deadcount dying-relu --history`")
    flags = ["-a", "relu", "--lr", "0.01,0.1", "--history"]
    rows = run(["deadcount", "dying-relu", *flags], tmp_path)
    for name, *cells in lines:
        rate, revive = re.match(r"lr (\S+), (\w+)", name).groups()  # type: ignore[union-attr]
        chosen = None if revive == "none" else revive
        row = one(rows, revive=chosen, lr=float(rate), layer="total")
        by_epoch = dict(zip(row["counted_after"], row["dead_by_epoch"], strict=True))
        for epoch, printed in zip(map(int, heads[1:]), cells, strict=True):
            assert near(printed, by_epoch[epoch], 0.04), (name, epoch, by_epoch[epoch])


@pytest.mark.slow
def test_verdicts_under_two_schemes_are_those_of_does_init_decide(tmp_path: Path) -> None:
    _, lines = table("`relubench compare does-init-decide`")
    rows = run(["compare", "does-init-decide"], tmp_path)
    assert 2 * len(lines) == len(rows)
    for name, *cells in lines:
        activation = name.split(" ")[0]
        for init, cell in zip(("family", "gain"), cells, strict=True):
            row = one(rows, activation=activation, chosen_init=init)
            mean, sd = re.findall(NUMBER, cell)
            assert near(mean, row["accuracy"], row["accuracy_sd"]), (activation, init, row)
            assert near(sd, row["accuracy_sd"], row["accuracy_sd"])
            verdict = cell.partition(", ")[2].strip("*") or "reference"
            assert verdict == row["verdict"], (activation, init)


@pytest.mark.slow
def test_carried_weights_are_those_of_dlrelu_wdbc(tmp_path: Path) -> None:
    """To the digit: what a machine format leaves out is read from the text."""
    _, lines = table("`relubench compare NAME --protocol published`")
    written = tmp_path / "out.txt"
    flags = ["--threads", "1", "--no-ledger", "--quiet", "-o", str(written)]
    assert main(["compare", "dlrelu-wdbc", "--protocol", "published", *flags]) == 0
    text = written.read_text(encoding="utf-8")
    begin = next(n for n, line in enumerate(lines) if line[0] == "`dlrelu-wdbc`")
    for _, head, over, *cells in lines[begin : begin + 4]:
        place = "test set" if over == "test" else "over folds"
        (line,) = re.findall(rf"^ +{head} +{place} +(.*)$", text, re.M)
        measured = re.findall(rf"({NUMBER}) ± ({NUMBER})", line)
        printed = [tuple(re.findall(NUMBER, cell)) for cell in cells[:2]]
        for (mean, sd), figure in zip(printed, measured, strict=True):
            assert near(mean, float(figure[0]) / 100, float(figure[1]) / 1000), (head, over)
            assert near(sd, float(figure[1]) / 100, float(figure[1]) / 500), (head, over)
        assert line.split()[-1] == cells[2]


@pytest.mark.slow
def test_dead_units_over_depth_are_those_of_dying_relu_depth(tmp_path: Path) -> None:
    heads, lines = table("`relubench deadcount dying-relu-depth`")
    rows = run(["deadcount", "dying-relu-depth"], tmp_path)
    totals = [row for row in rows if row["layer"] == "total"]
    depths = [int(re.findall(r"\d+", head)[0]) for head in heads[1:]]
    for width, *cells in lines:
        for depth, cell in zip(depths, cells, strict=True):
            model = f"mlp:depth={depth}:width={width.split()[0]}"
            runs = [r for r in totals if r["model"] == model and r["activation"] == "relu"]
            assert len(runs) == 10
            means = [sum(r[key] for r in runs) / 10 for key in ("born_dead", "dead", "accuracy")]
            born, dead, accuracy = cell.split(", ")
            assert near(born, means[0], 0)
            assert near(dead, means[1], 0.02)
            assert near(accuracy, means[2], 0.05)
    others = [row for row in totals if row["activation"] != "relu"]
    assert not any(row["born_dead"] or row["dead"] for row in others)


# --- quick forms ----------------------------------------------------------------------------------

TABLES = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["benchmark"]
PUBLISHED = [name for name, table in TABLES.items() if "published" in table]
DOWNLOADED = {"mnist", "fashion_mnist", "cifar10", "tinyshakespeare"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_quick_form_ends_and_prints_its_verdicts(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (TABLES[name] | TABLES[name]["quick"])["dataset"]
    if DOWNLOADED & {*([data] if isinstance(data, str) else data)}:
        request.getfixturevalue("real_data")
    flags = ["--threads", "1", "--jobs", "1", "--no-ledger", "--quiet"]
    assert main(["compare", name, "--quick", *flags]) == 0
    out = capsys.readouterr().out
    assert "published figure" in out or "claimed direction" in out


@pytest.mark.slow
def test_relu_falls_below_leaky_relu_over_random_labels(tmp_path: Path) -> None:
    """In the quick form, p < 0.05, with the means that the manual prints."""
    _, lines = table("`plasticity-random-labels`")
    rows = run(["compare", "plasticity-random-labels", "--quick"], tmp_path)
    leaky = one(rows, activation="leaky_relu")
    assert leaky["verdict"] == "better"
    assert leaky["p"] < 0.05
    for activation, *_, every in lines:
        row = one(rows, activation=activation)
        printed = re.findall(NUMBER, every)[0]
        assert near(printed, row["online_accuracy"], row["mean_sd"]), row
