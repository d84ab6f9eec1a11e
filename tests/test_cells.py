"""Text tables as people have them: what a cell means, what is said, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from relubench.cli import main
from relubench.datasets import DATASETS, Dataset, csv_cells
from relubench.datasets.preprocessing import prepare
from relubench.errors import BadValue, DataError
from relubench.plan import Cell, Preparation, Split
from relubench.training.splits import split

IRIS = load_iris()
KINDS = IRIS.target_names[IRIS.target]
GOOD = [[*map(str, row), kind] for row, kind in zip(IRIS.data, KINDS, strict=True)]
HEADER = ["sl", "sw", "pl", "pw", "species"]


def written(
    folder: Path, rows: list[list[str]], header: list[str] = HEADER, sep: str = ",", top: str = ""
) -> Path:
    """A file of these rows, every field as it stands."""
    path = folder / "table.csv"
    lines = [sep.join(row) for row in (header, *rows)]
    path.write_text(top + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def get(path: Path, given: str = "target=species") -> Dataset:
    dataset: Dataset = DATASETS.choose(f"csv:{path}:{given}")(Path())
    return dataset


def changed(cell: str, row: int = 7, column: int = 0) -> list[list[str]]:
    rows = [list(each) for each in GOOD]
    rows[row][column] = cell
    return rows


GAPS = ["NULL", "n/a", "#N/A", "None", "-", ".", "missing", "unknown", "nan", "", "#DIV/0!", "five"]


@pytest.mark.parametrize("gap", GAPS)
def test_a_gap_in_a_column_of_numbers_is_named_or_filled(gap: str, tmp_path: Path) -> None:
    path = written(tmp_path, changed(gap))
    with pytest.raises(
        DataError, match="1 value is missing, first in column 'sl', example 8"
    ) as no:
        get(path)
    assert gap in str(no.value)
    dataset = get(path, "target=species:missing=impute")
    assert dataset.shape == (4,)
    assert np.isnan(dataset.x).sum() == 1
    assert np.isnan(dataset.x[7, 0])
    train, _ = prepare(
        dataset.x,
        np.arange(100),
        np.arange(100, 150),
        Preparation(standardise=False),
        dataset.encode,
    )
    others = np.delete(IRIS.data[:100, 0], 7)
    assert train[7, 0] == np.median(others)
    assert not gap or any(repr(gap) in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        *[('"1,234"', 1234), ('"1,234,567.5"', 1234567.5), ("1 234", 1234), ("1'234", 1234)],
        *[("+5.1", 5.1), ("−5", -5), ("5e0", 5), (".5", 0.5), ("5.", 5), ("1\u202f234.5", 1234.5)],
    ],
)
def test_a_number_is_read_however_it_is_written(cell: str, value: float, tmp_path: Path) -> None:
    dataset = get(written(tmp_path, changed(cell)))
    assert dataset.x[7, 0] == value
    assert dataset.shape == (4,)
    assert (cell[0] == '"') == any("is read as" in note for note in dataset.notes)


def commas(row: list[str], quote: str = '"') -> list[str]:
    return [f"{quote}{cell.replace('.', ',')}{quote}" for cell in row[:4]] + row[4:]


@pytest.mark.parametrize("unit", ["%", " %", " kg", "€", " cm", "°"])
def test_a_sign_of_the_unit_is_no_word(unit: str, tmp_path: Path) -> None:
    rows = [[row[0] + unit, *row[1:]] for row in GOOD]
    assert np.array_equal(get(written(tmp_path, rows)).x, IRIS.data)
    rows[3][0] = rows[3][0].removesuffix(unit) + " ms"
    with pytest.raises(DataError, match="'sl' holds numbers of 2 units, such as"):
        get(written(tmp_path, rows))


@pytest.mark.parametrize(
    ("sep", "rows", "given"),
    [
        (",", [commas(row) for row in GOOD], ""),
        (";", GOOD, ""),
        (";", [commas(row, "") for row in GOOD], ""),
        ("\t", GOOD, ""),
        ("\t", [commas(row, "") for row in GOOD], ""),
        ("|", GOOD, ""),
        ("|", GOOD, ":sep=pipe"),
        (" ", GOOD, ":sep=space"),
        (" ", GOOD, ""),
        ("   ", GOOD, ""),
        (";", [commas(row, "") for row in GOOD], ":sep=semicolon:decimal=comma"),
        (", ", GOOD, ""),
        (" ; ", GOOD, ""),
    ],
)
def test_separators_and_decimal_commas_are_found(
    sep: str, rows: list[list[str]], given: str, tmp_path: Path
) -> None:
    dataset = get(written(tmp_path, rows, sep=sep), f"target=species{given}")
    assert np.array_equal(dataset.x, IRIS.data)
    assert dataset.classes == tuple(IRIS.target_names)
    said, (marked, *_) = str(dataset.notes), rows
    assert ("decimal comma" in said) == ("," in marked[0] and "decimal=" not in given)
    named = {";": "semicolon", "\t": "tab", "|": "pipe", "": "space"}.get(sep.strip(" "))
    assert given or not named or f"read with sep={named}" in said


@pytest.mark.parametrize(
    "unit", [" mmol/L", "mg/dL", " kWh", " m²", " years old", "x", " CHF", "₹", " µmol"]
)
def test_what_all_numbers_end_in_is_their_unit(unit: str, tmp_path: Path) -> None:
    """Whatever it is: no list has all units."""
    rows = [[row[0] + unit, *row[1:]] for row in GOOD]
    dataset = get(written(tmp_path, rows))
    assert np.array_equal(dataset.x, IRIS.data)
    said = f"{unit.strip()!r} after its numbers is taken as their unit" in str(dataset.notes)
    assert said == (unit != "₹")  # of a sign there is no doubt
    rows[3][0] = "n/a"
    assert np.isnan(get(written(tmp_path, rows), "target=species:missing=impute").x).sum() == 1
    rows[3][0] = "5.1"
    with pytest.raises(DataError, match="'sl' holds numbers of 2 units, such as"):
        get(written(tmp_path, rows))


@pytest.mark.parametrize("currency", ["$", "€ ", "USD ", "EUR ", "CHF", "₹"])
def test_a_currency_in_front_is_no_word(currency: str, tmp_path: Path) -> None:
    rows = [[currency + row[0], *row[1:]] for row in GOOD]
    assert np.array_equal(get(written(tmp_path, rows)).x, IRIS.data)


@pytest.mark.parametrize("cell", ["p{}", "{}.png", "{}a|{}b", "1st{}", "{}:30 pm", "<{}", "a{}x"])
def test_names_with_numbers_in_them_are_words(cell: str, tmp_path: Path) -> None:
    """Neither a prefix nor endings that differ make a number of a name."""
    kinds = cell.split("|")
    names = [kinds[n % len(kinds)].format(n % 20) for n in range(150)]
    rows = [[name, *row] for name, row in zip(names, GOOD, strict=True)]
    dataset = get(written(tmp_path, rows, ["name", *HEADER]))
    assert dataset.shape == (4 + len({*names}),)


def test_classes_keep_their_unit(tmp_path: Path) -> None:
    rows = [[*row[:4], f"{10 * n} mmol/L"] for row, n in zip(GOOD, IRIS.target, strict=True)]
    assert get(written(tmp_path, rows)).classes == ("0 mmol/L", "10 mmol/L", "20 mmol/L")


def test_a_comma_that_may_be_either_follows_the_table() -> None:
    """A decimal comma where another column has one or semicolons part; else thousands."""
    both, clear = ("1,234", "5,678"), ("0,5", "12,25")
    assert csv_cells.decimal_of([both, clear], ",") == ","
    for separator, value in ((",", 1234), (";", 1.234)):
        usual = csv_cells.decimal_of([both], separator)
        numbers = csv_cells.column("it", "a", both, "auto", usual).numbers
        assert numbers is not None
        assert numbers[0] == value
    dots = csv_cells.column(
        "it", "a", ("1.234", "5.678"), "auto", csv_cells.decimal_of([], ";")
    ).numbers
    assert dots is not None
    assert dots[0] == 1.234


@pytest.mark.parametrize("ending", ["", ".0", ".", ".00"])
@pytest.mark.parametrize("first", [2**53, 2**60, -(2**62), 10**18, 2**53 - 1])
def test_classes_beyond_whole_floats_stay_apart(first: int, ending: str, tmp_path: Path) -> None:
    names = [str(first + int(kind)) for kind in IRIS.target]
    rows = [[*row[:4], name + ending] for row, name in zip(GOOD, names, strict=True)]
    dataset = get(written(tmp_path, rows))
    assert sorted(dataset.classes) == sorted({*names})
    assert [dataset.classes[number] for number in dataset.y] == names


def test_classes_beyond_64_bits_stay_apart(tmp_path: Path) -> None:
    names = [str(10**25 + int(kind)) for kind in IRIS.target]
    rows = [[*row[:4], name] for row, name in zip(GOOD, names, strict=True)]
    dataset = get(written(tmp_path, rows))
    assert [dataset.classes[number] for number in dataset.y] == names


def test_classes_of_a_parquet_file_stay_apart(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(IRIS.data, columns=HEADER[:4])
    frame.assign(species=2**53 + IRIS.target).to_parquet(tmp_path / "t.parquet")
    dataset = DATASETS.choose(f"parquet:{tmp_path / 't.parquet'}:target=species")(Path())
    assert np.array_equal(dataset.y, IRIS.target)


BLANKS = [" ", "  ", "\t", "\u00a0", " \t ", "\u200b", "\ufeff", " \u2060", "\u200b\u200d "]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("where", ["after", "before", "header"])
def test_blanks_around_words_are_no_other_word(blank: str, where: str, tmp_path: Path) -> None:
    rows, header = [list(row) for row in GOOD], list(HEADER)
    if where == "header":
        header[4] = f"{blank}species{blank}"
    for row in rows[::10]:
        row[4] = {"after": row[4] + blank, "before": f'"{blank}{row[4]}"'}.get(where, row[4])
    dataset = get(written(tmp_path, rows, header))
    assert dataset.classes == tuple(IRIS.target_names)
    assert any("blanks around words are left out" in note for note in dataset.notes)


INDEX = {
    "nameless": ("", [str(number) for number in range(150)]),
    "from 1": ("id", [str(number + 1) for number in range(150)]),
    "with steps": ("row", [str(3 * number + number % 2) for number in range(150)]),
    "saved twice": ("Unnamed: 0", [str(number) for number in range(150)][::-1]),
    "nameless words": ("", [f"r{number}" for number in range(150)]),
    "nameless and shuffled": ("", [str(7 * number % 150) for number in range(150)]),
    "with thousands": ("id", [f'"{number + 950:,}"' for number in range(150)]),
    "of floats": ("index", [f"{number}.0" for number in range(150)]),
    "with zeros": ("id", [f"{number:05}" for number in range(150)]),
}


@pytest.mark.parametrize("kind", INDEX)
def test_a_column_that_counts_the_lines_is_left_out(kind: str, tmp_path: Path) -> None:
    name, numbers = INDEX[kind]
    rows = [[number, *row] for number, row in zip(numbers, GOOD, strict=True)]
    path = written(tmp_path, rows, [name, *HEADER])
    dataset = get(path)
    assert np.array_equal(dataset.x, IRIS.data)
    assert any("which counts the lines, is no input (index=keep)" in note for note in dataset.notes)
    if "words" not in kind:
        kept = get(path, "target=species:index=keep")
        assert kept.shape == (5,)
        assert kept.digest != dataset.digest


@pytest.mark.parametrize(
    "names",
    [
        ["", "Unnamed: 0"],
        ["Unnamed: 0.1", "Unnamed: 0"],
        ["Unnamed: 0.2", "Unnamed: 0.1", "Unnamed: 0"],
        ["id", "Unnamed: 0"],
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [1, 7])
def test_an_index_that_was_saved_more_than_once_is_left_out(
    names: list[str], step: int, tmp_path: Path
) -> None:
    """pandas names what it reads of an index `Unnamed: 0`, and saves it beside a new one."""
    counts = [[str(n), *[str(step * n % 150)] * (len(names) - 1)] for n in range(150)]
    rows = [[*count, *row] for count, row in zip(counts, GOOD, strict=True)]
    path = written(tmp_path, rows, [*names, *HEADER])
    assert np.array_equal(get(path).x, IRIS.data)
    assert str(get(path).notes).count("which counts the lines, is no input") == len(names)
    assert get(path, "target=species:index=keep").shape == (4 + len(names),)


def test_an_index_beside_nothing_else_is_an_input(tmp_path: Path) -> None:
    rows = [[str(number), row[4]] for number, row in enumerate(GOOD)]
    assert get(written(tmp_path, rows, ["Unnamed: 0", "species"])).shape == (1,)


@pytest.mark.parametrize("sep", [":", "^", "~", "•", "\x01"])
def test_a_separator_that_is_not_found_is_asked_for(sep: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"no column 'species'.*one column: say what parts them"):
        get(written(tmp_path, GOOD, sep=sep))


def test_numbers_that_rise_in_another_column_or_fall_are_inputs(tmp_path: Path) -> None:
    for column, numbers in ((1, range(150)), (0, range(150, 0, -1)), (0, [0] + [1] * 149)):
        rows = [list(row) for row in GOOD]
        for row, number in zip(rows, numbers, strict=True):
            row.insert(column, str(number))
        header = [*HEADER[:column], "n", *HEADER[column:]]
        assert get(written(tmp_path, rows, header)).shape == (5,)


def test_an_index_leaks_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise in three blocks of classes: an index as an input would give them away."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(150, 3)), columns=[*"abc"]).assign(y=KINDS)
    frame.to_csv(tmp_path / "saved.csv")
    name = f"csv:{tmp_path / 'saved.csv'}:target=y"
    flags = ["-m", "ffnn:hidden=16", "--folds", "5", "--epochs", "60", "--no-ledger"]
    assert main(["cv", "-d", name, *flags, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert np.mean([row["accuracy"] for row in json.loads(out)]) < 0.45
    assert "column @1 without a name, which counts the lines, is no input" in err


@pytest.mark.parametrize(
    ("top", "says"),
    [
        ("Iris measurements 2024\n", "line 1 is a title or a comment ('Iris measurements 2024')"),
        ("# taken in 1936\n", "say skip=1"),
        ("# one\n# two, with commas\n", "say skip=2"),
        ("Iris,1936\n", "say skip=1"),
        ("\n\nTitle\n\n", "say skip=3"),
    ],
)
def test_a_title_above_the_header_is_named(top: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, top=top)
    with pytest.raises(DataError) as caught:
        get(path)
    assert says in str(caught.value)
    skip = str(caught.value).rsplit("skip=", 1)[1]
    assert np.array_equal(get(path, f"target=species:skip={skip}").x, IRIS.data)


@pytest.mark.parametrize("given", ["species", "@5"])
def test_a_missing_header_is_said(given: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD[1:], GOOD[0])
    with pytest.raises(DataError, match=r"line 1 holds numbers .*it has no header"):
        get(path, f"target={given}")


def test_names_that_are_numbers_in_order_are_a_header(tmp_path: Path) -> None:
    assert get(written(tmp_path, GOOD, ["0", "1", "2", "3", "species"])).shape == (4,)


@pytest.mark.parametrize("name", ["kind: of iris", "a,b", "@5", "", "x=y", "target:species"])
def test_a_column_of_any_name_can_be_the_target(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, [*HEADER[:4], f'"{name}"'])
    assert get(path, "target=@5").classes == tuple(IRIS.target_names)


@pytest.mark.parametrize("place", ["@0", "@6", "@", "@x", "@-1"])
def test_a_place_that_is_no_column_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="no column"):
        get(written(tmp_path, GOOD), f"target={place}")


@pytest.mark.parametrize("path", [r"C:\data\x.csv", "d:/data/x.csv", r"Z:\x.csv"])
def test_a_windows_path_is_one_word(path: str) -> None:
    choice = DATASETS.choose(f"csv:{path}:target=y")
    assert choice.parameters["file"] == path
    assert str(choice) == f"csv:{path}:target=y"


def test_many_words_are_capped_by_the_training_part(tmp_path: Path) -> None:
    towns = [f"t{number % 60 if number < 120 else number % 2:02}" for number in range(150)]
    rows = [[town, *row] for town, row in zip(towns, GOOD, strict=True)]
    path = written(tmp_path, rows, ["town", *HEADER])
    dataset = get(path, "target=species:max_categories=5")
    assert dataset.shape == (9,)
    assert "all but the 4 most frequent" in str(dataset.notes)
    train, test = np.arange(100, 150), np.arange(100)
    x_train, x_test = prepare(
        dataset.x, train, test, Preparation(standardise=False), dataset.encode
    )
    frequent = pd.Series(towns)[train].value_counts()
    first = (np.array(towns)[test] == frequent.index[0]).astype(float)
    assert any(np.array_equal(x_test[:, column], first) for column in range(4, 9))
    assert (x_train[:, 4:].sum(axis=1) == 1).all()
    assert get(path).shape == (64,)
    assert get(path).digest != dataset.digest


def test_words_are_no_gaps_in_a_column_of_words(tmp_path: Path) -> None:
    words = ["None", "unknown", "-", "red"] * 38
    rows = [[word, *row] for word, row in zip(words, GOOD, strict=False)]
    dataset = get(written(tmp_path, rows, ["colour", *HEADER]))
    assert dataset.shape == (8,)
    assert any("taken as words: 'colour' (4)" in note for note in dataset.notes)


def test_ids_and_dates_of_a_parquet_file_are_said(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(IRIS.data, columns=HEADER[:4]).assign(species=KINDS)
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(150) % 9, unit="D")
    ids = [f"k{number % 50}" for number in range(150)]
    frame.assign(day=days, key=ids).to_parquet(tmp_path / "t.parquet")
    notes = str(DATASETS.choose(f"parquet:{tmp_path / 't.parquet'}:target=species")(Path()).notes)
    assert "'day' holds dates, taken as words" in notes
    assert "column 'key': 50 words among 150 examples, as ids have them" in notes


def test_dates_and_mixed_columns_are_said(tmp_path: Path) -> None:
    rows = [[f"2024-01-{n % 28 + 1:02}", *row] for n, row in enumerate(GOOD)]
    assert "'day' holds dates, taken as words" in str(
        get(written(tmp_path, rows, ["day", *HEADER])).notes
    )
    rows = [["many" if n % 5 == 0 else str(n % 7), *row] for n, row in enumerate(GOOD)]
    assert "80% of its cells are numbers, taken as words" in str(
        get(written(tmp_path, rows, ["count", *HEADER])).notes
    )


@pytest.mark.parametrize("count", [21, 60, 75])
def test_whole_numbers_are_classes_when_it_is_said(count: int, tmp_path: Path) -> None:
    rows = [[*row[:4], str(number % count)] for number, row in enumerate(GOOD)]
    path = written(tmp_path, rows)
    with pytest.raises(DataError, match=f"{count} distinct whole numbers .*say task=classes"):
        get(path)
    assert len(get(path, "target=species:task=classes").classes) == count


def test_the_data_line_says_what_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, GOOD)
    assert main(["train", "-d", f"csv:{path}:target=species", "--epochs", "1", "--no-ledger"]) == 0
    said = "150 examples of 3 classes ('setosa' the most, 33.3%), 4 columns → 4 inputs"
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_table_is_one_line_or_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 files with bytes changed, cut or put in: exit 0 or 2, at most three lines."""
    good = written(tmp_path, GOOD).read_bytes()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        data = bytearray(good)
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            data[place] = rng.integers(0, 256 if seed % 2 else 128)
        path = tmp_path / f"{seed}.csv"
        path.write_bytes(data[: rng.integers(0, len(data))] if seed % 3 == 0 else data)
        flags = ["--epochs", "0", "--no-ledger", "--quiet", "-m", "ffnn:hidden=2"]
        assert main(["train", "-d", f"csv:{path}:target=species", *flags]) in (0, 2)
        assert len(capsys.readouterr().err.splitlines()) <= 3


