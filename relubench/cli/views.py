"""Pages and pictures: which command can be written as which, and how one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.errors import BadValue, suggestion
from relubench.formats.pictures import SUFFIXES
from relubench.page import kinds

if TYPE_CHECKING:
    from relubench import page
    from relubench.commands import Outcome
    from relubench.formats import plots
else:
    page, plots = Deferred("relubench.page"), Deferred("relubench.formats.plots")

PAGE = ".html"  # of the commands that have a page; of others it is a table
PAGED = ("train", "cv", "compare", "suggest", "deadcount", "report")


def suffixes(command: str) -> tuple[str, ...]:
    """Of the files that a command's outcome can be drawn to, besides those of its tables."""
    if command in PAGED:
        return (PAGE, *SUFFIXES)
    return SUFFIXES if command in (*kinds.FITTING, "show") else ()


def check(picture: str | None, command: str, targets: dict[Path | None, str]) -> None:
    """Refuse a kind of picture that is not known, or that nothing is to be written of."""
    if picture is None:
        return
    if picture not in kinds.KINDS:
        hint = suggestion(picture, kinds.KINDS) or f"known: {', '.join(kinds.KINDS)}"
        raise BadValue(f"--picture: unknown kind {picture!r}: {hint}")
    if not set(SUFFIXES) & set(targets.values()):
        raise BadValue(f"--picture {picture}: say where it goes: -o {picture}.svg")


def write(done: Outcome, command: str, picture: str | None, suffix: str, path: Path) -> None:
    """Write an outcome's page, or a picture of it, to a file."""
    if done.study is None:
        drawn = done.tables[0].picture if done.tables else None
        if drawn is None:
            raise BadValue(f"there is nothing to draw: give -o another suffix than {suffix}")
        plots.save(drawn, path, suffix.removeprefix("."))
    elif suffix == PAGE:
        path.write_text(page.html(done.study()), encoding="utf-8")
    else:
        fitting = kinds.FITTING[command]
        page.save(done.study(), picture, fitting, path, suffix.removeprefix("."))


def text(done: Outcome) -> str:
    """An outcome's page."""
    assert done.study
    return page.html(done.study())
