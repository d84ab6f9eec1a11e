"""Datasets: named data with a task, a source and pinned digests.

A dataset is a function (folder) -> Dataset; `folder` is where downloaded files are kept. The
decoded arrays are checked against the digests on every load.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn import datasets as sklearn_datasets
else:
    np, sklearn_datasets = Deferred("numpy"), Deferred("sklearn.datasets")


@dataclass(frozen=True)
class Source(Entry):
    """One dataset's facts: task, where it comes from, SHA-256 of each decoded array by its name."""

    task: str
    source: str
    examples: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """One digest for all arrays."""
        return hashlib.sha256("".join(self.sha256.values()).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples with their classes, the published test set (if there is one) last.

    x        (examples, features) for tables, (examples, channels, height, width) for images
    y        (examples,) class numbers, int64
    classes  the classes' names
    n_test   how many examples at the end are the published test set
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    n_test: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x.shape[1:])

    @property
    def n_train(self) -> int:
        """Examples outside the published test set."""
        return len(self.y) - self.n_test


DATASETS: Catalog[Source] = Catalog("dataset", Source)

SHIPPED = "inside scikit-learn"
DOWNLOADED = "torchvision, downloaded to --data-dir"


@lru_cache(maxsize=4)
def load(name: str, folder: str) -> Dataset:
    """The dataset that `name` stands for, checked; raises DataError where it cannot be had."""
    dataset: Dataset = DATASETS.choose(name)(Path(folder))
    return dataset


def digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and values."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _table(name: str, loader: str) -> Dataset:
    bunch = getattr(sklearn_datasets, f"load_{loader}")()
    x, y = bunch.data, bunch.target.astype(np.int64)
    for part, array in (("data", x), ("target", y)):
        if digest(array) != DATASETS[name].sha256[part]:
            version = importlib.metadata.version("scikit-learn")
            raise DataError(
                f"{name}: scikit-learn {version} ships other values of '{part}' than relubench "
                "pins: install a release of scikit-learn that ships the published data"
            )
    return Dataset(x, y, tuple(map(str, bunch.target_names)))


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="569 of 30 features, 2 classes",
    sha256={
        "data": "9c05628ae419e8ac69edfa3494078609c4e55e700fff62446d292c099aea7560",
        "target": "c8bc5033c779fcfda501a75784d4e1a16b6ce2da98866932953d0090ce79b236",
    },
)
def wdbc(folder: Path) -> Dataset:
    """Wisconsin diagnostic breast cancer: malignant or benign"""
    return _table("wdbc", "breast_cancer")


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="1797 of 64 features or 1x8x8 pixels, 10 classes",
    sha256={
        "data": "a37578f0e9d1b18ca04d6fc2ec8b34c91a133356d3fa67534a016c5b771fb9e5",
        "target": "5383ddd907a091bb4b1156307896bd921e17fad0edc1f88f7e53bb6ed7dd6149",
    },
)
def digits(folder: Path, *, images: bool = False) -> Dataset:
    """Handwritten digits, small: as a table, or as images on request"""
    table = _table("digits", "digits")
    return Dataset(table.x.reshape(-1, 1, 8, 8), table.y, table.classes) if images else table


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="178 of 13 features, 3 classes",
    sha256={
        "data": "7d41765fc9620fe4942ed7d3cfe70c143f32166b26b744c2417760091cec26fd",
        "target": "3bebc5b01a52da7917564079d99214dd760ae97d8b447b6cd381b5b768a65e14",
    },
)
def wine(folder: Path) -> Dataset:
    """Italian wines of three growers by chemical analysis"""
    return _table("wine", "wine")


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="150 of 4 features, 3 classes",
    sha256={
        "data": "df3b6a654dd2149c93df756ec50ea1103b63a6d53ad5851bbcaed3302ab0b692",
        "target": "3302db66e5c63cfb8bfe5c9f4bd2d468ab634cfafa1daff50ae564ae19d60ea3",
    },
)
def iris(folder: Path) -> Dataset:
    """Fisher's irises: three species by four lengths"""
    return _table("iris", "iris")


