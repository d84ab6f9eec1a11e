"""What of a table a terminal has room for: which columns go first, and what is shortened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from relubench.formats.pictures import UNFOLDED
from relubench.printable import plain
from relubench.table import AnyColumn, AnyTable, Row

INDENT, GAP = 2, 2  # columns before a row, and between its cells
SHORTENED = 4  # columns of a higher rank go before others are shortened, those of a lower one after
READABLE, LEAST = 16, 8  # columns that a cut name has before heads are cut, and at the least
CUT = "…"


@dataclass(frozen=True)
class Strip:
    """One column as it is printed: its head, a text per row, and how wide it is."""

    column: AnyColumn
    head: str
    texts: Sequence[str]

    @classmethod
    def of(cls, column: AnyColumn, rows: Sequence[Row]) -> Strip:
        """The column as it is."""
        return cls(column, plain(column.head), [column.text(row) for row in rows])

    @property
    def width(self) -> int:
        """Of its widest cell."""
        return max(map(cell_len, [self.head, *self.texts]))

    def shortened(self, rows: Sequence[Row]) -> Strip:
        """The same in fewer words, where it has such."""
        short = self.column.short
        return self if short is None else replace(self, texts=[plain(short(row)) for row in rows])

    def cut(self, width: int) -> Strip:
        """The same with what is wider cut in its middle: names often differ at their ends."""
        texts = [cut(text, width) for text in self.texts]
        return replace(self, head=cut(self.head, width), texts=texts)

    def with_short_head(self) -> Strip:
        """The same with a head no wider than its cells."""
        widest = max(map(cell_len, self.texts), default=0)
        return replace(self, head=cut(self.head, max(widest, 3)))


@dataclass(frozen=True)
class Fitted:
    """The columns that are printed, those that are not, and the gap between two."""

    strips: Sequence[Strip]
    left_out: Sequence[str] = ()
    gap: int = GAP

    @property
    def width(self) -> int:
        """Of a row."""
        return INDENT + sum(s.width for s in self.strips) + self.gap * (len(self.strips) - 1)


def fit(table: AnyTable, width: int) -> Fitted:
    """The table's columns as far as so many columns of a terminal hold them."""
    whole = Fitted([Strip.of(column, table.rows) for column in table.columns])
    if width == UNFOLDED or not table.rows:
        return whole
    if table.whole:
        return whole if whole.width <= width else replace(whole, gap=1)
    if whole.width <= width:
        return _with_bars(whole, table, width)
    # Step by step, the least loss first; whatever fits first is taken.
    for fitted in _narrower(whole, table):
        if fitted.width <= width:
            return fitted
    # Nothing more may go: names are cut, then heads, then names again.
    fitted = _cut(fitted, width, READABLE)
    if fitted.width > width:
        strips = [strip.with_short_head() for strip in fitted.strips]
        fitted = _cut(replace(fitted, strips=strips), width, LEAST)
    return fitted


def _with_bars(whole: Fitted, table: AnyTable, width: int) -> Fitted:
    """With as many of the table's bars as there is room for."""
    for bar in table.bars:
        more = replace(whole, strips=[*whole.strips, Strip.of(bar, table.rows)])
        if more.width <= width:
            whole = more
    return whole


def _narrower(fitted: Fitted, table: AnyTable) -> Iterator[Fitted]:
    """The same, step by step with less; a gap that closes takes nothing away and comes first."""
    # The highest rank first; texts are shortened when it is the turn of SHORTENED.
    for rank in sorted({column.rank for column in table.columns} | {SHORTENED}, reverse=True):
        yield replace(fitted, gap=1)
        if rank == SHORTENED:
            shorter = [strip.shortened(table.rows) for strip in fitted.strips]
            fitted = replace(fitted, strips=shorter)
            yield fitted
        for strip in reversed(fitted.strips):
            if rank and strip.column.rank == rank:
                fitted = _without(fitted, strip)
                yield fitted
    yield replace(fitted, gap=1)


def _without(fitted: Fitted, strip: Strip) -> Fitted:
    rest = [other for other in fitted.strips if other is not strip]
    return replace(fitted, strips=rest, left_out=[strip.head, *fitted.left_out])


def _cut(fitted: Fitted, width: int, least: int) -> Fitted:
    """With the widest names cut, one column after the other, until the row fits."""
    while fitted.width > width:
        # Left-aligned columns are words; of a number no digit may be missing.
        names = [strip for strip in fitted.strips if strip.column.left and strip.width > least]
        if not names:
            return fitted
        widest = max(names, key=lambda strip: strip.width)
        shorter = widest.cut(max(least, widest.width - (fitted.width - width)))
        strips = [shorter if strip is widest else strip for strip in fitted.strips]
        fitted = replace(fitted, strips=strips)
    return fitted


def cut(text: str, width: int) -> str:
    """A text with its middle left out where it is wider."""
    if cell_len(text) <= width:
        return text
    before = width // 2
    after = width - before - 1
    return text[:before] + CUT + (text[-after:] if after else "")
