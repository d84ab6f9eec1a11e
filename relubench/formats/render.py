"""Output formats: a Table in, text out.

Formats for people show the columns of a table as they are to be read; formats for machines give
every key of every row, fractions as fractions, nothing rounded, null where nothing is defined.
"""

from __future__ import annotations

import csv as csv_writer
import html as html_escapes
import io
import itertools
import json as json_writer
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Deferred, Entry
from relubench.formats.latex import escape
from relubench.formats.pictures import UNFOLDED
from relubench.printable import for_json, plain
from relubench.table import AnyColumn, AnyTable, Column, Row, Table

if TYPE_CHECKING:
    import tabulate

    from relubench.formats import terminal_text
else:  # rich and tabulate take longer to import than `list --format json` takes to answer
    tabulate = Deferred("tabulate")
    terminal_text = Deferred("relubench.formats.terminal_text")

MARKS = {"bold": r"\textbf{}", "underline": r"\underline{}"}  # of LaTeX
PLUS_MINUS = " ± "
# With the backslashes before it: each must be doubled, or it would escape the one that is added.
PIPES = re.compile(r"(\\*)\|")
TAGS = re.compile(r"<(?=[a-zA-Z/!?])")  # what Markdown would take for HTML
FORMULAS = ("=", "+", "-", "@")  # what a spreadsheet would compute
ENCODER = json_writer.JSONEncoder(ensure_ascii=False, allow_nan=False)
HEADS, LEAST = 18, 30  # columns of a turned table: for its heads, and at least for each row


@dataclass(frozen=True)
class Format(Entry):
    """One output format: the file suffix that means it, and whether it is for machines."""

    suffix: str
    machine: bool = False


FORMATS: Catalog[Format] = Catalog("format", Format)


def by_suffix(name: str) -> str | None:
    """The format that a file name's suffix means."""
    for entry in FORMATS.values():
        if name.lower().endswith(entry.suffix):
            return entry.name
    return None


def render(
    tables: Sequence[AnyTable], name: str, width: int = UNFOLDED, colour: bool = False
) -> str:
    """The text of a command's tables; a machine format prints the rows of the first one."""
    entry = FORMATS[name]
    if entry.machine:
        return str(entry.function(tables[0]))
    options = {"width": width, "colour": colour} if name == "text" else {}
    shown: list[AnyTable] = []
    for table in (table.for_people for table in tables):
        shown += turn(table, width) if table.turned else [table]
    return "\n".join(entry.function(table, **options) for table in shown)


