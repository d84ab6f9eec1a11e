"""Output formats: a Table in, text out.

Formats for people show the columns of a table as they are to be read; formats for machines give
every key of every row, fractions as fractions, nothing rounded, null where nothing is defined.
"""

from __future__ import annotations

import csv as csv_writer
import html as html_escapes
import io
import json as json_writer
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relubench.catalog import Catalog, Entry
from relubench.latex import escape

Row = Mapping[str, Any]
MARKS = {"bold": r"\textbf{}", "underline": r"\underline{}"}  # of LaTeX
PLUS_MINUS = " ± "
UNFOLDED = 1000  # columns: wider than any table


@dataclass(frozen=True)
class Column:
    """What people see of a row: a head and a function from the row to text.

    key   by which it is chosen, as in machine rows; '': that of its head
    mark  what a published table does to a cell: 'bold', 'underline' or nothing
    """

    head: str
    show: Callable[[Row], str]
    left: bool = False
    wrap: bool = False
    key: str = ""
    mark: Callable[[Row], str] = lambda row: ""


@dataclass(frozen=True)
class Table:
    """Rows for machines, columns for people, a title above and notes below.

    group   a blank line goes between rows where this key changes
    keys    what machines get of a row, in this order; (): everything
    """

    rows: Sequence[Row]
    columns: Sequence[Column]
    title: str = ""
    notes: Sequence[str] = ()
    group: Callable[[Row], object] = lambda row: None
    keys: Sequence[str] = ()

    @property
    def records(self) -> list[Row]:
        """The rows as machines get them."""
        if not self.keys:
            return list(self.rows)
        return [{key: row[key] for key in self.keys if key in row} for row in self.rows]

    @property
    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [[column.show(row) for column in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Format(Entry):
    """One output format: the file suffix that means it, and whether it is for machines."""

    suffix: str
    machine: bool = False


FORMATS: Catalog[Format] = Catalog("format", Format)


def counted(count: int, noun: str) -> str:
    """'1 seed', '2 seeds'."""
    return f"{count} {noun}{'s' * (count != 1)}"


def by_suffix(name: str) -> str | None:
    """The format that a file name's suffix means."""
    return next((f.name for f in FORMATS.values() if name.lower().endswith(f.suffix)), None)


def render(tables: Sequence[Table], name: str, width: int = UNFOLDED, colour: bool = False) -> str:
    """The text of a command's tables; a machine format prints the rows of the first one."""
    entry = FORMATS[name]
    if entry.machine:
        return str(entry.function(tables[0]))
    options = {"width": width, "colour": colour} if name == "text" else {}
    return "\n".join(entry.function(table, **options) for table in tables)


@FORMATS.add(suffix=".txt")
def text(table: Table, width: int = UNFOLDED, colour: bool = False) -> str:
    """Aligned columns, for a terminal"""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    folds = any(column.wrap for column in table.columns)
    system: Any = "standard" if colour else None
    console = Console(
        file=io.StringIO(),
        width=width if folds else UNFOLDED,  # figures are never folded or cut
        force_terminal=colour,
        color_system=system,
    )
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in table.columns:
        justify: Any = "left" if column.left else "right"
        grid.add_column(
            Text(column.head), justify=justify, no_wrap=not column.wrap, overflow="fold"
        )
    for number, (row, cells) in enumerate(zip(table.rows, table.texts, strict=True)):
        if number and table.group(row) != table.group(table.rows[number - 1]):
            grid.add_row()
        grid.add_row(*map(Text, cells))
    if console.measure(grid).maximum + 2 > width:
        grid.padding = (0, 1, 0, 0)
    if table.title:
        console.print(Text(table.title, style="bold"), width=width)
        console.print()
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    if table.notes:
        console.print()
    for note in table.notes:
        console.print(Text(note), width=width)
    rendered: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(line.rstrip() + "\n" for line in rendered.splitlines())


@FORMATS.add(suffix=".md")
def github(table: Table) -> str:
    """A Markdown table"""
    title = [f"**{table.title}**", ""] if table.title else []
    notes = ["", *(f"{note}  " for note in table.notes)] if table.notes else []
    grid = _tabulate(table, "pipe", lambda text: text.replace("|", r"\|"))
    return "\n".join([*title, grid, *notes, ""])


@FORMATS.add(suffix=".tex")
def latex(table: Table) -> str:
    """A booktabs table: the best in bold, what no test tells from it underlined, ± aligned"""
    notes = [table.title, *table.notes]
    if any(column.mark(row) for column in table.columns for row in table.rows):
        notes.append("bold: the best mean; underlined: no test tells it from the best (Holm)")
    split = [
        any(PLUS_MINUS in texts[i] for texts in table.texts) for i in range(len(table.columns))
    ]
    kinds = zip(table.columns, split, strict=True)
    spec = [r"r@{${}\pm{}$}l" if two else "l" if c.left else "r" for c, two in kinds]
    heads = [
        rf"\multicolumn{{2}}{{c}}{{{escape(column.head)}}}" if two else escape(column.head)
        for column, two in zip(table.columns, split, strict=True)
    ]
    lines = [f"% {line}" for note in notes for line in note.splitlines()]
    lines += [rf"\begin{{tabular}}{{{''.join(spec)}}}", r"\toprule", _latex_row(heads), r"\midrule"]
    for number, row in enumerate(table.rows):
        if number and table.group(row) != table.group(table.rows[number - 1]):
            lines.append(r"\addlinespace")
        cells = zip(table.columns, split, strict=True)
        lines.append(_latex_row([_latex_cell(column, two, row) for column, two in cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(column: Column, two: bool, row: Row) -> str:
    """One cell, marked; a figure with ± stands in two columns, so that the signs are aligned."""
    center, sign, spread = column.show(row).partition(PLUS_MINUS)
    mark = MARKS.get(column.mark(row), "{}")
    figure = mark.replace("{}", "{" + escape(center) + "}") if mark != "{}" else escape(center)
    if sign:
        return f"{figure} & {escape(spread)}"
    return rf"\multicolumn{{2}}{{c}}{{{figure}}}" if two else figure


@FORMATS.add(suffix=".html")
def html(table: Table) -> str:
    """An HTML table with its title and notes as paragraphs"""
    title, *notes = (f"<p>{html_escapes.escape(line)}</p>" for line in (table.title, *table.notes))
    return "\n".join([title, _tabulate(table, "html"), *notes, ""])


def _tabulate(table: Table, style: str, escape: Callable[[str], str] = str) -> str:
    from tabulate import tabulate

    return tabulate(
        [[escape(text) for text in texts] for texts in table.texts],
        headers=[escape(column.head) for column in table.columns],
        tablefmt=style,
        colalign=["left" if column.left else "right" for column in table.columns],
        disable_numparse=True,
    )


@FORMATS.add(suffix=".csv", machine=True)
def csv(table: Table) -> str:
    """Comma-separated values with a header; an empty field is not defined, lists are JSON"""
    out = io.StringIO()
    header = list(dict.fromkeys(key for row in table.records for key in row))
    writer = csv_writer.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    for row in table.records:
        writer.writerow({key: _field(value) for key, value in row.items()})
    return out.getvalue()


def _field(value: Any) -> Any:
    return _json(value) if isinstance(value, list | dict | bool) else value


@FORMATS.add(suffix=".json", machine=True)
def json(table: Table) -> str:
    """One array of rows"""
    return "[\n" + ",\n".join(_json(row) for row in table.records) + "\n]\n"


@FORMATS.add(suffix=".jsonl", machine=True)
def jsonl(table: Table) -> str:
    """A row a line"""
    return "".join(_json(row) + "\n" for row in table.records)


def _json(value: Any) -> str:
    return json_writer.dumps(value, ensure_ascii=False, allow_nan=False)
