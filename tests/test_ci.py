"""What CI reads: well-formed, escaped, and never longer than it may be."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from fabricated import compare_row, facts_rows
from test_baseline import SETUP

from relubench.baselines import ci
from relubench.rows import GateRow
from relubench.table import Column, Table

AWKWARD = '<a> & "b" \x00\x1b 50 %, c: d\n| ü'


def gate_row(word: Any, **facts: Any) -> GateRow:
    return GateRow(setup=SETUP, metric="accuracy", gate=word, **facts)


def test_junit_has_a_case_per_row_and_a_word_for_each() -> None:
    rows = [
        gate_row("pass"),
        gate_row("fail", n=10, baseline=0.9, value=0.8, margin=0.01),
        gate_row("undecided", n=4, baseline=0.9, value=0.89, margin=0.01, reason=AWKWARD),
        gate_row("not compared", reason="machine: M in the baseline, N here"),
        gate_row("incomplete", reason="1 run lost"),
    ]
    (suite,) = ElementTree.fromstring(ci.junit(rows))
    kinds = [[each.tag for each in case] for case in suite]
    assert kinds == [[], ["failure"], ["skipped"], ["skipped"], ["error"]]
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "2"}
    assert "90.00 in the baseline, 80.00 here, margin 1.00" in suite[1][0].attrib["message"]
    assert "50 %" in suite[2][0].attrib["message"]


def test_junit_of_a_refusal_is_an_error_each() -> None:
    (suite,) = ElementTree.fromstring(ci.junit_of_refusal(["lr: 1 …, 2 here", AWKWARD]))
    assert [case[0].tag for case in suite] == ["error", "error"]


def test_junit_without_a_baseline_fails_where_a_run_diverged() -> None:
    rows = [compare_row("relu", n=3, diverged=0), compare_row("relu", n=1, diverged=2)]
    (suite,) = ElementTree.fromstring(ci.junit_of_runs(rows, list(SETUP)))
    assert [[each.tag for each in case] for case in suite] == [[], ["failure"]]
    assert suite[1][0].get("message") == "2 of 3 runs diverged"


@pytest.mark.parametrize("room", [0, 10, 100, 1000, 2**20])
def test_a_summary_fits_and_says_when_it_is_cut(room: int) -> None:
    table = Table(facts_rows({"x": "ü" * 50}) * 20_000, [Column("x", lambda row: row.get("x"))])
    text = ci.summary([table], "compare", room)
    assert len(text.encode()) <= room
    assert "\ufffd" not in text
    assert text == "" or text.endswith(ci.CUT)
    assert ci.summary([], "compare").startswith("### relubench: compare\n")


def test_annotations_are_one_line_and_only_for_failures() -> None:
    failed = gate_row("fail", n=10, baseline=0.9, value=0.8, margin=0.01, reason=AWKWARD)
    (line,) = ci.errors([gate_row("pass"), gate_row("undecided"), failed])
    assert line.startswith("::error title=relubench gate::iris · ffnn · softmax · relu")
    assert "\n" not in line
    assert r"50 %25, c: d\n|" in line
    assert ci.annotation("a: b, c", "x").startswith("::error title=a%3A b%2C c::")


def test_a_history_has_numbers_of_which_less_is_better() -> None:
    scored = compare_row("relu", accuracy=0.75, accuracy_sd=0.01, dead=0.25, seconds=0.5)
    ruined = compare_row("relu", accuracy=None, accuracy_sd=None, dead=None, seconds=None)
    found = json.loads(ci.history([scored, ruined], list(SETUP)))
    assert [each["value"] for each in found] == [25.0, 25.0, 0.5]
    assert [each["unit"] for each in found] == ["%", "%", "s"]
    assert found[0]["range"] == "± 1"
    for each in found:
        assert set(each) - {"range"} == {"name", "unit", "value", "extra"}
        assert isinstance(each["value"], float)
    assert len({each["name"] for each in found}) == 3
