"""Laws over the catalogue of datasets; the real files where RELUBENCH_DATA names them, else files
written here in the same layout."""

from __future__ import annotations

import codecs
import functools
import hashlib
import importlib
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import io as matlab
from sklearn import datasets as sklearn_datasets
from torchvision import datasets as vision

from relubench import datasets
from relubench.cli import main
from relubench.datasets import DATASETS, Dataset, shipped
from relubench.datasets.dataset import classed
from relubench.datasets.shipped import SHIPPED
from relubench.datasets.text import tf_idf
from relubench.errors import BadValue, DataError

SHIPPED_NAMES = [name for name, entry in DATASETS.items() if entry.source == SHIPPED]
FILES = {
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
}
rng = np.random.default_rng(0)


# --- files in the layout of their publishers ------------------------------------------------------


def idx(path: Path, array: np.ndarray) -> None:
    """LeCun's format: a magic number that names type and dimensions, the lengths, the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"u1": 8, "i4": 12}[array.dtype.str[1:]]
    head = struct.pack(f">{1 + array.ndim}i", 256 * kind + array.ndim, *array.shape)
    path.write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def pictures(n: int, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, (n, *shape)).astype(np.uint8)


def lay_kmnist(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for part, n in (("train", 20), ("t10k", 10)):
        idx(folder / f"KMNIST/raw/{part}-images-idx3-ubyte", pictures(n, 28, 28))
        idx(folder / f"KMNIST/raw/{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))


def lay_qmnist(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for part, n in (("train", 20), ("test", 30)):
        idx(folder / f"QMNIST/raw/qmnist-{part}-images-idx3-ubyte", pictures(n, 28, 28))
        facts = np.zeros((n, 8), np.int32)
        facts[:, 0], facts[:, 2] = np.arange(n) % 10, 300  # the class; the writer
        idx(folder / f"QMNIST/raw/qmnist-{part}-labels-idx2-int", facts)


def lay_emnist(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for split, first, classes in (("balanced", 0, 47), ("letters", 1, 26)):
        for part, n in (("train", 2 * classes), ("test", classes)):
            stem = folder / f"EMNIST/raw/emnist-{split}-{part}"
            idx(Path(f"{stem}-images-idx3-ubyte"), pictures(n, 28, 28))
            labels = first + np.arange(n) % classes
            idx(Path(f"{stem}-labels-idx1-ubyte"), labels.astype(np.uint8))


def lay_cifar100(folder: Path, patch: pytest.MonkeyPatch) -> None:
    base = folder / "cifar-100-python"
    base.mkdir(parents=True)
    md5 = {}
    for part, n in (("train", 200), ("test", 100)):
        entry = {"data": pictures(n, 3072), "fine_labels": [i % 100 for i in range(n)]}
        md5[part] = put(base / part, entry | {"coarse_labels": [0] * n})
    names = {"fine_label_names": [f"thing {i}" for i in range(100)]}
    meta = {"filename": "meta", "key": "fine_label_names", "md5": put(base / "meta", names)}
    patch.setattr(vision.CIFAR100, "train_list", [["train", md5["train"]]])
    patch.setattr(vision.CIFAR100, "test_list", [["test", md5["test"]]])
    patch.setattr(vision.CIFAR100, "meta", meta)


def put(path: Path, content: Any) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def lay_svhn(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    listed = {}
    for part, n in (("train", 30), ("test", 20)):
        path = folder / f"{part}_32x32.mat"
        digits = np.arange(n) % 10
        content = {"X": pictures(32, 32, 3, n), "y": np.where(digits == 0, 10, digits)[:, None]}
        matlab.savemat(path, content)
        listed[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    patch.setattr(vision.SVHN, "split_list", listed)


def lay_newsgroups(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)

    def bunch(n: int) -> Any:
        texts = [f"From: a@b\n\nword{i % 20} the the a{i}\n" for i in range(n)]
        names = [f"group {i:02}" for i in range(20)]
        return sklearn_datasets._base.Bunch(
            data=texts, target=np.arange(n) % 20, target_names=names, filenames=np.array(texts)
        )

    both = pickle.dumps({"train": bunch(40), "test": bunch(20)})
    (folder / "20news-bydate_py3.pkz").write_bytes(codecs.encode(both, "zlib_codec"))


LAY: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "kmnist": lay_kmnist,
    "qmnist": lay_qmnist,
    "emnist": lay_emnist,
    "cifar100": lay_cifar100,
    "svhn": lay_svhn,
    "20newsgroups": lay_newsgroups,
}


def get(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Dataset:
    if name in FILES:
        folder = Path(os.environ.get("RELUBENCH_DATA", ""))
        if not (folder / FILES[name]).is_dir():
            pytest.skip("RELUBENCH_DATA names no folder with the real files")
        return real(name, str(folder))
    if name in LAY:
        LAY[name](folder, patch)
    return datasets.load(name, str(folder))


real = functools.cache(datasets.load)  # the large files are read once


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n, entry in DATASETS.items() if not entry.first and entry.task != "language"]
)
def test_every_dataset_has_named_classes_or_numbers_and_finite_inputs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = get(name, tmp_path, monkeypatch)
    assert len(dataset.x) == len(dataset.y)
    assert dataset.task == DATASETS[name].task
    if dataset.task == "classes":
        assert dataset.y.dtype == np.int64
        assert sorted(set(dataset.y)) == list(range(len(dataset.classes)))
    else:
        assert dataset.y.dtype == np.float64
        assert np.isfinite(dataset.y).all()
    assert len(dataset.shape) in (1, 3)
    x = dataset.x if not dataset.encode else dataset.encode(dataset.x, dataset.x[:1])[0]
    assert x.shape[1:] == dataset.shape
    assert np.isfinite(x).all()
    said = DATASETS[name].examples
    if name.startswith("synthetic"):
        return
    what = f"{len(dataset.classes)} classes" if dataset.classes else "a number"
    assert what in said
    assert ("x".join(map(str, dataset.shape))) in said
    assert (" + " in said) == bool(dataset.n_test)
    assert name in LAY or said.startswith(str(dataset.n_train))


@pytest.mark.parametrize("name", [*LAY, "synthetic", "wdbc"])
def test_the_same_files_are_the_same_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get(name, tmp_path, monkeypatch)
    assert DATASETS.choose(name)(tmp_path).digest == first.digest


def test_every_dataset_is_pinned_or_says_otherwise() -> None:
    published = [e for e in DATASETS.values() if e.examples[0].isdigit()]
    for entry in published:
        said = "not pinned" in entry.source or "MD5" in entry.source
        assert said != bool(entry.sha256)
    assert any(entry.sha256 for entry in published)


def test_digits_come_as_images_too(tmp_path: Path) -> None:
    images = datasets.load("digits:images=true", str(tmp_path))
    assert images.shape == (1, 8, 8)
    assert np.array_equal(images.x[:, 0], sklearn_datasets.load_digits().images)


# --- published files ------------------------------------------------------------------------------


PUBLISHED = {
    "mnist": lambda root: vision.MNIST(root, train=False),
    "kmnist": lambda root: vision.KMNIST(root, train=False),
    "qmnist": lambda root: vision.QMNIST(root, train=False),
    "emnist": lambda root: vision.EMNIST(root, "balanced", train=False),
    "emnist:split=letters": lambda root: vision.EMNIST(root, "letters", train=False),
    "cifar10": lambda root: vision.CIFAR10(root, train=False),
    "cifar100": lambda root: vision.CIFAR100(root, train=False),
    "svhn": lambda root: vision.SVHN(root, "test"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_test_set_comes_last(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Image by image and class by class what torchvision gives."""
    base = name.split(":")[0]
    if base in LAY:
        LAY[base](tmp_path, monkeypatch)
    folder = tmp_path if base in LAY else request.getfixturevalue("real_data")
    if base in FILES and not (folder / FILES[base]).is_dir():
        pytest.skip("RELUBENCH_DATA names no folder with the real files")
    load = real if base in FILES else datasets.load
    dataset, published = load(name, str(folder)), PUBLISHED[name](str(folder))
    assert dataset.n_test == len(published)
    for number in range(min(20, len(published))):
        image, label = published[number]
        mine = dataset.x[dataset.n_train + number]
        theirs = np.asarray(image)
        if base == "emnist":
            theirs = theirs.T  # its images lie
        assert np.array_equal(mine.transpose(1, 2, 0).squeeze(), theirs)
        named = getattr(published, "classes", list("0123456789"))
        assert dataset.classes[dataset.y[dataset.n_train + number]] == named[label]


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_other_values_than_the_pinned_ones_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = datasets.digest
    monkeypatch.setattr(shipped, "digest", lambda array: digest(array + 1))
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
    (raw / file).write_bytes(data[: {"one bit": len(data), "cut": 1000, "empty": 0}[damage]])
    with pytest.raises(DataError, match=f"{file} is corrupted"):
        DATASETS.choose("mnist")(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("kmnist", "KMNIST/raw/t10k-labels-idx1-ubyte"),
        ("qmnist", "QMNIST/raw/qmnist-train-images-idx3-ubyte"),
        ("emnist", "EMNIST/raw/emnist-balanced-test-images-idx3-ubyte"),
        ("cifar100", "cifar-100-python/test"),
        ("cifar100", "cifar-100-python/meta"),
        ("svhn", "train_32x32.mat"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_a_damaged_file_is_named(
    name: str, file: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LAY[name](tmp_path, monkeypatch)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[: 15 if damage == "cut" else 0])
    with pytest.raises(DataError, match=f"{path.name}.* corrupted") as caught:
        DATASETS.choose(name)(tmp_path)
    assert "\n" not in str(caught.value)


def offline(*arguments: Any, **keywords: Any) -> None:
    raise OSError("no network")


@pytest.mark.parametrize(
    ("name", "file", "where"),
    [
        ("fashion_mnist", "train-images-idx3-ubyte", "FashionMNIST/raw"),
        ("kmnist", "train-images-idx3-ubyte", "KMNIST/raw"),
        ("qmnist", "qmnist-test-labels-idx2-int", "QMNIST/raw"),
        ("emnist:split=digits", "emnist-digits-train-images-idx3-ubyte", "EMNIST/raw"),
        ("cifar10", "data_batch_1", "cifar-10-batches-py"),
        ("cifar100", "meta", "cifar-100-python"),
        ("svhn", "test_32x32.mat", ""),
        ("20newsgroups", "20news-bydate_py3.pkz", ""),
        ("openml:iris", "openml", ""),
        ("openml:61", "openml", ""),
    ],
)
@pytest.mark.filterwarnings("ignore:A network error occurred")
def test_a_missing_file_is_named_with_folder_and_flag(
    name: str, file: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", offline)
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", unreachable)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    folder = tmp_path / "data"
    with pytest.raises(DataError) as caught:
        DATASETS.choose(name)(folder)
    for said in (file, str(folder / where), "--data-dir"):
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def unreachable(*arguments: Any, **keywords: Any) -> None:
    from urllib.error import URLError

    raise URLError("no network")


def test_nothing_empty_is_left_and_nothing_else_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", offline)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    with pytest.raises(DataError):
        DATASETS.choose("cifar10")(tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


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


# --- texts ----------------------------------------------------------------------------------------


def test_words_and_weights_are_those_of_the_training_texts() -> None:
    train = np.array(["a cat sat", "a cat ran", "dogs ran far"] * 3, dtype=object)
    before, _ = tf_idf(train, np.array(["a dog"], dtype=object), features=4)
    after, test = tf_idf(train, np.array(["zebra zebra", "cat cat cat"], dtype=object), features=4)
    assert np.array_equal(before, after)
    assert (test[0] == 0).all()
    assert np.count_nonzero(test[1]) == 1
    wider, _ = tf_idf(train, train, features=9)  # cat, dogs, far, ran, sat
    assert wider.shape == (9, 9)
    assert np.count_nonzero(wider.any(axis=0)) == 5


def test_headers_are_removed_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_newsgroups(tmp_path, monkeypatch)
    plain, whole = (
        DATASETS.choose(f"20newsgroups{given}")(tmp_path) for given in ("", ":whole=true")
    )
    assert "From" not in plain.x[0]
    assert "From" in whole.x[0]
    assert plain.digest != whole.digest


def test_a_transformer_reads_newsgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_newsgroups(tmp_path, monkeypatch)
    arguments = ["train", "-d", "20newsgroups:features=30:context=8", "--data-dir", str(tmp_path)]
    arguments += ["-m", "encoder:layers=1:heads=2:width=16:tokens=32:context=8", "--lr", "0.01"]
    arguments += ["--epochs", "60", "--batch-size", "8"]
    assert main([*arguments, "--no-ledger", "--quiet", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["n_train"], row["n_test"], len(row["classes"])) == (40, 20, 20)
    # The word of each class is among those that are known.
    assert row["accuracy"] > 0.9


# --- arrays, images, drawn data -------------------------------------------------------------------


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    x, y = rng.normal(size=(6, 5, 4)), np.array(["b", "a"] * 3)
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x[:2], y_test=y[:2], other=1)
    dataset = DATASETS.choose(f"npz:{tmp_path / 'a.npz'}")(tmp_path)
    assert dataset.shape == (1, 5, 4)
    assert (dataset.n_train, dataset.n_test) == (6, 2)
    assert dataset.classes == ("a", "b")
    assert np.array_equal(dataset.x[:6, 0], x)
    assert [dataset.classes[number] for number in dataset.y[:6]] == list(y)


X, Y = np.ones((4, 2)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X}, "needs arrays x and y"),
        ({"x": X, "y": Y, "x_test": X}, "needs arrays x and y"),
        ({"x": X[:, 0], "y": Y}, "x must be numbers"),
        ({"x": X.astype(str), "y": Y}, "x must be numbers"),
        ({"x": X.astype(object), "y": Y}, "no arrays of numbers"),
        ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, "and x_test alike"),
        ({"x": X, "y": Y[:3]}, "y must be"),
        ({"x": X * np.nan, "y": Y}, "not finite"),
        ({"x": X * 1e39, "y": Y}, "not finite in float32"),
        ({"x": X[:, :0], "y": Y}, "one number at the least"),
        ({"x": X, "y": Y * np.nan}, "not finite"),
        ({"x": X, "y": Y * 0}, "every example is of class '0'"),
        ({"x": X, "y": rng.normal(size=4)}, "regression"),
        ({"x": X[:0], "y": Y[:0]}, "no examples"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_in_one_line(
    arrays: dict[str, Any], says: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        DATASETS.choose(f"npz:{tmp_path / 'a.npz'}")(tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.npz", "bytes are not those of an npz file"), ("a.npy", "it is one array")],
)
def test_a_file_that_is_no_npz_is_told_of_how_one_is_written(
    name: str, says: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npz").write_bytes(b"hello" * 50)
    with pytest.raises(DataError, match=says):
        DATASETS.choose(f"npz:{tmp_path / name}")(tmp_path)


def lay_images(root: Path, mode: str = "RGB", **sizes: tuple[int, int]) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            picture = Image.fromarray(pictures(5, 4, 3)).convert(mode)
            picture.resize(sizes.get(f"{name}{number}", (4, 5))).save(root / name / f"{number}.png")
    return root


def test_a_folder_of_images_has_a_directory_per_class(tmp_path: Path) -> None:
    root = lay_images(tmp_path / "images")
    (root / "cat" / "notes.txt").write_text("not an image")
    dataset = DATASETS.choose(f"folder:{root}")(tmp_path)
    assert dataset.shape == (3, 5, 4)
    assert dataset.classes == ("cat", "dog")
    assert list(dataset.y) == [0, 0, 0, 1, 1, 1]
    with Image.open(root / "dog" / "0.png") as picture:
        assert np.array_equal(dataset.x[3].transpose(1, 2, 0), np.asarray(picture))


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    root = lay_images(tmp_path / "images", mode="L")
    assert DATASETS.choose(f"folder:{root}")(tmp_path).shape == (1, 5, 4)


def test_an_image_of_more_pixels_than_is_safe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(DataError, match="cannot be read as an image"):
        DATASETS.choose(f"folder:{lay_images(tmp_path / 'images')}")(tmp_path)


def test_images_of_many_sizes_are_brought_to_one_on_request(tmp_path: Path) -> None:
    root = lay_images(tmp_path / "images", dog1=(7, 7))
    with pytest.raises(DataError, match=r"dog/1.png is 7x7, others are 5x4: say size=5x4"):
        DATASETS.choose(f"folder:{root}")(tmp_path)
    assert DATASETS.choose(f"folder:{root}:size=6x3")(tmp_path).shape == (3, 6, 3)


@pytest.mark.parametrize("size", ["0x3", "3", "3x3x3", "-1x2", "99999x99999"])
def test_a_size_is_height_and_width(size: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="HEIGHTxWIDTH"):
        DATASETS.choose(f"folder:{lay_images(tmp_path / 'images')}:size={size}")(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        DATASETS.choose(f"folder:{tmp_path}")(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        DATASETS.choose(f"folder:{tmp_path / 'none'}")(tmp_path)
    (lay_images(tmp_path / "images") / "cat" / "0.png").write_text("not an image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        DATASETS.choose(f"folder:{tmp_path / 'images'}")(tmp_path)


def test_drawn_data_are_as_asked_for(tmp_path: Path) -> None:
    drawn = datasets.load(
        "synthetic:features=50:classes=5:samples=2000:sparsity=0.9", str(tmp_path)
    )
    assert drawn.x.shape == (2000, 50)
    assert np.bincount(drawn.y).tolist() == [400] * 5
    assert (drawn.x == 0).mean() == pytest.approx(0.9, abs=0.01)
    clean = datasets.load("synthetic", str(tmp_path))
    noisy = datasets.load("synthetic:noise=0.5", str(tmp_path))
    assert np.array_equal(clean.x, noisy.x)
    assert (clean.y != noisy.y).mean() == pytest.approx(0.25, abs=0.05)  # half fall back
    assert datasets.load("synthetic:seed=1", str(tmp_path)).digest != clean.digest


@pytest.mark.parametrize(
    "given",
    [
        *("features=0", "classes=1", "samples=3", "sparsity=1.1", "noise=-1", "seed=-1"),
        *("samples=1000000000", "classes=9:samples=17"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"^synthetic: "):
        DATASETS.choose(f"synthetic:{given}")(tmp_path)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([3, 1, 1, 3], ("1", "3")),
        ([1.0, 2.0, 1.0], ("1", "2")),
        ([0.5] * 20 + [1.5] * 20, ("0.5", "1.5")),
        (["no", "yes"], ("no", "yes")),
        ([True, False], ("False", "True")),
        (list(range(20)), tuple(map(str, range(20)))),
        (sorted(map(str, rng.normal(size=30))), None),  # words may be many
    ],
)
def test_a_target_is_classes(values: list[Any], classes: tuple[str, ...] | None) -> None:
    y, names = classed("it", np.array(values))
    assert names == (classes or tuple(values))
    assert [names[number] for number in y] == [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values
    ]


@pytest.mark.parametrize(
    "values",
    [
        rng.normal(size=10),
        np.arange(21),
        rng.normal(size=1000).round(1),
        rng.integers(9999, size=99),
    ],
    ids=["floats", "numbers", "rounded", "prices"],
)
def test_a_target_that_measures_is_regression(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="regression"):
        classed("it", values)


def test_a_class_beyond_whole_numbers_keeps_its_name() -> None:
    assert classed("it", np.array([0.0, 1e300]))[1] == ("0.0", "1e+300")


def test_a_class_cannot_command_the_terminal() -> None:
    assert classed("it", np.array(["é\n", "\x1b[31m"]))[1] == (r"\x1b[31m", r"é\n")
