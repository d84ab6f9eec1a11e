"""The studies' figures that README prints and that take less than five minutes: run again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relubench.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
NUMBER = r"-?\d+(?:\.\d+)?"


def table(start: str) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table whose first head starts so."""
    (block,) = re.findall(rf"^\| {re.escape(start)}.*\n(?:\|.*\n)+", README, re.M)
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
    assert len(lines) * len(rates) == len(rows) == 25
    for activation, *cells in lines:
        for rate, cell in zip(rates, cells, strict=True):
            row = one(rows, activation=activation, lr=rate)
            dead, accuracy = cell.split(", ")
            assert near(dead, row["dead"], 0.02), (activation, rate, row["dead"])
            assert near(accuracy, row["accuracy"], row["accuracy_sd"]), (activation, rate, row)


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
    _, lines = table("`relubench compare NAME --protocol published`")
    rows = run(["compare", "dlrelu-wdbc", "--protocol", "published"], tmp_path)
    begin = next(n for n, line in enumerate(lines) if line[0] == "`dlrelu-wdbc`")
    for _, head, over, *cells in lines[begin : begin + 4]:
        for protocol, cell in zip(("fresh", "published"), cells, strict=False):
            print(head, over, protocol, cell)
    print(rows)
    raise AssertionError
