"""A table as text for a terminal, by rich: aligned, folded where a column may, in colour."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from relubench.formats.pictures import PIPED, UNFOLDED, draw
from relubench.printable import plain
from relubench.table import AnyTable, Picture

Texts = Sequence[Sequence[str]]  # of rows, a text per column


def text(table: AnyTable, width: int, colour: bool) -> str:
    """The lines of the table; `width` in columns."""
    out = io.StringIO()
    folds = any(column.wrap for column in table.columns)
    console = Console(
        file=out,
        width=width if folds else UNFOLDED,  # figures are never folded or cut
        force_terminal=colour,
        color_system="standard" if colour else None,
        force_jupyter=False,  # or in a notebook rich shows there what is to be written to `out`
    )
    if table.title:
        console.print(Text(table.caption, style="bold"), width=width)
        console.print()
    _print_rows(table, console, width, folds, colour)
    if table.picture:
        console.print()
        console.print(_drawn(table.picture, PIPED if width == UNFOLDED else width))
    if table.notes:
        console.print()
    for note in table.remarks:
        console.print(Text(note), width=width)
    # rich pads lines to the console's width, which a pipe or a file does not want
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _print_rows(table: AnyTable, console: Console, width: int, folds: bool, colour: bool) -> None:
    """The blocks of rows; the heads stand above the first one."""
    cells = [table.heads, *table.texts]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    fits = sum(widths) + 2 * len(widths) <= width
    stacked = table.stacks and not fits and len(widths) > 2
    for number, (heading, rows) in enumerate(_blocks(table)):
        first = number == 0
        if not first:
            console.print()
        if heading:
            console.print(Text(plain(heading), style="bold"), width=width)
        if not folds:
            # not by rich, which is slow at the thousands of rows that a ledger may hold
            console.file.writelines(_lines(table, rows, widths, fits, header=first, bold=colour))
        elif stacked:
            _print_indented(console, _stacked(table, rows, widths[0]))
        else:
            _print_indented(console, _aligned(table, rows, widths, fits, header=first))


def _print_indented(console: Console, grid: Grid) -> None:
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _drawn(picture: Picture, width: int) -> Text:
    lines = [Text.assemble(*line) for line in draw(picture, width)]
    return Text("\n").join(lines)


def _blocks(table: AnyTable) -> list[tuple[str, Texts]]:
    """The texts of rows that stand together, with their heading; one block where there is none."""
    pairs = zip(table.rows, table.texts, strict=True)
    groups = groupby(pairs, key=lambda pair: (table.heading(pair[0]), table.group(pair[0])))
    blocks: list[tuple[str, Texts]] = []
    for (heading, _), block in groups:
        blocks.append((heading, [texts for _, texts in block]))
    return blocks or [("", [])]


def _lines(
    table: AnyTable, rows: Texts, widths: Sequence[int], fits: bool, header: bool, bold: bool
) -> Iterator[str]:
    """Rows without a column that folds: thousands of them in a moment."""
    gap = " " * (2 if fits else 1)
    sides = [column.left for column in table.columns]

    def line(cells: Sequence[str]) -> str:
        return f"  {gap.join(map(_padded, cells, widths, sides))}"

    if header:
        heads = line(table.heads)
        yield f"\x1b[1m{heads}\x1b[0m\n" if bold else f"{heads}\n"
    for cells in rows:
        yield f"{line(cells)}\n"


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