# --- rare classes and groups ----------------------------------------------------------------------


CELL = Cell(dataset="it", model="ffnn", activation="relu")


def rows_of(classes: list[str]) -> list[list[str]]:
    """An example per class name: four numbers that say nothing, and the name."""
    x = np.random.default_rng(0).normal(size=(len(classes), 4)).round(6).astype(str)
    return [[*row, name] for row, name in zip(x.tolist(), classes, strict=True)]


RARE = {
    "last": ["a"] * 990 + ["b"] * 10,
    "first": ["a"] * 10 + ["b"] * 990,
    "middle": ["a"] * 500 + ["b"] * 10 + ["c"] * 490,
    "two": ["a"] * 980 + ["b"] * 10 + ["c"] * 10,
    "numbers": ["1"] * 990 + ["0"] * 10,
    "ten before nine": ["9"] * 990 + ["10"] * 10,
    "three of four": ["a"] * 7 + ["b"] * 8 + ["c"] * 900 + ["d"] * 9,
}


@pytest.mark.parametrize("kind", RARE)
def test_a_limit_keeps_an_example_of_each_class(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, rows_of(RARE[kind]))
    dataset = get(path)
    for seed in range(5):
        cell = replace(CELL, seed=seed, preparation=Preparation(limit=50))
        train, _ = split(cell, dataset)
        assert len(train) == 50
        assert set(dataset.y[train]) == set(dataset.y)


