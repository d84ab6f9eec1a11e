"""A study as one HTML file, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from relubench import __version__, formats
from relubench.grouping import joined
from relubench.page import copies, drawing
from relubench.page.sections import SHOWN, Section, sections
from relubench.page.study import Study
from relubench.table import AnyTable, Column, Row, Table
from relubench.wording import counted

FLAG = re.compile(r"(?<!\S)--?[a-z][\w-]*")
FILTERED = 6  # rows from which on a table has a field to filter it


@dataclass(frozen=True)
class Cell:
    """What a table's cell shows, what it is sorted by, and which verdict it holds."""

    text: str
    order: str
    verdict: str = ""


@dataclass(frozen=True)
class Grid:
    """A table as the template draws it."""

    name: str
    caption: str
    heads: Sequence[Column[Row]]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str]

    @property
    def filtered(self) -> bool:
        """Whether its rows can be filtered."""
        return len(self.rows) >= FILTERED


@dataclass(frozen=True)
class Picture:
    """A drawing as an element of the page."""

    title: str
    svg: Markup


def html(study: Study) -> str:
    """The whole file."""
    shown = sections(study)
    style, script = _asset("style.css"), _asset("script.js")
    downloads = _downloads(study)
    packing = [partial(_packed, table) for table in downloads.values()]
    # What takes the longest is made side by side, and beside the tables.
    with copies.begun([*packing, *joined(map(_pieces, shown))]) as finish:
        grids = {section.name: _grids(section) for section in shown}
        made = finish()
    packed, drawn = made[: len(packing)], made[len(packing) :]
    return (
        _environment()
        .get_template("page.html")
        .render(
            study=study,
            version=__version__,
            summary=_summary(study),
            sections=shown,
            grids=grids,
            pictures=_pictures(shown, drawn),
            shown=SHOWN,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            downloads=dict(zip(downloads, packed, strict=True)),
        )
    )


@cache
def _asset(name: str) -> str:
    return (resources.files("relubench.page") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(_asset)
    made = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    made.filters["flags"] = _flags
    return made


def _flags(sentence: str) -> Markup:
    """A sentence in which no flag is broken in two lines."""
    return Markup(FLAG.sub(r'<span class="flag">\g<0></span>', str(escape(sentence))))


def _hash(text: str) -> str:
    """A source of a content security policy: exactly this text."""
    # The page may then run this very script and no other, whatever a name in a table says.
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _summary(study: Study) -> str:
    """How much there is, in one line."""
    cells = [result.cell for result in study.results]
    counts = {
        "run": len(cells),
        "activation": len({cell.activation for cell in cells}),
        "dataset": len({cell.dataset for cell in cells}),
        "network": len({cell.model for cell in cells}),
    }
    if study.calls:
        return f"{counted(len(study.calls) - 1, 'call')} of activations in one network"
    failed = sum(result.failed is not None for result in study.results)
    parts = [counted(count, noun) for noun, count in counts.items()]
    return ", ".join([*parts, *([f"{failed} of them diverged or lost"] if failed else [])])


def _pieces(section: Section) -> list[Callable[[], str]]:
    """What makes each drawing."""
    return [
        partial(drawing.svg, each, f"{section.name}{number}")
        for number, each in enumerate(section.drawings)
    ]


def _pictures(shown: Sequence[Section], drawn: Sequence[str]) -> dict[str, list[Picture]]:
    """The drawings of each section, of which `drawn` has those of all, one after the other."""
    left, pictures = iter(drawn), {}
    for section in shown:
        pictures[section.name] = [
            Picture(each.title, Markup(next(left))) for each in section.drawings
        ]
    return pictures


def _grids(section: Section) -> list[Grid]:
    return [
        _grid(table, f"{section.name}-table{number}") for number, table in enumerate(section.tables)
    ]


def _grid(table: AnyTable, name: str) -> Grid:
    rows = []
    for row in table.rows:
        rows.append([_cell(column, row) for column in table.columns])
    return Grid(name, table.caption, table.columns, rows, table.remarks)


def _cell(column: Column[Row], row: Row) -> Cell:
    key = column.key or column.head.replace(" ", "_")
    value = row.get(key)
    # Sorted by the figure itself: the text is rounded, and has signs.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    verdict = str(value) if key == "verdict" else ""
    return Cell(column.text(row), f"{value:.6g}" if number else "", verdict)


def _downloads(study: Study) -> Mapping[str, AnyTable]:
    """Each kind of row, by the name of its file."""
    tables: dict[str, AnyTable] = {}
    if study.results:
        tables["runs"] = study.runs
    if study.rows:
        tables["comparisons"] = Table(study.rows, ())
    return tables


def _packed(table: AnyTable) -> str:
    """Rows as machine formats print them, compressed, in base64: both CSV and JSON.

    After the CSV's header each row's line of JSON is followed by its line of CSV, so that
    compression meets every number twice in a short distance.
    """
    _, *records, _ = formats.render([table], "json").split("\n")[:-1]
    header, *lines = formats.render([table], "csv").split("\n")[:-1]
    both = [header]
    for record, line in zip(records, lines, strict=True):
        both += [record.removesuffix(","), line]
    # mtime=0: the same rows are the same bytes, whenever the page is made.
    packed = gzip.compress("\n".join(both).encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()
