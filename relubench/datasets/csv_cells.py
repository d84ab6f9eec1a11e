"""What the cells of a text table mean: numbers, words, gaps."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Deferred("numpy")

GAPS = {"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "Null", "#N/A", "<NA>", "?"}
# Among numbers these say nothing either; among words, `None` or `unknown` may well be a category.
NO_NUMBER = {"none", "-", "--", ".", "..", "missing", "unknown", "nil", "na", "undefined", "*"} | {
    *("not available", "#value!", "#div/0!", "#null!", "#ref!", "#name?", "#num!"),
    *(word.lower() for word in GAPS),
}
# A column of these alone is one of 0 and 1.
TRUTH = {"False": 0.0, "FALSE": 0.0, "false": 0.0, "True": 1.0, "TRUE": 1.0, "true": 1.0}
SAMPLE = 1000  # cells that are looked at to find the decimal mark
MOSTLY = 0.95  # fraction of a column's cells that make it one of numbers
SIGNS = "%‰$€£¥₹°"
CURRENCIES = "[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
UNITS = "kg|g|mg|µg|lb|km|m|cm|mm|µm|in|ft|s|ms|min|h|l|ml|°C|°F|Hz|kHz|MHz|kW|Pa|hPa|USD|EUR"
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}(:\d{2})?.*)?")
# By decimal mark: a currency, a sign, digits (in groups of three or plain), a power of ten, a
# unit. (?P=group): all groups are parted by the same character.
NUMBER = {
    mark: re.compile(
        rf"(?P<before>{CURRENCIES})?\s*(?P<sign>[+\-−]?)\s*(?P<digits>\d{{1,3}}(?:(?P<group>{groups})\d{{3}})"
        rf"(?:(?P=group)\d{{3}})*(?:{point}\d*)?|\d+(?:{point}\d*)?|{point}\d+)"
        rf"(?P<power>[eE][+-]?\d+)?\s*(?P<after>[{SIGNS}]|(?:{UNITS}))?"
    )
    for mark, groups, point in (
        (".", "[,'\u2019 \u00a0\u202f]", r"\."),
        (",", "[.'\u2019 \u00a0\u202f]", ","),
    )
}

# No letter before the number's last digit: `p12` is a name, and so is `12.png`.
MEASURED = re.compile(r"[\W\d_]*\d\s*(?P<unit>[^\W\d_].*)")


@dataclass(frozen=True)
class Column:
    """A column: numbers with NaN for gaps, or words with None for them.

    odd   cells that were counted as gaps though something stands there, by example (from 0)
    unit  what the numbers end in, such as mmol/L, where that is in no list of ours
    """

    numbers: NDArray[np.float64] | None
    words: list[str | None]
    odd: Mapping[int, str]
    notes: tuple[str, ...]
    unit: str = ""

    @property
    def gaps(self) -> NDArray[np.int64]:
        """The examples, from 0, for which it says nothing."""
        if self.numbers is not None:
            return np.flatnonzero(np.isnan(self.numbers))
        return np.array([row for row, word in enumerate(self.words) if word is None], dtype=int)

    @property
    def distinct(self) -> int:
        """How many values it has, without gaps."""
        if self.numbers is not None:
            return len(np.unique(self.numbers[~np.isnan(self.numbers)]))
        return len({*self.words} - {None})


def decimal_of(columns: Iterable[Sequence[str]], separator: str) -> str:
    """The decimal mark of most columns that leave nothing open; a guess from the separator."""
    # A column votes once, however long it is: most of a table's columns are written alike.
    votes = Counter(mark for mark in map(_mark, columns) if mark)
    if votes:
        return votes.most_common(1)[0][0]
    # Semicolons separate where the comma is taken, as a decimal mark: a hint, and no proof.
    return ";" if separator == ";" else "."


def _mark(column: Sequence[str]) -> str:
    """The decimal mark with which more of its cells are numbers; "" where both do alike."""
    marked = (cell for cell in column if "," in cell or "." in cell)
    # Distinct ones: a cell that comes a thousand times says no more than once.
    cells = dict.fromkeys(itertools.islice(marked, SAMPLE))
    right = {mark: _count_numbers(cells, mark) for mark in NUMBER}
    return max(right, key=right.__getitem__) if right["."] != right[","] else ""


def _count_numbers(cells: Iterable[str], mark: str) -> int:
    return sum(_number(cell, mark) is not None for cell in cells)


def column(label: str, name: str, cells: Sequence[str], decimal: str, usual: str = ".") -> Column:
    """What a column's cells mean.

    decimal  the mark that was asked for, or "auto": the column's own
    usual    the table's (decimal_of), where the column leaves it open
    Raises DataError, beginning with `label`, for numbers of two units.
    """
    unit = _unit_of(cells)
    bare = [_without(unit, cell) for cell in cells] if unit else cells
    mark = decimal if decimal != "auto" else _mark(bare) or _open(bare, usual)
    # From the quickest reading to the slowest: truth values, plain numbers, then the pattern.
    distinct = dict.fromkeys(cells)
    if distinct.keys() <= TRUTH.keys():
        return Column(np.array([TRUTH[cell] for cell in cells], dtype=np.float64), [], {}, ())
    if mark == "." and (plain := _plain(cells)) is not None:
        return Column(plain, [], {}, ())
    # By distinct cell: a long column often has few, and a regular expression is slow.
    readings = {cell: _measured(cell, mark, unit) for cell in distinct}
    numbers = np.array([(readings[cell] or NOTHING)[0] for cell in cells], dtype=np.float64)
    # Cells that stand for a gap speak neither for numbers nor for words.
    here = [row for row, cell in enumerate(cells) if cell.lower() not in NO_NUMBER]
    right = sum(readings[cells[row]] is not None for row in here)
    if not right or right < MOSTLY * len(here):
        fraction = right / len(here) if here else 0
        return _worded(name, cells, fraction)
    # kg beside g would be numbers of two sizes in one column.
    _check_units(label, name, {cell: got[1] for cell, got in readings.items() if got})
    odd = {row: cell for row, cell in enumerate(cells) if cell and readings[cell] is None}
    notes = _number_notes(name, readings, odd, mark)
    if unit:
        notes += (f"column {name!r}: {unit!r} after its numbers is taken as their unit",)
    return Column(numbers, [], odd, notes, unit)


NOTHING = (float("nan"), "")


def _unit_of(cells: Sequence[str]) -> str:
    """What nearly all cells end in after a number, but for UNITS; "" where they do not."""
    endings = map(MEASURED.fullmatch, itertools.islice(cells, SAMPLE))
    units = Counter(ending["unit"] for ending in endings if ending)
    unit = units.most_common(1)[0][0] if units else ""
    # Units of our own list are read by the pattern, which also sees that they are mixed.
    if not unit or re.fullmatch(UNITS, unit):
        return ""
    here = [cell for cell in cells if cell.lower() not in NO_NUMBER]
    return unit if sum(cell.endswith(unit) for cell in here) >= MOSTLY * len(here) else ""


def _without(unit: str, cell: str) -> str:
    return cell.removesuffix(unit).rstrip()


def _measured(cell: str, mark: str, unit: str) -> tuple[float, str] | None:
    """As _number, where `unit` counts as one too."""
    if not unit or not cell.endswith(unit):
        return _number(cell, mark)
    got = _number(_without(unit, cell), mark)
    return got and (got[0], got[1] + unit)


def _open(cells: Sequence[str], usual: str) -> str:
    """The mark where a column's cells are numbers with either: dots alone are decimal points."""
    # The other columns decide; where they leave it open, semicolons between
    # fields speak for commas.
    comma = usual == "," or (usual == ";" and any("," in cell for cell in cells))
    return "," if comma else "."