SINGLE = {
    "last": (["a"] * 30 + ["b"] * 30 + ["c"], "'c' is only in the training set"),
    "first": (["a"] + ["b"] * 30 + ["c"] * 30, "'a' is only in the test set"),
    "two": (["a"] * 30 + ["b"] * 30 + ["c", "d"], "'d' are only in the training set"),
    "numbers": (["0"] * 30 + ["1"] * 30 + ["2"], "'2' is only in the training set"),
    "ten before nine": (["9"] * 30 + ["8"] * 30 + ["10"], "'10' is only in the training set"),
    "several": (["a"] * 60 + [*"bcdefgh"], "'b', 'e' are only in the test set"),
    "all": ([f"k{n}" for n in range(30)], " and 16 more are only in the training set"),
    "middle": (["a"] * 30 + ["b"] + ["c"] * 30, "'b' is only in the "),
    "few": (["a"] * 20 + ["z"], "'z' is only in the training set"),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_a_class_that_one_part_lacks_is_said(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes, says = SINGLE[kind]
    path = written(tmp_path, rows_of(classes))
    flags = ["--epochs", "1", "--no-ledger", "-m", "ffnn:hidden=2"]
    assert main(["train", "-d", f"csv:{path}:target=species", *flags]) == 0
    assert says in capsys.readouterr().err


def test_the_split_that_is_spoken_of_is_the_one_that_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, rows_of(["a"] * 30 + ["b"] * 30 + ["c"]))
    flags = ["--epochs", "1", "--no-ledger", "-m", "ffnn:hidden=2", "--seed", "7"]
    assert main(["train", "-d", f"csv:{path}:target=species", *flags]) == 0
    assert "(seed 7)" in capsys.readouterr().err


def patients(folder: Path, count: int, each: int, group: str = "patient") -> Path:
    """Scans that tell the patient, not the class: who is known from training, is recognised."""
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(count), each)
    y = rng.permutation(np.arange(count) % 2)[who]
    x = rng.normal(size=(count, 4))[who] + 0.1 * rng.normal(size=(len(who), 4))
    rows = [[*map(str, row), f"p{p}", str(c)] for row, p, c in zip(x.round(5), who, y, strict=True)]
    shuffled = [rows[number] for number in rng.permutation(len(rows))]
    return written(folder, shuffled, [*HEADER[:4], group, "species"])