def turn(table: AnyTable, width: int) -> list[Table[_TextRow]]:
    """The columns as rows and the rows as columns, as many to a table as the width holds.

    The title goes to the first of these tables, picture and notes to the last.
    """
    per_table = max(1, (width - HEADS) // LEAST)
    starts = range(0, len(table.rows), per_table)
    return [_turned_part(table, start, start + per_table) for start in starts]


def _turned_part(table: AnyTable, start: int, stop: int) -> Table[_TextRow]:
    """The rows from start to stop as columns."""
    names, *facts = table.columns
    rows = table.rows[start:stop]
    last = stop >= len(table.rows)
    heads = ["", *map(names.text, rows)]
    lines = [(fact.head, *map(fact.text, rows)) for fact in facts]
    return Table(
        rows=[_TextRow(line) for line in lines if any(line[1:])],
        columns=[_text_column(number, head) for number, head in enumerate(heads)],
        title="" if start else table.title,
        answers=() if start else table.answers,
        notes=table.notes if last else (),
        asides=table.asides if last else (),
        picture=table.picture if last else None,
    )


@dataclass(frozen=True)
class _TextRow(Row):
    """A line of a turned table."""

    texts: tuple[str, ...]


def _text_column(number: int, head: str) -> Column[_TextRow]:
    return Column(head, lambda row: row.texts[number], left=True, wrap=number > 0)


@FORMATS.add(suffix=".txt")
def text(table: AnyTable, width: int = UNFOLDED, colour: bool = False) -> str:
    """Aligned columns, for a terminal"""
    return terminal_text.text(table, width, colour)


@FORMATS.add(suffix=".md")
def github(table: AnyTable) -> str:
    """A Markdown table"""
    title = [f"**{markdown(answer)}**  " for answer in table.said] + [""] * bool(table.answers)
    title += [f"**{markdown(table.caption)}**", ""] if table.title else []
    notes = ["", *(f"{markdown(note)}  " for note in table.remarks)] if table.notes else []
    grid = _tabulate(table, "pipe", lambda text: PIPES.sub(r"\1\1\\|", markdown(text)))
    return "\n".join([*title, grid, *notes, ""])


def markdown(text: str) -> str:
    """Text in which nothing is a tag, and which does not end its line."""
    return TAGS.sub(r"\\<", plain(text))


@FORMATS.add(suffix=".tex")
def latex(table: AnyTable) -> str:
    """A booktabs table: the best in bold, what no test tells from it underlined, ± aligned"""
    split = _split_columns(table)
    columns = list(zip(table.columns, table.heads, split, strict=True))
    spec = "".join(_latex_spec(column, two) for column, _, two in columns)
    heads = [_latex_head(head, two) for _, head, two in columns]
    # As comments: the table is pasted into a paper, whose caption says it in its own words.
    lines = [f"% {note}" for note in _latex_notes(table) if note]
    lines += [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", _latex_row(heads), r"\midrule"]
    for number, row in enumerate(table.rows):
        if number and table.group(row) != table.group(table.rows[number - 1]):
            lines.append(r"\addlinespace")
        lines.append(_latex_row([_latex_cell(column, two, row) for column, _, two in columns]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_notes(table: AnyTable) -> list[str]:
    """Title and notes, and what the marks mean where there are any."""
    notes = [*table.said, table.caption, *table.remarks]
    marks = itertools.product(table.columns, table.rows)
    if any(column.mark(row) for column, row in marks):
        notes.append("bold: the best mean; underlined: no test tells it from the best (Holm)")
    return notes


def _split_columns(table: AnyTable) -> list[bool]:
    """Which columns hold a ±: these take two columns in LaTeX, so that the signs are aligned."""
    by_column = list(zip(*table.texts, strict=True)) or [()] * len(table.columns)
    return [PLUS_MINUS in "\n".join(texts) for texts in by_column]


def _latex_spec(column: AnyColumn, two: bool) -> str:
    if two:
        return r"r@{${}\pm{}$}l"
    return "l" if column.left else "r"


def _latex_head(head: str, two: bool) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{escape(head)}}}" if two else escape(head)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(column: AnyColumn, two: bool, row: Row) -> str:
    """One cell, marked; `two`: a figure with ± stands in two columns."""
    center, sign, spread = column.text(row).partition(PLUS_MINUS)
    mark = MARKS.get(column.mark(row), "{}")
    figure = mark.replace("{}", "{" + escape(center) + "}") if mark != "{}" else escape(center)
    if sign:
        return f"{figure} & {escape(spread)}"
    return rf"\multicolumn{{2}}{{c}}{{{figure}}}" if two else figure


@FORMATS.add(suffix=".html")
def html(table: AnyTable) -> str:
    """An HTML table with its title and notes as paragraphs"""
    answers = [f"<p><strong>{html_escapes.escape(line)}</strong></p>" for line in table.said]
    title, *notes = (
        f"<p>{html_escapes.escape(line)}</p>" for line in (table.caption, *table.remarks)
    )
    return "\n".join([*answers, title, _tabulate(table, "html"), *notes, ""])


def _tabulate(table: AnyTable, style: str, escape: Callable[[str], str] = str) -> str:
    return tabulate.tabulate(
        [list(map(escape, texts)) for texts in table.texts],
        headers=[escape(head) for head in table.heads],
        tablefmt=style,
        colalign=["left" if column.left else "right" for column in table.columns],
        disable_numparse=True,  # or tabulate reformats texts that look like numbers
    )


@FORMATS.add(suffix=".csv", machine=True)
def csv(table: AnyTable) -> str:
    """Comma-separated values with a header; an empty field is not defined, lists are JSON

    Words that a spreadsheet would compute, such as =1+1, begin with an apostrophe.
    """
    out = io.StringIO()
    records = table.records
    # The keys of all rows, in order of appearance: kinds of rows may differ within a table.
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
        # A spreadsheet runs a cell that begins with = or @, also one from a stranger's column name.
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
        text = ENCODER.encode(value)
    except ValueError:  # no number: a row may hold what is too large for one
        text = ENCODER.encode(_finite(value))
    return for_json(text)


def _finite(value: object) -> object:
    """The same with null for what is no finite number."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
