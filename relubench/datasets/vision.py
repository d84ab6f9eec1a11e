"""Images as torchvision keeps them: downloaded once, checked on every load."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench import libraries
from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, Dataset, digest
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np

    from relubench.datasets.dataset import Array
else:
    np = Deferred("numpy")

Arguments = Mapping[str, object]  # of one of torchvision's datasets: which part it is to be

DOWNLOADED = "torchvision, downloaded to --data-dir"
UNPINNED = f"{DOWNLOADED}; not pinned"
CHECKED = f"{DOWNLOADED}; files by torchvision's MD5"
IDX = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
IDX_FILES = tuple(f"{name}-ubyte" for name in IDX)


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
    return _idx("mnist", "MNIST", folder)


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
    return _idx("fashion_mnist", "FashionMNIST", folder)


@DATASETS.add(
    task="classes",
    source=UNPINNED,
    examples="60000 + 10000 test of 1x28x28 pixels, 10 classes",
)
def kmnist(folder: Path) -> Dataset:
    """Cursive hiragana (arXiv:1812.01718)"""
    return _idx("kmnist", "KMNIST", folder)


@DATASETS.add(
    task="classes",
    source=UNPINNED,
    examples="60000 + 60000 test of 1x28x28 pixels, 10 classes",
)
def qmnist(folder: Path) -> Dataset:
    """MNIST rebuilt, with the 50000 test digits that were lost (arXiv:1905.10498)"""
    names = [
        "qmnist-train-images-idx3-ubyte",
        "qmnist-train-labels-idx2-int",
        "qmnist-test-images-idx3-ubyte",
        "qmnist-test-labels-idx2-int",
    ]
    return _idx("qmnist", "QMNIST", folder, names, [{"train": True}, {"train": False}])


@DATASETS.add(
    task="classes",
    source=UNPINNED,
    examples="112800 + 18800 test of 1x28x28 pixels, 47 classes",
)
def emnist(folder: Path, *, split: str = "balanced") -> Dataset:
    """Handwritten letters and digits (arXiv:1702.05373), turned upright

    Splits: byclass, bymerge, balanced, letters, digits, mnist.
    """
    family = _family("EMNIST")
    if split not in family.splits:
        raise BadValue(f"emnist: unknown split {split!r}: known: {', '.join(family.splits)}")
    names = [
        f"emnist-{split}-train-images-idx3-ubyte",
        f"emnist-{split}-train-labels-idx1-ubyte",
        f"emnist-{split}-test-images-idx3-ubyte",
        f"emnist-{split}-test-labels-idx1-ubyte",
    ]
    # As published the images are transposed.
    lying = _idx("emnist", "EMNIST", folder, names, [{"split": split}])
    classes = tuple(family.classes_split_dict[split])
    first = classes.index("a") if split == "letters" else 0  # the letters are numbered from 1
    x, y = lying.x.swapaxes(2, 3), lying.y - first
    return Dataset(x, y, classes[first:], lying.n_test, files=lying.files)


@DATASETS.add(
    task="classes",
    source=DOWNLOADED,
    examples="50000 + 10000 test of 3x32x32 pixels, 10 classes",
    sha256={
        "images": "287ed80d25896996308889febf5f840560bb7cc420a8a0f4aeb982e912fa39d0",
        "labels": "ed4bf2b24f4083bbfb95eb4d9c499e9b4eb370f81b3026b052e99bd821370e28",
    },
)
def cifar10(folder: Path) -> Dataset:
    """Tiny photographs of ten kinds of things (Krizhevsky 2009)"""
    return _cifar("cifar10", "CIFAR10", folder)


@DATASETS.add(
    task="classes",
    source=CHECKED,
    examples="50000 + 10000 test of 3x32x32 pixels, 100 classes",
)
def cifar100(folder: Path) -> Dataset:
    """Tiny photographs of a hundred kinds of things (Krizhevsky 2009)"""
    return _cifar("cifar100", "CIFAR100", folder)


@DATASETS.add(
    task="classes",
    source=CHECKED,
    examples="73257 + 26032 test of 3x32x32 pixels, 10 classes",
)
def svhn(folder: Path) -> Dataset:
    """House numbers from street photographs (Netzer et al. 2011)"""
    family = _family("SVHN")
    parts = ("train", "test")
    files = {folder / family.split_list[part][1]: family.split_list[part][2] for part in parts}
    train, test = _checked("svhn", family, folder, files, [{"split": part} for part in parts])
    x, y = np.concatenate([train.data, test.data]), np.concatenate([train.labels, test.labels])
    return Dataset(x, y, tuple("0123456789"), len(test.labels), files=tuple(files))


def _cifar(name: str, kind: str, folder: Path) -> Dataset:
    family = _family(kind)
    listed = [*family.train_list, *family.test_list, (family.meta["filename"], family.meta["md5"])]
    files = {folder / family.base_folder / file: md5 for file, md5 in listed}
    train, test = _checked(name, family, folder, files, [{"train": True}, {"train": False}])
    # (examples, height, width, channels) as torchvision has them.
    x = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
    y = np.array([*train.targets, *test.targets], dtype=np.int64)
    for part, array in (("images", x), ("labels", y)):
        if DATASETS[name].sha256.get(part, digest(array)) != digest(array):
            raise _corrupted(name, folder / family.base_folder)
    x = np.ascontiguousarray(x)
    return Dataset(x, y, tuple(train.classes), len(test.targets), files=tuple(files))


def _checked(
    name: str,
    family: Any,
    folder: Path,
    files: Mapping[Path, str],
    parts: Sequence[Arguments],
) -> list[Any]:
    """A torchvision dataset per part; `files` are what it reads, each with its MD5."""
    _complete(name, family, folder, list(files), parts)
    try:
        return [family(str(folder), **part) for part in parts]
    except PermissionError as error:
        raise _forbidden(name, error.filename) from None
    except (OSError, ValueError, TypeError, RuntimeError, LookupError, EOFError) as error:
        check = libraries.torchvision("torchvision.datasets.utils").check_integrity
        # Which of them: torchvision says only that something does not match.
        wrong = [file for file, md5 in files.items() if not check(str(file), md5)]
        raise _corrupted(name, *(wrong or files)) from error


def _idx(
    name: str,
    kind: str,
    folder: Path,
    names: Sequence[str] = IDX_FILES,
    parts: Sequence[Arguments] = ({},),
) -> Dataset:
    """Images and labels of the training set, then of the test part, in LeCun's format."""
    family, raw = _family(kind), folder / kind / "raw"
    _complete(name, family, folder, [raw / file for file in names], parts)
    # The training set, then the published test set, which Dataset has last.
    x_train, y_train, x_test, y_test = (_read(name, raw / file) for file in names)
    if (len(x_train), len(x_test)) != (len(y_train), len(y_test)):
        raise _corrupted(name, *(raw / file for file in names))
    x = np.concatenate([x_train, x_test])[:, np.newaxis]
    y, read = np.concatenate([y_train, y_test]), tuple(raw / file for file in names)
    return Dataset(x, y, tuple(family.classes), len(y_test), files=read)


