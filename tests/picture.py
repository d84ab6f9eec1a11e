"""The README's picture of a terminal: `python tests/picture.py` measures and draws it anew."""

from __future__ import annotations

import html
import io
import os
import re
import sys
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.text import Text

from relubench.cli import main

PICTURE = Path(__file__).parents[1] / ".github" / "terminal.svg"
COMMAND = "compare"
COLUMNS = 96
CHARACTER = 12.2  # units of the picture
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # fonts from elsewhere
CELL = re.compile(r'<text class="[^"]*" x="([\d.]+)".*?line-(\d+)\)">(.*?)</text>')


class Terminal(io.StringIO):
    """What a command prints for people, in colours."""

    def isatty(self) -> bool:
        return True


def printed() -> str:
    """What the command prints on a terminal of so many columns."""
    terminal = Terminal()
    size = os.terminal_size((COLUMNS, 50))
    flags = ["--threads", "1", "--no-ledger", "--quiet"]
    with mock.patch("shutil.get_terminal_size", return_value=size), redirect_stdout(terminal):
        assert main([*COMMAND.split(), *flags]) == 0
    return terminal.getvalue()


def drawn(output: str) -> str:
    """The SVG of a terminal in which the command was typed."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ relubench {COMMAND}", style="bold"))
    console.print(Text.from_ansi(output))
    svg = console.export_svg(title="relubench", unique_id="relubench")
    return FONT_FACES.sub("", svg)


def lines(svg: str) -> list[str]:
    """The lines of text in such a picture."""
    by_line: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for x, line, text in CELL.findall(svg):
        by_line[int(line)].append((float(x), html.unescape(text).replace("\xa0", " ")))
    return [_line(by_line[number]) for number in sorted(by_line)]


def _line(texts: list[tuple[float, str]]) -> str:
    """Texts at their places: what stands between parts of a style is not in the picture."""
    line = ""
    for x, text in sorted(texts):
        line = line.ljust(round(x / CHARACTER)) + text
    return line.rstrip()


if __name__ == "__main__":
    PICTURE.write_text(drawn(printed()), encoding="utf-8")
    sys.stdout.write("\n".join(lines(PICTURE.read_text(encoding="utf-8"))) + "\n")
