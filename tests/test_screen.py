"""The painted lines: what is printed above stays, and whatever the width was, all of them go."""

from __future__ import annotations

import io
import re

import pytest

from relubench import screen
from relubench.screen import Screen, columns, cut


class Terminal(io.StringIO):
    """A terminal that understands what `Screen` writes, and breaks lines at its width."""

    def __init__(self, width: int, height: int = 24) -> None:
        super().__init__()
        self.width, self.height = width, height
        self.rows = [""]
        self.row = 0

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b\[\d*[AJ]|\r|\n|[^\x1b\r\n]+", text):
            if part.endswith("A"):
                self.row = max(0, self.row - int(part[2:-1]))
            elif part == "\x1b[J":
                del self.rows[self.row + 1 :]
                self.rows[self.row] = ""
            elif part == "\n":
                self.row += 1
                self.rows[self.row :] = [""]
            elif part != "\r":
                self._put(part)
        return len(text)

    def _put(self, text: str) -> None:
        self.rows[self.row] += text

    def resize(self, width: int) -> None:
        """Break what is longer, as terminals do; the cursor stays at the end."""
        self.width = width
        broken: list[str] = []
        for row in self.rows:
            broken += [row[at : at + width] for at in range(0, max(1, len(row)), width)]
        self.rows, self.row = broken, len(broken) - 1


def painted(terminal: Terminal, *lines: str) -> Screen:
    """A screen without its thread, painted once."""
    made = Screen(terminal, lambda width, height: list(lines))
    made._paint()
    return made


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> None:
    found = property(lambda self: (self.stream.width, self.stream.height))
    monkeypatch.setattr(Screen, "size", found)


def test_what_is_printed_stays_above_the_lines() -> None:
    terminal = Terminal(40)
    made = painted(terminal, "one", "two")
    assert terminal.rows == ["one", "two"]
    made.print("a note\n")
    made._paint()
    assert terminal.rows == ["a note", "one", "two"]
    made.stop()
    assert terminal.rows == ["a note", ""]


@pytest.mark.parametrize("width", [7, 20, 39, 80])
def test_lines_go_whatever_the_width_has_become(width: int) -> None:
    terminal = Terminal(40)
    made = painted(terminal, "x" * 39, "y" * 25, "z")
    terminal.resize(width)
    made.stop()
    assert terminal.rows == [""]


def test_no_line_is_wider_and_there_are_not_more_than_rows() -> None:
    terminal = Terminal(10, height=4)
    painted(terminal, *("w" * 30 for _ in range(9)))
    assert terminal.rows == ["w" * 8 + "…"] * 3


def test_nothing_is_painted_into_a_line_that_has_not_ended() -> None:
    terminal = Terminal(40)
    made = painted(terminal, "one")
    made.print("half a")
    made._paint()
    made.print(" line\n")
    made._paint()
    assert terminal.rows == ["half a line", "one"]


def test_signs_of_two_columns_and_styles_are_reckoned() -> None:
    assert columns("日本") == 4
    assert columns("\x1b[1;31mred\x1b[0m") == 3
    assert cut("日本語", 5) == "日本…"
    assert cut("\x1b[31mlong text\x1b[0m", 5) == "long…"


@pytest.mark.parametrize("variable", ["CI", "TERM"])
def test_where_nothing_can_be_painted_text_is_just_written(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "dumb")
    screen.show(lambda width, height: ["a line"])
    screen.write("a note\n")
    screen.stop()
    assert capsys.readouterr().err == "a note\n"