def _read(name: str, path: Path) -> Array:
    """The images or the class numbers of one file."""
    mnist = libraries.torchvision("torchvision.datasets.mnist")
    try:
        if "images" in path.name:
            array = mnist.read_image_file(str(path)).numpy()
        elif "idx2" in path.name:  # QMNIST says more of a digit than its class
            array = mnist.read_sn3_pascalvincent_tensor(str(path))[:, 0].long().numpy()
        else:
            array = mnist.read_label_file(str(path)).numpy()
    except PermissionError:
        raise _forbidden(name, path) from None
    except (OSError, ValueError, TypeError, RuntimeError, AssertionError, LookupError):
        raise _corrupted(name, path) from None
    if DATASETS[name].sha256.get(path.name, digest(array)) != digest(array):
        raise _corrupted(name, path)
    return array  # type: ignore[no-any-return]


def _forbidden(name: str, path: object) -> DataError:
    return DataError(f"{name}: {path} cannot be read: permission denied")


def _corrupted(name: str, *paths: Path) -> DataError:
    one = len(paths) == 1
    return DataError(
        f"{name}: {', '.join(map(str, paths))} {'is' if one else 'are'} corrupted (not the "
        f"published data): delete {'it' if one else 'them'} and run again to download "
        f"{'it' if one else 'them'}, or point --data-dir at a good copy"
    )


def _family(kind: str) -> Any:
    return getattr(libraries.torchvision("torchvision.datasets"), kind)


def _complete(
    name: str,
    family: Callable[..., object],
    folder: Path,
    files: Sequence[Path],
    parts: Sequence[Arguments],
) -> None:
    """Download what is missing; nothing empty is left where that fails."""
    missing = [file.name for file in files if not os.path.isfile(file)]
    if not missing:
        return
    where = files[0].parent
    try:
        with contextlib.redirect_stdout(sys.stderr), network_timeout(seconds=20):
            for part in parts:
                family(str(folder), download=True, **part)
    except (OSError, RuntimeError, EOFError) as error:
        # From the innermost outwards, within the data's folder; rmdir leaves what is not empty.
        for empty in (where, *where.parents):
            if empty.is_relative_to(folder):
                with contextlib.suppress(OSError):
                    empty.rmdir()
        raise DataError(
            f"{name}: {', '.join(missing)} not in {where}, and the download failed: put the files "
            "there, or say where they are with --data-dir or RELUBENCH_DATA"
        ) from error


@contextlib.contextmanager
def network_timeout(seconds: float) -> Iterator[None]:
    """No connection waits longer than this inside the block."""
    # Neither torchvision nor scikit-learn has one of its own: a dead server would hang a command.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
