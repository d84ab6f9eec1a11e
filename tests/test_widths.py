"""Tables on terminals of several widths: what is shown, what is left out, and no row in two."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from fabricated import FIXED, FactsRow, facts_rows, plan, result, runs

from relubench import report, stats
from relubench.cli import output, terminal
from relubench.formats import UNFOLDED, render
from relubench.formats.fitting import cut
from relubench.plan import Split
from relubench.report import Ended
from relubench.report.columns import text_of
from relubench.table import AnyTable, Column, Table

WIDTHS = (60, 80, 120, 200)
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def tables() -> dict[str, list[AnyTable]]:
    compared = [*runs("relu", 0.0), *runs("gelu", 0.02), *runs("tanh", -0.02)]
    compared += runs("leaky_relu:negative_slope=0.01", 0.0005)
    folds = [
        result(name, seed, 0.9 + 0.01 * fold, Split(folds=3, fold=fold))
        for name in ("relu", "gelu")
        for fold in range(3)
        for seed in range(2)
    ]
    sweep = [result("relu", 0, 0.9, lr=lr) for lr in (0.1, 0.3)] + [result("relu", 0, None, lr=1.0)]
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]
    counts = {name: 100 * number for number, name in enumerate(classes)}
    matrix = facts_rows(*({"true": name} | counts for name in classes))
    columns: list[Column[FactsRow]] = [Column("true", lambda row: row.get("true"), left=True)]
    columns += [Column(name, text_of(name), rank=1) for name in classes]
    return {
        "compare": [report.compare(compared, plan(compared), FIXED)],
        "train": [report.runs(compared[:4], plan(compared)), *report.means(compared)],
        "cv": [report.runs(folds, plan(folds)), report.folds(folds)],
        "deadcount": report.deadcount(sweep, plan(sweep)),
        "layers": report.deadcount(sweep, plan(sweep), layers=True),
        "confusion": [Table(matrix, columns)],
        "suggest": [suggestion()],
    }


def suggestion() -> AnyTable:
    """Of three networks, one of which has a long name."""
    found = []
    for model in ("ffnn:hidden=8", "ffnn:hidden=128x64x32:dropout=0.1", "mlp"):
        for activation, shift in (("relu", 0.0), ("gelu", 0.02), ("leaky_relu", -0.01)):
            for run in runs(activation, shift):
                found.append(replace(run, cell=replace(run.cell, model=model)))
    ended = Ended(stats.spent([5, 10, 20]), 2, "decided")
    return report.suggestion(found, plan(found), FIXED, ended)


@pytest.mark.parametrize("name", tables())
def test_a_table_reads_as_it_should_at_every_width(
    name: str, golden: Callable[[str, str], None]
) -> None:
    shown = [f"{width} columns\n\n{render(tables()[name], 'text', width)}" for width in WIDTHS]
    golden(f"width-{name}.txt", "\n".join([*shown, f"a pipe\n\n{render(tables()[name], 'text')}"]))


@pytest.mark.parametrize("name", tables())
def test_a_table_reads_as_it_should_where_an_encoding_has_ascii_alone(
    name: str, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under LANG=C: at 80 columns, then in a pipe."""
    made = []
    for width in (80, UNFOLDED):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(output, "width_and_colour", lambda width=width: (width, False))
        output._print(tables()[name], "text")
        stdout.seek(0)
        made.append(stdout.read())
    text = "\n".join(made)
    assert "?" not in text
    assert "\x1b" not in text
    golden(f"ascii-{name}.txt", text)


@pytest.mark.parametrize("name", tables())
@pytest.mark.parametrize("width", range(60, 201, 7))
def test_no_row_takes_two_lines(name: str, width: int) -> None:
    """Each row of each table is one line, and no line is wider than the terminal."""
    for table in tables()[name]:
        lines = render([table], "text", width).splitlines()
        assert max(map(len, lines)) <= width
        rows = [line for line in lines if line.startswith("  ")]
        assert len(rows) == len(table.for_people.rows) + 1


@pytest.mark.parametrize("name", tables())
def test_colours_change_no_text(name: str) -> None:
    for width in (*WIDTHS, UNFOLDED):
        coloured = render(tables()[name], "text", width, colour=True)
        assert ESCAPE.sub("", coloured).split() == render(tables()[name], "text", width).split()


def test_what_is_left_out_is_named_and_comes_back() -> None:
    (table,) = tables()["compare"]
    narrow = render([table], "text", 80)
    assert "no room for: " in narrow
    assert "P(better)" not in narrow.splitlines()[4]
    chosen = report.Arrangement(columns=("activation", "probability")).apply(table)
    assert "P(better)" in render([chosen], "text", 60)


@pytest.mark.parametrize(
    ("text", "width", "short"), [("relu", 4, "relu"), ("abcdefgh", 5, "ab…gh"), ("abcdef", 2, "a…")]
)
def test_a_name_is_cut_in_its_middle(text: str, width: int, short: str) -> None:
    assert cut(text, width) == short


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    environment: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Tty())
    for name, value in {"TERM": "xterm", "COLUMNS": "60", **environment}.items():
        monkeypatch.setenv(name, value)
    assert terminal.width_and_colour() == (60, colour)


def test_an_encoding_without_the_signs_gets_plain_ones() -> None:
    for table in tables().values():
        for width in (60, 200):
            text = render(table, "text", width)
            plain = output.spelled(text, "ascii")
            assert plain.isascii()
            assert list(map(len, plain.splitlines())) == list(map(len, text.splitlines()))
            assert output.spelled(text, "utf-8") == text