def _plain(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """All cells as Python reads them; None where one is no such number."""
    try:
        numbers = np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        return None
    # Python reads 1_000 as a number and "nan" too: a table means neither.
    if np.isnan(numbers).any() or any("_" in cell for cell in cells):
        return None
    return numbers


def _number(cell: str, mark: str) -> tuple[float, str] | None:
    """The number that a cell holds and its unit; None where it holds none."""
    got = NUMBER[mark].fullmatch(cell)
    if got is None:
        # Infinity is read, so that what is refused later is named as a number and not as a word.
        return (float(cell), "") if cell.lower().strip("+-") in ("inf", "infinity") else None
    digits = got["digits"]
    if got["group"] is not None:
        if digits.startswith("0"):  # 0,512 is no thousand
            return None
        digits = digits.replace(got["group"], "")
    sign = "-" if got["sign"] in ("-", "−") else ""
    value = float(f"{sign}{digits.replace(',', '.')}{got['power'] or ''}")
    return value, (got["before"] or "") + (got["after"] or "")


def _check_units(label: str, name: str, units: Mapping[str, str]) -> None:
    examples = {unit: cell for cell, unit in units.items()}
    if len(examples) > 1:
        these = " and ".join(repr(cell) for cell in list(examples.values())[:2])
        raise DataError(
            f"{label}: column {name!r} holds numbers of {len(examples)} units, such as {these}: "
            "write all in one"
        )


def _worded(name: str, cells: Sequence[str], fraction: float) -> Column:
    words = [None if cell in GAPS else cell for cell in cells]
    odd = {row: cell for row, cell in enumerate(cells) if cell and words[row] is None}
    notes = [f"column {name!r}: {_counted(odd)} counted as missing"] if odd else []
    # Mostly numbers, and still words: that may be a mistake in the file.
    if fraction >= 0.5:
        notes.append(f"column {name!r}: {fraction:.0%} of its cells are numbers, taken as words")
    elif _dates(words):
        notes.append(f"column {name!r} holds dates, taken as words: write them as numbers")
    return Column(None, words, odd, tuple(notes))


def _dates(words: Sequence[str | None]) -> bool:
    there = [word for word in words if word]
    return bool(there) and all(map(DATE.fullmatch, there))


def _counted(odd: Mapping[int, str]) -> str:
    times = Counter(odd.values()).most_common(3)
    return ", ".join(f"{cell!r} ({count})" for cell, count in times)


def _number_notes(
    name: str, readings: Mapping[str, tuple[float, str] | None], odd: Mapping[int, str], mark: str
) -> tuple[str, ...]:
    """What a reader should know of how the numbers of a column were read."""
    notes = [f"column {name!r}: {_counted(odd)} counted as missing"] if odd else []
    group = "," if mark == "." else "."
    thousands = next((cell for cell, got in readings.items() if got and group in cell), None)
    if thousands is not None:
        value = (readings[thousands] or NOTHING)[0]
        notes.append(f"column {name!r}: {thousands!r} is read as {value:.15g} (decimal=)")
    return tuple(notes)
