"""Formats over one awkward table: golden text for people, parsers for machines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from relubench.formats import FORMATS, Column, Table, by_suffix, render

ROWS = [
    {"name": "a|b & c_d", "score": 0.98765, "none": None, "lists": [[1, 2], [3, 4]], "ok": True},
    {"name": 'quote " <x>, ünï', "score": 1e-12, "none": None, "lists": [], "ok": False},
    {"name": "[bold]plain[/bold]", "score": 5.0, "none": 3, "lists": [[0]], "ok": True},
]
AWKWARD = Table(
    rows=ROWS,
    columns=[
        Column("name %", lambda row: row["name"], left=True),
        Column("score ↑", lambda row: f"{row['score']:.2f}"),
        Column("none", lambda row: "–" if row["none"] is None else str(row["none"])),
    ],
    title="awkward · 50 % & more_or_less",
    notes=["a note with 5 % & an_underscore"],
    group=lambda row: row["ok"],
)
EMPTY = Table(rows=[], columns=AWKWARD.columns)


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
    narrow = render([AWKWARD], "text", width=20)
    assert all(row["name"] in narrow for row in ROWS)
    prose = Table([{"a": "word " * 30}], [Column("a", lambda row: row["a"], wrap=True)])
    assert max(map(len, render([prose], "text", width=40).splitlines())) <= 40


def test_colour_only_when_asked() -> None:
    assert "\x1b[" not in render([AWKWARD], "text")
    assert "\x1b[" in render([AWKWARD], "text", colour=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_suffix_means_its_format(name: str) -> None:
    assert by_suffix(f"table{FORMATS[name].suffix}") == name
    assert by_suffix("table.unknown") is None
