"""Output formats: a Table in, text out.

Formats for people show the columns of a table as they are to be read; formats for machines give
every key of every row, fractions as fractions, nothing rounded, null where nothing is defined.
"""

from __future__ import annotations

import csv as csv_writer
import html as html_escapes
import io
import json as json_writer
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from relubench.catalog import Catalog, Entry
from relubench.formats.latex import escape
from relubench.formats.pictures import PIPED, draw
from relubench.printable import for_json, plain
from relubench.table import AnyColumn, AnyTable, Column, Row, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MARKS = {"bold": r"\textbf{}", "underline": r"\underline{}"}  # of LaTeX
PLUS_MINUS = " ± "
PIPES = re.compile(r"(\\*)\|")
TAGS = re.compile(r"<(?=[a-zA-Z/!?])")  # what Markdown would take for HTML
FORMULAS = ("=", "+", "-", "@")  # what a spreadsheet would compute
UNFOLDED = 1000  # columns: wider than any table
HEADS, LEAST = 18, 30  # columns of a turned table: for its heads, and at least for each row


@dataclass(frozen=True)
class Format(Entry):
    """One output format: the file suffix that means it, and whether it is for machines."""

    suffix: str
    machine: bool = False


FORMATS: Catalog[Format] = Catalog("format", Format)


def by_suffix(name: str) -> str | None:
    """The format that a file name's suffix means."""
    return next((f.name for f in FORMATS.values() if name.lower().endswith(f.suffix)), None)


def render(
    tables: Sequence[AnyTable], name: str, width: int = UNFOLDED, colour: bool = False
) -> str:
    """The text of a command's tables; a machine format prints the rows of the first one."""
    entry = FORMATS[name]
    if entry.machine:
        return str(entry.function(tables[0]))
    options = {"width": width, "colour": colour} if name == "text" else {}
    shown: list[AnyTable] = []
    for table in tables:
        shown += turn(table, width) if table.turned else [table]
    return "\n".join(entry.function(table, **options) for table in shown)


