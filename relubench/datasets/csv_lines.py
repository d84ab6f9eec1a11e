"""The lines of a text table: its separator, its header, and its cells as they are written."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from relubench.errors import BadValue

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "space": " "}
SNIFFED = (",", ";", "\t", "|")
SAMPLE = 50  # lines that are looked at to find the separator
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"  # of no width: no blanks to str.strip
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Lines:
    """A text table: column names, a tuple of cells per column, what was chosen for the user.

    separator  the one that it was read with
    """

    names: list[str]
    columns: list[tuple[str, ...]]
    separator: str
    notes: tuple[str, ...]


def read(path: Path, sep: str, skip: int) -> Lines:
    """The table in a file of UTF-8 text; raises ValueError with the reason why there is none.

    sep   a name or character, "auto" to find it
    skip  lines to leave out at the beginning
    """
    # utf-8-sig: Excel begins its files with a mark that would be part of the first name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(file)[skip:]
    if not any(map(str.strip, lines)):
        raise ValueError("it is empty")
    # 1. Lines to rows, each with the number by which an error can name it.
    separator = separator_of(lines[:SAMPLE]) if sep == "auto" else _separator(sep)
    numbered = _rows(lines, separator, skip)
    _check_title(numbered, skip)
    # 2. The header, which all rows must be as long as.
    header, examples = numbered[0][1], numbered[1:]
    names = [_strip(name) for name in header]
    _check_header(names)
    _check_lengths(examples, len(names))
    columns, stripped = _stripped([row for _, row in examples], len(names))
    # 3. What was chosen for the user is told.
    notes = []
    if names != header or any(stripped):
        where = [repr(n) for n, s in zip(names, stripped, strict=False) if s] or ["the header"]
        notes.append(f"blanks around words are left out, in {', '.join(where[:5])}")
    if sep == "auto" and separator != ",":
        name = next(name for name, mark in SEPARATORS.items() if mark == separator)
        notes.append(f"read with sep={name}")
    return Lines(names, columns, separator, tuple(notes))


def _separator(sep: str) -> str:
    mark = SEPARATORS.get(sep, sep)
    if len(mark) != 1 or mark in '"\r\n':
        raise BadValue(f"sep={sep}: known: auto, {', '.join(SEPARATORS)}, or one character")
    return mark


def separator_of(lines: Sequence[str]) -> str:
    """The separator that cuts most of these lines in the same number of fields, two at least."""

    def regular(separator: str) -> tuple[float, int]:
        # How many lines have the usual number of fields; of equally regular
        # ones the more fields win.
        counts = Counter(len(row) for row in _parsed(lines, separator) if row)
        fields, times = counts.most_common(1)[0] if counts else (1, 0)
        return (times / counts.total(), fields) if fields > 1 else (0.0, 0)

    best = max(SNIFFED, key=regular)  # the first of equals, which is the comma
    # Blanks only if nothing else parts anything, and every line alike.
    if regular(best) == (0.0, 0) and regular(" ")[0] == 1.0:  # blanks stand inside words too
        return " "
    return best


def _parsed(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _rows(lines: Sequence[str], separator: str, skip: int) -> list[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of the line on which it ends."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        # By the reader's own count: a quoted cell may run over several lines.
        return [(reader.line_num + skip, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + skip}: {error}") from None


def _check_title(numbered: Sequence[tuple[int, list[str]]], skip: int) -> None:
    """Refuse a title or comments above the header, which would be taken as the columns' names."""
    usual = Counter(len(row) for _, row in numbered[:SAMPLE]).most_common(1)[0][0]
    above = list(itertools.takewhile(lambda line: _above(line[1], usual), numbered))
    if above and len(above) < len(numbered):
        raise ValueError(
            f"line {above[0][0]} is a title or a comment ({' '.join(above[0][1])[:40]!r}), and "
            f"names of columns come first: say skip={max(above[-1][0], skip + 1)}"
        )


def _above(row: Sequence[str], usual: int) -> bool:
    short = len(row) < usual / 2 or len(row) == 1 < usual
    return short or row[0].startswith(("# ", "//", "%"))


def _check_header(names: Sequence[str]) -> None:
    """Refuse a first line that is an example, and a name that stands twice."""
    # Names may be numbers, too: then they rise, as a row of data rarely does.
    numbers = [float(name) for name in names if PLAIN.fullmatch(name)]
    rising = all(a < b for a, b in itertools.pairwise(numbers))  # such as pixels or wavelengths
    named = rising and (len(numbers) > 2 or all(number.is_integer() for number in numbers))
    if not named and 2 * len(numbers) >= len(names):
        raise ValueError(
            f"line 1 holds numbers ({', '.join(names[:4])}): it has no header: put a line with "
            "the columns' names in front"
        )
    twice = [name for name, times in Counter(names).items() if times > 1 and name]
    if twice:
        raise ValueError(f"two columns are named {twice[0]!r}: give each a name of its own")
    if names.count("") > 1:
        raise ValueError("two columns have no name: give each a name of its own")


def _check_lengths(examples: Sequence[tuple[int, list[str]]], width: int) -> None:
    for line, row in examples:
        if len(row) > width and any(map(str.strip, row[width:])):
            raise ValueError(f"line {line} has {len(row)} fields, and the header {width}")
        if len(row) < width:
            raise ValueError(f"line {line} has {len(row)} of {width} fields")


def _stripped(rows: Sequence[list[str]], width: int) -> tuple[list[tuple[str, ...]], list[bool]]:
    """Each column's cells without blanks around them, and whether there were any."""
    columns = list(zip(*(row[:width] for row in rows), strict=True)) or [()] * width
    clean = [tuple(map(_strip, column)) for column in columns]
    return clean, [was != now for was, now in zip(columns, clean, strict=True)]


def _strip(cell: str) -> str:
    # Twice: blanks may stand on both sides of an invisible character.
    return cell.strip().strip(INVISIBLE).strip()
