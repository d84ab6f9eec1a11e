"""A user's own tables and those of openml.org: what is read, what is refused, and what leaks."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from pandas.api.types import is_numeric_dtype
from sklearn.preprocessing import OneHotEncoder

from relubench import datasets
from relubench.cli import main
from relubench.datasets import DATASETS, Dataset
from relubench.datasets.preprocessing import prepare
from relubench.datasets.tables import encode
from relubench.errors import BadValue, DataError
from relubench.plan import Preparation

rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": rng.integers(18, 80, 60),
        "town": rng.choice(["Rome", "Oslo", "Lima"], 60),
        "score": rng.normal(size=60).round(3),
        "member": rng.choice([True, False], 60),
        "label": rng.choice(["old", "young"], 60),
    }
)
GAPS = FRAME.assign(
    age=FRAME.age.where(np.arange(60) % 7 > 0), town=FRAME.town.where(np.arange(60) % 5 > 0)
)


def saved(folder: Path, frame: pd.DataFrame, kind: str = "csv") -> str:
    """The name of a dataset of a file of its own."""
    path = folder / f"table.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path, index=False)
    return f"{kind}:{path}"


def get(name: str) -> Dataset:
    dataset: Dataset = DATASETS.choose(name)(Path())
    return dataset


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_numbers_are_inputs_and_words_are_one_input_each(kind: str, tmp_path: Path) -> None:
    dataset = get(f"{saved(tmp_path, FRAME, kind)}:target=label")
    assert dataset.classes == ("old", "young")
    assert [dataset.classes[number] for number in dataset.y] == list(FRAME.label)
    train, test = np.arange(40), np.arange(40, 60)
    found = prepare(dataset.x, train, test, Preparation(standardise=False), dataset.encode)
    towns = OneHotEncoder(sparse_output=False).fit_transform(FRAME[["town"]])
    expected = np.hstack([FRAME[["age", "score", "member"]].to_numpy(float), towns])
    assert dataset.shape == (6,)
    assert np.array_equal(np.concatenate(found), expected)


def test_words_alone_are_encoded(tmp_path: Path) -> None:
    dataset = get(f"{saved(tmp_path, FRAME[['town', 'label']])}:target=label")
    train, test = prepare(
        dataset.x, np.arange(40), np.arange(40, 60), Preparation(standardise=False), dataset.encode
    )
    assert np.array_equal(np.concatenate([train, test]), pd.get_dummies(FRAME.town))


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    lists = pd.Series([[1, 2]] * len(FRAME), dtype=object)
    FRAME.assign(town=lists).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match="'town' holds lists or tables"):
        get(f"parquet:{tmp_path / 'table.parquet'}:target=label")


def test_numbers_alone_need_no_encoding(tmp_path: Path) -> None:
    dataset = get(f"{saved(tmp_path, FRAME.drop(columns='town'))}:target=label")
    assert dataset.encode is None
    assert dataset.shape == dataset.x.shape[1:] == (3,)


def test_gaps_are_filled_as_the_training_part_says(tmp_path: Path) -> None:
    dataset = get(f"{saved(tmp_path, GAPS)}:target=label:missing=impute")
    train, test = np.arange(40), np.arange(40, 60)
    x_train, x_test = prepare(
        dataset.x, train, test, Preparation(standardise=False), dataset.encode
    )
    ages = GAPS.age.fillna(GAPS.age[:40].median())
    towns = pd.get_dummies(GAPS.town.fillna(GAPS.town[:40].mode()[0]))
    x = np.concatenate([x_train, x_test])
    assert np.array_equal(x[:, 0], ages)
    assert np.array_equal(x[:, 3:], towns[["Lima", "Oslo", "Rome"]])


@pytest.mark.parametrize("preparation", [Preparation(), Preparation(pca=2)], ids=["scale", "pca"])
def test_the_test_rows_fill_no_gap(preparation: Preparation, tmp_path: Path) -> None:
    """Law 1, bit for bit: other test rows, the same training inputs."""
    train, test = np.arange(40), np.arange(40, 60)
    other = GAPS.copy()
    other.loc[40:, "age"], other.loc[40:, "score"] = 1000, -7.0
    other.loc[40:, "town"] = "Rome"
    found = []
    for frame in (GAPS, other):
        dataset = get(f"{saved(tmp_path, frame)}:target=label:missing=impute")
        found.append(prepare(dataset.x, train, test, preparation, dataset.encode))
    assert np.array_equal(found[0][0], found[1][0])
    assert not np.array_equal(found[0][1], found[1][1])


def test_a_column_that_is_a_gap_in_the_whole_training_part_is_zero() -> None:
    train, test = np.full((3, 2), np.nan), np.array([[5.0, 1.0]])
    x_train, x_test = encode(train, test, numbers=1, sizes=[2])
    assert np.isfinite(x_train).all()
    assert x_test.tolist() == [[5, 0, 1]]


def text(frame: pd.DataFrame, **columns: Any) -> bytes:
    return frame.assign(**columns).to_csv(index=False).encode()


BAD = {
    "a gap": (text(GAPS), "21 values are missing, first in column 'age', example 1: fill the gaps"),
    "a question mark": (text(FRAME, age=["?", *FRAME.age[1:]]), "1 value is missing"),
    "no class": (text(FRAME, label=[None, *FRAME.label[1:]]), "an example needs its target"),
    "a constant": (text(FRAME, always=1), "column 'always' is constant"),
    "one class": (text(FRAME, label="old"), "every example is of class 'old'"),
    "another target": (text(FRAME.rename(columns={"label": "lable"})), "did you mean 'lable'?"),
    "regression": (text(FRAME, label=FRAME.score), "as in regression"),
    "infinity": (text(FRAME, age=[np.inf, *FRAME.age[1:]]), "'age' holds a number that is not"),
    "free text": (text(FRAME, town=[f"t{i}" for i in range(60)]), "60 distinct words among 60"),
    "the target alone": (text(FRAME[["label"]]), "no column besides the target"),
    "no rows": (text(FRAME[:0]), "there are no examples"),
    "nothing": (b"", "cannot be read as csv"),
    "bytes": (bytes(range(256)), "cannot be read as csv"),
    "long rows": (b"a,label\n1,x,2\n2,y,3\n", "cannot be read as csv"),
    "a name twice": (b"label,a,label\nx,1,x\ny,2,y\n", "two columns are named 'label'"),
    "beyond float32": (text(FRAME, age=[1e39, *FRAME.age[1:]]), "not finite in float32"),
    "latin-1": ("a,label\n1,Süd\n2,Ost\n".encode("latin-1"), "it is not UTF-8 text"),
    "semicolons": (b"a;b;label\n1;2;x\n2;3;x\n", "every example is of class 'x'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, says = BAD[kind]
    (tmp_path / "table.csv").write_bytes(content)
    assert main(["train", "-d", f"csv:{tmp_path / 'table.csv'}:target=label", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert says in err
    assert str(tmp_path / "table.csv") in err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "say which column is the target: target=NAME of age, town, score, member, label"),
        (":target=zzz", "no column 'zzz': known: age, town"),
        (":target=label:missing=drop", "missing=drop: known: refuse, impute"),
    ],
)
def test_parameters_that_do_not_fit_are_explained(given: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue) as caught:
        get(saved(tmp_path, FRAME) + given)
    assert says in str(caught.value)


def test_a_table_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{saved(tmp_path, GAPS)}:target=label:missing=impute"
    arguments = ["-d", name, "-m", "ffnn:hidden=4", "--epochs", "1", "--folds", "3", "--confusion"]
    assert main(["train", *arguments[:-3], "--confusion"]) == 0
    assert "old" in capsys.readouterr().out
    assert main(["cv", *arguments[:-1], "--format", "json"]) == 0
    assert {row["dataset"] for row in json.loads(capsys.readouterr().out)} == {name}


def test_a_changed_file_is_other_data(tmp_path: Path) -> None:
    name = f"{saved(tmp_path, FRAME)}:target=label"
    before = get(name).digest
    assert get(name).digest == before
    saved(tmp_path, FRAME.assign(age=FRAME.age + 1))
    assert get(name).digest != before
    saved(tmp_path, FRAME.assign(label=FRAME.label.str.upper()))
    assert get(name).digest != before


def test_without_pyarrow_there_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> None:
        raise ImportError("Unable to find a usable engine")

    name = saved(tmp_path, FRAME, "parquet")
    monkeypatch.setattr("relubench.datasets.tables.pd.read_parquet", missing)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'relubench\[parquet\]'"):
        datasets.tables.parquet(tmp_path, file=name.removeprefix("parquet:"), target="label")


# --- openml.org, from the answers that scikit-learn keeps for its own tests -----------------------


@pytest.fixture
def openml(tmp_path: Path) -> Path:
    """A data folder with iris (61) and a part of adult census (1119) as if downloaded."""
    answers = Path(sklearn.datasets.__file__).parent / "tests" / "data" / "openml"
    if not (answers / "id_61").is_dir():
        pytest.skip("this scikit-learn ships without the answers of its tests")
    home = tmp_path / "openml" / "openml.org"
    for number, name in ((61, "iris"), (1119, "adult-census")):
        kept = answers / f"id_{number}"
        api = home / "api/v1/json/data"
        named = api / f"list/data_name/{name}/limit/2/status/active"
        for path, file in {
            f"{api}/{number}": f"api-v1-jd-{number}",
            f"{api}/features/{number}": f"api-v1-jdf-{number}",
            f"{api}/qualities/{number}": f"api-v1-jdq-{number}",
            f"{named}/": f"api-v1-jdl-dn-{name}-l-2-s-act-",
        }.items():
            Path(f"{path}.gz").parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept / f"{file}.json.gz", f"{path}.gz")
        with gzip.open(api / f"{number}.gz") as described:
            url = json.load(described)["data_set_description"]["url"]
        target = home / url.split("openml.org/")[1]
        target.parent.mkdir(parents=True, exist_ok=True)
        (arff,) = kept.glob("*.arff.gz")
        shutil.copy(arff, f"{target}.gz")
    return tmp_path


def test_openml_by_name_and_by_number(openml: Path) -> None:
    by_number = datasets.load("openml:61", str(openml))
    by_name = datasets.load("openml:iris", str(openml))
    assert by_number.digest == by_name.digest
    assert by_number.classes == ("Iris-setosa", "Iris-versicolor", "Iris-virginica")
    assert by_number.shape == (4,)


def test_openml_tables_have_words_and_gaps(openml: Path) -> None:
    frame = sklearn.datasets.fetch_openml(data_id=1119, data_home=str(openml), as_frame=True).frame
    dataset = datasets.load("openml:1119:missing=impute", str(openml))
    inputs = frame.drop(columns="class")
    words = [name for name in inputs if not is_numeric_dtype(inputs[name])]
    numbers = inputs.shape[1] - len(words)
    assert dataset.shape == (numbers + sum(inputs[name].nunique() for name in words),)
    assert len(dataset.classes) == 2


def test_the_ledger_does_not_answer_for_a_changed_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{saved(tmp_path, FRAME)}:target=label"
    arguments = ["train", "-d", name, "-m", "ffnn:hidden=4", "--epochs", "1", "--threads", "1"]
    said = []
    for frame in (FRAME, FRAME, FRAME.assign(age=FRAME.age + 1)):
        saved(tmp_path, frame)
        datasets.load.cache_clear()  # as a new process begins
        datasets.FIRST.clear()
        assert main(arguments) == 0
        said.append("1 of 1 run taken" in capsys.readouterr().err)
    assert said == [False, True, False]


def test_data_that_change_while_a_command_runs_are_refused(tmp_path: Path) -> None:
    name = f"{saved(tmp_path, FRAME)}:target=label"
    datasets.load(name, str(tmp_path))
    saved(tmp_path, FRAME.assign(age=FRAME.age + 1))
    datasets.load.cache_clear()  # as where a command has more datasets than are kept
    with pytest.raises(DataError, match="has changed since this command began"):
        datasets.load(name, str(tmp_path))
