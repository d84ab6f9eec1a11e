"""What is printed is text: every output with every kind of name that somebody may have chosen."""

from __future__ import annotations

import csv
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fabricated import FactsRow, compare_row, facts_rows
from hypothesis import given
from hypothesis import strategies as st
from test_baseline import SETUP

from relubench.baselines import ci
from relubench.cli import main
from relubench.cli.terminal import say
from relubench.commands.comparing import refused
from relubench.errors import BadValue, UnknownName
from relubench.formats import FORMATS, render
from relubench.printable import for_json, hidden, plain
from relubench.rows import GateRow
from relubench.table import Column, Table

NAMES = {
    "plain": "leaky_relu:negative_slope=0.2",
    "a new line": "a\n::error title=x::forged",
    "a return": "a\r::error::forged",
    "a command": "::error file=a.py::forged",
    "a command after blanks": "  ::set-output name=a::b",
    "colour": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;title\x07",
    "one byte control": "\x9b31mred",
    "a bell and a delete": "a\x07\x7f\x08b",
    "turned": "abc\u202egnp.exe",
    "isolated": "\u2066abc\u2069",
    "nothing to see": "re\u200blu\ufeff",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "half a character": "a\ud800b",
    "a tag": "a\U000e0041b",
    "a null": "a\x00b",
    "formula": "=1+1",
    "sum": "@SUM(A1)",
    "minus": "-2+3",
    "plus": "+2",
    "markup": "<script>alert(1)</script>",
    "an end of a cell": "a|b \\| c \\\\| d",
    "latex": "\\input{/etc/passwd} % & $",
    "rich": "[red]x[/red]",
    "wide": "ünï 活性化 ✓ 👩\u200d🔬",
}


def table(name: str) -> Table[FactsRow]:
    """A table that has the name wherever a name can stand."""
    return Table(
        rows=facts_rows(
            {"name": name, "list": [name], name: 1.5}, {"name": name, "list": [], name: -1.5}
        ),
        columns=[
            Column(name, lambda row: row.get("name"), left=True),
            Column("prose", lambda row: f"of {row.get('name')}", left=True, wrap=True),
            Column("n", lambda row: "1"),
        ],
        title=f"{name} of all",
        notes=[name, f"note: {name}"],
        heading=lambda row: row.get("name"),
    )


def check(text: str) -> None:
    """No line is a command, nothing hidden but line ends of ours."""
    text.encode("utf-8")
    assert not [sign for sign in text if hidden(sign) and sign != "\n"]
    assert not [line for line in text.splitlines() if line.lstrip(" |%'\"").startswith("::")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_with_every_kind_of_name(kind: str, name: str) -> None:
    shaped = table(NAMES[name])
    for each in (shaped, replace(shaped, turned=True), replace(shaped, stacks=True)):
        for width in (30, 80, 1000):
            text = render([each], kind, width=width)
            check(text)
    safe = render([table("x")], kind)
    assert render([shaped], kind).count("\n") == safe.count("\n")  # no line from outside


@pytest.mark.parametrize("name", NAMES)
def test_machines_read_back_what_was_there(name: str) -> None:
    rows = table(NAMES[name]).records
    assert json.loads(render([table(NAMES[name])], "json")) == rows
    found = list(csv.reader(io.StringIO(render([table(NAMES[name])], "csv"))))
    assert [len(line) for line in found] == [len(found[0])] * 3
    assert not [cell for line in found for cell in line if cell[:1] in tuple("=+@")]
    assert found[1][-1] == "1.5"
    assert found[2][-1] == "-1.5"  # a number is a number
    assert found[1][0].lstrip("'") == plain(NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_ci_with_every_kind_of_name(name: str) -> None:
    word = NAMES[name]
    setup = SETUP | {"dataset": word, "activation": word}
    rows = [
        GateRow(setup=setup, metric="accuracy", gate=w, reason=word, margin=0.01, n=3)
        for w in ("fail", "incomplete", "pass", "undecided")
    ]
    for line in [*ci.errors(rows), *refused([word]).annotations]:
        assert line.startswith("::error title=relubench")
        assert "\n" not in line
        check(line.removeprefix("::"))
    check(ci.junit(rows))
    assert len(ElementTree.fromstring(ci.junit(rows))[0]) == 4
    check(ci.junit_of_refusal([word]))
    check(ci.summary([table(word)], word))
    check(str(refused([word]).summary))
    check(ci.history([compare_row(**setup)], list(setup)))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(NAMES[name])
    err = capsys.readouterr().err
    check(err)
    assert err.count("\n") == 1
    error = BadValue(f"{NAMES[name]}: no", "second")
    assert str(error).count("\n") == 1
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    unknown = UnknownName("kind", NAMES[name], known=[])
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)


@given(st.text())
def test_plain_is_one_line_and_stays_as_it_is(text: str) -> None:
    once = plain(text)
    assert len(once.splitlines()) <= 1
    assert plain(once) == once
    check(once)
    assert json.loads(for_json(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_given_such_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    word = NAMES[name]
    spelt = json.dumps(word.replace("\ud800", "?").replace("\x7f", "?"))
    quoted = spelt.replace("\\ud83d\\udc69", "x").replace("\\ud83d\\udd2c", "x")
    quoted = quoted.replace("\\udb40\\udc41", "x")
    toml = f'[benchmark.{quoted}]\ndescription = {quoted}\ndataset = ["iris"]\n'
    Path("benchmarks.toml").write_text(toml, encoding="utf-8")
    assert main(["list", "benchmarks"]) == 0
    out, err = capsys.readouterr()
    check(out)
    check(err)
    for arguments in (
        ["train", "-a", word, "--epochs", "0", "--quiet"],
        ["train", "-d", word],
        ["train", "--config", word.replace("\0", "")],
        ["train", word, "--dry-run", "--quiet"],
        ["list", word],
        [f"--{word}"],
    ):
        assert main(arguments) == 2 or name == "plain" or "--dry-run" in arguments
        out, err = capsys.readouterr()
        check(out)
        check(err)
