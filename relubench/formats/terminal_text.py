"""A table as text for a terminal: aligned, in colour, as many columns as fit; prose by rich."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from relubench.formats import fitting
from relubench.formats.pictures import PIPED, UNFOLDED, draw
from relubench.printable import plain
from relubench.table import AnyTable, Picture, Row

Texts = Sequence[Sequence[str]]  # of rows, a text per column
BOLD, DIM = "1", "2"  # codes of ANSI terminals
TONES = {"good": "32", "bad": "31", "warning": "33", "quiet": DIM}


def text(table: AnyTable, width: int, colour: bool) -> str:
    """The lines of the table; `width` in columns."""
    out = io.StringIO()
    # Prose folds, by rich; without such a column every row is one line.
    folds = any(column.wrap for column in table.columns)
    console = Console(
        file=out,
        width=width if folds else UNFOLDED,
        force_terminal=colour,
        color_system="standard" if colour else None,
        force_jupyter=False,  # or in a notebook rich shows there what is to be written to `out`
    )
    _print_head(table, console, width)
    left_out: Sequence[str] = ()
    if folds:
        _print_folding(table, console, width)
    else:
        # Not by rich, which is slow at the thousands of rows that a ledger may hold.
        fitted = fitting.fit(table, width)
        left_out = fitted.left_out
        out.writelines(_rows(table, fitted, width, colour))
    if table.picture:
        console.print()
        console.print(_drawn(table.picture, PIPED if width == UNFOLDED else width))
    _print_notes(table, left_out, console, width)
    # rich pads lines to the console's width, which a pipe or a file does not want
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _print_head(table: AnyTable, console: Console, width: int) -> None:
    """The answers, then the title."""
    for answer in table.said:
        console.print(Text(answer, style="bold"), width=width)
    if table.answers:
        console.print()
    if table.title:
        console.print(Text(table.caption, style="bold" if not table.answers else ""), width=width)
        console.print()


def _print_notes(table: AnyTable, left_out: Sequence[str], console: Console, width: int) -> None:
    """What there was no room for, then the notes."""
    notes = table.remarks
    if left_out:
        notes = [f"no room for: {', '.join(left_out)} (--wide, or --columns)", *notes]
    if notes:
        console.print()
    for note in notes:
        console.print(Text(note), width=width)


def _rows(table: AnyTable, fitted: fitting.Fitted, width: int, colour: bool) -> Iterator[str]:
    """The lines of the rows in their blocks; the heads stand above the first one."""
    strips = fitted.strips
    widths = [strip.width for strip in strips]
    sides = [strip.column.left for strip in strips]
    most = UNFOLDED if table.whole else width

    def line(cells: Sequence[str], styles: Sequence[str] = ()) -> str:
        padded = list(map(_padded, cells, widths, sides))
        whole = " " * fitting.INDENT + (" " * fitted.gap).join(padded)
        if cell_len(whole.rstrip()) > most:  # the last resort: a row never takes two lines
            return f"{fitting.cut(whole.rstrip(), most)}\n"
        # Codes are added after the width was measured: they take no columns.
        if any(styles):
            padded = list(map(_styled, padded, styles))
            whole = " " * fitting.INDENT + (" " * fitted.gap).join(padded)
        return f"{whole}\n"

    cells = list(zip(*(strip.texts for strip in strips), strict=True))
    heads = [strip.head for strip in strips]
    for number, (heading, rows) in enumerate(_numbered(table)):
        if number:
            yield "\n"
        if heading:
            yield f"{_styled(plain(heading), BOLD if colour else '')}\n"
        if not number:
            yield line(heads, [BOLD if colour else ""] * len(heads))
        for place in rows:
            yield line(cells[place], _styles(table, table.rows[place], strips) if colour else ())


def _styles(table: AnyTable, row: Row, strips: Sequence[fitting.Strip]) -> list[str]:
    """The codes of a row's cells."""
    own = BOLD if table.best(row) else ""
    tones = [TONES.get(strip.column.tone(row), "") for strip in strips]
    return [";".join(filter(None, (own, tone))) for tone in tones]


def _styled(text: str, codes: str) -> str:
    # Blank cells need no colour, and trailing codes would keep blanks from being stripped.
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text


def _numbered(table: AnyTable) -> list[tuple[str, list[int]]]:
    """The numbers of rows that stand together, with their heading; one block where none are."""

    def place(number: int) -> tuple[str, object]:
        row = table.rows[number]
        return table.heading(row), table.group(row)

    groups = groupby(range(len(table.rows)), key=place)
    blocks = [(heading, list(numbers)) for (heading, _), numbers in groups]
    return blocks or [("", [])]


def _print_folding(table: AnyTable, console: Console, width: int) -> None:
    """Blocks of rows with a column of prose, by rich."""
    cells = [table.heads, *table.texts]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    fits = sum(widths) + 2 * len(widths) <= width
    stacked = table.stacks and not fits and len(widths) > 2
    texts = table.texts
    for number, (heading, places) in enumerate(_numbered(table)):
        rows = [texts[place] for place in places]
        if number:
            console.print()
        if heading:
            console.print(Text(plain(heading), style="bold"), width=width)
        if stacked:
            _print_indented(console, _stacked(table, rows, widths[0]))
        else:
            _print_indented(console, _aligned(table, rows, widths, fits, header=not number))


def _print_indented(console: Console, grid: Grid) -> None:
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _drawn(picture: Picture, width: int) -> Text:
    lines = [Text.assemble(*line) for line in draw(picture, width)]
    return Text("\n").join(lines)


def _padded(cell: str, width: int, left: bool) -> str:
    blanks = " " * (width - cell_len(cell))  # not len(): a CJK letter takes two columns
    return cell + blanks if left else blanks + cell


def _aligned(table: AnyTable, rows: Texts, widths: Sequence[int], fits: bool, header: bool) -> Grid:
    """Columns side by side; those that may fold take what width is left."""
    gap = 2 if fits else 1
    grid = Grid(
        box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", show_header=header
    )
    for column, head, width in zip(table.columns, table.heads, widths, strict=True):
        grid.add_column(
            Text(head),
            justify="left" if column.left else "right",
            width=width if fits or not column.wrap else None,
            no_wrap=not column.wrap,
            overflow="fold",
        )
    for cells in rows:
        grid.add_row(*map(Text, cells))  # as Text: a str could hold what rich takes for markup
    return grid


def _stacked(table: AnyTable, rows: Texts, width: int) -> Grid:
    """For a narrow terminal: the name, and beside it what it is and, below, all the rest."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    heads = table.heads[2:]
    for name, what, *rest in rows:
        facts = [f"{head} {text}" for head, text in zip(heads, rest, strict=True) if text]
        grid.add_row(Text(name, style="bold"), Text(what))
        if facts:
            grid.add_row("", Text(" · ".join(facts), style="dim"))
    return grid
