"""`relubench help`: topics, pages, and the flags of commands."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import relubench
from relubench.cli import main, manual
from relubench.cli.hints import COMMANDS
from relubench.commands import help as pages

FOLDER = Path(relubench.__file__).parent / "manual"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_page_is_a_topic_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(pages.READING_ORDER)
    assert tuple(pages.pages()) == pages.READING_ORDER
    assert main(["help"]) == 0
    out = capsys.readouterr().out
    for row in pages.topics().tables[0].rows:
        assert row.get("topic") in out
        assert row.get("description") in out


@pytest.mark.parametrize("topic", pages.READING_ORDER)
def test_in_a_pipe_a_page_is_its_markdown(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", topic]) == 0
    assert capsys.readouterr().out == (FOLDER / f"{topic}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("topic", pages.READING_ORDER)
def test_on_a_terminal_a_page_is_rendered(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PAGER", "cat")
    assert main(["help", topic]) == 0
    text = terminal.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "\n<!--" not in text
    assert ".md)" not in text
    assert "\x1b[3" not in text
    heading = pages.pages()[topic].splitlines()[0].removeprefix("# ")
    assert heading in text


def test_a_topic_may_be_typed_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "ledger-and-clusters"]) == 0
    page = capsys.readouterr().out
    assert main(["help", "own", "code"]) == 0
    assert capsys.readouterr().out != page


@pytest.mark.parametrize("command", ["train", "ledger", "ledger show", "help"])
def test_of_a_command_it_shows_the_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", *command.split()]) == 0
    shown = capsys.readouterr().out
    assert main([*command.split(), "--help"]) == 0
    assert shown == capsys.readouterr().out


def test_no_topic_is_named_like_a_command() -> None:
    assert not set(pages.READING_ORDER) & set(COMMANDS)


def test_a_shell_completes_topics_and_commands() -> None:
    assert manual.completed("sta") == ["statistics", "stability"]
    assert manual.completed("dead") == ["dead-neurons", "deadcount"]