def turn(table: AnyTable, width: int) -> list[Table[_TextRow]]:
    """The columns as rows and the rows as columns, as many to a table as the width holds.

    The title goes to the first of these tables, picture and notes to the last.
    """
    names, *facts = table.columns
    most = max(1, (width - HEADS) // LEAST)
    parts = []
    for start in range(0, len(table.rows), most):
        rows, last = table.rows[start : start + most], start + most >= len(table.rows)
        texts = [[fact.head, *map(fact.text, rows)] for fact in facts]
        heads = ["", *(names.text(row) for row in rows)]
        parts.append(
            Table(
                rows=[_TextRow(tuple(line)) for line in texts if any(line[1:])],
                columns=[_text_column(number, head) for number, head in enumerate(heads)],
                title="" if start else table.title,
                notes=table.notes if last else (),
                picture=table.picture if last else None,
            )
        )
    return parts


@dataclass(frozen=True)
class _TextRow(Row):
    """A line of a turned table."""

    texts: tuple[str, ...]


def _text_column(number: int, head: str) -> Column[_TextRow]:
    return Column(head, lambda row: row.texts[number], left=True, wrap=number > 0)


@FORMATS.add(suffix=".txt")
def text(table: AnyTable, width: int = UNFOLDED, colour: bool = False) -> str:
    """Aligned columns, for a terminal"""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    system: Literal["standard"] | None = "standard" if colour else None
    out = io.StringIO()
    folds = any(column.wrap for column in table.columns)
    console = Console(
        file=out,
        width=width if folds else UNFOLDED,  # figures are never folded or cut
        force_terminal=colour,
        color_system=system,
    )
    cells = [table.heads, *table.texts]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    fits = sum(widths) + 2 * len(widths) <= width
    stacked = table.stacks and not fits and len(widths) > 2
    if table.title:
        console.print(Text(table.caption, style="bold"), width=width)
        console.print()
    for number, (heading, rows) in enumerate(_blocks(table)):
        if number:
            console.print()
        if heading:
            console.print(Text(plain(heading), style="bold"), width=width)
        if not folds:
            out.writelines(_lines(table, rows, widths, fits, header=not number, bold=colour))
            continue
        grid = (
            _stacked(table, rows, widths[0])
            if stacked
            else _aligned(table, rows, widths, fits, header=not number)
        )
        console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    if table.picture:
        console.print()
        console.print(draw(table.picture, PIPED if width == UNFOLDED else width))
    if table.notes:
        console.print()
    for note in table.remarks:
        console.print(Text(note), width=width)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _blocks(table: AnyTable) -> list[tuple[str, list[list[str]]]]:
    """The texts of rows that stand together, with their heading; one block where there is none."""
    pairs = zip(table.rows, table.texts, strict=True)
    groups = groupby(pairs, key=lambda pair: (table.heading(pair[0]), table.group(pair[0])))
    blocks = []
    for (heading, _), block in groups:
        blocks.append((heading, [texts for _, texts in block]))
    return blocks or [("", [])]


def _lines(
    table: AnyTable,
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    fits: bool,
    header: bool,
    bold: bool,
) -> Iterator[str]:
    """Rows without a column that folds: thousands of them in a moment."""
    from rich.cells import cell_len

    gap = " " * (2 if fits else 1)
    sides = [column.left for column in table.columns]

    def line(cells: Sequence[str]) -> str:
        blanks = [" " * (width - cell_len(t)) for t, width in zip(cells, widths, strict=True)]
        padded = (t + b if left else b + t for t, b, left in zip(cells, blanks, sides, strict=True))
        return f"  {gap.join(padded)}"

    if header:
        heads = line(table.heads)
        yield f"\x1b[1m{heads}\x1b[0m\n" if bold else f"{heads}\n"
    for cells in rows:
        yield f"{line(cells)}\n"


def _aligned(
    table: AnyTable, rows: Sequence[Sequence[str]], widths: Sequence[int], fits: bool, header: bool
) -> RichTable:
    from rich.table import Table as Grid
    from rich.text import Text

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
        grid.add_row(*map(Text, cells))
    return grid


def _stacked(table: AnyTable, rows: Sequence[Sequence[str]], width: int) -> RichTable:
    """For a narrow terminal: the name, and beside it what it is and, below, all the rest."""
    from rich.table import Table as Grid
    from rich.text import Text

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


@FORMATS.add(suffix=".md")
def github(table: AnyTable) -> str:
    """A Markdown table"""
    title = [f"**{markdown(table.caption)}**", ""] if table.title else []
    notes = ["", *(f"{markdown(note)}  " for note in table.remarks)] if table.notes else []
    grid = _tabulate(table, "pipe", lambda text: PIPES.sub(r"\1\1\\|", markdown(text)))
    return "\n".join([*title, grid, *notes, ""])


def markdown(text: str) -> str:
    """Text in which nothing is a tag, and which does not end its line."""
    return TAGS.sub(r"\\<", plain(text))


@FORMATS.add(suffix=".tex")
def latex(table: AnyTable) -> str:
    """A booktabs table: the best in bold, what no test tells from it underlined, ± aligned"""
    notes = [table.caption, *table.remarks]
    if any(column.mark(row) for column in table.columns for row in table.rows):
        notes.append("bold: the best mean; underlined: no test tells it from the best (Holm)")
    by_column = list(zip(*table.texts, strict=True)) or [()] * len(table.columns)
    split = [PLUS_MINUS in "\n".join(texts) for texts in by_column]
    kinds = zip(table.columns, split, strict=True)
    spec = [r"r@{${}\pm{}$}l" if two else "l" if c.left else "r" for c, two in kinds]
    heads = [
        rf"\multicolumn{{2}}{{c}}{{{escape(head)}}}" if two else escape(head)
        for head, two in zip(table.heads, split, strict=True)
    ]
    lines = [f"% {note}" for note in notes if note]
    lines += [rf"\begin{{tabular}}{{{''.join(spec)}}}", r"\toprule", _latex_row(heads), r"\midrule"]
    for number, row in enumerate(table.rows):
        if number and table.group(row) != table.group(table.rows[number - 1]):
            lines.append(r"\addlinespace")
        cells = zip(table.columns, split, strict=True)
        lines.append(_latex_row([_latex_cell(column, two, row) for column, two in cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(column: AnyColumn, two: bool, row: Row) -> str:
    """One cell, marked; a figure with ± stands in two columns, so that the signs are aligned."""
    center, sign, spread = column.text(row).partition(PLUS_MINUS)
    mark = MARKS.get(column.mark(row), "{}")
    figure = mark.replace("{}", "{" + escape(center) + "}") if mark != "{}" else escape(center)
    if sign:
        return f"{figure} & {escape(spread)}"
    return rf"\multicolumn{{2}}{{c}}{{{figure}}}" if two else figure


@FORMATS.add(suffix=".html")
def html(table: AnyTable) -> str:
    """An HTML table with its title and notes as paragraphs"""
    title, *notes = (
        f"<p>{html_escapes.escape(line)}</p>" for line in (table.caption, *table.remarks)
    )
    return "\n".join([title, _tabulate(table, "html"), *notes, ""])


def _tabulate(table: AnyTable, style: str, escape: Callable[[str], str] = str) -> str:
    from tabulate import tabulate

    return tabulate(
        [list(map(escape, texts)) for texts in table.texts],
        headers=[escape(head) for head in table.heads],
        tablefmt=style,
        colalign=["left" if column.left else "right" for column in table.columns],
        disable_numparse=True,
    )


@FORMATS.add(suffix=".csv", machine=True)
def csv(table: AnyTable) -> str:
    """Comma-separated values with a header; an empty field is not defined, lists are JSON

    Words that a spreadsheet would compute, such as =1+1, begin with an apostrophe.
    """
    out = io.StringIO()
    records = table.records
    header: dict[str, None] = {}
    for record in records:
        header.update(dict.fromkeys(record))
    writer = csv_writer.writer(out, lineterminator="\n")
    writer.writerow(map(_field, header))
    for record in records:
        writer.writerow([_field(record.get(key)) for key in header])
    return out.getvalue()


def _field(value: object) -> object:
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.startswith(FORMULAS) else text
    return _json(value) if isinstance(value, list | tuple | dict | bool) else value


@FORMATS.add(suffix=".json", machine=True)
def json(table: AnyTable) -> str:
    """One array of rows"""
    return "[\n" + ",\n".join(_json(row) for row in table.records) + "\n]\n"


@FORMATS.add(suffix=".jsonl", machine=True)
def jsonl(table: AnyTable) -> str:
    """A row a line"""
    return "".join(_json(row) + "\n" for row in table.records)


def _json(value: object) -> str:
    try:
        text = json_writer.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # no number: a row may hold what is too large for one
        text = json_writer.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return for_json(text)


def _finite(value: object) -> object:
    """The same with null for what is no finite number."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