@DATASETS.add(
    task="classes",
    source=DOWNLOADED,
    examples="60000 + 10000 test of 1x28x28 pixels, 10 classes",
    sha256={
        "train-images-idx3-ubyte": (
            "157fe16da1dbced4a1376f4be5df2d665d51d11177dcaf7aa4848b1ff033343f"
        ),
        "train-labels-idx1-ubyte": (
            "709bf8e34a5eecad0ba9e319b1d154e9069f3e5492f2bb65e5da9a7ce1e406b2"
        ),
        "t10k-images-idx3-ubyte": (
            "fbf9701b11f5659e6366884b0bbf01ea129fb049e3239251eddb226ada72239e"
        ),
        "t10k-labels-idx1-ubyte": (
            "bc4f9655c228502ea84fb679f1b5c618ad81c0ca308f62e8b89621010716f3d7"
        ),
    },
)
def mnist(folder: Path) -> Dataset:
    """Handwritten digits (LeCun et al. 1998)"""
    return _mnist_family("mnist", "MNIST", folder)


@DATASETS.add(
    task="classes",
    source=DOWNLOADED,
    examples="60000 + 10000 test of 1x28x28 pixels, 10 classes",
    sha256={
        "train-images-idx3-ubyte": (
            "cbe6416bec66fcd6e18cd79f48adfb704f76af0a870bfe2c25ac8a96a8ff046e"
        ),
        "train-labels-idx1-ubyte": (
            "88995d042facf70155ca62b7a88dd4014d224cd706334779814e1776a30f60f3"
        ),
        "t10k-images-idx3-ubyte": (
            "a9703089c071d4fdd831c845477e814d4a8f137df1f1b963746f40afb12d5bb8"
        ),
        "t10k-labels-idx1-ubyte": (
            "33177131bc427da42cf335c3e428fe9353fa2ed1a70f539380e18ac1faa5b3a9"
        ),
    },
)
def fashion_mnist(folder: Path) -> Dataset:
    """Articles of clothing (arXiv:1708.07747)"""
    return _mnist_family("fashion_mnist", "FashionMNIST", folder)


def _mnist_family(name: str, family: str, folder: Path) -> Dataset:
    mnist = _torchvision_mnist()
    raw = folder / family / "raw"
    files = DATASETS[name].sha256
    missing = [file for file in files if not os.path.isfile(raw / file)]
    if missing:
        _download(name, getattr(mnist, family), folder, missing, raw)
    arrays = {}
    for file, sha256 in files.items():
        read = mnist.read_image_file if "images" in file else mnist.read_label_file
        try:
            arrays[file] = read(str(raw / file)).numpy()
            right = digest(arrays[file]) == sha256
        except PermissionError:
            raise DataError(f"{name}: {raw / file} cannot be read: permission denied") from None
        except (OSError, ValueError, TypeError, RuntimeError, AssertionError, LookupError):
            right = False
        if not right:
            raise DataError(
                f"{name}: {raw / file} is corrupted (not the published data): delete it and run "
                "again to download it, or point --data-dir at a good copy"
            )
    x_train, y_train, x_test, y_test = arrays.values()
    x = np.concatenate([x_train, x_test])[:, np.newaxis]
    classes = tuple(getattr(mnist, family).classes)
    return Dataset(x, np.concatenate([y_train, y_test]), classes, n_test=len(y_test))


def _torchvision_mnist() -> Any:
    """The module torchvision.datasets.mnist; raises DataError where torchvision does not load."""
    if importlib.util.find_spec("torchvision") is None:
        raise DataError("this dataset needs torchvision: pip install torchvision")
    try:
        return importlib.import_module("torchvision.datasets.mnist")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        torch, vision = map(importlib.metadata.version, ("torch", "torchvision"))
        raise DataError(
            f"torchvision {vision} does not load beside torch {torch}: the two builds differ. "
            "Reinstall both from one place: pip install --force-reinstall torch torchvision"
        ) from error


def _download(name: str, family: Any, folder: Path, missing: list[str], raw: Path) -> None:
    try:
        with contextlib.redirect_stdout(sys.stderr), _network_timeout(seconds=20):
            family(str(folder), download=True)
    except (OSError, RuntimeError, EOFError) as error:
        for empty in (raw, raw.parent, folder):
            with contextlib.suppress(OSError):
                empty.rmdir()
        raise DataError(
            f"{name}: {', '.join(missing)} not in {raw}, and the download failed: put the files "
            "there, or say where they are with --data-dir or RELUBENCH_DATA"
        ) from error


@contextlib.contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
