"""Laws over the catalogue of datasets; real files where RELUBENCH_DATA names them."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from relubench import datasets
from relubench.datasets import DATASETS, SHIPPED, Dataset
from relubench.errors import DataError

SHIPPED_NAMES = [name for name, entry in DATASETS.items() if entry.source == SHIPPED]
FILES = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}


def get(name: str, folder: Path) -> Dataset:
    if name in FILES:
        folder = Path(os.environ.get("RELUBENCH_DATA", ""))
        if not (folder / FILES[name]).is_dir():
            pytest.skip("RELUBENCH_DATA names no folder with the real files")
    return datasets.load(name, str(folder))


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_classes_with_names_and_finite_inputs(name: str, tmp_path: Path) -> None:
    dataset = get(name, tmp_path)
    assert len(dataset.x) == len(dataset.y)
    assert dataset.y.dtype == np.int64
    assert sorted(set(dataset.y)) == list(range(len(dataset.classes)))
    assert np.isfinite(dataset.x).all()
    assert len(dataset.shape) in (1, 3)
    said = DATASETS[name].examples
    assert said.startswith(str(dataset.n_train))
    assert f"{len(dataset.classes)} classes" in said
    assert ("x".join(map(str, dataset.shape))) in said


def test_digits_come_as_images_too(tmp_path: Path) -> None:
    images = datasets.load("digits:images=true", str(tmp_path))
    assert images.shape == (1, 8, 8)
    assert np.array_equal(images.x[:, 0], sklearn_datasets.load_digits().images)


def test_the_published_test_set_comes_last(real_data: Path) -> None:
    from torchvision.datasets import MNIST

    dataset = datasets.load("mnist", str(real_data))
    assert dataset.n_test == 10_000
    published = MNIST(str(real_data), train=False)
    assert np.array_equal(dataset.x[-10_000:, 0], published.data.numpy())
    assert np.array_equal(dataset.y[-10_000:], published.targets.numpy())


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_other_values_than_the_pinned_ones_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = datasets.digest
    monkeypatch.setattr(datasets, "digest", lambda array: digest(array + 1))
    with pytest.raises(DataError, match="other values of 'data'"):
        DATASETS.choose(name)(tmp_path)


@pytest.mark.parametrize("file", list(DATASETS["mnist"].sha256))
@pytest.mark.parametrize("damage", ["one bit", "cut", "empty"])
def test_a_corrupted_file_is_named(real_data: Path, tmp_path: Path, file: str, damage: str) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for good in DATASETS["mnist"].sha256:
        (raw / good).symlink_to(real_data / "MNIST" / "raw" / good)
    data = bytearray((raw / file).read_bytes())
    data[-1] ^= 1
    (raw / file).unlink()
    (raw / file).write_bytes({"one bit": data, "cut": data[:1000], "empty": b""}[damage])
    with pytest.raises(DataError, match=f"{file} is corrupted"):
        DATASETS.choose("mnist")(tmp_path)


def offline(*arguments: Any, **keywords: Any) -> None:
    raise OSError("no network")


def test_a_missing_file_is_named_with_folder_and_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(DataError) as caught:
        DATASETS.choose("fashion_mnist")(tmp_path)
    for said in ("train-images-idx3-ubyte", str(tmp_path / "FashionMNIST"), "--data-dir"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_downloaded(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def download(url: str, root: Any, filename: str, md5: str) -> None:
        shutil.copy(real_data / "MNIST" / "raw" / filename, Path(root) / filename)
        sys.stdout.write("downloading")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    dataset = DATASETS.choose("mnist")(tmp_path)
    assert dataset.shape == (1, 28, 28)
    assert capsys.readouterr().out == ""  # stdout carries the result alone


def test_a_torchvision_of_another_build_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, package: str | None = None) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(DataError, match=r"builds differ.*pip install --force-reinstall") as caught:
        DATASETS.choose("mnist")(tmp_path)
    assert "\n" not in str(caught.value)


def test_every_dataset_pins_its_digests() -> None:
    assert all(entry.sha256 for entry in DATASETS.values())