@pytest.mark.parametrize(
    ("count", "each", "name"),
    [(40, 10, "patient"), (25, 8, "who"), (60, 4, "a:b"), (12, 30, "a,b"), (30, 10, "@")],
)
def test_a_group_is_never_on_both_sides(count: int, each: int, name: str, tmp_path: Path) -> None:
    path = patients(tmp_path, count, each, f'"{name}"')
    dataset = get(path, "target=species:group=@5")
    who = np.array(dataset.groups)
    assert len(set(who)) == count
    assert dataset.shape == (4,)
    for fold in (None, 0, 4):
        for validation in (False, True):
            folds = None if fold is None else 5
            cut = Split(folds=folds, fold=fold, validation=validation)
            train, test = split(replace(CELL, split=cut), dataset)
            assert len(test)
            assert not set(who[train]) & set(who[test])
    assert dataset.digest != get(path, "target=species:group=@1").digest


def test_who_is_apart_is_not_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = patients(tmp_path, 40, 10)
    flags = ["-m", "ffnn:hidden=32", "--folds", "5", "--epochs", "40", "--no-ledger"]
    found = []
    for stack in ("1", "5"):  # folds of unequal size, alone and in one pass
        name = f"csv:{path}:target=species:group=patient"
        stacked = [*flags, "--lr", "0.01", "--stack", stack, "--format", "json"]
        assert main(["cv", "-d", name, *stacked]) == 0
        out, err = capsys.readouterr()
        found.append([row["loss"] for row in json.loads(out)])
    assert "examples of one 'patient' stay together (40 of them)" in err
    assert np.mean([row["accuracy"] for row in json.loads(out)]) < 0.7
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (":group=zzz", "no column 'zzz'"),
        (":group=species", "target and group are one column"),
        (":group=patient --folds 13", "12 groups are too few for 13 parts"),
    ],
)
def test_groups_that_cannot_be_kept_are_refused(
    given: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *flags = f"csv:{patients(tmp_path, 12, 20)}:target=species{given}".split()
    assert main(["cv", "-d", name, *(flags or ["--folds", "3"]), "--no-ledger", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["last", "first", "two", "three of four"])
def test_what_is_no_better_than_the_largest_class_is_said(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise as inputs: nothing can be learned but which class is the largest."""
    path = written(tmp_path, rows_of(RARE[kind]))
    flags = ["-m", "ffnn:hidden=4", "--epochs", "8", "--lr", "0.01", "--no-ledger", "--quiet"]
    assert main(["train", "-d", f"csv:{path}:target=species", *flags]) == 0
    out = capsys.readouterr().out
    assert "To name the largest class always has" in out
    assert main(["train", "-d", "iris", *flags]) == 0
    assert "largest class" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "model", "says"),
    [
        ("iris", "lenet5", "examples of 4 numbers as 2x2 get a border of 0, to be 32x32"),
        ("digits", "lenet5", "examples of 64 numbers as 8x8 get a border of 0, to be 32x32"),
        ("digits:images=true", "lenet5", "examples of 8x8 get a border of 0, to be 32x32"),
        ("digits:images=true", "cnn", ""),
        ("iris", "ffnn", ""),
    ],
)
def test_inputs_that_are_padded_are_said(
    dataset: str, model: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--epochs", "0", "--no-ledger"]
    code = main(["train", "-d", dataset, "-m", model, *flags])
    err = capsys.readouterr().err
    assert code == 0 or model == "cnn"
    assert says in err
    assert ("border of 0" in err) == bool(says)
