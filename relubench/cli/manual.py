"""A page of the manual on stdout: rendered and paged on a terminal, as it is in a pipe."""

from __future__ import annotations

import os
import re
import shutil
import sys

from relubench import commands
from relubench.cli.hints import COMMANDS
from relubench.cli.terminal import width_and_colour
from relubench.errors import BadValue

WIDEST = 100  # columns; longer lines of prose are hard to follow
LINK = re.compile(r"\[([^\]]+)\]\(([\w-]+)\.md(?:#[\w-]*)?\)")
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def show(page: str) -> int:
    """Print a page; returns the exit code."""
    if sys.stdout is None:
        raise BadValue("stdout is closed")
    if sys.stdout.isatty():
        _render(page)
    else:
        sys.stdout.write(page)
        sys.stdout.flush()
    return 0


def completed(incomplete: str) -> list[str]:
    """What a shell completes: topics and commands that begin so."""
    return [name for name in (*commands.help.pages(), *COMMANDS) if name.startswith(incomplete)]


def _render(page: str) -> None:
    # Here: rich's Markdown is slow to import, and a pipe gets the page as it is.
    from rich.console import Console
    from rich.markdown import Markdown

    width, colour = width_and_colour()
    os.environ.setdefault("LESS", "-FRX")  # as git does: colours, and no pager for a short page
    pager = os.environ.get("MANPAGER") or os.environ.get("PAGER") or "less"
    # Other pagers show codes of colours as letters.
    paints = "less" in pager and shutil.which("less") is not None
    console = Console(width=min(width, WIDEST), no_color=not colour)
    text = LINK.sub(r"\1 (`relubench help \2`)", COMMENT.sub("", page))
    with console.pager(styles=colour and paints):
        console.print(Markdown(text, hyperlinks=False))
