"""Groups: what belongs together is never both learned from and tested on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import relubench
from relubench import datasets
from relubench.cli import main
from relubench.errors import BadValue, DataError
from relubench.plan import Cell, Split
from relubench.training.splits import split

PATIENTS, SCANS, COLUMNS = 40, 8, 6
SMALL: dict[str, Any] = {"model": "ffnn:hidden=24", "epochs": 40, "lr": 0.01, "no_ledger": True}


def scans() -> pd.DataFrame:
    """Scans that look like their patient and say nothing of the illness."""
    draws = np.random.default_rng(5)
    patient = np.repeat(np.arange(PATIENTS), SCANS)
    looks = draws.normal(0, 2, size=(PATIENTS, COLUMNS))
    frame = pd.DataFrame(looks[patient] + draws.normal(0, 0.5, size=(len(patient), COLUMNS)))
    frame.columns = pd.Index([f"v{number}" for number in range(COLUMNS)])
    ill = draws.permutation(np.arange(PATIENTS) % 2)[patient]
    return frame.assign(patient=patient, y=np.where(ill, "ill", "healthy"))


FRAME = scans()


def written(folder: Path, kind: str) -> str:
    """The scans as a file of that kind, as `--dataset` names it."""
    path = folder / f"scans.{kind}"
    if kind == "csv":
        FRAME.to_csv(path, index=False)
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        FRAME.to_parquet(path)
    else:
        x = FRAME.filter(like="v").to_numpy()
        np.savez(path, x=x, y=FRAME.y.to_numpy().astype(str), patient=FRAME.patient)
        return f"npz:{path}"
    return f"{kind}:{path}:target=y"


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_no_part_of_any_split_shares_a_group(kind: str, tmp_path: Path) -> None:
    name = f"{written(tmp_path, kind)}:group=patient"
    dataset = datasets.load(name, "unused")
    assert dataset.groups is not None
    cell = Cell(dataset=name, model="ffnn", activation="relu")
    for part in (Split(), Split(validation=True), *(Split(folds=5, fold=f) for f in range(5))):
        for validation in (None, "0.2"):
            chosen = dataclasses.replace(cell, split=part, validation=validation)
            train, test = split(chosen, dataset)
            assert not set(dataset.groups[train]) & set(dataset.groups[test])
            assert abs(dataset.y[test].mean() - 0.5) < 0.2  # stratified as far as that goes


def test_groups_apart_are_worth_what_stratified_group_k_fold_says(tmp_path: Path) -> None:
    """With patients in both parts a network knows them again; apart it knows nothing."""
    name = written(tmp_path, "csv")
    network = MLPClassifier((24,), learning_rate_init=0.01, batch_size=64, max_iter=40)
    x, y = FRAME.filter(like="v").to_numpy(), FRAME.y.to_numpy()
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    with pytest.warns(UserWarning, match="iterations"):
        expected = cross_val_score(
            make_pipeline(StandardScaler(), network), x, y, groups=FRAME.patient, cv=splits
        )
    apart = relubench.cv(dataset=f"{name}:group=patient", folds=5, seeds=2, **SMALL)
    mixed = relubench.cv(dataset=f"{name}:group=patient".removesuffix(":group=patient"), **SMALL)
    error = np.std(expected, ddof=1) / np.sqrt(5) + 0.05
    assert abs(np.mean([row.accuracy for row in apart.rows]) - np.mean(expected)) < 3 * error
    assert np.mean([row.accuracy for row in apart.rows]) < 0.65
    assert np.mean([row.accuracy for row in mixed.rows]) > 0.75


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["cv", "--folds", "4"], "no group is in two parts, and classes are stratified"),
        (["compare", "--folds", "4", "--seeds", "1"], "splits that part no group."),
        (["compare", "--seeds", "2", "--explain"], "own hold-out that parts no group, stratified"),
    ],
    ids=" ".join,
)
def test_the_design_says_what_a_split_respects(
    more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *flags = more
    data = f"{written(tmp_path, 'csv')}:group=patient"
    tiny = ["-d", data, "-m", "ffnn:hidden=4", "-a", "relu,tanh", "--epochs", "1", "--no-ledger"]
    assert main([command, *tiny, *flags, "--quiet"]) == 0
    assert says in " ".join(capsys.readouterr().out.split())


def test_protocol_names_what_a_split_respects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["-m", "ffnn:hidden=4", "--folds", "3", "--epochs", "1", "--no-ledger", "--quiet"]
    assert main(["cv", "-d", "iris", *tiny, "--protocol", "published"]) == 0
    assert "folds and hold-outs: stratified by class." in capsys.readouterr().out
    grouped = f"{written(tmp_path, 'csv')}:group=patient"
    assert main(["cv", "-d", grouped, *tiny, "--protocol", "published"]) == 2
    assert "groups cannot be kept apart" in capsys.readouterr().err


def test_rows_say_what_a_split_respects(tmp_path: Path) -> None:
    tiny = {**SMALL, "epochs": 1, "seeds": 2, "activation": "tanh"}
    kinds = {
        "iris": "classes",
        f"{written(tmp_path, 'csv')}:group=patient": "classes and groups",
        "diabetes": None,
    }
    for name, expected in kinds.items():
        rows = relubench.compare(dataset=name, **tiny).rows
        assert {row.respected for row in rows} == {expected}


@pytest.mark.parametrize(
    ("given", "says"),
    [("whose", "no array 'whose': it has x, y, patient"), ("short", "must be \\(320,\\) like x")],
)
def test_an_array_that_names_no_groups_is_one_line(given: str, says: str, tmp_path: Path) -> None:
    written(tmp_path, "npz")
    path = tmp_path / "scans.npz"
    arrays = dict(np.load(path, allow_pickle=False))
    if given == "short":
        np.savez(path, **arrays, short=np.arange(3))
    with pytest.raises((BadValue, DataError), match=says):
        datasets.load(f"npz:{path}:group={given}", "unused")
