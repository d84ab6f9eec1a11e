"""Formats over one awkward table: golden text for people, parsers for machines."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fabricated import FactsRow, facts_rows

from relubench.formats import FORMATS, by_suffix, render
from relubench.formats.latex import escape
from relubench.table import Column, Table

ROWS = [
    {"name": "a|b & c_d", "score": 0.98765, "none": None, "lists": [[1, 2], [3, 4]], "ok": True},
    {"name": 'quote " <x>, ünï', "score": 1e-12, "none": None, "lists": [], "ok": False},
    {"name": "[bold]plain[/bold]", "score": 5.0, "none": 3, "lists": [[0]], "ok": True},
]
AWKWARD = Table(
    rows=facts_rows(*ROWS),
    columns=[
        Column("name %", lambda row: row.get("name"), left=True),
        Column("score ↑", lambda row: f"{row.get('score'):.2f}"),
        Column("none", lambda row: "–" if row.get("none") is None else str(row.get("none"))),
    ],
    title="awkward · 50 % & more_or_less",
    notes=["a note with 5 % & an_underscore"],
    group=lambda row: row.get("ok"),
)
EMPTY: Table[FactsRow] = Table(rows=[], columns=AWKWARD.columns)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_prints_the_awkward_table(
    name: str, golden: Callable[[str, str], None]
) -> None:
    golden(f"awkward{FORMATS[name].suffix}", render([AWKWARD], name))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_prints_a_table_without_rows(name: str) -> None:
    assert render([EMPTY], name).endswith("\n") or name == "jsonl"


def test_json_and_jsonl_are_the_rows() -> None:
    assert json.loads(render([AWKWARD], "json")) == ROWS
    assert [json.loads(line) for line in render([AWKWARD], "jsonl").splitlines()] == ROWS


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(render([AWKWARD], "csv"))))
    assert [row["name"] for row in rows] == [row["name"] for row in ROWS]
    assert [float(row["score"]) for row in rows] == [row["score"] for row in ROWS]
    assert [row["none"] for row in rows] == ["", "", "3"]
    assert [json.loads(row["lists"]) for row in rows] == [row["lists"] for row in ROWS]


def latex_cells(text: str) -> list[list[str]]:
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    return [re.split(r"(?<!\\) & ", line[:-3]) for line in body.splitlines() if " & " in line]


SIGNS = "\\&%$#_{}~^<>|[] –−±·×√∞≤≥≠≈∈→↑↓●…αβδελμσφωΓΔΣΩ²³ˣ₁ünï"


def test_latex_escapes_what_it_would_read_as_a_command() -> None:
    left = re.sub(r"\\(?:[a-zA-Z]+|.)", "", escape(SIGNS))  # commands and escaped signs are gone
    assert not set(left) & set("\\&%#~")
    assert left.count("$") % 2 == 0
    assert left.count("{") == left.count("}")
    assert "".join(sign for sign in left if not sign.isascii()) == "üï"
    assert escape("[a] -1.5 to relu-6") == "{[}a] $-$1.5 to relu-6"
    assert escape("x²³") == "x$^{2}$$^{3}$"  # one formula would have two exponents
    assert escape("α·β") == r"$\alpha\cdot\beta$"


def test_latex_aligns_the_signs_and_marks_the_best() -> None:
    column = Column[FactsRow](
        "score %", lambda row: row.get("text"), mark=lambda row: row.get("mark")
    )
    name = Column[FactsRow]("a_b", lambda row: row.get("mark"), left=True)
    texts = {"bold": "97.6 ± 0.3", "underline": "8 ± 10", "": "–"}
    rows = facts_rows(*({"text": text, "mark": mark} for mark, text in texts.items()))
    printed = render([Table(rows, [name, column])], "latex")
    assert r"\begin{tabular}{lr@{${}\pm{}$}l}" in printed
    assert r"a\_b & \multicolumn{2}{c}{score \%} \\" in printed
    assert latex_cells(printed) == [
        ["bold", r"\textbf{97.6}", "0.3"],
        ["underline", r"\underline{8}", "10"],
        ["", r"\multicolumn{2}{c}{--}"],
    ]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_latex_compiles(tmp_path: Path) -> None:
    head = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs}"
    signs = Table(facts_rows({"a": SIGNS}), [Column(SIGNS, lambda row: row.get("a"))])
    text = f"{head}\\begin{{document}}\n{render([AWKWARD, signs], 'latex')}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_machines_get_the_keys_that_were_chosen() -> None:
    chosen = dataclasses.replace(AWKWARD, keys=["score", "name"])
    expected = [{"score": row["score"], "name": row["name"]} for row in ROWS]
    assert json.loads(render([chosen], "json")) == expected
    assert render([chosen], "csv").startswith("score,name\n")


def test_html_shows_the_texts_and_is_escaped() -> None:
    class Reader(HTMLParser):
        cells: list[str]
        inside = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside = tag == "td"

        def handle_data(self, data: str) -> None:
            if self.inside:
                self.cells.append(data.strip())
                self.inside = False

    reader = Reader()
    reader.cells = []
    reader.feed(render([AWKWARD], "html"))
    assert reader.cells == [text for row in AWKWARD.texts for text in row]


def test_machine_formats_print_the_first_table_only() -> None:
    assert render([AWKWARD, EMPTY], "json") == render([AWKWARD], "json")
    assert render([AWKWARD, AWKWARD], "text") == "\n".join([render([AWKWARD], "text")] * 2)


def test_figures_are_never_folded_but_prose_is() -> None:
    narrow = render([AWKWARD], "text", width=30)
    assert all(f"{row['score']:.2f}" in narrow for row in ROWS)
    assert max(map(len, narrow.splitlines())) <= 30
    prose = Table(
        facts_rows({"a": "word " * 30}), [Column("a", lambda row: row.get("a"), wrap=True)]
    )
    assert max(map(len, render([prose], "text", width=40).splitlines())) <= 40


def test_colour_only_when_asked() -> None:
    assert "\x1b[" not in render([AWKWARD], "text")
    assert "\x1b[" in render([AWKWARD], "text", colour=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_suffix_means_its_format(name: str) -> None:
    assert by_suffix(f"table{FORMATS[name].suffix}") == name
    assert by_suffix("table.unknown") is None


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_what_is_no_number_is_null(name: str) -> None:
    row = {"a": float("inf"), "b": [1.0, float("nan")], "c": {"d": float("-inf")}, "e": 2.5}
    (found,) = json.loads(f"[{render([Table(facts_rows(row), [])], name).strip('[]' + chr(10))}]")
    assert found == {"a": None, "b": [1.0, None], "c": {"d": None}, "e": 2.5}
